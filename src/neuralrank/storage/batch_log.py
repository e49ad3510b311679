"""Write the rows of a pass batch by batch, in a worker that may be killed, and read them where it is not trusted.

A record is in the system's hands when `append` returns, so a killed worker loses only the batch it is at. It is not
forced to the disk, which would cost more than the batch: after a power cut the checksums tell which records are whole.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_WIDTH = 65_536
MAX_RECORD_BYTES = 256 << 20
_MAGIC = b"nrb1"
_HEADER = struct.Struct("<4s16sIII")  # magic, kind, number of rows, width, CRC-32 of all that comes before and after it
_ROW = np.dtype("<i8")
_VALUE = np.dtype("<f4")
_REPEATS = 4  # a pass gives each row once; a log that repeats them more often than this is read no further


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of one kind that were written together."""

    kind: str
    rows: NDArray[np.int64]
    """Shape (n,): which of the samples of the pass."""
    values: NDArray[np.float32]
    """Shape (n, width); may hold NaN and infinity."""


class BatchLog:
    """The log of one pass, open for writing by one worker; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open a log.

        Args:
            path: need not exist; what is there stays.

        Raises:
            OSError: it cannot be written.
        """
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)

    def __enter__(self) -> "BatchLog":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(self, kind: str, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Write the rows of one batch; they outlive this process when it returns.

        Args:
            kind: 'features' or 'logits', or another word of at most 16 ASCII letters.
            rows: shape (n,), which samples of the pass they belong to.
            values: shape (n, width).

        Raises:
            OSError: the disk is full or the like; the log is left as it was.
        """
        record = _record(kind, np.ascontiguousarray(rows, dtype=_ROW), np.ascontiguousarray(values, dtype=_VALUE))
        start, left = os.fstat(self._file.fileno()).st_size, memoryview(record)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            try:
                self._file.truncate(start)  # half a record would hide those that follow
            except OSError:
                self._file.close()
            raise


def read_batches(path: Path, n_samples: int) -> Iterator[Batch]:
    """Read whole records up to the first that is not one; whatever else is at `path` has none.

    Nothing in the file is believed: sizes are compared with the size of the file before room is made for them, rows
    have to be rows of the pass, all records of one kind have to be of one width, and links are not followed.

    Args:
        path: of the log; it may still be growing.
        n_samples: of the pass.
    """
    descriptor = _opened(path)
    if descriptor is None:
        return
    widths: dict[str, int] = {}
    n_rows: dict[str, int] = {}
    with os.fdopen(descriptor, "rb") as file:
        left = os.fstat(descriptor).st_size
        while (batch := _read_record(file, left, n_samples)) is not None:
            kind, width = batch.kind, batch.values.shape[1]
            n_rows[kind] = n_rows.get(kind, 0) + len(batch.rows)
            if widths.setdefault(kind, width) != width or n_rows[kind] > _REPEATS * n_samples:
                return
            left -= _HEADER.size + batch.rows.nbytes + batch.values.nbytes
            yield batch


def _record(kind: str, rows: NDArray[np.int64], values: NDArray[np.float32]) -> bytes:
    name = kind.encode("ascii")
    if values.ndim != 2 or rows.shape != values.shape[:1] or not (1 <= values.shape[1] <= MAX_WIDTH) or not len(rows):
        raise ValueError(f"A batch needs one row of values per index. Got {rows.shape} and {values.shape}.")
    if not 1 <= len(name) <= 16 or rows.nbytes + values.nbytes > MAX_RECORD_BYTES:
        raise ValueError(f"A batch needs a short kind and at most {MAX_RECORD_BYTES:,} bytes. Got kind {kind!r}.")
    body = rows.tobytes() + values.tobytes()
    fields = (_MAGIC, name, *values.shape)
    return _HEADER.pack(*fields, _checksum(fields, body)) + body


def _checksum(fields: tuple[bytes | int, ...], body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_HEADER.pack(*fields, 0)))


def _read_record(file: BinaryIO, left: int, n_samples: int) -> Batch | None:
    """Read the next record, of at most `left` bytes."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    *fields, checksum = _HEADER.unpack(header)
    magic, name, n_rows, width = fields
    n_bytes = n_rows * (_ROW.itemsize + width * _VALUE.itemsize)
    fits = n_bytes <= min(left - _HEADER.size, MAX_RECORD_BYTES) and 1 <= width <= MAX_WIDTH and n_rows >= 1
    if magic != _MAGIC or not fits:
        return None
    body = file.read(n_bytes)
    kind = name.rstrip(b"\0")
    if len(body) < n_bytes or _checksum(tuple(fields), body) != checksum or not kind.isalpha():
        return None
    rows = np.frombuffer(body, dtype=_ROW, count=n_rows)
    if rows.min() < 0 or rows.max() >= n_samples:
        return None
    values = np.frombuffer(body, dtype=_VALUE, offset=rows.nbytes).reshape(n_rows, width)
    return Batch(kind=kind.decode(), rows=rows, values=values)


def _opened(path: Path) -> int | None:
    """Open a regular file in a real folder; a pipe or a device would block, a link would lead elsewhere."""
    folder = None
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    finally:
        if folder is not None:
            os.close(folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
