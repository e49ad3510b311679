"""Rows of the catalogue as Arrow columns, and the change of a few rows in columns that are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuralrank.fields import BY_NAME
from neuralrank.storage._column_order import flags
from neuralrank.storage._rows import DATES, LISTS, read_list

_TYPES = {"text": pa.string(), "number": pa.float64(), "integer": pa.int64()}
_FEW = 0.3
"""A text column is kept as a dictionary if this share of its values, at most, are distinct."""

LABELS = "label_names"
STORED = [name for name in BY_NAME if name not in (LABELS, "loadable")]
SELECT = f"SELECT row, removed IS NULL, loadable, label_set, {', '.join(STORED)} FROM entry"
"""What `columns_of` takes."""
NAMES = {"present", "label_set", *BY_NAME}
"""Of all columns."""

LabelNames = Callable[[Sequence[int]], Sequence[Sequence[str]]]
"""From numbers of label sets to the names of each."""


def columns_of(rows: Sequence[tuple[Any, ...]], names: LabelNames) -> pa.RecordBatch:
    """Return rows as columns.

    Args:
        rows: at least one, as `SELECT` gives them.
        names: of label sets.

    Raises:
        ValueError, TypeError, pa.ArrowException: a row does not hold what was written.
    """
    _, present, loadable, label_set, *stored = zip(*rows, strict=True)
    columns = {
        "present": pa.array(map(bool, present), pa.bool_()),
        "loadable": pa.array(map(bool, loadable), pa.bool_()),
        "label_set": pa.array(label_set, pa.int64()),
    }
    for name, values in zip(STORED, stored, strict=True):
        columns[name] = _column(name, values)
    columns[LABELS] = _label_names(columns["label_set"], names)
    return pa.RecordBatch.from_pydict(columns)


def with_rows(old: pa.RecordBatch, new: pa.RecordBatch, places: NDArray[np.int64]) -> pa.RecordBatch:
    """Return columns with some rows replaced and further ones at the end.

    Args:
        old: columns that are there.
        new: columns of the rows that changed or are new.
        places: shape (new.num_rows,), ascending; where in the result each of them belongs.
    """
    n_rows = max(old.num_rows, int(places[-1]) + 1)
    taken = np.arange(n_rows)
    taken[places] = old.num_rows + np.arange(len(places))
    columns = {}
    for name in old.schema.names:
        if name != LABELS:
            columns[name] = _joined(old.column(name), new.column(name)).take(pa.array(taken))
            if pa.types.is_dictionary(columns[name].type):
                columns[name] = _few_or_plain(columns[name])
    columns[LABELS] = _joined_labels(old.column(LABELS), new.column(LABELS), taken, columns["label_set"])
    return pa.RecordBatch.from_pydict(columns)


def plain(values: pa.Array) -> pa.Array:
    """Return texts, or lists of them, without a dictionary: that of a chunk is larger than a few of its rows."""
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode()
    if pa.types.is_list(values.type) and pa.types.is_dictionary(values.values.type):
        return pa.ListArray.from_arrays(values.offsets, values.values.dictionary_decode(), mask=values.is_null())
    return values


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if name in LISTS:
        return _lists(values)
    if name in DATES:
        return pa.array(values, pa.timestamp("s", "UTC")).cast(pa.timestamp("us", "UTC"))
    kind = BY_NAME[name].kind
    array = pa.array(values, _TYPES[kind])
    return _few_or_plain(array.dictionary_encode()) if kind == "text" else array


def _few_or_plain(encoded: pa.DictionaryArray) -> pa.Array:
    return encoded if len(encoded.dictionary) <= _FEW * len(encoded) else encoded.dictionary_decode()


def _lists(values: Sequence[str | None]) -> pa.ListArray:
    """Return lists that are stored as JSON."""
    read = {text: read_list(text) for text in set(values) if text is not None}
    lists = [() if value is None else read[value] for value in values]
    members = pa.array([member for found in lists for member in found], pa.string()).dictionary_encode()
    ends = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends), members, mask=missing)


def _label_names(label_set: pa.Array, names: LabelNames) -> pa.DictionaryArray:
    """Return the names of each row's label set; a set that many rows have is kept once."""
    encoded = label_set.dictionary_encode()
    sets = pa.array(names(encoded.dictionary.to_pylist()), pa.list_(pa.string()))
    return pa.DictionaryArray.from_arrays(encoded.indices, sets)


def _joined(old: pa.Array, new: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(old.type) and pa.types.is_string(new.type):
        new = new.dictionary_encode()
    elif pa.types.is_string(old.type) and pa.types.is_dictionary(new.type):
        new = new.dictionary_decode()
    return pa.concat_arrays([old, new])


def _joined_labels(
    old: pa.DictionaryArray, new: pa.DictionaryArray, taken: NDArray[np.int64], label_set: pa.Array
) -> pa.DictionaryArray:
    sets = pa.concat_arrays([old.dictionary, new.dictionary])
    indices = pa.concat_arrays([old.indices, pc.add(new.indices, pa.scalar(len(old.dictionary), pa.int32()))])
    indices = indices.take(pa.array(taken))
    encoded = label_set.dictionary_encode()
    rows = np.flatnonzero(flags(encoded.is_valid()))
    first = np.zeros(len(encoded.dictionary), dtype=np.int64)
    first[encoded.indices.drop_null().to_numpy()[::-1]] = rows[::-1]
    return pa.DictionaryArray.from_arrays(encoded.indices, sets.take(indices.take(pa.array(first))))
