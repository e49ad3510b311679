"""The zip that `torch.save` and `torch.jit.save` write: its entries, checked before one is read.

Names may not lead out of the archive or occur twice; an entry may not claim more bytes than the file has, and
compressed ones, which only program text is, may not grow beyond a stated size. torch is not needed for any of this.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import ModelError

SUFFIXES = frozenset((".pt", ".pth", ".ts", ".torchscript", ".bin", ".ckpt"))
"""Of files that torch writes; `.pkl` and others are looked at only where their first bytes are those of torch."""
OTHER_SUFFIXES = frozenset((".pkl", ".pickle", ".model", ".weights"))
MAX_ENTRIES = 200_000
MAX_COMPRESSED_BYTES = 256 * 2**20
"""That all compressed entries together may grow to."""
MAX_PICKLE_BYTES = 256 * 2**20
ZIP = b"PK\x03\x04"
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, NotImplementedError, EOFError, OSError)


@dataclass(frozen=True, kw_only=True)
class TorchArchive:
    """The entries of one archive, by their names below its only folder."""

    path: Path
    entries: Mapping[str, zipfile.ZipInfo]

    @property
    def is_script(self) -> bool:
        """Say whether it holds a program, as `torch.jit.save` writes one."""
        return "constants.pkl" in self.entries or any(name.startswith("code/") for name in self.entries)

    def read(self, name: str, *, limit: int = MAX_PICKLE_BYTES) -> bytes:
        """Return the bytes of one entry; their checksum is verified.

        Raises:
            ModelError: there is no such entry, it is longer than `limit`, or it is damaged.
        """
        info = self.entries.get(name)
        if info is None or info.file_size > limit:
            got = "none" if info is None else f"{info.file_size} bytes"
            raise ModelError(
                f"{self.path.name} needs the entry {name[:100]!r} of at most {limit >> 20} MiB. Got {got}. "
                "Download it again."
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(info)
        except (*_DAMAGED, RuntimeError) as error:
            raise ModelError(
                f"{self.path.name} holds the damaged entry {name[:100]!r}. Got bytes that do not fit their checksum "
                "or their length. Download it again."
            ) from error


def may_be_torch(path: Path) -> bool:
    """Say whether a file is to be looked into: by its suffix, which says little, and by being a file."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    tarred = suffixes in ([".pth", ".tar"], [".pt", ".tar"])  # a habit of old scripts; the files are no tar archives
    known = bool(suffixes) and (suffixes[-1] in SUFFIXES or suffixes[-1] in OTHER_SUFFIXES)
    return (known or tarred) and path.is_file()


def first_bytes(path: Path, n_bytes: int = 64) -> bytes:
    """Return how a file begins.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(n_bytes)
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error


def read_torch_archive(path: Path) -> TorchArchive | None:
    """List the entries of a torch archive and check them; None if the file is no zip, or a zip of something else.

    Raises:
        ModelError: the archive is damaged or cut short, or its entries would lead out of it or fill the memory.
    """
    if first_bytes(path, 4) != ZIP:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except _DAMAGED as error:
        if path.suffix.lower() not in SUFFIXES:
            return None
        raise ModelError(
            f"{path.name} needs to be a whole archive of torch. Got {path.stat().st_size} bytes that are damaged or "
            "cut short. Download it again."
        ) from error
    if not any(info.filename.endswith("/data.pkl") for info in infos):
        return None
    return TorchArchive(path=path, entries=_checked(path, infos))


def _checked(path: Path, infos: list[zipfile.ZipInfo]) -> Mapping[str, zipfile.ZipInfo]:
    if len(infos) > MAX_ENTRIES:
        raise ModelError(
            f"{path.name} needs at most {MAX_ENTRIES} entries. Got {len(infos)}. Save the model again with torch."
        )
    names = [info.filename for info in infos]
    strange = next((name for name in names if _leads_out(name)), None)
    if strange is not None:
        raise ModelError(
            f"{path.name} needs entries with plain names inside one folder. Got {strange[:100]!r}, which leads out of "
            "it. Do not use this file."
        )
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1 or len(set(names)) != len(names):
        raise ModelError(
            f"{path.name} needs one folder of distinct entries. Got {len(roots)} folders, or a name twice. "
            "Do not use this file."
        )
    if any(info.flag_bits & 1 or info.compress_type not in (0, zipfile.ZIP_DEFLATED) for info in infos):
        raise ModelError(
            f"{path.name} needs plain or deflated entries. Got encrypted ones, or another compression. "
            "Save the model again with torch."
        )
    stored = sum(info.file_size for info in infos if info.compress_type == 0)
    packed = sum(info.file_size for info in infos if info.compress_type != 0)
    size = path.stat().st_size
    if stored > size or packed > MAX_COMPRESSED_BYTES:
        raise ModelError(
            f"{path.name} needs entries that fit into its {size} bytes, and at most {MAX_COMPRESSED_BYTES >> 20} MiB "
            f"of compressed ones. Got {stored + packed} bytes. Do not use this file."
        )
    return {info.filename.partition("/")[2]: info for info in infos}


def _leads_out(name: str) -> bool:
    parts = name.split("/")
    plain = re.search(r"[\x00-\x1f\x7f\\]", name) is None and len(name) < 2_000
    return len(parts) < 2 or not plain or any(part in ("", ".", "..") for part in parts)
