"""One file of rows by sample: a safetensors file in which a checksum covers every byte, read only as far as needed.

The tensors are `digests` (n, 16), `row_crcs` (n,), `crc` (1,) and `values` (n, width), in that order. `crc` is over the
header and the two before it, each row of values has its own in `row_crcs`: a hundred rows of a large file cost a
hundred rows. 16 bytes of a SHA-256 are enough: among 10^9 samples two meet by chance once in 10^20 cases, and who makes
two of his own samples meet on purpose spoils only his own ranking.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
_MAX_HEADER_BYTES = 16 << 20
_LENGTH_BYTES = 8
_BLOCK_BYTES = 512 << 10
_GAP_BYTES = 16 << 10  # what is read for nothing before a second call costs less
_CRC = np.dtype("<u4")
_VALUE = np.dtype("<f4")


class DamagedError(ValueError):
    """A file is not what was written, or not what its place says."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """An open file of rows; a context manager that closes it."""

    path: Path
    descriptor: int
    digests: NDArray[np.uint8]
    """Shape (n_rows, 16), each once."""
    width: int
    metadata: Mapping[str, Any]
    row_crcs: NDArray[np.uint32]
    values_start: int

    def __enter__(self) -> "Segment":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return rows in the order of `places`; see `read_into`."""
        rows = np.empty((len(places), self.width), dtype=_VALUE)
        self.read_into(rows, places, np.arange(len(places)))
        return rows

    def read_into(self, out: NDArray[np.float32], places: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Put the row at each of `places`, which may repeat, into the row of `out` that `targets` names.

        It goes through the file once, a block at a time that the processor's cache can hold.

        Raises:
            DamagedError: one of them has changed since it was written; `out` is half filled.
            OSError: the file cannot be read.
        """
        if not len(places) or not self.width:
            return
        row_bytes = self.width * _VALUE.itemsize
        order = np.argsort(places, kind="stable")
        places, targets = places[order], targets[order]
        block = max(1, _BLOCK_BYTES // row_bytes)
        far = np.diff(places, prepend=-block) > 1 + _GAP_BYTES // row_bytes
        starts = np.flatnonzero(far | (np.diff(places // block, prepend=-1) != 0)).tolist()
        buffer = np.empty((block, self.width), dtype=_VALUE)
        for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
            self._read_block(out, places[start:end], targets[start:end], buffer)

    def _read_block(
        self,
        out: NDArray[np.float32],
        places: NDArray[np.int64],
        targets: NDArray[np.int64],
        buffer: NDArray[np.float32],
    ) -> None:
        """Put the rows of one block into `out`; directly, if they lie there as they do in the file."""
        first, n_rows = int(places[0]), int(places[-1] - places[0]) + 1
        dense = bool((np.diff(places) == 1).all())
        alike = dense and bool((np.diff(targets) == 1).all())
        rows = out[targets[0] : targets[0] + n_rows] if alike else buffer[:n_rows]
        self._read_rows(rows, first)
        if not dense:
            rows = rows[places - first]
        if list(map(zlib.crc32, rows)) != self.row_crcs[places].tolist():
            raise DamagedError("rows have changed since they were written")
        if not alike:
            out[targets] = rows

    def _read_rows(self, rows: NDArray[np.float32], first: int) -> None:
        left = rows.data.cast("B")
        position = self.values_start + first * self.width * _VALUE.itemsize
        while left:
            n_read = os.preadv(self.descriptor, [left], position)
            if not n_read:
                raise DamagedError("shorter than its header says")
            left, position = left[n_read:], position + n_read


def sample_digests(samples: Sequence[str] | NDArray[Any]) -> NDArray[np.uint8]:
    """Return what names samples here: the first 16 bytes of their digests, shape (n_samples, 16).

    Args:
        samples: at least 32 hexadecimal digits for each, or what this function returned.
    """
    if isinstance(samples, np.ndarray) and samples.dtype == np.uint8:
        if samples.ndim != 2 or samples.shape[1] != DIGEST_BYTES:
            raise ValueError(f"Digests of samples need shape (n, {DIGEST_BYTES}). Got {samples.shape}.")
        return np.ascontiguousarray(samples)
    n_digits = 2 * DIGEST_BYTES
    text = "".join([sample[:n_digits] for sample in samples])
    data = bytes.fromhex(text)
    if len(text) != n_digits * len(samples) or 2 * len(data) != len(text):
        raise ValueError(f"The digest of a sample needs at least {n_digits} hexadecimal digits.")
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def find(digests: NDArray[np.uint8], asked: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the place in `digests` of each one that is asked for, -1 where it is not among them."""
    if not len(digests) or not len(asked):
        return np.full(len(asked), -1, dtype=np.int64)
    # Numbers are found ten times as fast as strings; of random digests the first halves differ already.
    known, wanted = (np.ascontiguousarray(part).view(np.uint64) for part in (digests, asked))
    heads = known[:, 0]
    order = np.argsort(heads)
    if (np.diff(heads[order]) == 0).any():
        return _find_words(digests, asked)
    places = order[np.minimum(np.searchsorted(heads[order], wanted[:, 0]), len(heads) - 1)]
    same = (known[places, 0] == wanted[:, 0]) & (known[places, 1] == wanted[:, 1])
    return np.where(same, places, -1)


def _find_words(digests: NDArray[np.uint8], asked: NDArray[np.uint8]) -> NDArray[np.int64]:
    known, wanted = as_words(digests), as_words(asked)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)]
    return np.where(known[places] == wanted, places, -1)


