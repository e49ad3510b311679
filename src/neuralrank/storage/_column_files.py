"""The files of the columns: written whole, found to be what was written, or made again."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from neuralrank.storage._column_arrays import NAMES

VERSION = 2
"""Raised when the columns of a chunk change; files of another version are made again."""
_MANIFEST = "manifest.json"
_READ_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class ChunkFile:
    """What a file was like when it had been written."""

    name: str
    size_bytes: int
    mtime_ns: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Which files hold the columns, in the order of their rows."""

    owner: int | None = None
    """Id of the catalogue they are made from."""
    seq: int = 0
    """Up to which change of it they are current."""
    files: tuple[ChunkFile, ...] = ()


def read_manifest(folder: Path) -> Manifest:
    """Return what the folder holds; nothing if that cannot be told."""
    try:
        found = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        files = tuple(ChunkFile(**file) for file in found["files"])
        owner, seq = found["owner"], found["seq"]
        numbered = isinstance(owner, int) and isinstance(seq, int)
        sound = found["version"] == VERSION and numbered and all(map(_is_sound, files))
        return Manifest(owner=owner, seq=seq, files=files) if sound else Manifest()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Manifest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say which files count from now on."""
    content = {"version": VERSION, **asdict(manifest)}
    with _replacing(folder / _MANIFEST) as file:
        file.write(json.dumps(content).encode())


def remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove what earlier writers left or were interrupted at; the caller is the only writer."""
    named = {file.name for file in manifest.files}
    for path in folder.iterdir():
        if path.name not in named and (path.suffix == ".arrow" or path.name.startswith(".")):
            with suppress(OSError):  # on some systems a file that is mapped cannot be removed
                path.unlink()


def write_chunk(folder: Path, number: int, batch: pa.RecordBatch) -> ChunkFile:
    """Write the columns of one chunk to a new file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = sink.getvalue()
    path = folder / f"{number:05}-{secrets.token_hex(6)}.arrow"
    with _replacing(path) as file:
        file.write(content)
    found = path.stat()
    return ChunkFile(name=path.name, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns, crc32=zlib.crc32(content))


def open_chunk(folder: Path, file: ChunkFile) -> pa.RecordBatch | None:
    """Map a file into memory, None if it is not what was written.

    The bytes are compared if the file was touched since: a copied folder is sound, an altered one is not.
    """
    path = folder / file.name
    try:
        found = path.stat()
        if found.st_size != file.size_bytes:
            return None
        if found.st_mtime_ns != file.mtime_ns and _checksum(path) != file.crc32:
            return None
        with pa.memory_map(str(path)) as mapped:
            batch = pa.ipc.open_file(mapped).get_batch(0)
        batch.validate()
    except (OSError, pa.ArrowException, ValueError, IndexError):
        return None
    return batch if set(batch.schema.names) == NAMES else None


def open_chunks(folder: Path, files: Sequence[ChunkFile]) -> tuple[pa.RecordBatch, ...] | None:
    """Map all files into memory, None if one of them is not what was written."""
    found = []
    for file in files:
        batch = open_chunk(folder, file)
        if batch is None:
            return None
        found.append(batch)
    return tuple(found)


def _is_sound(file: Any) -> bool:
    numbers = (file.size_bytes, file.mtime_ns, file.crc32)
    return (
        isinstance(file.name, str)
        and Path(file.name).name == file.name
        and all(isinstance(number, int) for number in numbers)
    )


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears under its name whole, and on disk, or not at all."""
    part = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
