"""The cache of the Hugging Face Hub on this machine: where its files lie, which are there, what they make.

The layout is that of `huggingface_hub`: `models--OWNER--NAME/snapshots/REVISION/…`, each file a link into `blobs`.
"""

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuralrank.entries import ModelEntry
from neuralrank.errors import ModelError
from neuralrank.sources._hub_files import Choice, choose
from neuralrank.sources._hub_json import parsed, table
from neuralrank.sources._walk import Refused, Walk
from neuralrank.types import Failure, ModelRecord

MAX_TEXT_BYTES = 2**24
REVISION = re.compile(r"[0-9a-f]{40}")
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}"
_REPOSITORY = re.compile(rf"(?:{_NAME}/)?{_NAME}")


def is_repository(name: str) -> bool:
    """Say whether a text can be the name of a repository on the Hub, and so of a folder in the cache."""
    return _REPOSITORY.fullmatch(name) is not None and "--" not in name and ".." not in name


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the Hub's cache: as given, else where HF_HUB_CACHE or HF_HOME put it."""
    from huggingface_hub import constants

    return Path(given if given is not None else constants.HF_HUB_CACHE).expanduser().absolute()


def repository_folder(cache: Path, repository: str) -> Path:
    """Return where the cache keeps a repository."""
    return cache / f"models--{repository.replace('/', '--')}"


def snapshot_folder(cache: Path, repository: str, revision: str) -> Path:
    """Return where the cache keeps one revision."""
    return repository_folder(cache, repository) / "snapshots" / revision


def n_cached(cache: Path) -> int:
    """Count the models in the cache."""
    try:
        return sum(1 for folder in cache.glob("models--*/snapshots") if any(folder.glob("*/*")))
    except OSError:
        return 0


def cached_revision(cache: Path, repository: str) -> str | None:
    """Return the revision that `main` had when it was last looked up, else the one that came last; None without."""
    folder = repository_folder(cache, repository)
    try:
        main = (folder / "refs" / "main").read_text(errors="replace").strip()
        if REVISION.fullmatch(main) and (folder / "snapshots" / main).is_dir():
            return main
    except OSError:
        pass
    try:
        there = [path for path in (folder / "snapshots").iterdir() if REVISION.fullmatch(path.name)]
        return max(there, key=lambda path: path.stat().st_mtime).name
    except (OSError, ValueError):
        return None


def has_file(snapshot: Path, path: str, size: int) -> bool:
    """Say whether a file is there in its whole length."""
    try:
        return (snapshot / path).stat().st_size == size
    except OSError:
        return False


def add_file(snapshot: Path, path: str, temporary: Path, digest: str) -> None:
    """Move a whole file into `blobs` under its digest, and link it into the snapshot; either is all or nothing."""
    blob = snapshot.parent.parent / "blobs" / digest
    temporary.replace(blob)
    place = snapshot / path
    place.parent.mkdir(parents=True, exist_ok=True)
    link = place.with_name(f"{uuid.uuid4().hex}.incomplete")
    try:
        try:
            link.symlink_to(os.path.relpath(blob, place.parent))
        except (OSError, NotImplementedError):  # a file system without links
            shutil.copyfile(blob, link)
        link.replace(place)
    finally:
        link.unlink(missing_ok=True)


def files_of(snapshot: Path) -> list[str]:
    """List the files of a snapshot, relative to it, sorted."""
    found = []
    for folder, _, names in os.walk(snapshot):
        found += [Path(folder, name).relative_to(snapshot).as_posix() for name in names]
    return sorted(found)


def text_file(path: Path) -> str:
    """Return the text of a small file, nothing if there is none or it is too long."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace") if path.stat().st_size <= MAX_TEXT_BYTES else ""
    except OSError:
        return ""


def json_file(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a small file, an empty one if there is none."""
    try:
        return table(parsed(text_file(path).encode()))
    except ValueError:
        return {}


def without_weights(name: str) -> str:
    """Say why a model of which only other files were brought cannot be loaded."""
    return f"{name} needs its weights in the cache of the Hub. Got none of a known kind. Fetch it as hf:{name}."


def record_of(snapshot: Path, cache: Path, entry: ModelEntry, choice: Choice | None = None) -> ModelRecord:
    """Describe the model that a snapshot holds, under the id and name it is catalogued with.

    Raises:
        ModelError: it holds none that can be loaded.
    """
    choice = choice or choose(entry.name, files_of(snapshot), {}, library=entry.library)
    if choice.refusal is not None:
        raise ModelError(choice.refusal if choice.format else without_weights(entry.name))
    target = snapshot / choice.target if choice.target else snapshot
    # The client may keep files of several repositories once, in a folder of the cache that all of them link to.
    walk = Walk(target.parent if choice.target else target, cache.resolve())
    found = next((item for path, item in walk.models(target) if path == target), None)
    if not isinstance(found, ModelRecord):
        error = f"{entry.name} needs the files of a model that is loaded. Got others alone. Choose another model."
        if isinstance(found, Failure | Refused):
            error = found.error.replace(snapshot.name, entry.name)
        raise ModelError(error)
    facts = found.facts
    filled = replace(
        facts,
        licence=facts.licence or entry.license,
        pretraining_data=facts.pretraining_data or ", ".join(entry.pretraining_data) or None,
        reported_accuracy=entry.accuracy if facts.reported_accuracy is None else facts.reported_accuracy,
    )
    return replace(found, model_id=entry.model_id, name=entry.name, facts=filled)
