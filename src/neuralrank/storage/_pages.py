"""The rows on the pages of a SQLite file, read without SQLite: what a damaged tree of pages still holds.

Only what is needed for saving rows: the format is described in https://www.sqlite.org/fileformat2.html. The newest
committed copy of a page counts, which may be in the write-ahead log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_SIZES = {2**power for power in range(9, 17)}
_USUAL_SIZE = 4096
_HEADER_BYTES = 100
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


@dataclass(frozen=True, kw_only=True)
class PageRow:
    """One row as it stands on a page."""

    number: int | None
    """Of a numbered table, None in an index or a table that is one."""
    values: tuple[Any, ...]
    """In the order of the columns; fewer than the table has if the row is older than the last columns."""


def page_rows(path: Path) -> Iterator[PageRow]:
    """Yield the rows of all pages that hold rows, also of pages that are no longer used; damaged ones are left out."""
    with _Pages(path) as pages:
        for number in range(1, pages.n_pages + 1):
            page = pages.read(number)
            if page is not None:
                yield from _rows_on(page, _HEADER_BYTES if number == 1 else 0, pages)


class _Pages:
    """Pages by number, from the file or its write-ahead log."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        log = path.with_name(f"{path.name}-wal")
        self._log: BinaryIO | None = log.open("rb") if log.exists() else None
        header = self._file.read(_HEADER_BYTES).ljust(_HEADER_BYTES, b"\0")
        (size,) = struct.unpack_from(">H", header, 16)
        self.size = 65_536 if size == 1 else size if size in _SIZES else _USUAL_SIZE
        self._frames = self._committed()
        in_file = self._file.seek(0, 2) // self.size
        self.n_pages = max([in_file, *self._frames])

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._log is not None:
            self._log.close()

    def read(self, number: int) -> bytes | None:
        """Return a page, None if it is not there."""
        in_log = self._frames.get(number)
        if in_log is not None and self._log is not None:
            self._log.seek(in_log)
            page = self._log.read(self.size)
        else:
            self._file.seek((number - 1) * self.size)
            page = self._file.read(self.size)
        return page if len(page) == self.size else None

    def _committed(self) -> dict[int, int]:
        """Return where in the log the newest committed copy of each page is that the log has."""
        found: dict[int, int] = {}
        if self._log is None:
            return found
        header = self._log.read(32)
        if len(header) < 32 or struct.unpack_from(">I", header, 0)[0] not in _LOG_MAGIC:
            return found
        (self.size,) = struct.unpack_from(">I", header, 8)
        if self.size not in _SIZES:
            self.size = _USUAL_SIZE
        waiting: dict[int, int] = {}
        place = 32
        while len(frame := self._log.read(24)) == 24:
            number, n_pages = struct.unpack_from(">II", frame, 0)
            if frame[8:16] != header[16:24] or not 0 < number < 2**31:  # left over from before the log began anew
                break
            waiting[number] = place + 24
            if n_pages:
                found |= waiting
                waiting = {}
            place += 24 + self.size
            self._log.seek(place)
        return found


def _rows_on(page: bytes, start: int, pages: _Pages) -> Iterator[PageRow]:
    kind = page[start]
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
        return
    (n_cells,) = struct.unpack_from(">H", page, start + 3)
    first = start + (12 if kind == _INDEX_INNER else 8)
    if first + 2 * n_cells > len(page):
        return
    for place in struct.unpack_from(f">{n_cells}H", page, first):
        with suppress(IndexError, ValueError, struct.error):
            yield _row_at(page, place + (4 if kind == _INDEX_INNER else 0), pages, is_table=kind == _TABLE_LEAF)


def _row_at(page: bytes, place: int, pages: _Pages, *, is_table: bool) -> PageRow:
    n_bytes, place = _varint(page, place)
    number = None
    if is_table:
        number, place = _varint(page, place)
    most = pages.size - 35 if is_table else (pages.size - 12) * 64 // 255 - 23
    if n_bytes <= most:
        record = page[place : place + n_bytes]
    else:
        least = (pages.size - 12) * 32 // 255 - 23
        here = least + (n_bytes - least) % (pages.size - 4)
        here = here if here <= most else least
        (following,) = struct.unpack_from(">I", page, place + here)
        record = page[place : place + here] + _overflow(following, n_bytes - here, pages)
    if len(record) != n_bytes:
        raise ValueError("cut off")
    return PageRow(number=number, values=tuple(_values(record)))


def _overflow(number: int, n_bytes: int, pages: _Pages) -> bytes:
    parts: list[bytes] = []
    if n_bytes > pages.n_pages * pages.size:
        raise ValueError("longer than the file")
    while n_bytes > 0:
        page = pages.read(number) if 0 < number <= pages.n_pages else None
        if page is None:
            raise ValueError("leads nowhere")
        (number,) = struct.unpack_from(">I", page, 0)
        parts.append(page[4 : 4 + n_bytes])
        n_bytes -= len(parts[-1])
    return b"".join(parts)


def _values(record: bytes) -> Iterator[Any]:
    ends, place = _varint(record, 0)
    kinds = []
    while place < ends:
        kind, place = _varint(record, place)
        kinds.append(kind)
    if place != ends:
        raise ValueError("no header")
    for kind in kinds:
        value, place = _value(record, place, kind)
        yield value
    if place != len(record):
        raise ValueError("not as long as it says")


def _value(record: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), place
    if kind < 0 or kind in (10, 11):
        raise ValueError("no such kind")
    length = _INTEGER_BYTES.get(kind, 8 if kind == 7 else (kind - 12) // 2)
    content = record[place : place + length]
    if len(content) != length:
        raise ValueError("cut off")
    if kind in _INTEGER_BYTES:
        return int.from_bytes(content, "big", signed=True), place + length
    if kind == 7:
        return struct.unpack(">d", content)[0], place + length
    return (content.decode(errors="replace") if kind % 2 else content), place + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = data[place + count]
        if count == 8:
            value = value << 8 | byte
            break
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return (value - 2**64 if value >= 2**63 else value), place + count + 1