def as_words(digests: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return digests as values that can be sorted, shape (n,)."""
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").reshape(-1)


def segment_chunks(
    key: str,
    digests: NDArray[np.uint8],
    row_crcs: NDArray[np.uint32],
    width: int,
    rows: Iterable[NDArray[np.float32]],
    metadata: Mapping[str, Any],
) -> Iterator[memoryview | bytes]:
    """Yield the content of a file.

    Args:
        key: what it is kept under.
        digests: shape (n_rows, 16).
        row_crcs: CRC-32 of each row.
        width: of the rows.
        rows: all rows in their order, in arrays of any length.
        metadata: JSON values.
    """
    header, _ = _header(key, len(digests), width, json.dumps(dict(metadata)))
    head = header + np.ascontiguousarray(digests).tobytes() + row_crcs.astype(_CRC).tobytes()
    yield head + np.array([zlib.crc32(head)], dtype=_CRC).tobytes()
    for part in rows:
        if part.size:
            yield np.ascontiguousarray(part, dtype=_VALUE).data.cast("B")


def crcs(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row."""
    return np.array(list(map(zlib.crc32, np.ascontiguousarray(values, dtype=_VALUE))), dtype=np.uint32)


def open_segment(path: Path, key: str) -> Segment:
    """Open a file and read all of it but the rows.

    Raises:
        DamagedError: it is no whole file of this key.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return _opened(path, descriptor, key)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        os.close(descriptor)
        raise DamagedError(str(error)) from error
    except BaseException:
        os.close(descriptor)
        raise


def _opened(path: Path, descriptor: int, key: str) -> Segment:
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(_exactly(descriptor, _LENGTH_BYTES, 0), "little")
    if length > min(size, _MAX_HEADER_BYTES):
        raise DamagedError("a header longer than any")
    header = _exactly(descriptor, _LENGTH_BYTES + length, 0)
    said = json.loads(header[_LENGTH_BYTES:])
    n_rows, width = said["values"]["shape"]
    text = said["__metadata__"]["metadata"]
    expected, start = _header(key, n_rows, width, text)
    if header != expected or size != start + n_rows * width * _VALUE.itemsize:
        raise DamagedError("not a whole file of this key")
    body = _exactly(descriptor, start - len(header), len(header))
    if zlib.crc32(body[: -_CRC.itemsize], zlib.crc32(header)) != int.from_bytes(body[-_CRC.itemsize :], "little"):
        raise DamagedError("the header has changed since it was written")
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise DamagedError("metadata of another kind")
    digests = np.frombuffer(body, dtype=np.uint8, count=n_rows * DIGEST_BYTES).reshape(n_rows, DIGEST_BYTES)
    row_crcs = np.frombuffer(body, dtype=_CRC, count=n_rows, offset=digests.nbytes)
    return Segment(
        path=path,
        descriptor=descriptor,
        digests=digests,
        width=width,
        metadata=metadata,
        row_crcs=row_crcs,
        values_start=start,
    )


def _header(key: str, n_rows: int, width: int, metadata: str) -> tuple[bytes, int]:
    """Return the length and the JSON that a file begins with, and where its values begin."""
    tensors: dict[str, Any] = {"__metadata__": {"key": key, "metadata": metadata}}
    offset = 0
    for name, kind, shape, n_bytes in (
        ("digests", "U8", [n_rows, DIGEST_BYTES], n_rows * DIGEST_BYTES),
        ("row_crcs", "U32", [n_rows], n_rows * _CRC.itemsize),
        ("crc", "U32", [1], _CRC.itemsize),
        ("values", "F32", [n_rows, width], n_rows * width * _VALUE.itemsize),
    ):
        tensors[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + n_bytes]}
        offset += n_bytes
    text = json.dumps(tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = _LENGTH_BYTES + len(text) + offset - n_rows * width * _VALUE.itemsize
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text, start


def _exactly(descriptor: int, n_bytes: int, position: int) -> bytes:
    data = os.pread(descriptor, n_bytes, position)
    if len(data) < n_bytes:
        raise DamagedError("shorter than its header says")
    return data
