"""Rank models for a target: the one loop over models, from their files to an ordered result.

Each model is listed, matched with the data, run in a worker, scored, and forgotten again but for its terms; whatever
goes wrong with one model becomes a failure row, and the others go on.
"""

from __future__ import annotations

import dataclasses
import platform
import uuid
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
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
from neuralrank.errors import DataError, NothingRankedError, UsageError
from neuralrank.features import Extraction, Features, Limits
from neuralrank.probe import Probe, read_probe
from neuralrank.readers._open import open_target
from neuralrank.scores import score_features
from neuralrank.storage.feature_cache import FeatureCache, feature_cache
from neuralrank.types import (
    Failure,
    ModelRecord,
    RankedModel,
    Ranking,
    Score,
    Source,
    Target,
    TargetSummary,
    Task,
)
from neuralrank.uncertainty import confidence

DEFAULT_SCORE = "neuralrank"
DEFAULT_ALSO = ("log_me", "h_score", "knn")
DEFAULT_PROBE = 2_000
MAX_MEMORY_BYTES = 2**62
"""More than any system takes as a limit would be an error there."""

IN_SAMPLE = ("log_me", "h_score")
"""Scores fitted and judged on the same samples."""

Models = str | Path | Source | Sequence[str | Path]
"""One or more folders or files, or a source."""


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
    """How the model ended: its score or its failure; None while it runs."""


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One model that was scored."""

    record: ModelRecord
    features: Features
    n_features: int
    scores: Mapping[str, Score]
    terms: NDArray[np.float64]
    warnings: tuple[str, ...]


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
    cache_dir: str | Path | None = None,
    limits: Limits | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Ranking:
    """Rank models by how well their features discriminate the labels of a data set.

    Args:
        models: folders or files that hold models, or a source.
        data: path of a data set, or a Python object: (samples, labels), a data frame, a `datasets.Dataset`, a torch
            `Dataset`, or a `Target`.
        score: scorer that orders the models.
        also: further scorers to compute; they do not change the order.
        probe: number of samples to use, drawn by class.
        seed: of the draw and of the uncertainty estimates.
        layer: layer of the models to take features from; None: each model's own feature layer.
        groups: shape (n_samples,); samples that share a value are never on both sides of a fold.
        input_column: column with the samples; None: detected.
        label_column: column with the labels; None: detected.
        group_column: column with the groups.
        split: part of the data to use, for example "train".
        task: "classification" or "regression"; None: detected.
        cache_dir: where features are kept; None: the setting `cache_dir`.
        limits: what one model may use; None: the settings.
        progress: called with a `Progress` as the run goes on, also from other threads.

    Returns:
        The ranking, models best first. Ctrl-C after the first scored model returns what there is.

    Raises:
        UsageError: a path, name or option is wrong.
        DataError: the data set cannot be used.
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
    scorer_names = tuple(dict.fromkeys((score, *also)))
    scorers = {name: registry.get("scorers", name) for name in scorer_names}
    reading: Mapping[str, Any] = {
        "input_column": input_column,
        "label_column": label_column,
        "group_column": group_column,
        "groups": groups,
        "split": split,
        "task": task,
    }
    if isinstance(data, Target):
        given = [name for name, value in reading.items() if value is not None]
        if given:
            raise UsageError(f"A Target is read already. Got {', '.join(given)} as well. Pass them to read_target.")
        target = data
    else:
        target = open_target(data, **reading)
    if target.task not in scorers[score].tasks:
        raise UsageError(f"--score {score} is not defined for {target.task}. `neuralrank scores` lists what is.")
    usable = [name for name in scorer_names if target.task in scorers[name].tasks]
    listed = list_models(models)
    cache = open_cache(cache_dir)
    drawn = read_probe(
        target, n_samples=probe, seed=seed, max_unreadable=settings.number("max_unreadable"), cache=cache
    )
    run = _Run(
        n_models=len(listed),
        probe=drawn,
        score=score,
        scorer_names=tuple(usable),
        seed=seed,
        layer=layer,
        cache=cache,
        report=progress or (lambda _: None),
    )
    with Extraction(probe=drawn, cache=cache, limits=limits or default_limits()) as extraction:
        trials, failures, stopped = run.try_all(listed, extraction)
    options = {"probe": probe, "layer": layer, "also": list(usable[1:]), "task": target.task}
    return _ranking(run, trials, failures, stopped, n_target=len(target.labels), options=options)


