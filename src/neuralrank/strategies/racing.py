"""Racing: samples arrive in rungs, and a model leaves when it is not among the best with the asked confidence.

All models that are still in the race see the same samples, so two of them are compared by paired differences of their
per-sample terms. The chance to lose one of the k best of M models is bounded over all decisions of the race together:
for that, one of them has to be found behind one of the M - k others at one of the rungs, so each such comparison is
given the error (1 - confidence) / (2 k (M - k) · rungs), and comparisons within the tolerance the other half (the union
bound; Bonferroni 1936, Dunn 1961). It holds whenever the race is stopped. Races of this kind are Hoeffding races (Maron
and Moore 1994) with Student's interval in place of Hoeffding's.

Which models go on depends on what was seen alone, never on how long it took: a race that is repeated or resumed ends
alike. The order within a rung is by what a pass can decide per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuralrank.errors import UsageError
from neuralrank.strategies import History, Plan, Strategy, Trial, by_value, nested_rungs
from neuralrank.strategies._evidence import Rung, accuracy_gain, chance_ahead, lead, read_rung

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
        going = history.alive()
        last = len(history.rungs) - 1
        out: dict[int, str] = {}
        rung = min(1, last)
        while True:
            behind = [place for place in going if len(history.contenders[place].looks) <= rung]
            if behind:
                return Plan(trials=self._ordered(history, going, behind, rung), out=out)
            if rung == last:
                return Plan(out=out, ended=self._sentence(history, going, rung))
            seen = read_rung(history, rung)
            ordered = by_value(history, going, rung)
            error = self._error(history)
            lost = [place for place in ordered[self.top :] if self._is_out(history, seen, ordered, place, error)]
            out |= dict.fromkeys(lost, self._reason(history.rungs[rung]))
            going = [place for place in going if place not in lost]
            best, others = ordered[: self.top], [place for place in ordered[self.top :] if place not in lost]
            if not others:
                return Plan(out=out, ended=self._sentence(history, going, rung))
            if self._is_good_enough(history, seen, best, others, error):
                return Plan(out=out, ended=self._sentence(history, going, rung))
            rung += 1

    def _error(self, history: History) -> float:
        """Return the chance of error of one comparison; half of all is for the tolerance, with as many comparisons."""
        n_models = len(history.contenders)
        n_top = min(self.top, max(1, n_models - 1))
        n_pairs = n_top * max(1, n_models - n_top)
        n_rungs = max(1, len(history.rungs) - 2)  # nothing is decided at the first, nothing is left open at the last
        return (1.0 - self.confidence) / (2.0 * n_pairs * n_rungs)

    def _is_out(self, history: History, rung: Rung, ordered: list[int], place: int, error: float) -> bool:
        """Say whether as many models as are asked for are ahead of this one, each surely."""
        n_ahead = 0
        for other in ordered:
            if other == place:
                return False
            n_ahead += lead(history, rung, other, place, error) > 0.0
            if n_ahead >= self.top:
                return True
        return False

    def _is_good_enough(self, history: History, rung: Rung, best: list[int], others: list[int], error: float) -> bool:
        gains = (accuracy_gain(history, rung, other, best[-1], error) for other in others)
        return all(gain <= self.tolerance for gain in gains)

    def _ordered(self, history: History, going: list[int], behind: list[int], rung: int) -> tuple[Trial, ...]:
        """Return the passes of this rung, those that can decide most per second first."""
        worth = self._worth(history, going, rung - 1) if rung > 1 else {}

        def urgency(place: int) -> float:
            each = history.contenders[place]
            n_seen = history.rungs[len(each.looks) - 1] if each.looks else 0
            seconds = each.start_seconds + (history.rungs[rung] - n_seen) * each.seconds_per_sample
            return worth.get(place, 1.0) / max(seconds, 1e-9)

        waiting = [place for place in behind if history.contenders[place].waits]
        return tuple(Trial(model=place, rung=rung) for place in sorted(waiting, key=lambda at: (-urgency(at), at)))

    def _worth(self, history: History, going: list[int], rung: int) -> dict[int, float]:
        """Return how much hangs on each model: on the best, all comparisons; on others, their chance to be as good."""
        seen = read_rung(history, rung)
        ordered = by_value(history, going, rung)
        bar = ordered[min(self.top, len(ordered)) - 1]
        chances = {place: chance_ahead(history, seen, place, bar) for place in ordered[self.top :]}
        return {**dict.fromkeys(ordered[: self.top], math.inf), **chances}

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
