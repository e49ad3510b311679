"""The folder of a pass that is running: what its rows are rows of, who holds it, and the only place a worker may write.

`lock` is held for as long as the process that began the pass lives; `pass.json` says which samples and keys the rows
belong to, and is written before a worker starts; `work/` is the worker's, and nothing in it is believed.
"""

import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import OutputError
from neuralrank.storage._segments import DIGEST_BYTES, sample_digests
from neuralrank.storage._whole_file import is_still, make_folder, not_kept, try_lock
from neuralrank.storage.batch_log import Batch, read_batches

LOG_NAME = "batches.bin"
_LOCK, _DESCRIPTION, _WORK, _GONE = "lock", "pass.json", "work", ".gone-"
_KEY_DIGITS = 16  # of each key in the name of the folder, so that passes of a key are found without opening any
_NAME = re.compile(rf"[0-9a-f]{{{_KEY_DIGITS}}}(\.[0-9a-f]{{{_KEY_DIGITS}}})+")
_TRIES = 20
_MAX_DEPTH = 2_000
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

Keep = Callable[[str, NDArray[np.uint8], NDArray[np.float32], Mapping[str, Any]], None]
"""Keeps rows: key, digests, values, metadata."""


@dataclass(frozen=True, kw_only=True)
class PassRows:
    """What a pass has given so far of one kind."""

    places: NDArray[np.int64]
    """Shape (n_rows,), ascending: which of the samples of the pass."""
    values: NDArray[np.float32]
    """Shape (n_rows, width), as the worker wrote them: they may hold NaN and infinity."""