def list_models(models: Models) -> list[ModelRecord | Failure]:
    """List the models of folders, files or a source, without loading weights.

    Raises:
        UsageError: a path does not exist.
        NothingRankedError: there is no model at all.
    """
    if isinstance(models, str | Path):
        models = [models]
    if isinstance(models, Sequence):
        folder = registry.get("sources", "folder")
        found = [item for path in models for item in folder(Path(path)).list_models()]
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
    score: str
    scorer_names: tuple[str, ...]
    seed: int
    layer: str | None
    cache: FeatureCache
    n_models: int
    report: Callable[[Progress], None]

    def try_all(
        self, listed: Sequence[ModelRecord | Failure], extraction: Extraction
    ) -> tuple[list[_Trial], list[Failure], str]:
        """Try every model; return the trials, the failures and what stopped the loop."""
        outcomes: dict[int, _Trial | Failure] = {}
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
                n_scored = sum(isinstance(outcome, _Trial) for outcome in outcomes.values())
                if not isinstance(error, KeyboardInterrupt) or not n_scored:
                    raise
                stopped = f"interrupted after {len(outcomes)} of {len(listed)} models"
        in_order = [outcomes[place] for place in sorted(outcomes)]
        trials = [outcome for outcome in in_order if isinstance(outcome, _Trial)]
        return trials, [outcome for outcome in in_order if isinstance(outcome, Failure)], stopped

    def _try_one(self, item: ModelRecord | Failure, extraction: Extraction) -> _Trial | Failure:
        if isinstance(item, Failure):
            return item
        mismatch = self._mismatch(item)
        if mismatch is not None:
            return mismatch
        features = extraction.features(
            item, layer=self.layer, on_progress=lambda n_samples: self._tell(item, n_samples=n_samples)
        )
        if isinstance(features, Failure):
            return features
        try:
            return self._scored(item, features)
        except (DataError, np.linalg.LinAlgError) as error:
            return Failure(model_id=item.model_id, stage="score", error=str(error))

    def _mismatch(self, record: ModelRecord) -> Failure | None:
        wanted, got = self.probe.target.modality, record.facts.modality
        if got is None or got == wanted:
            return None
        need, have = (f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} model" for kind in (wanted, got))
        error = f"The target data set needs {need}. Got {have}. Leave it out, or use other data."
        return Failure(model_id=record.model_id, stage="match", error=error)

    def _scored(self, record: ModelRecord, features: Features) -> _Trial:
        names, cache = self.scorer_names, self.cache
        sheet = score_features(features.values, self.probe, names, seed=self.seed, key=features.key, cache=cache)
        n_features = int(features.values.shape[1])
        return _Trial(
            record=record,
            features=dataclasses.replace(features, values=np.empty((0, 0), dtype=np.float32)),  # not needed any more
            n_features=n_features,
            scores=sheet.scores,
            terms=sheet.terms,
            warnings=(
                *record.facts.assumptions,
                *features.warnings,
                *sheet.scores[self.score].warnings,
                *self._size_warning(n_features),
            ),
        )

    def _size_warning(self, n_features: int) -> tuple[str, ...]:
        in_sample = [name for name in self.scorer_names if name in IN_SAMPLE]
        if len(self.probe) >= n_features or not in_sample:
            return ()
        return (f"fewer samples than feature dimensions: {' and '.join(in_sample)} flatter it.",)

    def _tell(
        self,
        item: ModelRecord | Failure,
        *,
        n_samples: int = 0,
        outcome: _Trial | Failure | None = None,
        n_done: int | None = None,
    ) -> None:
        self.report(
            Progress(
                model=item.name if isinstance(item, ModelRecord) else item.model_id,
                n_models_done=n_done,
                n_models=self.n_models,
                n_samples_done=n_samples,
                n_samples=len(self.probe),
                outcome=outcome.scores[self.score].value if isinstance(outcome, _Trial) else outcome,
            )
        )


# --- from trials to a ranking ------------------------------------------------------------------------------------


