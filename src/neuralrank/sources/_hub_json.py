"""Read JSON that strangers wrote: a value of the wrong type or size is left out, and nothing raises.

Texts lose what cannot be printed, lone surrogates included, and are cut; numbers fit what a database stores.
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_WHOLE = 2**63 - 1
MAX_TEXT = 200
MAX_ITEMS = 200


def parsed(content: bytes) -> Any:
    """Return the JSON of an answer; whole numbers of absurd length become null.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(content, parse_int=lambda digits: int(digits) if len(digits) < 20 else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def text(value: Any, limit: int = MAX_TEXT) -> str | None:
    r"""Return a text without what cannot be printed, None if nothing is left.

    Example:
        >>> text(" a\x1b[31m\nb "), text(7), text("")
        ('a[31m b', None, None)
    """
    if not isinstance(value, str):
        return None
    words = value[: 4 * limit].split()
    kept = " ".join("".join(char for char in word if char.isprintable()) for word in words)
    return kept[:limit].strip() or None


def texts(value: Any, *, limit: int = MAX_TEXT, n: int = MAX_ITEMS) -> tuple[str, ...]:
    """Return the texts of a list, or the one text that stands in for it; each once."""
    items = value[:n] if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(found for item in items if (found := text(item, limit))))


def whole(value: Any) -> int | None:
    """Return a whole number from 0 to what a database stores."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WHOLE
    return value if good else None


def number(value: Any) -> float | None:
    """Return a finite number, also one written as a text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value[:40] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def table(value: Any) -> Mapping[str, Any]:
    """Return an object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any, n: int = MAX_ITEMS) -> list[Any]:
    """Return the first of a list, an empty one in place of anything else."""
    return value[:n] if isinstance(value, list) else []


def moment(value: Any) -> str | None:
    """Return a date and time as UTC.

    Example:
        >>> moment("2024-05-17T10:00:00.000Z"), moment("soon")
        ('2024-05-17T10:00:00+00:00', None)
    """
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return found.isoformat(timespec="seconds")
