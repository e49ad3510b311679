"""The zip that `torch.save` and `torch.jit.save` write, told from others, and its entries below its only folder.

What makes an archive safe to look into is checked by `_plain_zip.py`. torch is not needed for any of this.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import ModelError
from neuralrank.formats._plain_zip import PlainZip, checked, open_archive

SUFFIXES = frozenset((".pt", ".pth", ".ts", ".torchscript", ".bin", ".ckpt"))
"""Of files that torch writes; `.pkl` and others are looked at only where their first bytes are those of torch."""
OTHER_SUFFIXES = frozenset((".pkl", ".pickle", ".model", ".weights"))
MAX_COMPRESSED_BYTES = 256 * 2**20
"""That all compressed entries, which only program text is, may grow to together."""
MAX_PICKLE_BYTES = 256 * 2**20
ZIP = b"PK\x03\x04"
_KIND = "archive of torch"


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
        with PlainZip(name=self.path.name, archive=open_archive(self.path, kind=_KIND), entries=self.entries) as opened:
            return opened.read(name, max_bytes=limit)


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
        archive = open_archive(path, kind=_KIND)
    except ModelError:
        if path.suffix.lower() not in SUFFIXES:
            return None
        raise
    if not any(name.endswith("/data.pkl") for name in archive.namelist()):
        archive.close()
        return None
    with checked(path, archive, growth=lambda _: MAX_COMPRESSED_BYTES).below_one_folder() as opened:
        return TorchArchive(path=path, entries=opened.entries)
