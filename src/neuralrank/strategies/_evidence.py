"""What the samples of one rung say about the difference of two models on the whole probe.

A difference can still change for two reasons. Other samples come: for this there is Student's interval of the paired
terms, with the correction for drawing from a finite population, because the rung is a part of the probe (Cochran 1977,
Sampling Techniques, 2.6). And both models are fitted anew to more samples: for this the growth since the rung before is
carried on as a series that falls by √2 with every doubling, see `_GROWTH_DECAY`. The first part is statistics; the
second is an assumption, and how often it holds was measured (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from neuralrank.strategies import History

Floats = NDArray[np.float64]

_GROWTH_DECAY = 2.0**-0.5
"""By which growth falls from one doubling of the samples to the next. On two targets that served to choose it, the
standard deviation over models of the growth still to come was 0.8 to 1.5 times that of the last doubling, with 1.3 to
5.3 doublings left; the series says 0.9 to 2.0. A good part of both is chance, which the interval counts already."""
_COPY = 1e-3
"""Models whose terms differ by no more on any sample are one network, rounded in two ways."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One quantity of several models, on one rung; its mean over the units is a score or an accuracy."""

    units: Floats
    """Shape (n_models, n_units); rows of NaN where a model has none that compare."""
    growth: Floats
    """Shape (n_models,): of the mean, for one doubling of the samples up to this rung; 0 where it is not known."""
    unit: float
    """A difference of usual size on one sample."""

    def gaps(self, first: int) -> tuple[Floats, Floats]:
        """Return mean and standard error of the paired differences of one model to all, as if drawn with replacement.

        Both are 0 for copies of the model, and NaN where it cannot be compared. Few samples may by chance show next to
        no difference, and then their spread says nothing: half a sample is added on which the one model wins a unit,
        and half on which the other does, as Agresti and Min (2005, Statistics in Medicine 24) do for matched pairs.
        """
        difference = self.units[first] - self.units
        n_units = difference.shape[1]
        mean = difference.mean(axis=1)
        squares = np.sum((difference - mean[:, None]) ** 2, axis=1) + self.unit**2
        error = np.sqrt(squares / (max(n_units - 1, 1) * n_units))
        copies = np.abs(difference).max(axis=1) <= _COPY
        return np.where(copies, 0.0, mean), np.where(copies, 0.0, error)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung as a basis for decisions on the models that have reached it, in the order given."""

    score: Shown
    accuracy: Shown
    share_unseen: float
    """Of the samples of the probe."""
    growth_left: float
    """What is left to grow, over the growth for the last doubling."""

    def leads(self, first: int, error: float) -> Floats:
        """Return the least by which one model will be ahead of each other on the whole probe, but for a chance `error`.

        Args:
            first: place of the model in the rung.
            error: one-sided chance that the samples mislead, for each comparison.

        Returns:
            Shape (n_models,), in units of the score; 0 for copies, NaN where there are no terms to compare.
        """
        mean, half, drift = self._parts(self.score, first, error)
        return mean - half - drift

    def accuracy_gains(self, first: int, error: float) -> Floats:
        """Return the most by which each other model's accuracy may exceed the one's, but for a chance `error`."""
        mean, half, drift = self._parts(self.accuracy, first, error)
        return half + drift - mean

    def chances_ahead(self, first: int) -> Floats:
        """Return roughly how likely each model is to be ahead of the one in the end; a half where nothing is known."""
        mean, error = self.score.gaps(first)
        spread = np.hypot(error * np.sqrt(self.share_unseen), self.growth_left * _spread(self.score.growth))
        return np.asarray(np.nan_to_num(ndtr(-mean / np.maximum(spread, 1e-12)), nan=0.5), dtype=np.float64)

    def _parts(self, shown: Shown, first: int, error: float) -> tuple[Floats, Floats, Floats]:
        """Return mean difference to each model, half width for other samples, and what growth may take from it."""
        mean, deviation = shown.gaps(first)
        quantile = float(-stdtrit(max(shown.units.shape[1] - 1, 1), error))
        half = quantile * deviation * np.sqrt(self.share_unseen)
        faster = shown.growth - shown.growth[first]
        drift = self.growth_left * np.maximum(_spread(shown.growth), faster)
        return mean, half, np.where((mean == 0.0) & (deviation == 0.0), 0.0, drift)  # copies stay copies


def read_rung(history: History, models: Sequence[int], place: int) -> Rung:
    """Return what a rung that all these models have reached shows of them."""
    size, whole = history.rungs[place], history.rungs[-1]
    doublings = float(np.log2(size / history.rungs[place - 1])) if place else np.inf
    looks = [history.contenders[model].looks for model in models]
    terms = _stacked([each[place].terms for each in looks])
    right = _stacked([each[place].correct for each in looks])
    before = [each[max(place - 1, 0)] for each in looks]
    values = np.array([each[place].value - past.value for each, past in zip(looks, before, strict=True)])
    accuracies = right.mean(axis=1) - [np.nan if past.correct is None else past.correct.mean() for past in before]
    ratio = _GROWTH_DECAY ** float(np.log2(whole / size))
    return Rung(
        score=Shown(units=terms, growth=values / doublings, unit=_usual_size(terms)),
        accuracy=Shown(units=right, growth=np.nan_to_num(accuracies) / doublings, unit=1.0),
        share_unseen=1.0 - size / whole,
        growth_left=_GROWTH_DECAY * (1.0 - ratio) / (1.0 - _GROWTH_DECAY),
    )


def _stacked(rows: Sequence[Floats | None]) -> Floats:
    n_units = max((len(row) for row in rows if row is not None), default=1)
    stacked = np.full((len(rows), n_units), np.nan)
    for place, row in enumerate(rows):
        if row is not None and len(row) == n_units:
            stacked[place] = row
    return stacked


def _usual_size(units: Floats) -> float:
    """Return the standard deviation over the units, of the middle model."""
    deviations = np.std(units, axis=1)
    known = deviations[~np.isnan(deviations)]
    return float(np.median(known)) if len(known) else 0.0


def _spread(growth: Floats) -> float:
    return float(np.std(growth, ddof=1)) if len(growth) > 1 else 0.0