def _ranking(
    run: _Run,
    trials: Sequence[_Trial],
    failures: Sequence[Failure],
    stopped: str,
    *,
    n_target: int,
    options: Mapping[str, Any],
) -> Ranking:
    ordered = sorted(trials, key=lambda trial: (-trial.scores[run.score].value, trial.record.model_id))
    return Ranking(
        run_id=uuid.uuid4().hex[:12],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=run.seed,
        score=run.score,
        target=_summary(run.probe, n_target),
        models=tuple(_rows(run, ordered)),
        failures=tuple(failures),
        baselines={"log_params": _by_params([trial.record for trial in ordered])},
        stopped=stopped,
        settings={
            **options,
            "versions": {name: version(name) for name in ("neuralrank", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
        },
    )


def _rows(run: _Run, ordered: Sequence[_Trial]) -> list[RankedModel]:
    if not ordered:
        return []
    terms = np.stack([trial.terms for trial in ordered])
    # Jackknifed terms stand for blocks of samples that hold whole groups already.
    groups = run.probe.groups if terms.shape[1] == len(run.probe) else None
    sure = confidence(terms, groups, seed=run.seed)
    return [
        _row(run, trial, place, float(sure.half_width[place]), float(sure.p_best[place]), int(sure.tie_group[place]))
        for place, trial in enumerate(ordered)
    ]


def _row(run: _Run, trial: _Trial, place: int, half_width: float, p_best: float, tie_group: int) -> RankedModel:
    value = trial.scores[run.score].value
    interval = (value - half_width, value + half_width)
    own = trial.scores.get(DEFAULT_SCORE)
    chance = _chance_warning(run, interval)
    facts = trial.record.facts
    return RankedModel(
        rank=place + 1,
        model_id=trial.record.model_id,
        name=trial.record.name,
        score=value,
        interval=interval,
        p_best=p_best,
        tie_group=tie_group,
        expected_accuracy=own.details["accuracy"] if own else None,
        layer=trial.features.layer,
        n_features=trial.n_features,
        n_samples_used=len(run.probe),
        scores={name: score.value for name, score in trial.scores.items()},
        per_class={run.probe.class_names[index]: share for index, share in own.per_class.items()} if own else {},
        params=facts.n_params,
        size_bytes=trial.record.size_bytes,
        extract_seconds=trial.features.extract_seconds,
        cached=trial.features.cached,
        architecture=facts.architecture,
        format=facts.format,
        license=facts.licence,
        pretraining_data=facts.pretraining_data,
        warnings=(*chance, *dict.fromkeys(trial.warnings)),
    )


def _chance_warning(run: _Run, interval: tuple[float, float]) -> tuple[str, ...]:
    """Warn where a score with a known chance level does not exceed it."""
    labels = run.probe.labels
    if run.score == "neuralrank":
        chance = 0.0
    elif run.score == "knn":
        chance = float(np.bincount(labels).max() / len(labels)) if run.probe.target.task == "classification" else 0.0
    else:
        return ()
    return () if interval[0] > chance else (f"no better than chance ({run.score} of {chance:.2f}).",)


def _summary(probe: Probe, n_target: int) -> TargetSummary:
    target = probe.target
    classes = target.task == "classification"
    frequencies = np.bincount(probe.labels) / len(probe) if classes else np.ones(1)
    return TargetSummary(
        path=target.name,
        modality=target.modality,
        task=target.task,
        n_samples=n_target,
        n_probe=len(probe),
        n_classes=len(probe.class_names) if classes else None,
        label_entropy_bits=float(-frequencies @ np.log2(frequencies)) if classes else None,
        fingerprint=target.fingerprint,
        class_names=probe.class_names if classes else (),
        n_groups=None if probe.groups is None else int(probe.groups.max()) + 1,
        n_unreadable=probe.n_unreadable,
        chance_accuracy=float(frequencies.max()) if classes else None,
        notes=(*target.notes, *probe.notes),
    )


def _by_params(records: Sequence[ModelRecord]) -> tuple[str, ...]:
    """Order by parameter count, most first; models whose count is not known come last."""
    return tuple(record.model_id for record in sorted(records, key=lambda record: -(record.facts.n_params or 0)))
