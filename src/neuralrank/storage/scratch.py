"""A temporary folder for one run, removed at its end; what a run that was killed left is removed by the next."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuralrank.errors import OutputError
from neuralrank.storage._unfinished import remove_tree
from neuralrank.storage._whole_file import is_still, try_lock

_PREFIX, _LOCK = "neuralrank-run-", "lock"
_TRIES = 5


class Scratch:
    """A folder that this process holds."""

    def __init__(self) -> None:
        """Make it where the system keeps temporary files.

        Raises:
            OutputError: it cannot be made.
        """
        try:
            _sweep(Path(tempfile.gettempdir()))
            self.path, self._lock = _made()
        except OSError as error:
            raise OutputError(
                f"A scratch folder is needed. Got: {error.strerror or error}. Set TMPDIR to a folder with room."
            ) from error

    def cleanup(self) -> None:
        """Remove it, as far as the system allows."""
        remove_tree(self.path)
        os.close(self._lock)


def _made() -> tuple[Path, int]:
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            folder.rmdir()
            raise
        if not try_lock(lock) or is_still(folder / _LOCK, lock):
            return folder, lock  # where there are no locks, everything counts as held
        os.close(lock)  # it was taken for that of a dead process, just now
    raise OSError(0, "others remove it at once")


def _sweep(place: Path) -> None:
    """Remove the folders of this user whose process died."""
    for folder in _own_folders(place):
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if try_lock(lock) and is_still(folder / _LOCK, lock):
                    remove_tree(folder)
            finally:
                os.close(lock)


def _own_folders(place: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            with suppress(OSError):
                is_folder = entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False)
                if is_folder and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    yield Path(entry.path)
