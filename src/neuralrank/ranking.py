"""Rank models for a target: from files and data to an ordered result that is kept.

What a run needs is made ready in `preparing`, the loop over models is in `trials`, and the order is made in `verdict`.
"""

from __future__ import annotations

import dataclasses
import platform
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import settings
from neuralrank.errors import CatalogueError, UsageError
from neuralrank.features import Extraction
from neuralrank.limits import Limits
from neuralrank.preparing import (
    DEFAULT_ALSO,
    DEFAULT_PROBE,
    DEFAULT_SCORE,
    Models,
    Options,
    Setup,
    default_limits,
    digest_of,
    list_models,
    open_cache,
    options_from,
    prepare,
    resumable,
)
from neuralrank.searching import Unknown
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.storage.feature_rows import feature_rows
from neuralrank.storage.journal import RunJournal, begin_run, find_unfinished, take_up, unfinished_runs
from neuralrank.storage.runs import store_ranking
from neuralrank.trials import Loop, Outcome, Progress
from neuralrank.types import Failure, Ranking, Target, Task
from neuralrank.verdict import Trial, Verdict, baselines, ranked_models, summary

__all__ = ["DEFAULT_SCORE", "Progress", "default_limits", "list_models", "open_cache", "rank", "resume"]


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
    strategy: str | None = None,
    confidence: float | None = None,
    tolerance: float | None = None,
    top: int | None = None,
    max_seconds: float | None = None,
    max_models: int | None = None,
    max_memory: float | None = None,
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
        strategy: which model sees how many samples: "full", "racing", "successive_halving" or "asynchronous_halving";
            None: "racing" where `confidence` or `tolerance` is given, else "full".
        confidence: of a race: that the best models it finds are those that the whole probe shows best; None: 0.95.
        tolerance: of a race: points of accuracy by which no other model may be better when it ends; None: 0.5.
        top: number of best models that a race or a halving is to find; None: 1.
        max_seconds: time for the run; the ranking so far is returned when it is over.
        max_models: number of models to run, the first ones listed.
        max_memory: memory for all models that run at once, in GB.
        catalogue: folder of the catalogue, where the ranking is kept too; None: the setting `catalogue`.
        offline: do not use the network.
        max_fetch: most that is downloaded for one model, in GB; None: the setting `max_fetch`.
        trust: ids of models whose own code may run, for example pickles; it runs inside the same walls.
        cache_dir: where features are kept; None: the setting `cache_dir`.
        limits: what one model may use; None: the settings.
        progress: called with a `Progress` as the run goes on, also from other threads.

    Returns:
        The ranking, models best first. Ctrl-C after the first scored model returns what there is. The same call again
        continues a run that did not come to its end.

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
    given = locals()
    options = Options(**{each.name: _plain(given[each.name]) for each in dataclasses.fields(Options)})
    return rank_with(options, progress=progress)


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python, which can be written down."""
    return value.item() if isinstance(value, np.generic) else value


def resume(
    run_id: str,
    *,
    catalogue: str | Path | None = None,
    max_seconds: float | None = None,
    limits: Limits | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Ranking:
    """Continue a run that did not come to its end, with the options that it was begun with.

    Args:
        run_id: of the run, or the beginning of its id; `neuralrank runs` lists them.
        catalogue: folder of the catalogue; None: the setting `catalogue`.
        max_seconds: time for what is left of the run.
        limits: what one model may use; None: as the run was begun.
        progress: see `rank`.

    Raises:
        UnknownNameError: there is no such run.
        UsageError: another process is at it, or it was given Python objects, which only its own program has.
        CatalogueError: the catalogue cannot be used.
    """
    found, options = resumed_options(run_id, catalogue, max_seconds, limits)
    return rank_with(options, run_id=found, progress=progress)


def resumed_options(
    run_id: str, catalogue: str | Path | None, max_seconds: float | None, limits: Limits | None
) -> tuple[str, Options]:
    """Return id and options of a run that did not come to its end; see `resume`."""
    folder = Path(catalogue) if catalogue is not None else settings.catalogue_dir()
    with open_catalogue(folder) as opened:
        run = find_unfinished(opened, run_id)
    if run.is_running:
        raise UsageError(f"--resume needs a run that nothing is at. Got {run.run_id}, which a process runs now. Wait.")
    if not run.options:
        raise UsageError(
            f"--resume needs a run of files. Got {run.run_id}, which was given Python objects. "
            "Call rank with them again: it continues."
        )
    options = options_from(run.options)
    limits = limits or options.limits
    return run.run_id, dataclasses.replace(options, catalogue=folder, max_seconds=max_seconds, limits=limits)


def rank_with(
    options: Options,
    *,
    run_id: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[Target], None] | None = None,
) -> Ranking:
    """Rank as the options ask, see `rank`.

    Args:
        options: of the run.
        run_id: of the run without an end to go on with; None: the one of the same options, if there is one.
        progress: see `rank`.
        tell: called with the data set once it is read.
    """
    began = time.monotonic()
    setup = prepare(options, tell=tell)
    feature_rows(setup.cache.folder).sweep()
    with _opened_journal(options, setup, run_id) as journal:
        extraction = Extraction(probe=setup.probe, cache=setup.cache, limits=setup.limits, trusted=setup.trusted)
        with extraction:
            loop = Loop(
                rungs=setup.rungs,
                strategy=setup.strategy,
                order=setup.order,
                wanted=setup.wanted,
                layer=options.layer,
                extraction=extraction,
                report=progress or (lambda _: None),
                journal=journal,
                deadline=None if options.max_seconds is None else began + options.max_seconds,
                known_failures=journal.known_failures,
            )
            outcome = loop.run(setup.listed)
        ranking = _ranking(options, setup, outcome, run_id=journal.run_id, walls=extraction.walls)
        journal.keep(ranking, is_complete=outcome.is_complete)
    return ranking


# --- what is kept of a run ---------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Journal:
    """The journal of a run; that the catalogue cannot be written is no reason to lose the run."""

    run_id: str
    catalogue: Catalogue | None = None
    journal: RunJournal | None = None
    known_failures: Mapping[str, tuple[int, Failure]] = field(default_factory=dict)
    problem: str | None = None

    def scored(self, model_id: str, n_samples: int, value: float | None) -> None:
        """Write down a score."""
        with self._tolerant():
            if self.journal is not None:
                self.journal.scored(model_id, n_samples, value)

    def failed(self, failure: Failure, n_samples: int) -> None:
        """Write down a failure."""
        with self._tolerant():
            if self.journal is not None:
                self.journal.failed(failure, n_samples)

    def keep(self, ranking: Ranking, *, is_complete: bool) -> None:
        """Keep the ranking, and forget the journal of a run that has come to its end."""
        with self._tolerant():
            if self.catalogue is not None:
                store_ranking(self.catalogue, ranking)
                if self.journal is not None and is_complete:
                    self.journal.end()
        if self.problem is not None:
            warnings.warn(f"The ranking was not kept. {self.problem}", RuntimeWarning, stacklevel=5)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except CatalogueError as error:
            self.problem = self.problem or str(error)


@contextmanager
def _opened_journal(options: Options, setup: Setup, run_id: str | None) -> Iterator[_Journal]:
    """Begin a run in the catalogue, or take up the one that is named or that the same command left without an end."""
    ours = _Journal(run_id=uuid.uuid4().hex[:12])
    with ExitStack() as stack:
        try:
            ours.catalogue = stack.enter_context(open_catalogue(setup.catalogue))
            digest = digest_of(options, setup)
            ours.journal = _taken_up(ours.catalogue, run_id, digest, resumable(options))
            if ours.journal is None:
                ours.journal = begin_run(ours.catalogue, ours.run_id, digest, resumable(options))
            stack.enter_context(ours.journal)
            ours.run_id, ours.known_failures = ours.journal.run_id, ours.journal.failures()
        except CatalogueError as error:
            ours.problem = str(error)
        yield ours


def _taken_up(catalogue: Catalogue, run_id: str | None, digest: str, options: Mapping[str, Any]) -> RunJournal | None:
    """Hold a run without an end; what failed under other limits, or on data that have changed, is tried again."""
    for run in unfinished_runs(catalogue):
        if run.is_running or (run.digest != digest if run_id is None else run.run_id != run_id):
            continue
        journal = take_up(catalogue, run.run_id)
        if journal is not None and (run.digest != digest or _limits_of(run.options) != _limits_of(options)):
            journal.renew(digest, options)
        return journal
    return None


def _limits_of(options: Mapping[str, Any]) -> list[Any]:
    return [options.get(name) for name in ("limits", "max_memory", "max_fetch", "offline")]


# --- the result --------------------------------------------------------------------------------------------------


def _ranking(options: Options, setup: Setup, outcome: Outcome, *, run_id: str, walls: Mapping[str, str]) -> Ranking:
    models = ranked_models(outcome.trials, Verdict(rungs=setup.rungs, order=setup.order, wanted=setup.wanted))
    places = {model.model_id: model.rank for model in models}
    records = sorted((trial.record for trial in outcome.trials), key=lambda record: places[record.model_id])
    also_used = [name for name in setup.wanted.names if name not in setup.order.members]
    return Ranking(
        run_id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=options.seed,
        score=setup.order.text,
        target=summary(setup.probe, len(setup.target.labels)),
        models=models,
        failures=tuple(outcome.failures),
        baselines=baselines(records),
        stopped=outcome.stopped,
        settings={
            "probe": options.probe,
            "layer": options.layer,
            "also": also_used,
            "task": setup.target.task,
            "strategy": setup.strategy_name,
            **{
                name: getattr(options, name) for name in ("confidence", "tolerance", "top", "max_seconds", "max_models")
            },
            **setup.found,
            "walls": dict(walls),
            "versions": {name: version(name) for name in ("neuralrank", "numpy", "onnxruntime")}
            | {"python": platform.python_version()},
        },
        cost=_cost(setup, outcome),
    )


def _cost(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    """Return what the run took beside all models on the whole probe, by what each model was measured to take."""
    n_whole = len(setup.probe)
    n_models = len(outcome.trials)
    used = [len(setup.rungs[trial.rung]) for trial in outcome.trials]
    return {
        "n_models": n_models,
        "n_models_left_out": setup.n_left_out,
        "n_samples_used": sum(used),
        "n_samples_of_full_run": n_whole * n_models,
        "n_samples_run_now": outcome.n_passes,
        "seconds_used": _seconds(outcome.trials, used, [trial.n_starts for trial in outcome.trials]),
        "seconds_of_full_run": _seconds(outcome.trials, [n_whole] * n_models, [1] * n_models),
    }


def _seconds(trials: Sequence[Trial], n_samples: Sequence[int], n_starts: Sequence[int]) -> float:
    """Return what running models on so many samples takes, one after the other."""
    seconds = 0.0
    for trial, n, starts in zip(trials, n_samples, n_starts, strict=True):
        cost = trial.features.cost
        seconds += starts * (cost.start_seconds or 0.0) + n * (cost.seconds_per_sample or 0.0)
    return seconds
