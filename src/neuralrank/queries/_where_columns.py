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
    mask = _unpacked(result.buffers()[1], result.offset, len(result))
    return mask & known_mask(result) if result.null_count else mask


def known_mask(values: pa.Array) -> Mask:
    """Say which values are not null, as an array of its own."""
    if not values.null_count:
        return np.ones(len(values), dtype=np.bool_)
    return _unpacked(values.buffers()[0], values.offset, len(values))


def truths(mask: Mask, known: Mask | None = None) -> pa.BooleanArray:
    """Return truth values that are null where they are not known."""
    bits = [None if one is None else pa.py_buffer(np.packbits(one, bitorder="little")) for one in (known, mask)]
    return pa.BooleanArray.from_buffers(pa.bool_(), len(mask), bits)


def with_nulls(mask: Mask, values: pa.Array) -> pa.BooleanArray:
    """Return truth values that are null where `values` are."""
    return truths(mask, known_mask(values) if values.null_count else None)


def at_indices(found: pa.BooleanArray, encoded: pa.DictionaryArray) -> pa.BooleanArray:
    """Return for each row the truth value of its entry in the dictionary, null where it has none."""
    if not len(found):
        return pa.nulls(len(encoded), pa.bool_())
    indices = encoded.indices
    places = np.frombuffer(indices.buffers()[1], indices.type.to_pandas_dtype(), len(indices) + indices.offset)
    places = places[indices.offset :]
    mask = as_mask(found).take(places, mode="clip")  # what stands in place of a null may point anywhere
    if not found.null_count:
        return with_nulls(mask, indices)
    return truths(mask, known_mask(indices) & known_mask(found).take(places, mode="clip"))


def any_in_lists(passing: Mask, offsets: NDArray[Any]) -> Mask:
    """Say which lists have a member that passes."""
    n_before = np.zeros(len(passing) + 1, dtype=np.int32)
    np.cumsum(passing, out=n_before[1:])
    at_ends = n_before.take(offsets)
    found: Mask = at_ends[1:] > at_ends[:-1]
    return found


def _unpacked(bits: pa.Buffer | None, offset: int, n: int) -> Mask:
    """Read packed bits: many times quicker than the array's own conversion."""
    if bits is None or not n:
        return np.zeros(n, dtype=np.bool_)
    start = offset // 8
    packed = np.frombuffer(bits, np.uint8, -(-(offset + n) // 8) - start, start)
    return np.unpackbits(packed, count=offset % 8 + n, bitorder="little")[offset % 8 :].view(np.bool_)


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
    missing = ~any_in_lists(known_mask(members), offsets) if members.null_count else offsets[1:] == offsets[:-1]
    return missing | ~known_mask(column) if column.null_count else missing
