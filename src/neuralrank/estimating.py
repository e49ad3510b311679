"""What a run would cost, before it is begun: passes, seconds, memory and bytes to fetch, from measured throughput.

A model that never ran is run on a few samples. They are kept like all others, so the run itself need not repeat them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from neuralrank.entries import Fetchable
from neuralrank.features import Cost, Extraction
from neuralrank.preparing import Options, Setup, prepare
from neuralrank.probe import Rung, part_of
from neuralrank.strategies import Contender, History, Look
from neuralrank.trials import Item, Progress, mismatch, untrusted
from neuralrank.types import Estimate, Failure, ModelEstimate, ModelRecord, Target

TRIED_SAMPLES = 16
MEASURING_SECONDS = 60.0
"""After this long no further model is tried: the rest is estimated by the size of its files."""


def estimate(
    options: Options,
    *,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[Target], None] | None = None,
) -> Estimate:
    """Estimate what `rank` with these options would cost.

    Args:
        options: of the run.
        progress: called as models are tried.
        tell: called with the data set once it is read.

    Raises:
        NeuralrankError: as `rank` does for wrong options, data and paths.
    """
    setup = prepare(options, tell=tell)
    extraction = Extraction(probe=setup.probe, cache=setup.cache, limits=setup.limits, trusted=setup.trusted)
    with extraction:
        models = _Measuring(setup=setup, extraction=extraction, layer=options.layer, report=progress).all()
    good = [model for model in models if model.failure is None]
    least, most = _samples(setup, len(good))
    passes = tuple(
        sum(max(0, n - model.n_known) for n, model in zip(sorted(part, reverse=True), _cheapest(good), strict=True))
        for part in (least, most)
    )
    peaks = sorted((model.peak_bytes for model in good if model.peak_bytes), reverse=True)
    return Estimate(
        strategy=setup.strategy_name,
        n_models=len(good),
        n_probe=len(setup.probe),
        rungs=tuple(map(len, setup.rungs)),
        n_jobs=setup.limits.jobs,
        passes=(passes[0], passes[1]),
        passes_of_full_run=sum(max(0, len(setup.probe) - model.n_known) for model in good),
        seconds=_seconds(good, least, most, setup.limits.jobs),
        peak_bytes=sum(peaks[: setup.limits.jobs]) or None,
        fetch_bytes=sum(model.fetch_bytes or 0 for model in good),
        n_unknown_size=sum(model.fetch_bytes is None for model in good),
        models=tuple(models),
        failures=tuple(model.failure for model in models if model.failure is not None),
    )


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """Looks up or measures what each model takes."""

    setup: Setup
    extraction: Extraction
    layer: str | None
    report: Callable[[Progress], None] | None

    def all(self) -> list[ModelEstimate]:
        """Return one estimate for each model listed, in that order."""
        give_up = time.monotonic() + MEASURING_SECONDS
        with ThreadPoolExecutor(self.setup.limits.jobs) as pool:
            found = []
            try:
                for model in pool.map(lambda item: self._one(item, give_up), self.setup.listed):
                    found.append(model)
                    self._tell(model, len(found))
            except BaseException:
                self.extraction.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return list(_by_size(found, self.setup.listed))

    def _one(self, item: Item, give_up: float) -> ModelEstimate:
        if isinstance(item, Failure):
            return ModelEstimate(name=item.model_id, failure=item)
        if isinstance(item, Fetchable):
            entry, each = item.entry, item.entry.seconds_per_sample
            basis = "not known" if each is None else "measured before"
            return ModelEstimate(name=entry.name, seconds_per_sample=each, fetch_bytes=entry.size_bytes, basis=basis)
        refused = mismatch(item, self.setup.target.modality) or untrusted(item, self.setup.trusted)
        if refused is not None:
            return ModelEstimate(name=item.name, failure=refused)
        cost = self.extraction.known_cost(item, self.layer)
        basis = "measured before"
        if cost.seconds_per_sample is None and time.monotonic() < give_up:
            tried = self.extraction.features(item, rung=self._few(), layer=self.layer)
            if isinstance(tried, Failure):
                return ModelEstimate(name=item.name, failure=tried)
            cost = self.extraction.known_cost(item, self.layer)
            basis = "measured now"
        return _measured(item, cost, self.extraction.n_known(item, self.layer), basis)

    def _few(self) -> Rung:
        """Return a part of the smallest rung: its samples are the first that any strategy runs."""
        first = self.setup.rungs[0]
        rows = first.rows[np.linspace(0, len(first) - 1, min(TRIED_SAMPLES, len(first))).astype(np.int64)]
        return part_of(self.setup.probe, np.unique(rows))

    def _tell(self, model: ModelEstimate, n_done: int) -> None:
        if self.report is not None:
            self.report(
                Progress(
                    model=model.name,
                    n_models_done=n_done,
                    n_models=len(self.setup.listed),
                    n_samples_done=0,
                    n_samples=TRIED_SAMPLES,
                    outcome=model.failure,
                )
            )


def _measured(item: ModelRecord, cost: Cost, n_known: int, basis: str) -> ModelEstimate:
    return ModelEstimate(
        name=item.name,
        start_seconds=cost.start_seconds,
        seconds_per_sample=cost.seconds_per_sample,
        peak_bytes=cost.peak_bytes,
        n_known=n_known,
        basis=basis if cost.seconds_per_sample is not None else "not known",
    )


def _by_size(models: Sequence[ModelEstimate], listed: Sequence[Item]) -> Iterator[ModelEstimate]:
    """Fill in models without a measurement by the median of seconds per byte of the others."""
    sizes = [_size(item) for item in listed]
    known = [
        model.seconds_per_sample / size
        for model, size in zip(models, sizes, strict=True)
        if model.seconds_per_sample is not None and size
    ]
    for model, size in zip(models, sizes, strict=True):
        if model.seconds_per_sample is None and model.failure is None and known and size:
            each = float(np.median(known)) * size
            yield ModelEstimate(
                name=model.name,
                start_seconds=model.start_seconds,
                seconds_per_sample=each,
                fetch_bytes=model.fetch_bytes,
                n_known=model.n_known,
                basis="size of its files",
            )
        else:
            yield model


def _size(item: Item) -> int | None:
    if isinstance(item, ModelRecord):
        return item.size_bytes
    return item.entry.size_bytes if isinstance(item, Fetchable) else None


def _samples(setup: Setup, n_models: int) -> tuple[list[int], list[int]]:
    """Return how many samples each model sees, at least and at most, whichever the models are.

    The least is found by a run of made-up models that are told apart at the first look; a race between equals can go on
    to the end of the probe, the halvings depend on the number of models alone.
    """
    sizes = [len(rung) for rung in setup.rungs]
    reached = [0] * n_models
    while n_models:
        looks = [
            tuple(Look(value=-float(place), terms=np.full(2, -float(place))) for _ in range(n))
            for place, n in enumerate(reached)
        ]
        history = History(rungs=tuple(sizes), contenders=tuple(Contender(looks=part) for part in looks))
        plan = setup.strategy.next_trials(history)
        if plan.ended is not None or not plan.trials:
            break
        for step in plan.trials:
            reached[step.model] = step.rung + 1
    least = [sizes[n - 1] if n else 0 for n in reached]
    return least, [sizes[-1]] * n_models if setup.strategy_name == "racing" else least


def _cheapest(models: Sequence[ModelEstimate]) -> list[ModelEstimate]:
    return sorted(models, key=lambda model: model.seconds_per_sample or 0.0)


def _seconds(
    models: Sequence[ModelEstimate], least: Sequence[int], most: Sequence[int], n_jobs: int
) -> tuple[float, float] | None:
    """Return seconds on all jobs: least where the cheapest models see most samples, most where the dearest do."""
    if not models or all(model.seconds_per_sample is None for model in models):
        return None
    cheap = _cheapest(models)

    def together(ordered: Sequence[ModelEstimate], samples: Sequence[int]) -> float:
        seconds = 0.0
        for model, n in zip(ordered, sorted(samples, reverse=True), strict=True):
            n_left = max(0, n - model.n_known)
            seconds += (n_left > 0) * (model.start_seconds or 0.0) + n_left * (model.seconds_per_sample or 0.0)
        return seconds / n_jobs

    return together(cheap, least), together(cheap[::-1], most)
