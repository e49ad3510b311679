"""Rank models for a target: the one loop over models, from their files to an ordered result.

Each model is listed, matched with the data, run in a worker, scored, and forgotten again but for its terms; whatever
goes wrong with one model becomes a failure row, and the others go on.
"""

from __future__ import annotations

import dataclasses
import platform
import uuid
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuralrank import registry, settings
from neuralrank.entries import Fetchable
from neuralrank.errors import (
    CatalogueError,
    DataError,
    MissingExtraError,
    ModelError,
    NothingRankedError,
    SourceError,
    UsageError,
)
from neuralrank.features import Extraction, Features, Limits
from neuralrank.order import Order, parse_order
from neuralrank.probe import Probe, read_probe
from neuralrank.readers._open import open_target
from neuralrank.scores import ScoreSheet, Wanted, needs_head, score_model
from neuralrank.searching import Query, Unknown
from neuralrank.shortlisting import DEFAULT_POOL, choose_pool, pool_settings
from neuralrank.sources._specs import is_spec, open_source
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.feature_cache import FeatureCache, feature_cache
from neuralrank.storage.runs import store_ranking
from neuralrank.types import Failure, ModelRecord, Ranking, Source, Target, Task
from neuralrank.verdict import Trial, Verdict, baselines, ranked_models, summary

DEFAULT_SCORE = "neuralrank"
DEFAULT_ALSO = ("log_me", "lda_probe", "knn")
"""None of them was ever measured to prefer noise."""
DEFAULT_PROBE = 2_000
MAX_MEMORY_BYTES = 2**62
"""More than any system takes as a limit would be an error there."""

Models = str | Path | Source | Sequence[str | Path] | None
"""One or more folders, files or specs such as 'hf:timm/*', or a source; None: all that the catalogue knows."""

Item = ModelRecord | Fetchable | Failure


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run is doing; handed to the `progress` callback of `rank`, also from other threads than the caller's."""

    model: str
    n_models_done: int | None
    """Given when a model has ended."""
    n_models: int
    n_samples_done: int
    n_samples: int
    outcome: Failure | float | None = None
    """How the model ended: its score or its failure; None while it runs, and where other models decide its score."""


