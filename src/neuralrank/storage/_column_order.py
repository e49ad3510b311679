"""The first of many values in the order of a field: a million are looked through, and few are sorted."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_MANY = 8
"""Sorting all is as quick as looking for the first if there are fewer than this times as many."""


def first_places(values: pa.Array, n: int, *, descending: bool) -> NDArray[np.int64]:
    """Return the places of the first `n` values in order, nulls last, ties in the order given.

    Texts are compared without regard to case, lists by their first member.
    """
    values = _sortable(values)
    missing = np.flatnonzero(flags(values.is_null()))
    places = np.flatnonzero(flags(values.is_valid())) if len(missing) else np.arange(len(values))
    known = values.drop_null()
    if pa.types.is_string(known.type):
        places = places[_first_texts(known, n, descending=descending)]
    else:
        places = places[_first_numbers(known.to_numpy(zero_copy_only=False), n, descending=descending)]
    return np.concatenate([places, missing])[:n]


def flags(values: pa.BooleanArray) -> NDArray[np.bool_]:
    """Return truth values as an array; what a null becomes is not said."""
    bits = values.buffers()[1]
    return _unpacked(bits, values.offset, len(values))


def known_flags(values: pa.BooleanArray) -> NDArray[np.bool_]:
    """Return which truth values are not null."""
    bits = values.buffers()[0]
    return np.ones(len(values), dtype=bool) if bits is None else _unpacked(bits, values.offset, len(values))


def _unpacked(bits: pa.Buffer | None, offset: int, n: int) -> NDArray[np.bool_]:
    """Read packed bits: many times quicker than the array's own conversion."""
    if bits is None or n == 0:
        return np.zeros(n, dtype=bool)
    start = offset // 8
    packed = np.frombuffer(bits, dtype=np.uint8, count=-(-(offset + n) // 8) - start, offset=start)
    unpacked = np.unpackbits(packed, count=offset % 8 + n, bitorder="little")[offset % 8 :]
    return unpacked.view(np.bool_)


def _first_numbers(values: NDArray[Any], n: int, *, descending: bool) -> NDArray[np.int64]:
    if descending:  # the smallest integer has no negative
        values = ~values if values.dtype.kind == "i" else -values
    if len(values) <= _MANY * n:
        return np.argsort(values, kind="stable")[:n]
    close = np.flatnonzero(values <= np.partition(values, n - 1)[n - 1])
    return close[np.argsort(values[close], kind="stable")[:n]]


def _first_texts(values: pa.Array, n: int, *, descending: bool) -> NDArray[np.int64]:
    direction = "descending" if descending else "ascending"
    close = np.arange(len(values))
    if len(values) > _MANY * n:  # all up to the n-th: ties are not told apart before the last sort
        last = pc.select_k_unstable(values, k=n, sort_keys=[("", direction)])[-1]
        reaches = pc.greater_equal if descending else pc.less_equal
        close = np.flatnonzero(flags(reaches(values, values[last.as_py()])))
    table = pa.table({"value": values.take(pa.array(close)), "place": close})
    order: NDArray[np.int64] = pc.sort_indices(table, [("value", direction), ("place", "ascending")]).to_numpy()
    return close[order[:n]]


def _sortable(values: pa.Array) -> pa.Array:
    """Return numbers or texts of the same order."""
    if pa.types.is_dictionary(values.type):
        return ranks(values)
    if pa.types.is_string(values.type):
        return _lower(values)
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8())
    if pa.types.is_list(values.type):
        return ranks(values)
    return values


def _lower(texts: pa.StringArray) -> pa.StringArray:
    """Return texts in lower case: ten times as quick where all of it is ASCII."""
    data = texts.buffers()[2]
    is_ascii = data is None or not data.size or np.frombuffer(data, dtype=np.uint8).max() < 128
    return pc.ascii_lower(texts) if is_ascii else pc.utf8_lower(texts)


def ranks(values: pa.DictionaryArray | pa.ListArray) -> pa.Array:
    """Return for each text, or first member of a list, its place in the alphabet; case makes no difference."""
    if pa.types.is_list(values.type):
        starts = pa.array(values.offsets.to_numpy()[:-1], mask=~known_flags(values))
        values = values.values.take(starts)
        values = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if not len(values.dictionary):
        return pa.nulls(len(values), pa.int64())
    places = pc.rank(_lower(values.dictionary), tiebreaker="dense").cast(pa.int64())
    return places.take(values.indices)
