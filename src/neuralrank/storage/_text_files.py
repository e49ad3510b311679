"""The files of the text index: which belong to it, whether they are as they were written, and how to remove them.

tantivy writes the files of the segments and names the valid ones in `meta.json`, which it replaces as its last act.
Beside it lies a manifest of ours with the length and the checksum of each file, replaced after that. A writer that dies
between the two leaves a good index with the manifest of the commit before: the number of changes that it is current up
to is then too low, never too high.
"""

import json
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralrank.storage._text_schema import SCHEMA_VERSION

META = "meta.json"
MANIFEST = "manifest.json"
_MANAGED = ".managed.json"
"""tantivy's list of what it may remove; it changes between commits too."""
_PART = ".manifest.part-"
_OURS = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(_PART)}[0-9a-f]+|meta\.json|{re.escape(_MANAGED)}|\.tmp\w+|[0-9a-f]{{32}}(\.\d+)?\.\w+"
)
"""Lock files stay: whoever waits for one must not wait for a file that is gone."""
_EXTENSIONS = ("idx", "pos", "term", "store", "fast", "fieldnorm")
_CHUNK_BYTES = 1 << 20

Signature = tuple[tuple[int, int, int] | None, tuple[int, int, int] | None]


class Damage(Exception):  # noqa: N818
    """The files are not what they should be; the text says what is wrong, as part of a sentence."""


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What one file was like when it had been written."""

    size_bytes: int
    mtime_ns: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index consists of after one commit."""

    seq: int
    """Up to which change of the catalogue it is current."""
    opstamp: int = 0
    """tantivy's own number of the commit."""
    segments: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, FileStamp] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The parts of `meta.json` that no commit changes."""


def signature(folder: Path) -> Signature:
    """Return what changes with every commit; cheap enough to ask for before every search."""
    return _stat(folder / META), _stat(folder / MANIFEST)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an index that can be opened, None if there is no index.

    The length of every file is compared, and the bytes of those that have been touched since.

    Raises:
        Damage: something is not as it was written, or was written by another version.
    """
    meta = _read(folder / META)
    own = _read(folder / MANIFEST)
    if meta is None and own is None:
        return None
    if meta is None:
        raise Damage(f"{META} is missing")
    opstamp, segments, fixed = _parsed_meta(meta)
    if own is None:
        if segments:
            raise Damage(f"{MANIFEST} is missing")
        return None  # made, and never written to
    manifest = _parsed_manifest(own)
    if opstamp < manifest.opstamp:
        raise Damage(f"{META} is older than {MANIFEST}")
    known = {_name(segment): segment for segment in manifest.segments}
    if fixed != manifest.fixed or any(known.get(_name(segment), segment) != segment for segment in segments):
        raise Damage(f"{META} has changed since it was written")
    for segment in segments:
        for name in _files(segment):
            _check(folder / name, manifest.files.get(name), thoroughly=False)
    return manifest


def check_bytes(folder: Path) -> None:
    """Compare every byte with what was written.

    Raises:
        Damage: something is not as it was written.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        managed = _read(folder / _MANAGED)
        try:
            json.loads(b"[]" if managed is None else managed)
        except (ValueError, RecursionError) as error:
            raise Damage(f"{_MANAGED} cannot be read") from error
        for segment in _parsed_meta((folder / META).read_bytes())[1]:
            for name in _files(segment):
                _check(folder / name, manifest.files.get(name), thoroughly=True)


def write_manifest(folder: Path, seq: int, before: Manifest | None) -> None:
    """Record what tantivy's last commit consists of, and that it is current up to change `seq`."""
    opstamp, segments, fixed = _parsed_meta((folder / META).read_bytes())
    known = before.files if before else {}
    files = {}
    for name in [name for segment in segments for name in _files(segment)]:
        status = (folder / name).stat()
        stamp = known.get(name)  # files of segments are never changed once they are written
        if stamp is None or (stamp.size_bytes, stamp.mtime_ns) != (status.st_size, status.st_mtime_ns):
            stamp = FileStamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, crc32=_crc32(folder / name))
        files[name] = stamp
    body = {
        "version": SCHEMA_VERSION,
        "seq": seq,
        "opstamp": opstamp,
        "segments": segments,
        "fixed": fixed,
        "files": {name: [stamp.size_bytes, stamp.mtime_ns, stamp.crc32] for name, stamp in files.items()},
    }
    _replace(folder / MANIFEST, json.dumps({"crc32": _crc32_of(body), "body": body}).encode())


def wipe(folder: Path) -> None:
    """Remove the index from a folder, and nothing else; whoever is reading it is not disturbed."""
    if not folder.is_dir():
        return
    ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    # first what makes it an index: a wipe that is cut short leaves none
    for path in sorted(ours, key=lambda path: (path.name != MANIFEST, path.name != META)):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left behind; only for whoever keeps other writers out.

    It is in the way: tantivy names files by counting operations, and cannot commit where a killed writer counted alike.
    """
    segments = _parsed_meta((folder / META).read_bytes())[1]
    wanted = {META, MANIFEST, _MANAGED, *(name for segment in segments for name in _files(segment))}
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in wanted:
            path.unlink(missing_ok=True)


def _parsed_meta(data: bytes) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Return the number of the commit, the segments, and what no commit changes."""
    try:
        meta = json.loads(data)
        opstamp, segments = meta["opstamp"], meta["segments"]
        fixed = {name: value for name, value in meta.items() if name in ("index_settings", "schema")}
        if type(opstamp) is not int or not isinstance(segments, list):
            raise TypeError
        for segment in segments:
            if not re.fullmatch(r"[0-9a-f]{32}", _name(segment)[0]):
                raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damage(f"{META} cannot be read") from error
    return opstamp, segments, fixed


def _parsed_manifest(data: bytes) -> Manifest:
    try:
        content = json.loads(data)
        body = content["body"]
        if content["crc32"] != _crc32_of(body):
            raise ValueError
        if body["version"] != SCHEMA_VERSION:
            raise Damage(f"it was made by another version ({body['version']}, this one is {SCHEMA_VERSION})")
        return Manifest(
            seq=body["seq"],
            opstamp=body["opstamp"],
            segments=tuple(body["segments"]),
            fixed=body["fixed"],
            files={
                name: FileStamp(size_bytes=size, mtime_ns=mtime, crc32=crc)
                for name, (size, mtime, crc) in body["files"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damage(f"{MANIFEST} cannot be read") from error


def _name(segment: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the part of a segment's file names that comes first, and the number of its deletions."""
    deletes = segment["deletes"]
    return segment["segment_id"].replace("-", ""), deletes["opstamp"] if deletes else None


def _files(segment: Mapping[str, Any]) -> Iterator[str]:
    name, deletes = _name(segment)
    yield from (f"{name}.{extension}" for extension in _EXTENSIONS)
    if deletes is not None:
        yield f"{name}.{deletes}.del"


def _check(path: Path, stamp: FileStamp | None, *, thoroughly: bool) -> None:
    try:
        status = path.stat()
        if stamp is None:  # of a commit whose writer did not live to record it
            return
        if status.st_size != stamp.size_bytes:
            raise Damage(f"{path.name} has {status.st_size:,} bytes instead of {stamp.size_bytes:,}")
        if (thoroughly or status.st_mtime_ns != stamp.mtime_ns) and _crc32(path) != stamp.crc32:
            raise Damage(f"{path.name} has changed since it was written")
    except FileNotFoundError as error:
        raise Damage(f"{path.name} is missing") from error


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc


def _crc32_of(body: object) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{_PART}{secrets.token_hex(8)}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
