"""Stamps of models in a folder: they change when a file that describes or makes up the model does.

A stamp is over the files with size and times. The time of the last change of the file's record is part of it where the
system keeps one: it also tells of a file that was replaced and given its old time. What is stamped is looked at before
it is read: a file that changes meanwhile has another stamp the next time.
"""

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

READING = 3
"""Raised when formats read other things out of the same files: every model is then read again."""
_MAX_LISTINGS = 128

State = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One model, and the files beside it as they were before any was read."""

    base: Path
    beside: tuple[State, ...]

    def stamp(self, files: Iterable[Path]) -> str:
        """Return the stamp of the model.

        Args:
            files: what loading it reads; those that do not lie beside are looked at now.
        """
        known = {state[0] for state in self.beside}
        return self._stamp(sorted({os.path.relpath(file, self.base) for file in files} - known))

    def is_current(self, stamp: str) -> bool:
        """Say whether nothing has changed since a stamp was made; a text that is no stamp is of nothing."""
        try:
            _, names, _ = json.loads(stamp)
            return stamp == self._stamp(names)
        except (ValueError, TypeError, RecursionError):
            return False

    def _stamp(self, names: list[str]) -> str:
        states = [*self.beside, *(_state(self.base, name) for name in names)]
        digest = hashlib.blake2b(json.dumps(states).encode(), digest_size=16).hexdigest()
        return json.dumps([READING, names, digest], separators=(",", ":"))


class Watcher:
    """Looks at the files of models, and lists each folder once however many models lie in it."""

    def __init__(self) -> None:
        self._listings: dict[Path, list[str]] = {}

    def watch(self, path: Path) -> Watch:
        """Look at a model: a folder with all its files, or a file with those that share its name."""
        if path.is_dir():
            names = _files_in(path)
        else:
            names = self._named_alike(path)
            path = path.parent
        return Watch(base=path, beside=tuple(_state(path, name) for name in names))

    def _named_alike(self, path: Path) -> list[str]:
        listing = self._listings.get(path.parent)
        if listing is None:
            while len(self._listings) >= _MAX_LISTINGS:
                del self._listings[next(iter(self._listings))]
            listing = self._listings[path.parent] = _files_in(path.parent)
        begin = f"{path.stem}."
        start = bisect_left(listing, begin)
        end = bisect_left(listing, f"{path.stem}/", start)  # the character after the full stop
        return listing[start:end] or [path.name]


def _files_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())
    except OSError:
        return []


def _state(base: Path, name: str) -> State:
    try:
        found = (base / name).stat()
    except (OSError, ValueError):
        return name, -1
    return name, found.st_size, found.st_mtime_ns, found.st_ctime_ns
