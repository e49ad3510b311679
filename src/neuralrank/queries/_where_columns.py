"""Columns of the catalogue, read into the few shapes that conditions look at."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuralrank.fields import Kind

Mask = NDArray[np.bool_]
_TYPES = {
    "text": pa.string(),
    "list": pa.list_(pa.string()),
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
}


def read_column(table: Any, name: str, kind: Kind) -> pa.Array:
    """Return a column as one array of the type of its kind; dates as microseconds since 1970, NaN as null."""
    column = table.column(name)
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if kind == "text":
        return _plain_texts(column)
    if kind == "list":
        return column.cast(_TYPES[kind]) if pa.types.is_null(column.type) else column
    if column.type != _TYPES[kind]:
        column = column.cast(_TYPES[kind])
    if kind == "number" and pc.any(pc.is_nan(column)).as_py():
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    return column.view(pa.int64()) if kind == "date" else column


def rows_at(positions: NDArray[np.int64], offsets: NDArray[Any]) -> NDArray[np.int64]:
    """Return the row that each position lies in, where row i reaches from offsets[i] to offsets[i + 1]."""
    return np.searchsorted(offsets, positions, side="right") - 1


def as_mask(result: pa.BooleanArray) -> Mask:
    """Return truth values as an array of its own, null as false."""
    mask: Mask = result.fill_null(False).to_numpy(zero_copy_only=False)
    return mask if mask.flags.writeable else mask.copy()


def with_nulls(mask: Mask, values: pa.Array) -> pa.BooleanArray:
    """Return truth values that are null where `values` are."""
    return pa.array(mask, mask=values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None)


def _plain_texts(values: pa.Array) -> pa.Array:
    """Return texts, or a dictionary of texts that is worth testing in place of its rows."""
    if pa.types.is_dictionary(values.type):
        if values.dictionary.null_count == 0 and len(values.dictionary) <= len(values):
            return values
        values = values.dictionary_decode()
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def read_members(column: pa.Array) -> tuple[NDArray[Any], pa.Array]:
    """Return the members of all lists, and the position of the first of each list, with the end of the last."""
    offsets = column.offsets.to_numpy()
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    return offsets - first, _plain_texts(column.values.slice(first, last - first))


def missing_lists(column: pa.Array, offsets: NDArray[Any], members: pa.Array) -> Mask:
    """Say which lists are null, or have no member that is not."""
    missing: Mask = np.ones(len(column), dtype=np.bool_)
    if members.null_count:
        known = np.flatnonzero(members.is_valid().to_numpy(zero_copy_only=False))
        missing[rows_at(known, offsets)] = False
    else:
        missing = offsets[1:] == offsets[:-1]
    return missing | column.is_null().to_numpy(zero_copy_only=False) if column.null_count else missing
