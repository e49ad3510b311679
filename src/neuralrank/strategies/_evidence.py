"""What the samples of one rung say about the difference of two models on the whole probe.

A difference can still change for two reasons. Other samples come: for this there is Student's interval of the paired
terms, with the correction for drawing from a finite population, because the rung is a part of the probe (Cochran 1977,
Sampling Techniques, 2.6 and 3.4). And both models are fitted anew to more samples: for this the growth of all models
from the rung before is carried on. Scores grow by less with each doubling of the samples, so that growth, taken once
for each doubling that is left, is more than is left as a rule; how often it is enough was measured
(docs/benchmarks.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from neuralrank.strategies import History, Look


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung as a basis for decisions: how much of the probe it shows, and how fast scores still grow."""

    place: int
    share_seen: float
    """Samples of the rung over samples of the probe."""
    doublings_left: float
    """log2 of the inverse of the share."""
    spread: float
    """Standard deviation, over models, of the growth of the score for one doubling of the samples."""
    accuracy_spread: float
    """The same of the held-out accuracy."""


def read_rung(history: History, place: int) -> Rung:
    """Return what is known of a rung that at least one model has reached."""
    size, whole = history.rungs[place], history.rungs[-1]
    scores = [growth(history, model, place) for model in history.reached(place)]
    accuracies = [accuracy_growth(history, model, place) for model in history.reached(place)]
    return Rung(
        place=place,
        share_seen=size / whole,
        doublings_left=float(np.log2(whole / size)),
        spread=float(np.std(scores)),
        accuracy_spread=float(np.std(accuracies)),
    )


def growth(history: History, model: int, rung: int) -> float:
    """Return how much the score of a model grew for one doubling of the samples, up to this rung; 0 at the first."""
    if rung == 0:
        return 0.0
    looks = history.contenders[model].looks
    doublings = float(np.log2(history.rungs[rung] / history.rungs[rung - 1]))
    return (looks[rung].value - looks[rung - 1].value) / doublings


def accuracy_growth(history: History, model: int, rung: int) -> float:
    """Return the same of the held-out accuracy; 0 where that is not known."""
    if rung == 0:
        return 0.0
    now, before = (history.contenders[model].looks[place].correct for place in (rung, rung - 1))
    if now is None or before is None:
        return 0.0
    doublings = float(np.log2(history.rungs[rung] / history.rungs[rung - 1]))
    return float(now.mean() - before.mean()) / doublings


def lead(history: History, rung: Rung, first: int, second: int, error: float) -> float:
    """Return the least by which the first model is ahead of the second on the whole probe, but for a chance `error`.

    Args:
        history: of the run.
        rung: that both have reached.
        first: place of a model.
        second: place of another.
        error: chance that the samples mislead, one-sided.

    Returns:
        In units of the score; -inf where the two have no terms to compare.
    """
    pair = _terms(history, rung, first, second)
    if pair is None:
        return -np.inf
    difference = pair[0] - pair[1]
    if not difference.any():
        return 0.0  # copies: whatever comes, they stay equal
    faster = growth(history, second, rung.place) - growth(history, first, rung.place)
    drift = rung.doublings_left * max(rung.spread, faster)
    half = _quantile(error, len(difference)) * standard_error(difference, rung.share_seen)
    return float(difference.mean()) - half - drift


def chance_ahead(history: History, rung: Rung, first: int, second: int) -> float:
    """Return roughly how likely the first model is to be ahead of the second in the end."""
    from scipy.special import ndtr

    pair = _terms(history, rung, first, second)
    if pair is None:
        return 0.5
    difference = pair[0] - pair[1]
    spread = np.hypot(standard_error(difference, rung.share_seen), rung.doublings_left * rung.spread)
    return float(ndtr(difference.mean() / spread)) if spread > 0 else float(difference.mean() > 0)


def accuracy_gain(history: History, rung: Rung, first: int, second: int, error: float) -> float:
    """Return the most by which the first model's accuracy exceeds the second's, but for a chance `error`.

    The variance is that of Agresti and Min (2005, Statistics in Medicine 24) for matched pairs, which is not zero where
    no sample tells the models apart. Infinite where accuracies are not known.
    """
    looks = [history.contenders[model].looks[rung.place] for model in (first, second)]
    if any(look.correct is None for look in looks):
        return np.inf
    difference = np.asarray(looks[0].correct) - np.asarray(looks[1].correct)
    if _are_copies(looks[0], looks[1]):
        return 0.0
    n = len(difference)
    variance = (np.sum((difference - difference.mean()) ** 2) + 1.0) / (n + 2) ** 2
    half = _quantile(error, n) * float(np.sqrt(variance * (1.0 - rung.share_seen)))
    faster = accuracy_growth(history, first, rung.place) - accuracy_growth(history, second, rung.place)
    return float(difference.mean()) + half + rung.doublings_left * max(rung.accuracy_spread, faster)


def standard_error(terms: NDArray[np.float64], share_seen: float) -> float:
    """Return the standard error of a mean as an estimate of the mean over the whole probe."""
    n = len(terms)
    return float(np.std(terms, ddof=1) * np.sqrt((1.0 - share_seen) / n)) if n > 1 else np.inf


def _terms(
    history: History, rung: Rung, first: int, second: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    one, other = (history.contenders[model].looks[rung.place].terms for model in (first, second))
    return (one, other) if one is not None and other is not None and len(one) == len(other) else None


def _are_copies(first: Look, second: Look) -> bool:
    return first.terms is not None and second.terms is not None and np.array_equal(first.terms, second.terms)


def _quantile(error: float, n: int) -> float:
    return float(-stdtrit(max(n - 1, 1), error))
