"""Dates in a condition: a year, month, day or moment is the time it spans, as precisely as it is written."""

import re

import numpy as np

_MOMENT = re.compile(
    r"(?P<Y>[0-9]{4})(?:-(?P<M>[0-9]{2})(?:-(?P<D>[0-9]{2})"
    r"(?:[T ](?P<m>[0-9]{2}:[0-9]{2})(?::(?P<s>[0-9]{2})(?:\.(?P<us>[0-9]{1,6}))?)?"
    r"(?P<zone>Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])?)?)?)?",
    re.IGNORECASE | re.ASCII,
)


def read_span(text: str) -> tuple[int, int] | None:
    """Return the first and the last microsecond since 1970 of what a text names, UTC; None if it names no time.

    Example:
        >>> read_span("1970-01-01T00:00:01")
        (1000000, 1999999)
        >>> read_span("1970-01-01T01:00:00.5+01:00")
        (500000, 500000)
        >>> read_span("1970-13") is None
        True
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    unit = next(unit for unit in ("us", "s", "m", "D", "M", "Y") if match[unit] is not None)
    written = text.strip()[: match.end(unit)].upper().replace(" ", "T")
    try:
        start = np.array(written, dtype=f"datetime64[{unit}]")
    except ValueError:
        return None
    offset = _minutes(match["zone"]) * 60_000_000
    first, end = (int(moment.astype("datetime64[us]").astype(np.int64)) - offset for moment in (start, start + 1))
    return first, end - 1


def _minutes(zone: str | None) -> int:
    if not zone or zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return -minutes if zone[0] == "-" else minutes