@dataclass(kw_only=True)
class Unfinished:
    """A pass that is running; a context manager that closes it."""

    folder: Path
    description: "Description"
    keep: Keep
    _lock: list[int] = field(default_factory=list)
    _kept: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By kind, shape (n_samples,): of which samples rows were kept for good."""

    def __enter__(self) -> "Unfinished":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what there is, if it was not finished; what cannot be kept now is adopted later."""
        with suppress(OutputError):
            self.close()

    @property
    def work(self) -> Path:
        """The only folder in which the worker may write."""
        return self.folder / _WORK

    @property
    def log(self) -> Path:
        """Where the worker writes its `BatchLog`."""
        return self.work / LOG_NAME

    def rows(self, kind: str) -> PassRows | None:
        """Return what the worker has written of one kind, also while it runs; None if nothing."""
        return rows_by_kind(self.log, len(self.description.samples)).get(kind)

    def keep_so_far(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep all finite rows for good that are not yet; the pass goes on.

        Args:
            metadata: of each kind: what is said of the rows that are kept now, beside what was said when it began.

        Raises:
            OutputError: they cannot be kept now.
        """
        keep_rows(self.folder, self.description, metadata, self.keep, self._kept)

    def finish(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep all finite rows for good and remove the folder; does nothing the second time.

        Args:
            metadata: as in `keep_so_far`.

        Raises:
            OutputError: they cannot be kept now; the folder stays, for whoever adopts it.
        """
        if not self._lock:
            return
        try:
            self.keep_so_far(metadata)
            remove(self.folder)
        finally:
            os.close(self._lock.pop())

    def close(self) -> None:
        """Keep the whole batches of a pass that did not come to its end and remove the folder.

        Raises:
            OutputError: as `finish`.
        """
        self.finish({})


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the rows of a pass are rows of."""

    keys: Mapping[str, str]
    """The key of each kind."""
    samples: NDArray[np.uint8]
    """Digests, shape (n_samples, 16)."""
    metadata: Mapping[str, Mapping[str, Any]]
    """Of each kind."""


def begin(place: Path, description: Description, keep: Keep) -> Unfinished:
    """Make the folder of a pass in `place`, held by this process.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        for _ in range(_TRIES):
            make_folder(place)
            folder = place / _new_name(description.keys.values())
            with suppress(FileExistsError, FileNotFoundError):  # taken for the folder of a dead process, just now
                folder.mkdir(mode=0o700)
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                if _made(folder, lock, description):
                    return Unfinished(folder=folder, description=description, keep=keep, _lock=[lock])
        raise OSError(0, "the file system has no locks")
    except OSError as error:
        raise not_kept(place.parent, error) from error


def orphans(place: Path, key: str | None) -> Iterator[Path]:
    """Take, one by one, the folders whose process died; each is held until the next is asked for.

    Args:
        place: where they are.
        key: only passes of this key.
    """
    try:
        folders = sorted(place.iterdir())
    except OSError:
        return
    for folder in folders:
        name = folder.name
        if name.startswith(_GONE):
            remove_tree(folder)
        elif _NAME.fullmatch(name) and (key is None or key[:_KEY_DIGITS] in name.split(".")[:-1]):
            with suppress(OSError):
                # A folder without a lock is one whose process died before it made it, or is about to: it sees ours.
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                try:
                    if try_lock(lock) and is_still(folder / _LOCK, lock):
                        yield folder
                finally:
                    os.close(lock)


def read_description(folder: Path) -> Description | None:
    """Return what a pass was about, None if its process died before it said so or a power cut took it."""
    try:
        checksum, text = (folder / _DESCRIPTION).read_bytes().split(b"\n", 1)
        if int(checksum, 16) != zlib.crc32(text):
            return None
        said = json.loads(text)
        samples = np.frombuffer(bytes.fromhex(said["samples"]), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        return Description(keys=said["keys"], samples=samples, metadata=said["metadata"])
    except (OSError, ValueError, KeyError):
        return None


def keep_rows(
    folder: Path,
    description: Description,
    metadata: Mapping[str, Mapping[str, Any]],
    keep: Keep,
    kept: dict[str, NDArray[np.bool_]],
) -> int:
    """Keep the finite rows of a pass that are not kept yet, and return how many there are.

    Args:
        folder: of the pass.
        description: of the pass.
        metadata: of each kind.
        keep: keeps rows.
        kept: by kind, of which samples rows are kept; those that are kept now are added.

    Raises:
        OutputError: they cannot be kept.
    """
    n_rows = 0
    found = rows_by_kind(folder / _WORK / LOG_NAME, len(description.samples))
    for kind in sorted(found.keys() & description.keys.keys()):
        rows = found[kind]
        known = kept.setdefault(kind, np.zeros(len(description.samples), dtype=np.bool_))
        new = np.isfinite(rows.values).all(axis=1) & ~known[rows.places]
        said = {**description.metadata.get(kind, {}), **metadata.get(kind, {})}
        if new.any():
            keep(description.keys[kind], description.samples[rows.places[new]], rows.values[new], said)
            known[rows.places[new]] = True
        n_rows += int(np.count_nonzero(new))
    return n_rows


def rows_by_kind(log: Path, n_samples: int) -> dict[str, PassRows]:
    """Return what a log holds; of a row that it gives twice, the first."""
    known: dict[str, NDArray[np.bool_]] = {}
    batches: dict[str, list[Batch]] = {}
    for batch in read_batches(log, n_samples):
        seen = known.setdefault(batch.kind, np.zeros(n_samples, dtype=np.bool_))
        places, first = np.unique(batch.rows, return_index=True)
        new = first[~seen[places]]
        seen[places] = True
        batches.setdefault(batch.kind, []).append(
            Batch(kind=batch.kind, rows=batch.rows[new], values=batch.values[new])
        )
    return {kind: _together(parts) for kind, parts in batches.items()}


def _together(batches: Sequence[Batch]) -> PassRows:
    places = np.concatenate([batch.rows for batch in batches])
    values = np.concatenate([batch.values for batch in batches])
    order = np.argsort(places)
    return PassRows(places=places[order], values=values[order])


def remove(folder: Path) -> None:
    """Remove the folder of a pass; from the first moment on nobody takes it for one."""
    gone = folder.with_name(f"{_GONE}{secrets.token_hex(8)}")
    with suppress(OSError):
        folder.rename(gone)
        remove_tree(gone)


def described(
    keys: Mapping[str, str], samples: Sequence[str] | NDArray[np.uint8], metadata: Mapping[str, Mapping[str, Any]]
) -> Description:
    """Return the description of a pass."""
    return Description(keys=dict(keys), samples=sample_digests(samples), metadata=dict(metadata))


def _made(folder: Path, lock: int, description: Description) -> bool:
    """Hold a new folder and fill it; if that fails, nothing of it is left."""
    made = False
    try:
        if try_lock(lock) and is_still(folder / _LOCK, lock):
            _describe(folder / _DESCRIPTION, description)
            (folder / _WORK).mkdir()
            made = True
        return made
    finally:
        if not made:
            remove(folder)
            os.close(lock)


def _describe(path: Path, description: Description) -> None:
    """Write a description: not forced to the disk, for neither is the log; the checksum tells whether it got there."""
    said = {
        "keys": dict(description.keys),
        "samples": description.samples.tobytes().hex(),
        "metadata": {kind: dict(given) for kind, given in description.metadata.items()},
    }
    text = json.dumps(said).encode()
    path.write_bytes(b"%08x\n%s" % (zlib.crc32(text), text))


def _new_name(keys: Iterable[str]) -> str:
    return ".".join([*sorted({key[:_KEY_DIGITS] for key in keys}), secrets.token_hex(_KEY_DIGITS // 2)])


def remove_tree(folder: Path) -> None:
    """Remove whatever a worker left, as far as the system allows: links are not followed, few depths are too deep."""
    with suppress(OSError):
        top = os.open(folder, _FOLDER)
        try:
            for _ in range(_MAX_DEPTH):
                names = os.listdir(top)  # noqa: PTH208 - a path can be changed meanwhile, a descriptor cannot
                for name in names:
                    _remove_entry(name, top)
                if not names:
                    break
        finally:
            os.close(top)
        folder.rmdir()


def _remove_entry(name: str, top: int) -> None:
    """Remove a file, or a folder once its folders are moved to the top, where their turn comes."""
    with suppress(FileNotFoundError):  # another process removes the same
        if _unlinked(name, top):
            return
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            for entry in os.listdir(inner):  # noqa: PTH208
                if not _unlinked(entry, inner):
                    os.rename(entry, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def _unlinked(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):  # macOS says the second of folders
        return False
    return True
