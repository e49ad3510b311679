"""The parts of a condition that look at columns: each takes a chunk of records and returns one truth value per row.

Unknown is null throughout. A dictionary is tested instead of its rows, and the members of all lists at once.
"""

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuralrank.fields import Kind
from neuralrank.queries._where_columns import (
    any_in_lists,
    as_mask,
    at_indices,
    missing_lists,
    read_column,
    read_members,
    truths,
    with_nulls,
)

LIMITS: dict[str, tuple[float, float]] = {"int": (-(2**63), 2**63 - 1), "float": (-math.inf, math.inf)}
COMPUTE = {"=": "equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}


class Predicate(Protocol):
    """A part of a condition that reads columns."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        ...

    def __call__(self, table: Any) -> pa.BooleanArray:
        """Return one truth value per row, null for unknown."""
        ...


Step = Predicate | Literal["and", "or", "not"]


class ValueTest(Protocol):
    """What is asked of single values: texts, 64-bit integers, floats or truth values."""

    def __call__(self, values: pa.Array, /) -> pa.BooleanArray:
        """Return one truth value per value, null for null."""
        ...


@dataclass(frozen=True, kw_only=True)
class Holds:
    """A field passes a test; a list does if one of its members does."""

    field: str
    kind: Kind
    test: ValueTest

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)

    def __call__(self, table: Any) -> pa.BooleanArray:
        column = read_column(table, self.field, self.kind)
        if self.kind != "list":
            return self._test_values(column)
        if pa.types.is_dictionary(column.type):
            return at_indices(self._test_lists(column.dictionary), column)
        return self._test_lists(column)

    def _test_lists(self, column: pa.ListArray) -> pa.BooleanArray:
        offsets, members = read_members(column)
        passing = any_in_lists(as_mask(self._test_values(members)), offsets)
        return truths(passing, ~missing_lists(column, offsets, members))

    def _test_values(self, values: pa.Array) -> pa.BooleanArray:
        if pa.types.is_dictionary(values.type):
            return at_indices(self.test(values.dictionary), values)
        return self.test(values)


@dataclass(frozen=True, kw_only=True)
class IsMissing:
    """A field has no value; a list is empty."""

    field: str
    kind: Kind

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)

    def __call__(self, table: Any) -> pa.BooleanArray:
        column = read_column(table, self.field, self.kind)
        if self.kind != "list":
            return column.is_null()
        if pa.types.is_dictionary(column.type):
            of_sets = missing_lists(column.dictionary, *read_members(column.dictionary))
            return at_indices(truths(of_sets), column).fill_null(True)
        return truths(missing_lists(column, *read_members(column)))


@dataclass(frozen=True, kw_only=True)
class FieldsCompare:
    """One field compares with another of its kind."""

    left: str
    right: str
    kind: Kind
    comparison: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.left, self.right)

    def __call__(self, table: Any) -> pa.BooleanArray:
        left, right = (read_column(table, name, self.kind) for name in self.fields)
        return pc.call_function(COMPUTE[self.comparison], [left, right])


@dataclass(frozen=True, kw_only=True)
class InRanges:
    """A number lies in one of some ranges, ends included; a range without an end goes to the limit of the type."""

    ranges: tuple[tuple[float, float], ...]

    def __call__(self, values: pa.Array) -> pa.BooleanArray:
        if len(self.ranges) > 8:
            return self._search(values)
        parts = [_lies_within(values, low, high) for low, high in self.ranges]
        return reduce(pc.or_, parts or [pc.invert(_known(values))])

    def _search(self, values: pa.Array) -> pa.BooleanArray:
        """Find each value among the sorted ranges: hundreds of them would be hundreds of passes."""
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        lows, highs = (np.array(ends, dtype=numbers.dtype) for ends in zip(*sorted(self.ranges), strict=True))
        highs = np.maximum.accumulate(highs)
        place = np.searchsorted(lows, numbers, side="right") - 1
        return with_nulls((place >= 0) & (numbers <= highs[place]), values)


@dataclass(frozen=True, kw_only=True)
class IsTruth:
    """A truth value is the given one."""

    value: bool

    def __call__(self, values: pa.Array) -> pa.BooleanArray:
        return values if self.value else pc.invert(values)


def _known(values: pa.Array) -> pa.BooleanArray:
    """Return true for every value, null for null."""
    return pc.if_else(values.is_valid(), pa.scalar(True), pa.scalar(None, pa.bool_()))


def _lies_within(values: pa.Array, low: float, high: float) -> pa.BooleanArray:
    least, most = LIMITS["float" if pa.types.is_floating(values.type) else "int"]
    first, last = pa.scalar(low, values.type), pa.scalar(high, values.type)
    if low == high:
        return pc.equal(values, first)
    if low == least:
        return pc.less_equal(values, last) if high != most else _known(values)
    above = pc.greater_equal(values, first)
    return pc.and_(above, pc.less_equal(values, last)) if high != most else above
