"""Racing: samples arrive in rungs, and a model leaves when it is not among the best with the asked confidence.

All models that are still in the race see the same samples, so two of them are compared by paired differences of their
per-sample terms. The chance to lose one of the k best of M models is bounded over all decisions of the race together:
for that, one of them has to be found behind one of the M - k others at one of the rungs, so each such comparison is
given the error (1 - confidence) / (2 k (M - k) · rungs). The comparisons within the tolerance get the other half: to
end with a worse one in place of one of the k best, those two have to be found near at one of the rungs. This is the
union bound (Bonferroni 1936; Dunn 1961, JASA 56), and it holds at whichever rung the race is stopped. Races of this
kind are Hoeffding races (Maron and Moore 1994, NIPS 6) with Student's interval in place of Hoeffding's.

A confidence sequence would hold between rungs too, but is no better at the few there are: for 140 models and 4 rungs
the union bound takes 3.9 standard errors, the asymptotic one of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024,
Annals of Statistics 52, "Time-uniform central limit theory and asymptotic confidence sequences") about 4.5. Those
for sampling without replacement (Waudby-Smith and Ramdas 2020, NeurIPS 33) need bounded terms, which ours are not.

Which models go on depends on what was seen alone, never on how long it took: a race that is repeated or resumed ends
alike. The order within a rung is by what a pass can decide per second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import UsageError
from neuralrank.strategies import History, Plan, Strategy, Trial, by_value, nested_rungs
from neuralrank.strategies._evidence import Rung, read_rung

REDUCTION_FACTOR = 2.0
FIRST_SHARE = 0.025
"""Of the probe, at the first rung. Growth is seen between two rungs, so nothing is decided before the second."""


def racing(*, confidence: float = 0.95, top: int = 1, tolerance: float = 0.5) -> Strategy:
    """Return the strategy.

    Args:
        confidence: that the models found best are those that the whole probe shows best, up to the tolerance.
        top: number of best models to find.
        tolerance: in points of accuracy; the race ends when no other model can be better by more than this.

    Raises:
        UsageError: a value is out of range.
    """
    if not 0.5 <= confidence < 1.0:
        raise UsageError(f"--confidence needs a share from 0.5 to below 1. Got {confidence:g}. Use 0.95 if unsure.")
    if top < 1:
        raise UsageError(f"--top needs at least 1 model. Got {top}. Use 1 if unsure.")
    if not 0.0 <= tolerance <= 100.0:
        raise UsageError(f"--tolerance needs 0 to 100 points of accuracy. Got {tolerance:g}. Use 0.5 if unsure.")
    return _Racing(confidence=confidence, top=top, tolerance=tolerance / 100.0)


@dataclass(frozen=True, kw_only=True)
class _Racing:
    confidence: float
    top: int
    tolerance: float
    """As a share."""

    def rungs(self, n_samples: int) -> tuple[int, ...]:
        return nested_rungs(n_samples, REDUCTION_FACTOR, FIRST_SHARE)

    def next_trials(self, history: History) -> Plan:
        going, out = history.alive(), dict[int, str]()
        if not going:
            return Plan(ended="no model is left")
        last = len(history.rungs) - 1
        error = self._error(history)
        worth: dict[int, float] = {}
        for rung in range(min(1, last), last):
            behind = _behind(history, going, rung)
            if behind:
                return Plan(trials=_ordered(history, behind, rung, worth), out=out)
            seen, best, others = self._read(history, going, rung)
            leads = np.array([seen.leads(place, error)[len(best) :] for place in range(len(best))])
            lost = np.all(leads > 0.0, axis=0)
            out |= {place: self._reason(history.rungs[rung]) for place in others[lost].tolist()}
            gains = np.array([seen.accuracy_gains(place, error)[len(best) :] for place in range(len(best))])
            going = sorted([*best, *others[~lost].tolist()])
            if np.all(gains[:, ~lost] <= self.tolerance):
                return Plan(out=out, ended=self._sentence(history, going, rung))
            chances = seen.chances_ahead(len(best) - 1)[len(best) :]
            worth = {**dict.fromkeys(best, math.inf), **dict(zip(others.tolist(), chances.tolist(), strict=True))}
        behind = _behind(history, going, last)
        if behind:
            return Plan(trials=_ordered(history, behind, last, worth), out=out)
        return Plan(out=out, ended=self._sentence(history, going, last))

    def _read(self, history: History, going: list[int], rung: int) -> tuple[Rung, list[int], NDArray[np.int64]]:
        """Return what a rung shows, of the best models first, with the best and the others."""
        ordered = by_value(history, going, rung)
        return read_rung(history, ordered, rung), ordered[: self.top], np.array(ordered[self.top :], dtype=np.int64)

    def _error(self, history: History) -> float:
        """Return the chance of error of one comparison; half of all is for the tolerance, with as many comparisons.

        Models that failed count: which of them do may depend on luck.
        """
        n_models = len(history.contenders)
        n_pairs = self.top * max(1, n_models - self.top)
        n_rungs = max(1, len(history.rungs) - 2)  # nothing is decided at the first, nothing is left open at the last
        return (1.0 - self.confidence) / (2.0 * n_pairs * n_rungs)

    def _reason(self, n_samples: int) -> str:
        what = "not the best" if self.top == 1 else f"not among the best {self.top}"
        return f"{what} with {self.confidence:.4g} confidence after {n_samples:,} samples"

    def _sentence(self, history: History, going: list[int], rung: int) -> str:
        size, whole = history.rungs[rung], rung == len(history.rungs) - 1
        what = "the best model is" if self.top == 1 else f"the best {self.top} models are"
        if whole:
            return f"decided: {what} found on all {size:,} samples"
        if len(going) <= self.top:
            return f"decided: {what} known with {self.confidence:.4g} confidence after {size:,} samples"
        return (
            f"decided: no other model is better by more than {100 * self.tolerance:g} points of accuracy, with "
            f"{self.confidence:.4g} confidence after {size:,} samples"
        )


def _behind(history: History, going: list[int], rung: int) -> list[int]:
    return [place for place in going if len(history.contenders[place].looks) <= rung]


def _ordered(history: History, behind: list[int], rung: int, worth: Mapping[int, float]) -> tuple[Trial, ...]:
    """Return the passes of this rung, those that can decide most per second first.

    On the best models hang all comparisons; on the others, the chance that they are as good.
    """

    def urgency(place: int) -> tuple[float, float, int]:
        each = history.contenders[place]
        n_seen = history.rungs[len(each.looks) - 1] if each.looks else 0
        seconds = each.start_seconds + (history.rungs[rung] - n_seen) * each.seconds_per_sample
        return -worth.get(place, 1.0) / max(seconds, 1e-9), seconds, place

    waiting = [place for place in behind if history.contenders[place].waits]
    return tuple(Trial(model=place, rung=rung) for place in sorted(waiting, key=urgency))