def rank(  # more keywords than the house rule allows: each is one command-line option under the same name
    models: Models,
    data: Any,
    *,
    score: str = DEFAULT_SCORE,
    also: Collection[str] = DEFAULT_ALSO,
    probe: int = DEFAULT_PROBE,
    seed: int = 0,
    layer: str | None = None,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split: str | None = None,
    task: Task | None = None,
    where: str | None = None,
    text: str | None = None,
    labels: Sequence[str] = (),
    unknown: Unknown = "drop",
    pool: int | None = None,
    prior: str | None = None,
    catalogue: str | Path | None = None,
    offline: bool = False,
    max_fetch: float | None = None,
    trust: Collection[str] = (),
    cache_dir: str | Path | None = None,
    limits: Limits | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Ranking:
    """Rank models by how well their features discriminate the labels of a data set.

    Args:
        models: folders or files that hold models, specs such as 'hf:timm/*', or a source; None: the catalogue.
        data: path of a data set, or a Python object: (samples, labels), a data frame, a `datasets.Dataset`, a torch
            `Dataset`, or a `Target`.
        score: scorer that orders the models, or several as 'mean_rank:neuralrank,log_me,parc' (or 'borda:…').
        also: further scorers to compute; they do not change the order.
        probe: number of samples to use, drawn by class.
        seed: of the draw and of the uncertainty estimates.
        layer: layer of the models to take features from; None: each model's own feature layer.
        groups: shape (n_samples,); samples that share a value are never on both sides of a fold.
        input_column: column with the samples; None: detected.
        label_column: column with the labels; None: detected.
        group_column: column with the groups.
        split: part of the data to use, for example "train".
        task: "classification", "regression" or "multilabel"; None: detected.
        where: condition that a model must meet, for example "params < 30M"; see `neuralrank.search`.
        text: words by which the models are found.
        labels: names of classes of which a model must know one.
        unknown: what to do with models of which the condition is unknown: "keep" or "drop".
        pool: number of models to run, chosen from all that match; None: all where no file has to be fetched, else 50.
        prior: "history" adds what past outcomes on similar data sets say; it does not change the ranking.
        catalogue: folder of the catalogue, where the ranking is kept too; None: the setting `catalogue`.
        offline: do not use the network.
        max_fetch: most that is downloaded for one model, in GB; None: the setting `max_fetch`.
        trust: ids of models whose own code may run, for example pickles; it runs inside the same walls.
        cache_dir: where features are kept; None: the setting `cache_dir`.
        limits: what one model may use; None: the settings.
        progress: called with a `Progress` as the run goes on, also from other threads.

    Returns:
        The ranking, models best first. Ctrl-C after the first scored model returns what there is.

    Raises:
        UsageError: a path, name, condition or option is wrong.
        DataError: the data set cannot be used.
        SourceError: a repository does not answer, and nothing is known of it.
        CatalogueError: the catalogue is needed and cannot be used.
        NothingRankedError: there is no model.
        OutputError: the scratch folder cannot be written.

    Example:
        >>> ranking = rank("./checkpoints", "./photos")  # doctest: +SKIP
        >>> ranking.best().name  # doctest: +SKIP
        'resnet20.onnx'
    """
    if probe < 1:
        raise UsageError(f"--probe needs at least 1 sample. Got {probe}. Use {DEFAULT_PROBE:,} if unsure.")
    if seed < 0:
        raise UsageError(f"--seed needs a whole number of at least 0. Got {seed}. Use 0 if unsure.")
    order = parse_order(score)
    scorers = {name: registry.get("scorers", name) for name in dict.fromkeys((*order.members, *also))}
    reading: Mapping[str, Any] = {
        "input_column": input_column,
        "label_column": label_column,
        "group_column": group_column,
        "groups": groups,
        "split": split,
        "task": task,
    }
    target = _target(data, reading)
    for name in order.members:
        if target.task not in scorers[name].tasks:
            raise UsageError(f"--score {name} is not defined for {target.task}. `neuralrank scores` lists what is.")
    usable = tuple(name for name in scorers if target.task in scorers[name].tasks)
    query = Query(text=text, where=where, labels=tuple(labels), unknown=unknown)
    folder = Path(catalogue) if catalogue is not None else settings.catalogue_dir()
    max_fetch = settings.number("max_fetch") if max_fetch is None else max_fetch
    sources = {"offline": offline, "max_bytes": int(min(max_fetch * 1e9, MAX_MEMORY_BYTES))}
    finding = _Finding(query=query, pool=pool, prior=prior, catalogue=folder, source_options=sources)
    listed, found = finding.models(models, target)
    cache = open_cache(cache_dir)
    drawn = read_probe(
        target, n_samples=probe, seed=seed, max_unreadable=settings.number("max_unreadable"), cache=cache
    )
    run = _Run(
        n_models=len(listed),
        probe=drawn,
        order=order,
        wanted=Wanted(names=usable, ordering=order.members, seed=seed),
        layer=layer,
        cache=cache,
        report=progress or (lambda _: None),
    )
    trusted = _trusted(trust, listed)
    with Extraction(probe=drawn, cache=cache, limits=limits or default_limits(), trusted=trusted) as extraction:
        trials, failures, stopped = run.try_all(listed, extraction)
    also_used = [name for name in usable if name not in order.members]
    options = {"probe": probe, "layer": layer, "also": also_used, "task": target.task, **found}
    ranking = _ranking(run, trials, failures, stopped, n_target=len(target.labels), options=options)
    finding.keep(ranking)
    return ranking


def _target(data: Any, reading: Mapping[str, Any]) -> Target:
    if not isinstance(data, Target):
        return open_target(data, **reading)
    given = [name for name, value in reading.items() if value is not None]
    if given:
        raise UsageError(f"A Target is read already. Got {', '.join(given)} as well. Pass them to read_target.")
    return data


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """Where the models of a run come from: files at hand, or what is found in the catalogue."""

    query: Query
    pool: int | None
    prior: str | None
    catalogue: Path
    source_options: Mapping[str, Any]

    def models(self, models: Models, target: Target) -> tuple[list[Item], dict[str, Any]]:
        """Return the models to run, and what the result should say of how they were found."""
        if self.pool is not None and self.pool < 1:
            raise UsageError(f"--pool needs at least 1 model. Got {self.pool}. Use {DEFAULT_POOL} if unsure.")
        if self.prior not in (None, "history"):
            raise UsageError(f"--prior needs 'history'. Got {self.prior!r}. Leave it out for none.")
        named = [models] if isinstance(models, str | Path) else models
        asked = self.query != Query(unknown=self.query.unknown) or self.pool is not None or self.prior is not None
        if named is not None and not isinstance(named, Sequence):
            if asked:
                raise UsageError("Conditions and --pool need models of the catalogue. Got a source. Index it first.")
            return list(list_models(named)), {}
        if named is not None and not asked and not any(is_spec(str(path)) for path in named):
            return list(list_models(named)), {}
        with open_catalogue(self.catalogue) as opened:
            pool = choose_pool(
                self.query,
                opened,
                target,
                n=self.pool,
                sources=[str(path) for path in named or ()],
                options=self.source_options,
            )
        return [*pool.models, *pool.failures], pool_settings(pool, prior=self.prior is not None)

    def keep(self, ranking: Ranking) -> None:
        """Keep the ranking in the catalogue; that it cannot be kept is no reason to lose it."""
        try:
            with open_catalogue(self.catalogue) as opened:
                store_ranking(opened, ranking)
        except CatalogueError as error:
            warnings.warn(f"The ranking was not kept. {error}", RuntimeWarning, stacklevel=3)


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def list_models(models: str | Path | Source | Sequence[str | Path]) -> list[ModelRecord | Failure]:
    """List the models of folders, files or a source, without loading weights.

    Raises:
        UsageError: a path does not exist.
        NothingRankedError: there is no model at all.
    """
    if isinstance(models, str | Path):
        models = [models]
    if isinstance(models, Sequence):
        found = [item for path in models for item in open_source(path).list_models()]
        # Overlapping folders list a model more than once; its id says that the copies are alike.
        listed = list({(item.model_id, getattr(item, "error", None)): item for item in found}.values())
        where = ", ".join(repr(str(path)) for path in models)
    else:
        listed, where = list(models.list_models()), "the source"
    if not listed:
        formats = ", ".join(registry.names("formats"))
        raise NothingRankedError(f"A ranking needs at least one model. Got none in {where}. Formats known: {formats}.")
    return listed


def open_cache(cache_dir: str | Path | None) -> FeatureCache:
    """Return the cache in a folder, None for the one that the settings name."""
    return feature_cache(Path(cache_dir) if cache_dir is not None else settings.cache_dir())


def default_limits() -> Limits:
    """Return the limits that the settings ask for."""
    return Limits(
        timeout_seconds=settings.number("model_timeout"),
        memory_bytes=int(min(settings.number("model_memory") * 1e9, MAX_MEMORY_BYTES)),
        n_threads=int(settings.number("threads")),
        n_jobs=int(settings.number("jobs")),
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The settings of one call of `rank`, and the loop they steer."""

    probe: Probe
    order: Order
    wanted: Wanted
    layer: str | None
    cache: FeatureCache
    n_models: int
    report: Callable[[Progress], None]

    def try_all(self, listed: Sequence[Item], extraction: Extraction) -> tuple[list[Trial], list[Failure], str]:
        """Try every model; return the trials, the failures and what stopped the loop."""
        outcomes: dict[int, Trial | Failure] = {}
        stopped = "all models scored"
        limits = extraction.limits
        # Scores are computed in the same threads that wait for the workers: each gets its share of the cores.
        with threadpool_limits(limits.threads_each), ThreadPoolExecutor(limits.jobs) as pool:
            places = {pool.submit(self._try_one, item, extraction): place for place, item in enumerate(listed)}
            try:
                for future in as_completed(places):
                    place = places[future]
                    outcomes[place] = future.result()
                    self._tell(listed[place], outcome=outcomes[place], n_done=len(outcomes))
            except BaseException as error:
                extraction.stop.set()
                pool.shutdown(cancel_futures=True)
                n_scored = sum(isinstance(outcome, Trial) for outcome in outcomes.values())
                if not isinstance(error, KeyboardInterrupt) or not n_scored:
                    raise
                stopped = f"interrupted after {len(outcomes)} of {len(listed)} models"
        in_order = [outcomes[place] for place in sorted(outcomes)]
        trials = [outcome for outcome in in_order if isinstance(outcome, Trial)]
        return trials, [outcome for outcome in in_order if isinstance(outcome, Failure)], stopped

    def _try_one(self, item: Item, extraction: Extraction) -> Trial | Failure:
        if isinstance(item, Fetchable):
            item = _fetched(item)
        if isinstance(item, Failure):
            return item
        obstacle = self._mismatch(item) or _untrusted(item, extraction.trusted)
        if obstacle is not None:
            return obstacle
        features = extraction.features(
            item,
            layer=self.layer,
            head=self.wanted.needs_head,
            on_progress=lambda n_samples: self._tell(item, n_samples=n_samples),
        )
        if isinstance(features, Failure):
            return features
        try:
            return self._scored(item, features)
        except DataError as error:
            return Failure(model_id=item.model_id, stage="score", error=str(error))

    def _mismatch(self, record: ModelRecord) -> Failure | None:
        wanted, got = self.probe.target.modality, record.facts.modality
        if got is None or got == wanted:
            return None
        need, have = (f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} model" for kind in (wanted, got))
        error = f"The target data set needs {need}. Got {have}. Leave it out, or use other data."
        return Failure(model_id=record.model_id, stage="match", error=error)

    def _scored(self, record: ModelRecord, features: Features) -> Trial | Failure:
        sheet = score_model(record, features, self.probe, self.wanted, cache=self.cache)
        missing = {name: reason for name, reason in sheet.missing.items() if name in self.order.members}
        if len(missing) == len(self.order.members):
            return Failure(model_id=record.model_id, stage="score", error=" ".join(dict.fromkeys(missing.values())))
        return Trial(
            record=record,
            n_features=int(features.values.shape[1]),
            features=dataclasses.replace(  # the arrays are not needed any more
                features, values=np.empty((0, 0), dtype=np.float32), logits=None
            ),
            sheet=sheet,
            warnings=(
                *record.facts.assumptions,
                *features.warnings,
                *self._score_warnings(sheet, len(features.values)),
            ),
        )

    def _score_warnings(self, sheet: ScoreSheet, n_samples: int) -> Iterator[str]:
        """Say what the scores themselves say, which of them may prefer noise here, and which have no value."""
        for name, score in sheet.scores.items():
            yield from score.warnings[:-1] if name in sheet.prone_to_noise else score.warnings
        for of_head, what in ((False, "this many dimensions"), (True, "this many source classes")):
            names = [name for name in sheet.prone_to_noise if needs_head(name) == of_head]
            if names:
                yield f"{_and(names)} can prefer noise at {what} for {n_samples:,} samples."
        for reason in dict.fromkeys(sheet.missing.values()):
            names = [name for name, why in sheet.missing.items() if why == reason]
            yield f"{_and(names)} {'has' if len(names) == 1 else 'have'} no value: {reason}"
        members = self.order.members
        left = [name for name in members if name in sheet.scores]
        if len(left) < len(members):
            yield f"{self.order.text} rests on {_and(left)} alone for this model."

    def _tell(
        self,
        item: Item,
        *,
        n_samples: int = 0,
        outcome: Trial | Failure | None = None,
        n_done: int | None = None,
    ) -> None:
        self.report(
            Progress(
                model=_shown(item),
                n_models_done=n_done,
                n_models=self.n_models,
                n_samples_done=n_samples,
                n_samples=len(self.probe),
                outcome=self._value(outcome) if isinstance(outcome, Trial) else outcome,
            )
        )

    def _value(self, trial: Trial) -> float | None:
        """Return what orders a model, None where that depends on the other models."""
        return None if self.order.combine else trial.sheet.scores[self.order.text].value


def _trusted(trust: Collection[str], listed: Sequence[Item]) -> frozenset[str]:
    """Check that each id is one of the models; a name without its content hash could be another file tomorrow."""
    ids = {item.model_id if isinstance(item, ModelRecord | Failure) else item.entry.model_id for item in listed}
    for model_id in trust:
        if model_id not in ids:
            raise UsageError(
                f"--trust needs the id of a model of this run, with the hash after its @. Got {model_id!r}. "
                "Rank without it: the failure of the model shows its id."
            )
    return frozenset(trust)


def _untrusted(record: ModelRecord, trusted: Collection[str]) -> Failure | None:
    reason = record.facts.needs_trust
    if reason is None or record.model_id in trusted:
        return None
    error = f"{reason} If you trust it, add --trust '{record.model_id}'."
    return Failure(model_id=record.model_id, stage="load", error=error)


def _fetched(item: Fetchable) -> ModelRecord | Failure:
    try:
        return item.fetch(item.entry)
    except (ModelError, SourceError, MissingExtraError) as error:
        return Failure(model_id=item.entry.model_id, stage="fetch", error=str(error))


def _shown(item: Item) -> str:
    if isinstance(item, Failure):
        return item.model_id
    return item.name if isinstance(item, ModelRecord) else item.entry.name


def _ranking(
    run: _Run,
    trials: Sequence[Trial],
    failures: Sequence[Failure],
    stopped: str,
    *,
    n_target: int,
    options: Mapping[str, Any],
) -> Ranking:
    models = ranked_models(trials, Verdict(probe=run.probe, order=run.order, wanted=run.wanted))
    places = {model.model_id: model.rank for model in models}
    records = sorted((trial.record for trial in trials), key=lambda record: places[record.model_id])
    return Ranking(
        run_id=uuid.uuid4().hex[:12],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=run.wanted.seed,
        score=run.order.text,
        target=summary(run.probe, n_target),
        models=models,
        failures=tuple(failures),
        baselines=baselines(records),
        stopped=stopped,
        settings={
            **options,
            "versions": {name: version(name) for name in ("neuralrank", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
        },
    )
