"""Open a zip archive that a stranger packed: entries are counted, measured and named before one is read.

The one place for what archives have in common; each format adds what is its own: which entries there are, and how far
compressed ones may grow. The zip itself is read by Python's own `zipfile`, in memory; nothing is unpacked to disk.
"""

import errno
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from neuralrank.errors import ModelError

MAX_ENTRIES = 100_000
MAX_NAME = 2_000
MAX_DEPTH = 100
MAX_RATIO = 20
"""Largest ratio of unpacked to packed bytes; weights hardly shrink, and a bomb shrinks a thousandfold."""
FREE_BYTES = 2**20
"""Unpacked bytes that are allowed whatever the ratio."""
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    NotImplementedError,
    EOFError,
    RuntimeError,
    OSError,
)
_FOLDER_OR_FILE = {0, 0o040000, 0o100000}
_UNSAFE_NAME = re.compile(r"^[A-Za-z]:|\\|[\x00-\x1f\x7f]")
Growth = Callable[[int], int]
"""Packed bytes of the compressed entries → how many they may unpack to, all together."""


def twentyfold(n_packed: int) -> int:
    """Return what numbers may unpack to that were compressed a little."""
    return MAX_RATIO * n_packed + FREE_BYTES


@dataclass(frozen=True, kw_only=True)
class PlainZip:
    """An open archive whose entries were checked, with its entries by name."""

    name: str
    archive: zipfile.ZipFile
    entries: Mapping[str, zipfile.ZipInfo]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def below_one_folder(self) -> Self:
        """Return the archive with the names of its files below the only folder, as torch writes them.

        Raises:
            ModelError: there are several folders, or a file beside them.
        """
        roots = {name.partition("/")[0] for name in self.entries}
        files = {name: info for name, info in self.entries.items() if not info.is_dir()}
        if len(roots) != 1 or not all("/" in name for name in files):
            self.archive.close()
            raise ModelError(
                f"{self.name} needs one folder with all of its entries. Got several, or an entry beside it. "
                "Save the model again where you trust it."
            )
        return replace(self, entries={name.partition("/")[2]: info for name, info in files.items()})

    def read(self, entry: str, *, max_bytes: int | None = None) -> bytes:
        """Return the bytes of one entry, compared with its checksum.

        Raises:
            ModelError: there is no such entry, it is longer than `max_bytes`, or it is damaged.
        """
        info = self.entries.get(entry)
        if info is None:
            raise ModelError(f"{self.name} needs the entry {entry[:100]!r}. Got none. Save the model again.")
        if max_bytes is not None and info.file_size > max_bytes:
            raise ModelError(
                f"{self.name} needs at most {max_bytes // 2**20} MiB in {entry[:100]!r}. Got {info.file_size:,} bytes. "
                "Save a smaller model."
            )
        try:
            return self.archive.read(info)
        except _DAMAGED as error:
            raise ModelError(
                f"{self.name} needs a whole entry {entry[:100]!r}. Got a damaged one. Download the file again."
            ) from error

    def read_json(self, entry: str, *, max_bytes: int) -> Any:
        """Return the content of one JSON entry, at most `max_bytes` long and nested `MAX_DEPTH` deep.

        Raises:
            ModelError: it is longer, deeper, or no JSON.
        """
        text = self.read(entry, max_bytes=max_bytes)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{self.name} needs JSON in {entry!r}. Got something else. Download the file again."
            ) from error
        if _is_deeper(content, MAX_DEPTH):
            raise ModelError(
                f"{self.name} needs {entry!r} to be nested at most {MAX_DEPTH} deep. Got more. Save the model again."
            )
        return content


def open_zip(path: Path, source: Any = None, *, kind: str, growth: Growth | None = None) -> PlainZip:
    """Open a zip archive and check the list of its entries.

    Args:
        path: its file, named in messages.
        source: an open binary file with its bytes; the file at `path` if None.
        kind: what the file should be, for messages: `Keras archive`.
        growth: bounds compressed entries; None allows none.

    Raises:
        ModelError: it is no whole archive, or an entry is too large, is compressed or encrypted against the rules,
            is a link, or has a name that leads out of the archive or occurs twice.
    """
    return checked(path, open_archive(path, source, kind=kind), growth=growth)


