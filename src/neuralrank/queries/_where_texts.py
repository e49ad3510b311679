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

_CASE = np.uint8(ord("a") - ord("A"))
"""The bit in which a capital letter differs from a small one."""
_BLOCK = 2**17
"""So many bytes are looked at together: what is made of them stays in the processor's cache."""


class LowerTest(Protocol):
    """What is asked of texts, in lower case but for letters from A to Z, the case of which makes no difference."""

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
        mask = self.test(texts)
        offsets, data = _buffers(texts)
        if len(data) and data.max() >= 128:
            others = np.unique(rows_at(np.flatnonzero(data >= 128), offsets))
            mask[others] = self.test(pc.utf8_lower(texts.take(pa.array(others))))
        return with_nulls(mask, texts)


@dataclass(frozen=True, kw_only=True)
class IsOneOf:
    """A text is one of some."""

    values: tuple[str, ...]

    def __call__(self, texts: pa.StringArray) -> Mask:
        texts = pc.ascii_lower(texts)
        if len(self.values) == 1:
            return as_mask(pc.equal(texts, self.values[0]))
        return as_mask(pc.is_in(texts, value_set=pa.array(self.values, pa.string())))


@dataclass(frozen=True, kw_only=True)
class InOrder:
    """A text comes before or after others, by code point."""

    comparisons: tuple[tuple[str, str], ...]
    """(sign, text), all of which hold."""

    def __call__(self, texts: pa.StringArray) -> Mask:
        mask, texts = np.ones(len(texts), dtype=np.bool_), pc.ascii_lower(texts)
        for sign, value in self.comparisons:
            mask &= as_mask(pc.call_function(COMPUTE[sign], [texts, pa.scalar(value)]))
        return mask


@dataclass(frozen=True, kw_only=True)
class Affixed:
    """A text begins, or ends, with another."""

    affix: str
    at_end: bool

    def __call__(self, texts: pa.StringArray) -> Mask:
        return as_mask((pc.ends_with if self.at_end else pc.starts_with)(pc.ascii_lower(texts), self.affix))


@dataclass(frozen=True, kw_only=True)
class Contains:
    """A text contains another, and where there is a pattern matches it as a whole."""

    needle: str
    pattern: str = ""

    def __call__(self, texts: pa.StringArray) -> Mask:
        mask = _contain(texts, self.needle.encode()) if self.needle else np.ones(len(texts), dtype=np.bool_)
        if self.pattern:
            rows = np.flatnonzero(mask)
            matched = pc.ascii_lower(texts.take(pa.array(rows)))
            mask[rows] = as_mask(pc.match_substring_regex(matched, self.pattern))
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
    usual = [np.count_nonzero(_begin(data[:10_000], letters[place : place + 2])) for place in range(len(letters) - 1)]
    rare = int(np.argmin(usual)) if usual else 0  # two letters that leave few places to look at closely
    places = _places(data[rare : n_starts + rare + len(letters[rare + 1 : rare + 2])], letters[rare : rare + 2])
    if len(places) > len(texts) // 2:
        return as_mask(pc.match_substring(pc.ascii_lower(texts), needle.decode()))
    for index, letter in enumerate(letters):
        if not rare <= index <= rare + 1:
            places = places[_are(data[places + index], letter)]
    rows = rows_at(places, offsets)
    mask[rows[places + len(needle) <= offsets[rows + 1]]] = True
    return mask


def _places(data: NDArray[np.uint8], letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return where one or two letters begin."""
    more = len(letters) - 1
    starts = range(0, len(data) - more, _BLOCK)
    return np.concatenate([_begin(data[at : at + _BLOCK + more], letters).nonzero()[0] + at for at in starts])


def _begin(bytes_: NDArray[np.uint8], letters: NDArray[np.uint8]) -> Mask:
    """Say of all bytes but the last whether two letters begin there, or of all whether they are one letter."""
    small = bytes_ | _CASE
    first, *second = ((small if _is_letter(letter) else bytes_) for letter in letters)
    if not second:
        begins: Mask = first == letters[0]
        return begins
    begins = first[:-1] == letters[0]
    begins &= second[0][1:] == letters[1]
    return begins


def _are(bytes_: NDArray[np.uint8], letter: int) -> Mask:
    """Say which bytes are a letter, in either case if it is one of a to z."""
    same: Mask = (bytes_ | _CASE if _is_letter(letter) else bytes_) == letter
    return same


def _is_letter(byte: int) -> bool:
    return ord("a") <= byte <= ord("z")


def _buffers(texts: pa.StringArray) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the bytes of all texts, and the position of the first byte of each, with the end of the last."""
    _, starts, data = texts.buffers()
    offsets = np.frombuffer(starts, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], bytes_[offsets[0] : offsets[-1]]
