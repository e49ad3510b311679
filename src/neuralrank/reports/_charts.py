"""Geometry of the page's charts. Horizontal positions are in per cent, so that text keeps its size at any width."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from neuralrank.reports._axes import Axis, cost_axis
from neuralrank.reports._names import shorten, shorten_apart, width
from neuralrank.types import RankedModel

HEIGHT = 300
"""Height of a scatter plot's area in pixels."""
_NARROW = 430
"""Width of the plot area for which labels are laid out; wider plots only move them apart."""
_LETTER = 6.6
"""Average width of a letter of the labels, in pixels."""
# Beside, above or below a point (anchor, dx, dy); the front runs down and to the right of it, so the left comes first.
_LABEL_PLACES = (("end", -13, 4), ("start", -6, -14), ("end", 6, -14), ("start", 12, 20), ("start", 13, 4))


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A score on an axis, all in per cent."""

    start: float
    """Where the bar begins: the chance level, or the lower end where the score has none."""
    size: float
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model of a scatter plot; x in per cent, y in pixels."""

    x: float
    y: float
    title: str
    mark: str
    """A capital letter on the Pareto front, '' off it."""
    label: str
    label_anchor: str
    label_dx: int
    label_dy: int


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Score against one cost."""

    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    points: tuple[Point, ...]
    steps: tuple[tuple[float, float, float, float], ...]
    """Line segments (x1 %, y1 px, x2 %, y2 px) of the Pareto front."""
    front: tuple[int, ...]
    """Positions of the models on the front, cheapest first, in the order of their letters."""
    n_unknown: int
    """Models whose cost is not known and that are not drawn."""


def bar(model: RankedModel, axis: Axis, chance: float | None) -> Bar:
    """Place score and interval of one model on an axis."""
    start, at = axis.place(axis.low if chance is None else chance), axis.place(model.score)
    low, high = (axis.place(bound) for bound in model.interval) if model.interval else (None, None)
    return Bar(start=min(start, at), size=round(abs(at - start), 2), at=at, low=low, high=high)


def scatter(
    models: Sequence[RankedModel],
    names: Sequence[str],
    costs: Sequence[float | None],
    score: Axis,
    write: Callable[[float], str],
) -> Scatter | None:
    """Lay out score (upwards) against cost (logarithmic, to the right); None if fewer than two costs are known."""
    known = {position: cost for position, cost in enumerate(costs) if cost is not None and cost > 0}
    if len(known) < 2:
        return None
    axis = cost_axis(list(known.values()))
    front = pareto_front(models, known)
    spots = {
        i: (axis.place(cost), round(HEIGHT * (1 - score.place(models[i].score) / 100), 1)) for i, cost in known.items()
    }
    labels = _place_labels(front, spots, names)
    points = [
        _point(
            spots[i], f"{shorten(names[i], 48)}: {write(cost)}", front.index(i) if i in front else None, labels.get(i)
        )
        for i, cost in known.items()
    ]
    return Scatter(
        x_ticks=axis.ticks,
        y_ticks=tuple((round(HEIGHT * (1 - place / 100), 1), text) for place, text in score.ticks),
        points=tuple(sorted(points, key=lambda point: point.mark)),
        steps=tuple(_steps([spots[i] for i in front])),
        front=front,
        n_unknown=len(models) - len(known),
    )


def pareto_front(models: Sequence[RankedModel], costs: dict[int, float]) -> tuple[int, ...]:
    """Return the positions of the models that no other model beats in both score and cost, cheapest first."""
    front: list[int] = []
    for position in sorted(costs, key=lambda i: (costs[i], -models[i].score)):
        if not front or models[position].score > models[front[-1]].score:
            front.append(position)
    return tuple(front)


def letter(index: int) -> str:
    """Count in letters: A, B, … Z, AA, AB and so on for 0, 1, …."""
    return chr(65 + index) if index < 26 else letter(index // 26 - 1) + letter(index % 26)


def _point(spot: tuple[float, float], title: str, index: int | None, label: tuple[str, str, int, int] | None) -> Point:
    text, anchor, dx, dy = label or ("", "start", 0, 0)
    return Point(
        x=spot[0],
        y=spot[1],
        title=title,
        mark="" if index is None else letter(index),
        label=text,
        label_anchor=anchor,
        label_dx=dx,
        label_dy=dy,
    )


def _steps(corners: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float, float, float]]:
    for (x1, y1), (x2, y2) in pairwise(corners):
        yield x1, y1, x2, y1
        yield x2, y1, x2, y2


def _place_labels(
    front: Sequence[int], spots: dict[int, tuple[float, float]], names: Sequence[str]
) -> dict[int, tuple[str, str, int, int]]:
    """Put each front model's name where it hides no other name and no letter; leave it out where there is no room."""
    taken = [(x * _NARROW / 100 - 10, y - 10, x * _NARROW / 100 + 10, y + 10) for x, y in (spots[i] for i in front)]
    dots = [(x * _NARROW / 100, y) for i, (x, y) in spots.items() if i not in front]
    texts = dict(zip(front, shorten_apart([names[i] for i in front], 30), strict=True))
    placed = {}
    for position in reversed(front):
        x, y = spots[position][0] * _NARROW / 100, spots[position][1]
        text = texts[position]
        size = width(text) * _LETTER
        for anchor, dx, dy in _LABEL_PLACES:
            left = x + dx - (size if anchor == "end" else 0)
            box = (left, y + dy - 11, left + size, y + dy + 4)
            inside = box[0] >= -40 and box[2] <= _NARROW + 10 and box[1] >= -16 and box[3] <= HEIGHT
            hidden = sum(box[0] < dot_x < box[2] and box[1] < dot_y < box[3] for dot_x, dot_y in dots)
            if inside and hidden <= 1 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                placed[position] = (text, anchor, dx, dy)
                break
    return placed


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
