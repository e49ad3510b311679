"""Model entries as rows of the catalogue's table, and back."""

import json
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from neuralrank.types import ModelEntry, ReportedResult

LISTS = ("languages", "tags", "pretraining_data", "base_model")
PLAIN = (
    "source",
    "location",
    "model_id",
    "stamp",
    "name",
    "format",
    "refusal",
    "modality",
    "task",
    "library",
    "architecture",
    "license",
    "n_labels",
    "accuracy",
    "params",
    "size_bytes",
    "memory_bytes",
    "downloads",
    "likes",
    "seconds_per_sample",
)
DATES = ("created", "updated")
COLUMNS = (*PLAIN, *LISTS, *DATES, "results", "description", "label_set")
"""Columns that come from an entry, in the order of `values_of`."""

MAX_INTEGER = 2**63 - 1
_SHORT_TEXT = 200


def values_of(entry: ModelEntry, label_set: int | None) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`."""
    results = [[result.task, result.data, result.metric, result.value] for result in entry.results]
    return (
        *(_storable(getattr(entry, name)) for name in PLAIN),
        *(_json(getattr(entry, name)) for name in LISTS),
        *(iso_date(getattr(entry, name)) for name in DATES),
        _json(results),
        packed(entry.description),
        label_set,
    )


def entry_of(row: Sequence[Any], labels: str | None) -> ModelEntry:
    """Return the entry of a row that holds `COLUMNS`, and the labels of its label set as JSON."""
    values = dict(zip(COLUMNS, row, strict=True))
    del values["label_set"], values["n_labels"]
    for name in LISTS:
        values[name] = tuple(json.loads(values[name] or "[]"))
    results = json.loads(values.pop("results") or "[]")
    return ModelEntry(
        **{**values, "description": unpacked(values["description"])},
        label_names=tuple(json.loads(labels or "[]")),
        results=tuple(ReportedResult(task=t, data=d, metric=m, value=v) for t, d, m, v in results),
    )


def iso_date(text: str | None) -> str | None:
    """Return a moment as UTC in one spelling, None if the text is no date.

    Example:
        >>> iso_date("2024-05-17"), iso_date("2024-05-17T10:00:00+02:00"), iso_date("soon")
        ('2024-05-17T00:00:00Z', '2024-05-17T08:00:00Z', None)
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 1000 else None


def packed(text: str) -> str | bytes | None:
    """Return a text as it is kept: compressed where that pays."""
    if len(text) < _SHORT_TEXT:
        return text or None
    return zlib.compress(text.encode("utf-8", "replace"), 6)


def unpacked(value: str | bytes | None) -> str:
    """Return the text that `packed` was given."""
    return zlib.decompress(value).decode("utf-8") if isinstance(value, bytes) else value or ""


def _json(values: Iterable[Any]) -> str | None:
    listed = list(values)
    return json.dumps(listed, ensure_ascii=False, separators=(",", ":")) if listed else None


def _storable(value: Any) -> Any:
    """Return a number that SQLite can hold, None for one beyond; NaN and infinity are no values."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= MAX_INTEGER else None
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no place in a file
    return value
