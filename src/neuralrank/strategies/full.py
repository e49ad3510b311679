"""Every model sees the whole probe."""

from __future__ import annotations

from dataclasses import dataclass

from neuralrank.strategies import History, Plan, Strategy, Trial


def full() -> Strategy:
    """Return the strategy that runs all models on all samples, in the order in which they are listed."""
    return _Full()


@dataclass(frozen=True)
class _Full:
    def rungs(self, n_samples: int) -> tuple[int, ...]:
        return (n_samples,)

    def next_trials(self, history: History) -> Plan:
        alive = history.alive()
        if all(history.contenders[place].looks for place in alive):
            return Plan(ended="all models scored")
        waiting = [place for place in alive if history.contenders[place].waits and not history.contenders[place].looks]
        return Plan(trials=tuple(Trial(model=place, rung=0) for place in waiting))
