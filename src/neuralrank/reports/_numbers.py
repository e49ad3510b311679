"""Numbers for people: sensible digits, short units, and a dash where nothing is known."""

import math
from collections.abc import Sequence

UNKNOWN = "–"


def count(value: int | None) -> str:
    """Write a count with thousands separators: 10,000."""
    return UNKNOWN if value is None else f"{value:,}"


def short_count(value: int | None) -> str:
    """Write a count in three digits: 270k, 1.33M, 25.6M."""
    return UNKNOWN if value is None else _three_digits(value, ("", "k", "M", "B", "T"))


def file_size(value: int | None) -> str:
    """Write bytes in decimal units and three digits: 1.09 MB."""
    return UNKNOWN if value is None else _three_digits(value, (" B", " kB", " MB", " GB", " TB"))


def seconds(value: float) -> str:
    """Write seconds with at least two digits: 0.04, 3.1, 128."""
    if value < 0.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def percent(value: float | None, *, unit: str = " %") -> str:
    """Write a share of 1 in per cent with one decimal: 94.1 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.1f}{unit}"


def probability(value: float | None, *, unit: str = " %") -> str:
    """Write a probability in whole per cent; an estimate never claims 0 or 100 unless it is exactly 1."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0.005:
        return f"<1{unit}"
    return f">99{unit}" if 0.995 <= value < 1 else f"{100 * value:.0f}{unit}"


def number(value: float | None, decimals: int) -> str:
    """Write a number with a fixed number of decimals; zero has no sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def half_width(interval: tuple[float, float] | None) -> float | None:
    """Return half the length of an interval."""
    return None if interval is None else (interval[1] - interval[0]) / 2


def decimals(values: Sequence[float | None], halves: Sequence[float | None] = ()) -> int:
    """Choose one number of decimals for a column, so that its digits mean something.

    With half-intervals, the median one shows one or two digits; without, a twentieth of the spread does.
    """
    known = sorted(half for half in halves if half is not None and half > 0)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    scale = known[len(known) // 2] if known else (max(finite) - min(finite)) / 20 if finite else 0.0
    if scale <= 0 or not math.isfinite(scale):
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(scale / 0.3))))


def _three_digits(value: int, units: tuple[str, ...]) -> str:
    if value < 1000:
        return f"{value}{units[0]}"
    # Rounding first, so that 999,999 becomes 1.00M and not 1000k.
    rounded = float(f"{value:.2e}")
    power = min(int(math.floor(math.log10(rounded)) // 3), len(units) - 1)
    scaled = rounded / 1000**power
    digits = max(0, 2 - math.floor(math.log10(scaled)))
    return f"{scaled:.{digits}f}{units[power]}"
