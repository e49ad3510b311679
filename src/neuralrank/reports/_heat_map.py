"""The score of each class for the top models, as coloured cells."""

from collections.abc import Sequence
from dataclasses import dataclass

from neuralrank.reports import _numbers
from neuralrank.reports._names import clean
from neuralrank.types import RankedModel

N_MODELS = 12
N_CLASSES = 20
_PRINTED_CLASSES = 12
# Nine samples of cividis, a sequential map that reads the same with and without red-green blindness.
_COLOURS = (
    (0, 34, 78), (26, 56, 111), (67, 78, 108), (97, 101, 111), (125, 124, 120),
    (155, 148, 118), (188, 174, 108), (222, 201, 88), (254, 232, 56),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value with its colours."""

    text: str
    background: str
    ink: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Rows are models, columns are classes; a cell is None where the model has no value for the class."""

    classes: tuple[str, ...]
    rows: tuple[tuple[int, tuple[Cell | None, ...]], ...]
    """(position of the model, cells)."""
    printed: bool
    """Whether the cells have room for their values."""
    n_classes: int
    """Classes there are; more than `classes` holds if only those that differ most are shown."""
    legend: tuple[str, ...]
    """Colours from the lowest to the highest value."""
    low: str
    high: str


def heat_map(models: Sequence[RankedModel], class_names: Sequence[str]) -> HeatMap | None:
    """Lay out the heat map of the top models; None where no model has a score per class."""
    top = [position for position, model in enumerate(models) if model.per_class][:N_MODELS]
    if not top:
        return None
    present = dict.fromkeys(name for position in top for name in models[position].per_class)
    every = [name for name in class_names if name in present] + [name for name in present if name not in class_names]
    shown = _most_different([models[position] for position in top], every)
    values = [models[position].per_class.get(name) for position in top for name in shown]
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    digits = 2 if high - low < 20 else 0
    rows = tuple((i, tuple(_cell(models[i].per_class.get(name), low, high, digits) for name in shown)) for i in top)
    return HeatMap(
        classes=tuple(clean(name) for name in shown),
        rows=rows,
        printed=len(shown) <= _PRINTED_CLASSES,
        n_classes=len(every),
        legend=tuple(_hex(colour) for colour in _COLOURS),
        low=_numbers.number(low, digits),
        high=_numbers.number(high, digits),
    )


def _most_different(models: Sequence[RankedModel], names: Sequence[str]) -> list[str]:
    def spread(name: str) -> float:
        known = [model.per_class[name] for model in models if name in model.per_class]
        return max(known) - min(known)

    kept = set(sorted(names, key=spread, reverse=True)[:N_CLASSES])
    return [name for name in names if name in kept]


def _cell(value: float | None, low: float, high: float, digits: int) -> Cell | None:
    if value is None:
        return None
    colour = _colour((value - low) / (high - low) if high > low else 0.5)
    # The better of black and white always reaches a contrast of 4.5.
    ink = "#fff" if _luminance(colour) < 0.179 else "#000"
    return Cell(text=_numbers.number(value, digits), background=_hex(colour), ink=ink)


def _colour(share: float) -> tuple[int, int, int]:
    place = share * (len(_COLOURS) - 1)
    index = min(int(place), len(_COLOURS) - 2)
    red, green, blue = (
        round(a + (place - index) * (b - a)) for a, b in zip(_COLOURS[index], _COLOURS[index + 1], strict=True)
    )
    return red, green, blue


def _luminance(colour: tuple[int, int, int]) -> float:
    """Return the relative luminance that contrast is defined by (WCAG 2)."""
    red, green, blue = (part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
