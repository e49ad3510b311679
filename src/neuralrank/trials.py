"""The one loop over trials: ask the strategy what comes next, run and score it, until the strategy or a limit ends it.

Whatever goes wrong with one model becomes a failure, and the others go on. A trial is written down before it is told.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuralrank.entries import Fetchable
from neuralrank.errors import DataError, MissingExtraError, ModelError, SourceError
from neuralrank.features import Cost, Extraction, Features
from neuralrank.order import Order
from neuralrank.probe import Rung
from neuralrank.scores import ScoreSheet, Wanted, needs_head, score_model
from neuralrank.strategies import Contender, History, Look, Plan, Strategy
from neuralrank.strategies import Trial as Step
from neuralrank.types import Failure, Modality, ModelRecord
from neuralrank.verdict import Trial

Item = ModelRecord | Fetchable | Failure

_GUESSED_START_SECONDS = 1.0
_GUESSED_BYTES_PER_SECOND = 2e9
"""Of weights that a forward pass of one sample goes through; only the order of first passes hangs on it."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run is doing; handed to the `progress` callback of `rank`, also from other threads than the caller's."""

    model: str
    n_models_done: int | None
    """Given when a model has ended: it failed, saw the whole probe, or is out."""
    n_models: int
    n_samples_done: int
    n_samples: int
    """Of the whole probe."""
    outcome: Failure | float | None = None
    """How the model ended: its score or its failure; None while it runs, and where other models decide its score."""
    score: float | None = None
    """Its score so far, where that does not depend on other models."""
    half_width: float | None = None
    """Of the 95 % interval of the score so far."""
    left: str | None = None
    """Why it is out, in words."""
    seconds_left: float | None = None
    """What the trials that are planned now will take, together."""


