"""Write files that appear whole or not at all, and tell what a living process holds from what a dead one left.

Whether a process lives is asked of the system through `flock`, which lets go when its holder dies, however it dies;
never of a clock, which may jump. Where a file system knows no such lock, everything counts as held.
"""

import os
import secrets
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from neuralrank.errors import OutputError

PART = ".part-"
_TRIES = 3


def write_whole(path: Path, chunks: Iterable[bytes | memoryview], parts: Path) -> None:
    """Write a file under a temporary name in `parts`, wait until it is on the disk, and give it its name.

    Args:
        path: what the file is called in the end; takes the place of what was there.
        chunks: its content; what producing them raises is passed on.
        parts: a folder of the same file system.

    Raises:
        OSError: it could not be written; nothing of it is left behind.
    """
    part, descriptor = _new_part(parts)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(descriptor)
            part.replace(path)  # under the lock, so that nobody takes it for what a dead writer left
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            part.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder with its parents so that a power cut does not take them away again."""
    if folder.is_dir():
        return
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems refuse it for folders, and there is nothing else to do
    finally:
        os.close(descriptor)


def sweep_parts(folder: Path, *, older_than_seconds: float = 0) -> None:
    """Remove the temporary files of writers that died.

    Args:
        folder: where they are.
        older_than_seconds: leave younger ones alone too.
    """
    newest = time.time() - older_than_seconds
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(PART):
                    continue
                if older_than_seconds and entry.stat(follow_symlinks=False).st_mtime >= newest:
                    continue
                _remove_unheld(Path(entry.path))


def try_lock(descriptor: int) -> bool:
    """Return whether this process holds the lock of an open file now; never waits."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_still(path: Path, descriptor: int) -> bool:
    """Return whether a name still means the file that was opened under it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def not_kept(folder: Path, error: OSError) -> OutputError:
    """Return the error that says why features could not be kept."""
    return OutputError(
        f"Features could not be kept in {str(folder)!r}. Got: {reason(error)}. "
        "The ranking goes on without them; to keep them, name another place with --cache-dir."
    )


def reason(error: OSError) -> str:
    """Return what went wrong, as part of a sentence."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "it is no folder"
    return (error.strerror or str(error)).lower()


def _new_part(folder: Path) -> tuple[Path, int]:
    """Return a new temporary file, open and held.

    Who sweeps may take it in the moment before it is held: then another is made. After some tries the file system has
    no locks, and nobody sweeps there either.
    """
    for attempt in range(_TRIES):
        part = folder / f"{PART}{os.getpid()}-{secrets.token_hex(8)}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if (try_lock(descriptor) and is_still(part, descriptor)) or attempt == _TRIES - 1:
            break
        os.close(descriptor)
        with suppress(OSError):
            part.unlink()
    return part, descriptor


def _remove_unheld(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if try_lock(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)
