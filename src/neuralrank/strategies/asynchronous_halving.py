"""Asynchronous successive halving: no model waits for others to finish a rung (Li et al. 2020, ASHA).

A model goes on as soon as it is in the better part of those that have finished its rung so far. Workers are never idle,
which counts where models differ much in cost or workers are many; the price is that early finishers are promoted that
a complete rung would have stopped, and that a second run may take other turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuralrank.strategies import History, Plan, Strategy, Trial, by_value, nested_rungs
from neuralrank.strategies.successive_halving import FIRST_SHARE, checked_factor


def asynchronous_halving(*, reduction_factor: float = 3.0, top: int = 1) -> Strategy:
    """Return the strategy.

    Args:
        reduction_factor: one in this many models goes to the next rung, where it sees as many times the samples.
        top: models of a rung that go on in any case, once all others have finished it.
    """
    return _AsynchronousHalving(reduction_factor=checked_factor(reduction_factor), top=top)


@dataclass(frozen=True, kw_only=True)
class _AsynchronousHalving:
    reduction_factor: float
    top: int

    def rungs(self, n_samples: int) -> tuple[int, ...]:
        return nested_rungs(n_samples, self.reduction_factor, FIRST_SHARE)

    def next_trials(self, history: History) -> Plan:
        alive = history.alive()
        trials: list[Trial] = []
        for rung in reversed(range(len(history.rungs) - 1)):
            promoted = self._promoted(history, alive, rung)
            trials += [Trial(model=place, rung=rung + 1) for place in promoted if self._stands_at(history, place, rung)]
        new = [place for place in alive if history.contenders[place].waits and not history.contenders[place].looks]
        trials += [Trial(model=place, rung=0) for place in new]
        if trials or any(history.contenders[place].running is not None for place in alive):
            return Plan(trials=tuple(trials))
        out = {
            place: f"below the better 1 in {self.reduction_factor:g} after {history.rungs[reached - 1]:,} samples"
            for place in alive
            if (reached := len(history.contenders[place].looks)) < len(history.rungs)
        }
        return Plan(out=out, ended=f"halved down to {len(alive) - len(out)} of {len(alive)} models")

    def _promoted(self, history: History, alive: list[int], rung: int) -> list[int]:
        """Return the models of a rung that may go on, best first."""
        finished = by_value(history, history.reached(rung), rung)
        n_promoted = math.floor(len(finished) / self.reduction_factor)
        if self._is_complete(history, alive, rung):
            n_promoted = max(n_promoted, min(self.top, len(finished)))
        return finished[:n_promoted]

    def _is_complete(self, history: History, alive: list[int], rung: int) -> bool:
        """Say whether no model can reach this rung any more but those that have: nothing below runs or will."""
        if rung == 0:
            return len(history.reached(0)) == len(alive)
        below = self._promoted(history, alive, rung - 1)
        return self._is_complete(history, alive, rung - 1) and all(
            len(history.contenders[place].looks) > rung for place in below
        )

    @staticmethod
    def _stands_at(history: History, place: int, rung: int) -> bool:
        return history.contenders[place].waits and len(history.contenders[place].looks) == rung + 1