class Journal(Protocol):
    """Where finished trials are written down."""

    def scored(self, model_id: str, n_samples: int, value: float | None) -> None:
        """Write down that a model was scored on so many samples; durable when it returns."""
        ...

    def failed(self, failure: Failure, n_samples: int) -> None:
        """Write down that a model failed on its way to so many samples; durable when it returns."""
        ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the loop ended."""

    trials: list[Trial]
    failures: list[Failure]
    stopped: str
    """In words."""
    is_complete: bool
    """Whether the strategy ended it, not a limit or Ctrl-C."""
    n_passes: int
    """Samples that models were run on; those whose features were known are left out."""


@dataclass(kw_only=True)
class _State:
    """One model in the loop."""

    item: Item
    failure: Failure | None = None
    sheets: list[ScoreSheet] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    features: Features | None = None
    n_features: int = 0
    warnings: tuple[str, ...] = ()
    running: int | None = None
    cost: Cost = field(default_factory=Cost)
    n_starts: int = 0
    told: bool = False
    """Whether its end was told."""

    @property
    def name(self) -> str:
        match self.item:
            case Failure():
                return self.item.model_id
            case ModelRecord():
                return self.item.name
        return self.item.entry.name


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """What one trial gave: the sheets of the rungs that are new."""

    record: ModelRecord
    features: Features
    sheets: list[ScoreSheet]
    n_features: int


@dataclass(kw_only=True)
class Loop:
    """The settings of one run, and the loop they steer."""

    rungs: tuple[Rung, ...]
    strategy: Strategy
    order: Order
    wanted: Wanted
    layer: str | None
    extraction: Extraction
    report: Callable[[Progress], None]
    journal: Journal
    deadline: float | None = None
    """On `time.monotonic`."""
    known_failures: Mapping[str, tuple[int, Failure]] = field(default_factory=dict)
    """Models that failed before this run was resumed, by id: on their way to so many samples they fail again, untried.
    Up to there they count, as they did then, or the others would not go the same ways."""
    _states: list[_State] = field(default_factory=list)
    _plan: Plan = field(default_factory=Plan)

    def run(self, listed: Sequence[Item]) -> Outcome:
        """Try the models until the strategy has decided, time is up, or Ctrl-C.

        Raises:
            KeyboardInterrupt: before any model was scored.
        """
        self._states = [_State(item=item, failure=item if isinstance(item, Failure) else None) for item in listed]
        for state in self._states:
            if state.failure is not None:
                self._end(state)
            elif isinstance(state.item, ModelRecord):
                state.cost = self.extraction.known_cost(state.item, self.layer)
        limits = self.extraction.limits
        running: dict[Future[_Scored | Failure], Step] = {}
        # Scores are computed in the same threads that wait for the workers: each gets its share of the cores.
        with threadpool_limits(limits.threads_each), ThreadPoolExecutor(limits.jobs) as pool:
            try:
                stopped, is_complete = self._loop(pool, running, limits.jobs)
            except BaseException as error:
                self.extraction.stop.set()
                pool.shutdown(cancel_futures=True)
                n_scored = sum(bool(state.sheets) for state in self._states)
                if not isinstance(error, KeyboardInterrupt) or not n_scored:
                    raise
                n_ended = sum(bool(state.sheets or state.failure) for state in self._states)
                stopped, is_complete = f"interrupted after {n_ended} of {len(self._states)} models", False
        return Outcome(
            trials=self._trials(),
            failures=[state.failure for state in self._states if state.failure is not None],
            stopped=stopped,
            is_complete=is_complete,
            n_passes=self.extraction.n_passes,
        )

    def history(self) -> History:
        """Return what has happened so far, as strategies see it."""
        return History(rungs=tuple(map(len, self.rungs)), contenders=tuple(map(self._contender, self._states)))

    # --- the loop ------------------------------------------------------------------------------------------------

    def _loop(
        self, pool: ThreadPoolExecutor, running: dict[Future[_Scored | Failure], Step], n_jobs: int
    ) -> tuple[str, bool]:
        """Run trials until something ends it; say what, and whether it was the strategy."""
        is_late = False
        while True:
            self._plan = self.strategy.next_trials(self.history())
            for place in self._plan.out:
                self._end(self._states[place])
            if self._plan.ended is not None and not running:
                return self._plan.ended, True
            if is_late:
                return self._out_of_time(running), False
            for step in self._plan.trials[: n_jobs - len(running)] if self._plan.ended is None else ():
                state = self._states[step.model]
                state.running = step.rung
                running[pool.submit(self._try, state.item, len(state.sheets), step.rung)] = step
            left = None if self.deadline is None else self.deadline - time.monotonic()
            done, _ = wait(running, timeout=None if left is None else max(0.0, left), return_when=FIRST_COMPLETED)
            if not done:
                return self._out_of_time(running), False
            for future in done:
                self._take(running.pop(future), future.result())
            is_late = self.deadline is not None and time.monotonic() > self.deadline

    def _out_of_time(self, running: dict[Future[_Scored | Failure], Step]) -> str:
        """End the workers; what they had finished is kept, and trials that ended in this moment count."""
        self.extraction.stop.set()
        for future in list(running):
            step, result = running.pop(future), future.result()
            if isinstance(result, _Scored):
                self._take(step, result)
        n_scored = sum(bool(state.sheets) for state in self._states)
        return f"time budget: {n_scored} of {len(self._states)} models were scored"

    def _take(self, step: Step, result: _Scored | Failure) -> None:
        """Write down how a trial ended, then tell it."""
        state = self._states[step.model]
        state.running = None
        if isinstance(result, Failure):
            state.failure = result
            self.journal.failed(result, len(self.rungs[step.rung]))
            self._end(state)
            return
        state.item, state.features, state.n_features = result.record, result.features, result.n_features
        state.cost = result.features.cost
        state.n_starts += result.features.n_starts
        n_known = len(state.sheets)
        state.sheets += result.sheets
        state.looks += [self._look(sheet, self.rungs[n_known + place]) for place, sheet in enumerate(result.sheets)]
        state.warnings = (*result.record.facts.assumptions, *result.features.warnings, *self._score_warnings(state))
        self.journal.scored(result.record.model_id, len(self.rungs[step.rung]), self._value(state))
        if step.rung == len(self.rungs) - 1:
            self._end(state)
        else:
            self.extraction.rate(result.record, state.looks[-1].value)
            self._tell(state, n_samples=len(self.rungs[step.rung]))

    # --- one trial -----------------------------------------------------------------------------------------------

    def _try(self, item: Item, n_known: int, rung: int) -> _Scored | Failure:
        """Run one model up to a rung and score it there and at the rungs between; in a thread of its own."""
        known = self._known_failure(item, rung)
        if known is not None:
            return known
        if isinstance(item, Fetchable):
            item = _fetched(item)
        if isinstance(item, Failure):
            return item
        obstacle = (
            self._known_failure(item, rung)
            or mismatch(item, self.extraction.probe.target.modality)
            or untrusted(item, self.extraction.trusted)
        )
        if obstacle is not None:
            return obstacle
        features = self.extraction.features(
            item,
            rung=self.rungs[rung],
            layer=self.layer,
            head=self.wanted.needs_head,
            stay=rung < len(self.rungs) - 1,
            on_progress=lambda n_samples: self._tell_samples(item, n_samples),
        )
        if isinstance(features, Failure):
            return features
        try:
            sheets = [self._sheet(item, features, place, rung) for place in range(n_known, rung + 1)]
        except DataError as error:
            return Failure(model_id=item.model_id, stage="score", error=str(error))
        missing = {name: why for name, why in sheets[-1].missing.items() if name in self.order.members}
        if len(missing) == len(self.order.members):
            return Failure(model_id=item.model_id, stage="score", error=" ".join(dict.fromkeys(missing.values())))
        n_features = int(features.values.shape[1])
        light = dataclasses.replace(features, values=np.empty((0, 0), dtype=np.float32), logits=None)
        return _Scored(record=item, features=light, sheets=sheets, n_features=n_features)

    def _sheet(self, record: ModelRecord, features: Features, place: int, rung: int) -> ScoreSheet:
        part = features if place == rung else features.of(self.rungs[place], within=self.rungs[rung])
        return score_model(record, part, self.rungs[place].probe, self.wanted, cache=self.extraction.cache)

    def _known_failure(self, item: Item, rung: int) -> Failure | None:
        n_samples, failure = self.known_failures.get(item.model_id, (0, None))
        if failure is None or failure.stage == "fetch" or n_samples > len(self.rungs[rung]):
            return None
        return failure

    # --- what strategies see --------------------------------------------------------------------------------------

    def _contender(self, state: _State) -> Contender:
        start, each = self._seconds(state)
        return Contender(
            looks=tuple(state.looks),
            running=state.running,
            failed=state.failure is not None,
            start_seconds=start,
            seconds_per_sample=each,
        )

    def _seconds(self, state: _State) -> tuple[float, float]:
        """Return seconds to start a model and to run a sample, as measured, else by the size of its files."""
        size, each = 0, None
        if isinstance(state.item, ModelRecord):
            size = state.item.size_bytes
        elif isinstance(state.item, Fetchable):
            size, each = state.item.entry.size_bytes or 0, state.item.entry.seconds_per_sample
        guess = size / _GUESSED_BYTES_PER_SECOND
        waits = isinstance(state.item, ModelRecord) and self.extraction.waits(state.item)
        start = 0.0 if waits else state.cost.start_seconds
        measured = state.cost.seconds_per_sample
        each = guess if each is None else each
        return _GUESSED_START_SECONDS + guess if start is None else start, each if measured is None else measured

    def _look(self, sheet: ScoreSheet, rung: Rung) -> Look:
        """Return what a strategy may know of a sheet: of a combination nothing, for it is of all models together."""
        name = self.order.members[0]
        if self.order.combine is not None or name not in sheet.scores:
            return Look(value=-np.inf)
        return Look(
            value=sheet.scores[name].value,
            terms=by_group(sheet.terms.get(name), rung),
            correct=by_group(sheet.correct.get(name), rung),
        )

    # --- the end of a model ---------------------------------------------------------------------------------------

    def _trials(self) -> list[Trial]:
        return [
            Trial(
                record=state.item,
                features=state.features,
                n_features=state.n_features,
                sheets=tuple(state.sheets),
                warnings=state.warnings,
                left=self._plan.out.get(place),
                n_starts=max(1, state.n_starts),
            )
            for place, state in enumerate(self._states)
            if state.sheets and state.failure is None and state.features and isinstance(state.item, ModelRecord)
        ]

    def _score_warnings(self, state: _State) -> Iterator[str]:
        """Say what the scores themselves say, which of them may prefer noise here, and which have no value."""
        sheet, n_samples = state.sheets[-1], len(self.rungs[len(state.sheets) - 1])
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

    def _value(self, state: _State) -> float | None:
        """Return what orders a model, None where that depends on the other models."""
        return None if self.order.combine or not state.sheets else state.sheets[-1].scores[self.order.text].value

    # --- telling --------------------------------------------------------------------------------------------------

    def _end(self, state: _State) -> None:
        """Tell once that a model has ended; one that comes back, because its better failed, is not told again."""
        if isinstance(state.item, ModelRecord):
            self.extraction.release(state.item)
        if state.told:
            return
        state.told = True
        n_samples = len(self.rungs[len(state.sheets) - 1]) if state.sheets else 0
        self._tell(state, n_samples=n_samples, n_done=sum(each.told for each in self._states))

    def _tell(self, state: _State, *, n_samples: int, n_done: int | None = None) -> None:
        value = self._value(state)
        place = next(place for place, each in enumerate(self._states) if each is state)
        self.report(
            Progress(
                model=state.name,
                n_models_done=n_done,
                n_models=len(self._states),
                n_samples_done=n_samples,
                n_samples=len(self.rungs[-1]),
                outcome=None if n_done is None else state.failure or value,
                score=value,
                half_width=self._half_width(state),
                left=self._plan.out.get(place),
                seconds_left=self._seconds_left(),
            )
        )

    def _tell_samples(self, record: ModelRecord, n_samples: int) -> None:
        self.report(
            Progress(
                model=record.name,
                n_models_done=None,
                n_models=len(self._states),
                n_samples_done=n_samples,
                n_samples=len(self.rungs[-1]),
            )
        )

    def _half_width(self, state: _State) -> float | None:
        terms = state.looks[-1].terms if state.looks else None
        return None if terms is None or len(terms) < 2 else 1.96 * float(np.std(terms, ddof=1) / np.sqrt(len(terms)))

    def _seconds_left(self) -> float:
        """Return what the planned trials will take on all jobs, those that run counted whole."""
        planned = [(step.model, step.rung) for step in self._plan.trials]
        running = [(place, state.running) for place, state in enumerate(self._states) if state.running is not None]
        seconds = 0.0
        for place, rung in dict(planned + running).items():
            state = self._states[place]
            if state.failure is None and len(state.sheets) <= rung:
                start, each = self._seconds(state)
                n_seen = len(self.rungs[len(state.sheets) - 1]) if state.sheets else 0
                seconds += start + each * (len(self.rungs[rung]) - n_seen)
        return seconds / self.extraction.limits.jobs


def by_group(terms: NDArray[np.float64] | None, rung: Rung) -> NDArray[np.float64] | None:
    """Return terms per independent unit with the same mean: samples of one group are summed up."""
    groups = rung.probe.groups
    if terms is None or groups is None or len(terms) != len(groups):
        return terms
    sums = np.bincount(groups, weights=terms)
    return np.asarray(sums * (len(sums) / len(terms)))


def mismatch(record: ModelRecord, wanted: Modality) -> Failure | None:
    """Return why a model does not fit the data, None if it does or its modality is not known."""
    got = record.facts.modality
    if got is None or got == wanted:
        return None
    need, have = (f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} model" for kind in (wanted, got))
    error = f"The target data set needs {need}. Got {have}. Leave it out, or use other data."
    return Failure(model_id=record.model_id, stage="match", error=error)


def untrusted(record: ModelRecord, trusted: Collection[str]) -> Failure | None:
    """Return why a model whose files bring code is not run, None if it may be."""
    reason = record.facts.needs_trust
    if reason is None or record.model_id in trusted:
        return None
    error = f"{reason} If you trust it, add --trust '{record.model_id}'."
    return Failure(model_id=record.model_id, stage="load", error=error)


def _fetched(item: Fetchable) -> ModelRecord | Failure:
    try:
        return item.fetch(item.entry)
    except (ModelError, SourceError, MissingExtraError) as error:
        return Failure(model_id=item.model_id, stage="fetch", error=str(error))


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
