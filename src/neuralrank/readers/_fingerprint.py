"""Identify a target by what it holds, wherever it lies.

The fingerprint is the SHA-256 of the sample names, the content of the files and the labels. It is made to tell data
sets apart at a glance, not to key a cache: of a file above 16 MiB it reads the size and 64 evenly spaced blocks of
64 KiB (first and last included), and of a folder above 4 GiB the size and the first and last 64 KiB of every file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE_FILE_BYTES = 16 * 2**20
WHOLE_FOLDER_BYTES = 4 * 2**30
N_BLOCKS = 64
BLOCK_BYTES = 64 * 2**10
_CHUNK_BYTES = 2**24


def fingerprint(content: Iterable[bytes], labels: NDArray[Any], class_names: Sequence[str]) -> str:
    """Return 64 hexadecimal digits over content, labels and the names of the classes.

    Args:
        content: pieces that identify the samples, in order; each is hashed with its length.
        labels: shape (n_samples,) or (n_samples, n_columns); class indices, values, or 0 and 1.
        class_names: one per class index or label column.
    """
    digest = hashlib.sha256()
    for part in (*(name.encode("utf-8", "surrogatepass") for name in class_names), labels.tobytes()):
        _add(digest, part)
    if labels.ndim > 1:  # else the bytes alone say it; fingerprints of single values stay what they were
        _add(digest, f"{labels.shape}".encode())
    for part in content:
        _add(digest, part)
    return digest.hexdigest()


def files_content(names: Sequence[str], paths: Sequence[Path | None]) -> Iterator[bytes]:
    """Yield name and content of every file; a missing file counts by its name alone."""
    sizes = [path.stat().st_size if path is not None and path.is_file() else -1 for path in paths]
    n_blocks = N_BLOCKS if sum(sizes) <= WHOLE_FOLDER_BYTES else 2
    whole_bytes = WHOLE_FILE_BYTES if n_blocks == N_BLOCKS else n_blocks * BLOCK_BYTES
    for name, path, size in zip(names, paths, sizes, strict=True):
        yield name.encode("utf-8", "surrogatepass")
        yield str(size).encode()
        if path is not None and size >= 0:
            yield from _blocks(path, size, n_blocks, whole_bytes)


def array_content(array: NDArray[Any]) -> Iterator[bytes]:
    """Yield type, shape and all bytes of an array."""
    yield f"{array.dtype.str}{array.shape}".encode()
    if array.dtype.kind in "UST":
        yield from (str(text).encode() for text in array.ravel())
        return
    rows = max(1, _CHUNK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), rows):
        yield array[start : start + rows].tobytes()


def spaced(n: int, limit: int) -> NDArray[np.int64]:
    """Return at most `limit` evenly spaced indices below `n`, first and last included."""
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    return np.linspace(0, n - 1, limit).astype(np.int64)


def _blocks(path: Path, size: int, n_blocks: int, whole_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        if size <= whole_bytes:
            yield file.read()
            return
        for start in np.linspace(0, size - BLOCK_BYTES, n_blocks).astype(np.int64):
            file.seek(int(start))
            yield file.read(BLOCK_BYTES)


def _add(digest: Any, part: bytes) -> None:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)
