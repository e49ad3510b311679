"""What a condition asks of texts: equal, before or after, LIKE; all without regard to case.

Lower case is Unicode's, character by character. Texts of ASCII alone, nearly all, take a path ten times as fast.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuralrank.queries._where_arrays import COMPUTE
from neuralrank.queries._where_columns import Mask, as_mask, rows_at, with_nulls


class LowerTest(Protocol):
    """What is asked of texts in lower case."""

    def __call__(self, texts: pa.StringArray, /) -> Mask:
        """Return one truth value per text; anything for null."""
        ...


@dataclass(frozen=True, kw_only=True)
class IgnoringCase:
    """A text passes a test in lower case."""

    test: LowerTest

    def __call__(self, texts: pa.Array) -> pa.BooleanArray:
        if not len(texts):
            return pa.array([], pa.bool_())
        mask = self.test(pc.ascii_lower(texts))
        offsets, data = _buffers(texts)
        others = np.unique(rows_at(np.flatnonzero(data >= 128), offsets))
        if len(others):
            mask[others] = self.test(pc.utf8_lower(texts.take(pa.array(others))))
        return with_nulls(mask, texts)


@dataclass(frozen=True, kw_only=True)
class IsOneOf:
    """A text is one of some."""

    values: tuple[str, ...]

    def __call__(self, texts: pa.StringArray) -> Mask:
        if len(self.values) == 1:
            return as_mask(pc.equal(texts, self.values[0]))
        return as_mask(pc.is_in(texts, value_set=pa.array(self.values, pa.string())))


@dataclass(frozen=True, kw_only=True)
class InOrder:
    """A text comes before or after others, by code point."""

    comparisons: tuple[tuple[str, str], ...]
    """(sign, text), all of which hold."""

    def __call__(self, texts: pa.StringArray) -> Mask:
        mask = np.ones(len(texts), dtype=np.bool_)
        for sign, value in self.comparisons:
            mask &= as_mask(pc.call_function(COMPUTE[sign], [texts, pa.scalar(value)]))
        return mask


@dataclass(frozen=True, kw_only=True)
class Affixed:
    """A text begins, or ends, with another."""

    affix: str
    at_end: bool

    def __call__(self, texts: pa.StringArray) -> Mask:
        return as_mask((pc.ends_with if self.at_end else pc.starts_with)(texts, self.affix))


@dataclass(frozen=True, kw_only=True)
class Contains:
    """A text contains another, and where there is a pattern matches it as a whole."""

    needle: str
    pattern: str = ""

    def __call__(self, texts: pa.StringArray) -> Mask:
        mask = _contain(texts, self.needle.encode()) if self.needle else np.ones(len(texts), dtype=np.bool_)
        if self.pattern:
            rows = np.flatnonzero(mask)
            mask[rows] = as_mask(pc.match_substring_regex(texts.take(pa.array(rows)), self.pattern))
        return mask


def lower(text: str) -> str:
    """Return a text in the lower case that columns are compared in."""
    return str(pc.utf8_lower(pa.scalar(text)).as_py())


def _contain(texts: pa.StringArray, needle: bytes) -> Mask:
    """Say which texts contain a needle, by a search of all their bytes at once.

    A match of the bytes is a match of the characters: no character of UTF-8 begins inside another. For a rare needle
    this takes a quarter of the time of Arrow's search, which goes text by text; a frequent one is left to that.
    """
    offsets, data = _buffers(texts)
    mask = np.zeros(len(texts), dtype=np.bool_)
    n_starts = len(data) - len(needle) + 1
    if n_starts <= 0:
        return mask
    letters = np.frombuffer(needle, np.uint8)
    usual = np.bincount(data[:10_000], minlength=256)[letters]  # two rare bytes leave few places to look at closely
    rare = int(np.argmin(usual[:-1] * usual[1:])) if len(letters) > 1 else 0
    hits = data[rare : n_starts + rare] == letters[rare]
    if len(letters) > 1:
        hits &= data[rare + 1 : n_starts + rare + 1] == letters[rare + 1]
    if np.count_nonzero(hits) > len(texts) // 2:
        return as_mask(pc.match_substring(texts, needle.decode()))
    places = np.flatnonzero(hits)
    for index, letter in enumerate(letters):
        if not rare <= index <= rare + 1:
            places = places[data[places + index] == letter]
    rows = rows_at(places, offsets)
    mask[rows[places + len(needle) <= offsets[rows + 1]]] = True
    return mask


def _buffers(texts: pa.StringArray) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the bytes of all texts, and the position of the first byte of each, with the end of the last."""
    _, starts, data = texts.buffers()
    offsets = np.frombuffer(starts, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], bytes_[offsets[0] : offsets[-1]]
