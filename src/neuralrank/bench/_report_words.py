"""Numbers and comparisons in words. Every choice of words follows from the numbers, so a sentence cannot go stale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neuralrank.evaluation import Estimate

UNKNOWN = "–"


def number(value: float, decimals: int = 3, *, sign: str = "") -> str:
    """Write a number; a dash where there is none, and zero without a sign.

    Example:
        >>> number(0.5), number(-0.0001, 2), number(0.04, 2, sign="+"), number(float("nan"))
        ('0.500', '0.00', '+0.04', '–')
    """
    if not math.isfinite(value):
        return UNKNOWN
    value = round(value, decimals)
    return f"{value:{sign if value else ''},.{decimals}f}" if value else f"{0.0:.{decimals}f}"


def with_interval(estimate: Estimate, decimals: int = 3, *, scale: float = 1.0, unit: str = "", sign: str = "") -> str:
    """Write a value and its interval; a dash where there is none.

    Example:
        >>> with_interval(Estimate(value=0.91, low=0.88, high=0.94), 1, scale=100, unit=" %")
        '91.0 % [88.0, 94.0]'
        >>> with_interval(Estimate(value=math.nan, low=math.nan, high=math.nan), unit=" %")
        '–'
    """
    if not math.isfinite(estimate.value):
        return UNKNOWN
    value, low, high = (
        number(scale * each, decimals, sign=sign) for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value}{unit} [{low}, {high}]"


def tau(estimate: Estimate) -> str:
    """Write a weighted τ."""
    return with_interval(estimate)


def share(estimate: Estimate) -> str:
    """Write a share in per cent."""
    return with_interval(estimate, 1, scale=100, unit=" %")


def difference(estimate: Estimate) -> str:
    """Write a difference, with its sign."""
    return with_interval(estimate, sign="+")


def points(estimate: Estimate) -> str:
    """Write a difference of accuracies in points."""
    return with_interval(estimate, 2, scale=100)


def code(name: str) -> str:
    """Write a name as code."""
    return f"`{name}`"


def stands(estimate: Estimate, opponent: str) -> str:
    """Say on which side of an opponent something stands; neither where the interval holds zero.

    Example:
        >>> stands(Estimate(value=0.02, low=0.01, high=0.03), "`knn`")
        'is above `knn` (+0.020 [+0.010, +0.030])'
        >>> stands(Estimate(value=0.02, low=-0.01, high=0.05), "`knn`")
        'cannot be told from `knn` (+0.020 [-0.010, +0.050])'
    """
    side = "is above" if estimate.low > 0 else "is below" if estimate.high < 0 else "cannot be told from"
    return f"{side} {opponent} ({difference(estimate)})"


def listed(words: Sequence[str]) -> str:
    """Write a list: 'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def counted(number_of: int, one: str, many: str = "") -> str:
    """Write a count and what is counted: '1 network', '2 networks'."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def apart(value: float, limit: float, decimals: int = 1) -> tuple[str, str]:
    """Write two numbers with as many decimals as it takes to tell them apart, if they differ.

    Example:
        >>> apart(96.96, 97)
        ('96.96', '97.00')
    """
    while decimals < 6 and value != limit and number(value, decimals) == number(limit, decimals):
        decimals += 1
    return number(value, decimals), number(limit, decimals)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, n_left: int = 1) -> str:
    """Write a Markdown table; the first columns are words, the others numbers."""
    rule = "|".join([":--"] * n_left + ["--:"] * (len(titles) - n_left))
    head, *body = (f"| {' | '.join(row)} |" for row in (titles, *rows))
    return "\n".join([head, f"|{rule}|", *body])
