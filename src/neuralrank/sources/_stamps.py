"""Stamps of models in a folder: they change when a file that describes or makes up the model does.

A stamp lists the files with size and times. The time of the last change of the file's record is part of it where the
system keeps one: it also tells of a file that was replaced and given its old time.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

MAX_FILES = 2_000


def stamp(path: Path, files: Iterable[Path]) -> str:
    """Return the stamp of a model.

    Args:
        path: the model: a file or a folder.
        files: what loading it reads.
    """
    base = path if path.is_dir() else path.parent
    watched = {os.path.relpath(file, base) for file in (*files, *_beside(path))}
    return json.dumps([_state(base, name) for name in sorted(watched)[:MAX_FILES]], separators=(",", ":"))


def is_current(path: Path, known: str) -> bool:
    """Say whether nothing of a model has changed since a stamp was made; a text that is no stamp is of none."""
    try:
        states = json.loads(known)
        names = [name for name, *_ in states]
    except (ValueError, TypeError):
        return False
    base = path if path.is_dir() else path.parent
    return bool(names) and stamp(path, [base / name for name in names]) == known


def _beside(path: Path) -> list[Path]:
    """Return what is read along with a model: all files of a folder, or those that share the name of a file."""
    try:
        if path.is_dir():
            return [entry for entry in path.iterdir() if not entry.is_dir()]
        return [entry for entry in path.parent.glob(f"{_literal(path.stem)}.*") if not entry.is_dir()]
    except OSError:
        return []


def _literal(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _state(base: Path, name: str) -> list[str | int]:
    try:
        found = (base / name).stat()
    except OSError:
        return [name, -1]
    return [name, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
