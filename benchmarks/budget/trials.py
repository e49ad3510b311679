"""Let a strategy decide on a recorded trial, and judge what it found by the full run."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from collect import Recorded

from neuralrank.strategies import Contender, History, Look, Plan, Strategy
from neuralrank.waiting import MAX_WAITING

COPY = 1e-3
"""Models whose terms differ by no more on any sample are one network in two files."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a strategy found, and what it took."""

    plan: Plan
    n_looks: tuple[int, ...]
    """By model, rungs reached."""
    winner: int
    n_passes: int
    """Samples run, summed over the models."""
    n_starts: int
    """Models loaded; one that waited for its next samples was not."""
    seconds: float
    """Of forward passes, summed over the models."""


def drive(
    strategy: Strategy,
    n_samples: int,
    look: Callable[[int, int], Look],
    seconds_per_sample: np.ndarray,
    *,
    start_seconds: float,
    n_workers: int,
) -> Run:
    """Run a strategy to its end on a virtual clock.

    Args:
        strategy: to run.
        n_samples: of the probe.
        look: what a model, by place, shows on so many samples.
        seconds_per_sample: shape (n_models,).
        start_seconds: of every pass of a model that did not wait for it. As in `neuralrank.waiting`, models stay
            loaded, and of more than there may be those with the lowest scores do not.
        n_workers: passes at once; with as many as models, all passes of a plan are awaited before the next one.
    """
    rungs = strategy.rungs(n_samples)
    n_models = len(seconds_per_sample)
    looks: list[tuple[Look, ...]] = [()] * n_models
    running: dict[int, int] = {}
    ends: list[tuple[float, int]] = []
    waiting: set[int] = set()
    clock, n_passes, n_starts, seconds = 0.0, 0, 0, 0.0
    while True:
        history = History(
            rungs=rungs,
            contenders=tuple(
                Contender(
                    looks=looks[at],
                    running=running.get(at),
                    start_seconds=0.0 if at in waiting else start_seconds,
                    seconds_per_sample=float(seconds_per_sample[at]),
                )
                for at in range(n_models)
            ),
        )
        plan = strategy.next_trials(history)
        if plan.ended is not None:
            break
        for trial in plan.trials[: n_workers - len(running)]:
            seen = rungs[len(looks[trial.model]) - 1] if looks[trial.model] else 0
            took = (rungs[trial.rung] - seen) * float(seconds_per_sample[trial.model])
            start = trial.model not in waiting
            waiting.discard(trial.model)
            n_passes, n_starts, seconds = n_passes + rungs[trial.rung] - seen, n_starts + start, seconds + took
            running[trial.model] = trial.rung
            heapq.heappush(ends, (clock + took + start * start_seconds, trial.model))
        for _ in range(len(ends) if n_workers >= n_models else 1):
            clock, model = heapq.heappop(ends)
            reached = range(len(looks[model]), running.pop(model) + 1)
            looks[model] = (*looks[model], *(look(model, rungs[at]) for at in reached))
            waiting.add(model)
            if len(waiting) > MAX_WAITING:
                waiting.remove(min(waiting, key=lambda at: looks[at][-1].value))
    left = [at for at in range(n_models) if at not in plan.out]
    return Run(
        plan=plan,
        n_looks=tuple(len(each) for each in looks),
        winner=max(left, key=lambda at: (len(looks[at]), looks[at][-1].value, -at)),
        n_passes=n_passes,
        n_starts=n_starts,
        seconds=seconds,
    )


def judge(trial: Recorded, winner: int, truth: dict[str, float]) -> dict[str, object]:
    """Return how a winner compares with that of the full run."""
    whole = trial.rungs[-1]
    values, accuracies = trial.values(whole), trial.correct[whole].mean(axis=1)
    best = int(values.argmax())
    same = bool(np.abs(trial.terms[whole][best] - trial.terms[whole][winner]).max() <= COPY)
    found: dict[str, object] = {
        "winner": trial.models[winner],
        "same": int(same),
        "points_behind": round(100 * float(accuracies[best] - accuracies[winner]), 3),
    }
    if trial.models[winner] in truth and trial.models[best] in truth:
        known = [truth[name] for name in trial.models if name in truth]
        found["transfer_points_behind"] = round(100 * (truth[trial.models[best]] - truth[trial.models[winner]]), 3)
        found["regret_points"] = round(100 * (max(known) - truth[trial.models[winner]]), 3)
        found["regret_points_full"] = round(100 * (max(known) - truth[trial.models[best]]), 3)
    return found
