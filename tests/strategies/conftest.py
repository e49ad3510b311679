"""Run a strategy to its end on made models, checking every plan on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from neuralrank.strategies import Contender, History, Look, Plan, Strategy, Trial


@dataclass(frozen=True, kw_only=True)
class Made:
    """Models whose terms on the whole probe are known; `growth` is what each still loses at small rungs."""

    terms: np.ndarray
    correct: np.ndarray
    growth: np.ndarray

    def look(self, model: int, size: int) -> Look:
        late = self.growth[model] * ((len(self.terms[model]) / size) ** 0.5 - 1.0)
        terms = self.terms[model, :size] - late
        for array in (terms, self.correct):
            array.flags.writeable = False
        return Look(value=float(terms.mean()), terms=terms, correct=self.correct[model, :size])


@dataclass(frozen=True, kw_only=True)
class Ended:
    plan: Plan
    history: History
    order: list[Trial]

    @property
    def n_passes(self) -> int:
        rungs = self.history.rungs
        return sum(rungs[len(each.looks) - 1] for each in self.history.contenders if each.looks)

    def best(self, top: int) -> set[int]:
        """Return the models that the run says are the best."""
        each = self.history.contenders
        left = [at for at in range(len(each)) if at not in self.plan.out and not each[at].failed and each[at].looks]
        return set(sorted(left, key=lambda at: (-len(each[at].looks), -each[at].looks[-1].value, at))[:top])


def check_plan(strategy: Strategy, history: History, plan: Plan) -> None:
    again = strategy.next_trials(history)
    assert again == plan
    assert plan.ended is None or not plan.trials
    assert len({trial.model for trial in plan.trials}) == len(plan.trials)
    for trial in plan.trials:
        each = history.contenders[trial.model]
        assert each.waits
        assert len(each.looks) <= trial.rung < len(history.rungs)
        assert trial.model not in plan.out
    assert not any(history.contenders[place].failed for place in plan.out)


def run_to_the_end(
    strategy: Strategy,
    n_samples: int,
    look: Callable[[int, int], Look],
    n_models: int,
    *,
    rng: np.random.Generator,
    n_workers: int = 10_000,
    failure_rate: float = 0.0,
    start_seconds: float = 0.0,
    seconds: np.ndarray | None = None,
    check: bool = True,
) -> Ended:
    """Run with workers that finish in random order; a pass fails, or a finished model, with a given rate."""
    rungs = strategy.rungs(n_samples)
    seconds = np.zeros(n_models) if seconds is None else seconds
    contenders = [Contender(start_seconds=start_seconds, seconds_per_sample=float(each)) for each in seconds.tolist()]
    order: list[Trial] = []
    running: dict[int, int] = {}
    for _ in range(n_models * len(rungs) * 4 + 10):
        history = History(rungs=rungs, contenders=tuple(contenders))
        plan = strategy.next_trials(history)
        if check:
            check_plan(strategy, history, plan)
        if plan.ended is not None:
            return Ended(plan=plan, history=history, order=order)
        for trial in plan.trials[: n_workers - len(running)]:
            running[trial.model] = trial.rung
            order.append(trial)
        assert running, "nothing runs and nothing is planned"
        n_done = len(running) if n_workers >= n_models else 1
        for place in rng.permutation(sorted(running))[:n_done].tolist():
            rung, each = running.pop(place), contenders[place]
            if rng.random() < failure_rate:
                contenders[place] = Contender(looks=each.looks, failed=True)
                continue
            looks = (*each.looks, *(look(place, rungs[at]) for at in range(len(each.looks), rung + 1)))
            contenders[place] = Contender(
                looks=looks, start_seconds=each.start_seconds, seconds_per_sample=each.seconds_per_sample
            )
        for place, rung in running.items():
            each = contenders[place]
            contenders[place] = Contender(
                looks=each.looks, running=rung, seconds_per_sample=each.seconds_per_sample,
                start_seconds=each.start_seconds,
            )  # fmt: skip
        idle = [place for place, each in enumerate(contenders) if each.looks and each.waits]
        if idle and rng.random() < failure_rate:
            place = int(rng.choice(idle))  # found broken after all
            contenders[place] = Contender(looks=contenders[place].looks, failed=True)
    raise AssertionError("the strategy does not end")


def make(kind: str, n_models: int, n_samples: int, gap: float, rng: np.random.Generator) -> Made:
    """Return models, the first the best in expectation, each next one worse by `gap`.

    'skewed' are shares of resolved surprise: at most 1, with a long tail below. 'overconfident' ones differ in how
    much they lose where they are wrong. 'tied' models are right or wrong. 'slow' ones differ in how they grow.
    """
    shared = rng.normal(size=n_samples)
    worse = gap * np.arange(n_models)[:, None]
    own = rng.normal(size=(n_models, n_samples))
    growth = np.zeros(n_models)
    if kind in ("normal", "slow"):
        terms = 0.7 - worse + 0.3 * shared + 0.3 * own
        growth = np.abs(rng.normal(size=n_models)) * 0.02 * (kind == "slow")
        correct = terms > 0.2
    elif kind in ("skewed", "overconfident"):
        margins = 3.0 - 10.0 * worse + 2.0 * shared + 1.2 * own
        steepness = rng.uniform(0.6, 2.0, size=(n_models, 1)) if kind == "overconfident" else 1.0
        terms = 1.0 - np.logaddexp(0.0, -margins * steepness)
        correct = margins > 0
    else:
        correct = rng.random((n_models, n_samples)) < 0.9 - worse
        terms = correct.astype(np.float64)
    return Made(terms=terms, correct=correct.astype(np.float64), growth=growth)


@pytest.fixture
def run() -> Callable[..., Ended]:
    return run_to_the_end


@pytest.fixture
def made() -> Callable[..., Made]:
    return make
