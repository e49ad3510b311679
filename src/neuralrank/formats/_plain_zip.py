"""Open a zip archive that a stranger packed: entries are counted, measured and named before one is read.

The zip itself is read by Python's own `zipfile`, in memory; nothing is ever unpacked to disk.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from neuralrank.errors import ModelError

MAX_ENTRIES = 100_000
MAX_RATIO = 20
"""Largest ratio of unpacked to packed bytes; weights hardly shrink, and a bomb shrinks a thousandfold."""
FREE_BYTES = 2**20
"""Unpacked bytes that are allowed whatever the ratio."""
MAX_DEPTH = 100
_FOLDER_OR_FILE = {0, 0o040000, 0o100000}
_UNSAFE_NAME = re.compile(r"^/|^[A-Za-z]:|\\|[\x00-\x1f]|(^|/)\.\.(/|$)")


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

    def read(self, entry: str) -> bytes:
        """Return the bytes of one entry, compared with its checksum.

        Raises:
            ModelError: there is no such entry, or it is damaged.
        """
        info = self.entries.get(entry)
        if info is None:
            raise ModelError(f"{self.name} needs the entry {entry!r}. Got none. Save the model again.")
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
            raise ModelError(
                f"{self.name} needs a whole entry {entry!r}. Got a damaged one. Download the file again."
            ) from error

    def read_json(self, entry: str, *, max_bytes: int) -> Any:
        """Return the content of one JSON entry, at most `max_bytes` long and nested `MAX_DEPTH` deep.

        Raises:
            ModelError: it is longer, deeper, or no JSON.
        """
        info = self.entries.get(entry)
        if info is not None and info.file_size > max_bytes:
            raise ModelError(
                f"{self.name} needs at most {max_bytes // 2**20} MiB in {entry!r}. Got {info.file_size:,} bytes. "
                "Save a smaller model."
            )
        text = self.read(entry)
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


def open_zip(path: Path, source: Any = None, *, kind: str, is_compressed: bool) -> PlainZip:
    """Open a zip archive and check the list of its entries.

    Args:
        path: its file, named in messages.
        source: an open binary file with its bytes; the file at `path` if None.
        kind: what the file should be, for messages: `Keras archive`.
        is_compressed: compressed entries are allowed.

    Raises:
        ModelError: it is no whole archive, or an entry is too large, is compressed or encrypted against the rules,
            is a link, or has a name that leads out of the archive or occurs twice.
    """
    try:
        archive = zipfile.ZipFile(source or path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ModelError(
            f"{path.name} needs to be a whole {kind}. Got a file that is damaged, cut short or of another kind. "
            "Download it again."
        ) from error
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
    infos = archive.infolist()
    fault = _fault(infos, is_compressed=is_compressed)
    if fault is not None:
        archive.close()
        raise ModelError(f"{path.name} needs {fault} Save the model again where you trust it.")
    return PlainZip(name=path.name, archive=archive, entries={info.filename: info for info in infos})


def _fault(infos: list[zipfile.ZipInfo], *, is_compressed: bool) -> str | None:
    """Return what the archive needs and what it has instead; None if its entries can be read."""
    if len(infos) > MAX_ENTRIES:
        return f"at most {MAX_ENTRIES:,} entries. Got {len(infos):,}."
    packed, unpacked = (sum(getattr(info, size) for info in infos) for size in ("compress_size", "file_size"))
    if not is_compressed and any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        return "plain entries. Got compressed ones."
    if is_compressed and any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        return "plain or deflated entries. Got another compression."
    if unpacked > packed * (MAX_RATIO if is_compressed else 1) + FREE_BYTES * is_compressed:
        return f"entries of at most {MAX_RATIO} times their packed size. Got {unpacked:,} bytes in {packed:,}."
    names = [info.filename for info in infos]
    unsafe = next((name for name in names if _UNSAFE_NAME.search(name)), None)
    if unsafe is not None:
        return f"entries inside the archive. Got the name {unsafe[:80]!r}."
    if len(set(names)) != len(names):
        return "entries of different names. Got one name twice."
    if any(info.flag_bits & 1 for info in infos):
        return "open entries. Got encrypted ones."
    if any((info.external_attr >> 16) & 0o170000 not in _FOLDER_OR_FILE for info in infos):
        return "plain files as entries. Got a link or a device."
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
