"""Axes of the page's charts: a value becomes a position in per cent, and round values become ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neuralrank.reports import _numbers
from neuralrank.types import RankedModel


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from `low` to `high` with its ticks."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[tuple[float, str], ...]
    """(position in per cent, text)."""

    def place(self, value: float) -> float:
        """Return where a value lies, in per cent of the axis; what lies beyond an end is drawn at that end."""
        if self.logarithmic:
            share = (math.log10(max(value, self.low)) - math.log10(self.low)) / math.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


def score_axis(models: Sequence[RankedModel], chance: float | None) -> Axis:
    """Return a linear axis over scores, their intervals and the chance level.

    A few scores far below the rest are drawn at the lower end, or they would squeeze all others together.
    """
    bounds = [bound for model in models for bound in (*(model.interval or ()), model.score)]
    scores = sorted(model.score for model in models)
    spread = scores[-1] - scores[len(scores) // 2]
    low, high = min(bounds), max(bounds)
    if spread > 0:
        low = max(low, scores[-1] - 5 * spread)
    if chance is not None:
        low, high = min(low, chance), max(high, chance)
    margin = 0.02 * (high - low) or 0.05 * abs(high) or 0.5
    return _linear(low - margin, high + margin)


def cost_axis(values: Sequence[float]) -> Axis:
    """Return a logarithmic axis over positive values with a little room at both ends."""
    low, high = min(values), max(values)
    room = max(1.25, (high / low) ** 0.05)
    low, high = low / room, high * room
    axis = Axis(low=low, high=high, logarithmic=True, ticks=())
    ticks = tuple((axis.place(value), _tick(value)) for value in _log_values(low, high))
    return Axis(low=low, high=high, logarithmic=True, ticks=ticks)


def _tick(value: float) -> str:
    power, unit = next((p, u) for p, u in ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, "")) if value >= p or not u)
    return f"{value / power:g}{unit}"


def _linear(low: float, high: float) -> Axis:
    step = _round_step((high - low) / 5)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    axis = Axis(low=low, high=high, logarithmic=False, ticks=())
    ticks = tuple((axis.place(value), _numbers.number(value, digits)) for value in values)
    return Axis(low=low, high=high, logarithmic=False, ticks=ticks)


def _round_step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _log_values(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        values = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in values if low <= value <= high]
        if len(inside) >= 3:
            break
    every = math.ceil(len(inside) / 6)
    return inside[::every]