def open_archive(path: Path, source: Any = None, *, kind: str) -> zipfile.ZipFile:
    """Open a zip archive whose entries are not checked yet: for who looks at their names first to tell what it is.

    Raises:
        ModelError: it is no archive, is damaged, or is cut short.
    """
    try:
        archive = zipfile.ZipFile(source or path)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # what a place before the file's start gives
            raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
        raise _damaged(path, kind) from error
    # An entry may be an archive itself. Of a file that ends behind one, zipfile opens that in place of the whole.
    if min((info.header_offset for info in archive.infolist()), default=0) != 0:
        archive.close()
        raise _damaged(path, kind)
    return archive


def checked(path: Path, archive: zipfile.ZipFile, *, growth: Growth | None = None) -> PlainZip:
    """Check the list of entries of an open archive, and close it if something is wrong with them.

    Raises:
        ModelError: see `open_zip`.
    """
    infos = archive.infolist()
    fault = _fault(infos, path.stat().st_size, growth)
    if fault is not None:
        archive.close()
        raise ModelError(f"{path.name} needs {fault} Save the model again where you trust it.")
    return PlainZip(name=path.name, archive=archive, entries={info.filename: info for info in infos})


def _damaged(path: Path, kind: str) -> ModelError:
    return ModelError(
        f"{path.name} needs to be a whole {kind}. Got a file that is damaged, cut short or of another kind. "
        "Download it again."
    )


def _fault(infos: list[zipfile.ZipInfo], n_bytes: int, growth: Growth | None) -> str | None:
    """Return what the archive needs and what it has instead; None if its entries can be read."""
    if len(infos) > MAX_ENTRIES:
        return f"at most {MAX_ENTRIES:,} entries. Got {len(infos):,}."
    names = [info.filename for info in infos]
    unsafe = next((name for name in names if _is_unsafe(name)), None)
    if unsafe is not None:
        return f"entries inside the archive. Got the name {unsafe[:80]!r}."
    if len(set(names)) != len(names):
        return "entries of different names. Got one name twice."
    if any(info.flag_bits & 1 for info in infos):
        return "open entries. Got encrypted ones."
    if any((info.external_attr >> 16) & 0o170000 not in _FOLDER_OR_FILE for info in infos):
        return "plain files as entries. Got a link or a device."
    return _excess(infos, n_bytes, growth)


def _is_unsafe(name: str) -> bool:
    """Tell whether a name leads out of the archive, is no plain text, or is longer than any real one."""
    parts = name.removesuffix("/").split("/")
    return len(name) > MAX_NAME or any(part in ("", ".", "..") for part in parts) or bool(_UNSAFE_NAME.search(name))


def _excess(infos: list[zipfile.ZipInfo], n_bytes: int, growth: Growth | None) -> str | None:
    """Return what is wrong with the sizes of entries and with how they are packed."""
    plain = [info for info in infos if info.compress_type == zipfile.ZIP_STORED]
    stored = sum(info.file_size for info in plain)
    if stored > n_bytes or any(info.file_size != info.compress_size for info in plain):
        return f"entries no larger than the file. Got {stored:,} bytes in {n_bytes:,}."
    others = [info for info in infos if info.compress_type != zipfile.ZIP_STORED]
    if others and growth is None:
        return "plain entries. Got compressed ones."
    if any(info.compress_type != zipfile.ZIP_DEFLATED for info in others):
        return "plain or deflated entries. Got another compression."
    packed, unpacked = (sum(getattr(info, size) for info in others) for size in ("compress_size", "file_size"))
    if growth is not None and unpacked > growth(packed):
        return f"compressed entries of at most {growth(packed):,} bytes. Got {unpacked:,}, packed into {packed:,}."
    return None


def _is_deeper(content: Any, depth: int) -> bool:
    """Tell whether JSON is nested deeper than `depth`, without calling itself."""
    level = [content]
    for _ in range(depth + 1):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)
