"""Where the models of MLflow registries lie once they are fetched: one folder per version, all or nothing.

    DOWNLOADS/<registry>/<name>@<version>-<mark>/entry.json           what the registry said of it
                                                /<name>@<version>/…   what loading it reads

A folder whose name begins with `.partial-` is one that a process is still writing, or was killed while it did.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from neuralrank.entries import ModelEntry

ENTRY = "entry.json"
_PARTIAL = ".partial-"
_ABANDONED_SECONDS = 86_400


def registry_folder(downloads: Path, address: str) -> Path:
    """Return the folder of one registry."""
    return downloads / hashlib.sha256(address.encode()).hexdigest()[:16]


def version_folder(registry: Path, entry: ModelEntry) -> Path:
    """Return the folder of one version: a name and number that are given anew after a deletion are another one."""
    created = "".join(char for char in entry.created or "" if char.isdigit())
    mark = hashlib.sha256(entry.location.encode()).hexdigest()[:8]
    return registry / f"{_plain_name(entry)}-{mark}-{created}"


def files_folder(registry: Path, entry: ModelEntry) -> Path:
    """Return the folder of its files; messages about them begin with its name."""
    return version_folder(registry, entry) / _plain_name(entry)


def is_downloaded(registry: Path, entry: ModelEntry) -> bool:
    """Say whether a version is there as a whole."""
    return (version_folder(registry, entry) / ENTRY).is_file()


def n_downloaded(registry: Path) -> int:
    """Count the versions that are there as a whole."""
    return sum(1 for _ in registry.glob(f"[!.]*/{ENTRY}")) if registry.is_dir() else 0


def downloaded_entries(registry: Path) -> Iterator[ModelEntry]:
    """Yield what the registry said of the versions that are there; a file that somebody damaged is left out."""
    for path in sorted(registry.glob(f"[!.]*/{ENTRY}")) if registry.is_dir() else ():
        try:
            entry = _entry(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if version_folder(registry, entry) == path.parent:
            yield entry


@contextmanager
def new_version(registry: Path, entry: ModelEntry) -> Iterator[Path]:
    """Give a folder to download into; it becomes the version's own when the block ends well, else it is removed.

    Where another process has brought the same version meanwhile, that one stays.
    """
    registry.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(registry)
    partial = registry / f"{_PARTIAL}{uuid.uuid4().hex}"
    try:
        files = partial / _plain_name(entry)
        files.mkdir(parents=True)
        yield files
        (partial / ENTRY).write_text(json.dumps(asdict(entry)), "utf-8")
        final = version_folder(registry, entry)
        try:
            partial.rename(final)
        except OSError:
            if not is_downloaded(registry, entry):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plain_name(entry: ModelEntry) -> str:
    """Return the name and version as the name of a folder that is not hidden."""
    name, _, version = entry.location.rpartition("/")
    plain = quote(name, safe=" ").replace(".", "_", 1 if name.startswith(".") else 0)
    return f"{plain[:120]}@{version[:20]}"


def _remove_abandoned(registry: Path) -> None:
    """Remove what processes that were killed have left, once nobody can be writing to it any more."""
    for partial in registry.glob(f"{_PARTIAL}*"):
        try:
            old = time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS
        except OSError:
            continue
        if old:
            shutil.rmtree(partial, ignore_errors=True)


def _entry(content: Any) -> ModelEntry:
    known = {field.name for field in fields(ModelEntry)}
    values: dict[str, Any] = {name: content[name] for name in known & set(content) - {"results"}}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return ModelEntry(**{**values, **lists})
