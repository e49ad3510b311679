"""Successive halving: all models see few samples, the better part sees more, and so on (Jamieson and Talwalkar 2016).

It spends about the same number of forward passes on every rung and gives no confidence: a model that starts slowly is
lost. SHiFT ranks repositories in this way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuralrank.errors import UsageError
from neuralrank.strategies import History, Plan, Strategy, Trial, by_value, nested_rungs

FIRST_SHARE = 0.05


def successive_halving(*, reduction_factor: float = 3.0, top: int = 1) -> Strategy:
    """Return the strategy.

    Args:
        reduction_factor: one in this many models goes to the next rung, where it sees as many times the samples.
        top: models that are not reduced further.
    """
    return _SuccessiveHalving(reduction_factor=checked_factor(reduction_factor), top=top)


def checked_factor(reduction_factor: float) -> float:
    """Return the factor.

    Raises:
        UsageError: it does not reduce anything.
    """
    if not 1.0 < reduction_factor < math.inf:
        raise UsageError(
            f"A reduction factor needs a finite number above 1. Got {reduction_factor:g}. Use 3 if unsure."
        )
    return reduction_factor


@dataclass(frozen=True, kw_only=True)
class _SuccessiveHalving:
    reduction_factor: float
    top: int

    def rungs(self, n_samples: int) -> tuple[int, ...]:
        return nested_rungs(n_samples, self.reduction_factor, FIRST_SHARE)

    def next_trials(self, history: History) -> Plan:
        going = history.alive()
        out: dict[int, str] = {}
        for rung, size in enumerate(history.rungs):
            behind = [place for place in going if len(history.contenders[place].looks) <= rung]
            if behind:
                waiting = [place for place in behind if history.contenders[place].waits]
                return Plan(trials=tuple(Trial(model=place, rung=rung) for place in waiting), out=out)
            if rung + 1 < len(history.rungs):
                ordered = by_value(history, going, rung)
                going = sorted(ordered[: max(self.top, math.ceil(len(ordered) / self.reduction_factor))])
                out |= {
                    place: f"below the better 1 in {self.reduction_factor:g} after {size:,} samples"
                    for place in ordered
                    if place not in going
                }
        return Plan(out=out, ended=f"halved down to {len(going)} of {len(history.alive())} models")
