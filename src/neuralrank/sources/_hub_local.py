"""The models in the Hub's cache on this machine, as entries: read from their files, without requests or hashing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralrank import registry
from neuralrank.entries import ModelEntry
from neuralrank.errors import MissingExtraError, ModelError, SourceError
from neuralrank.sources import _hub_json as read
from neuralrank.sources._entry import estimated_memory
from neuralrank.sources._hub_cache import REVISION, files_of, json_file, text_file, without_weights
from neuralrank.sources._hub_card import prose
from neuralrank.sources._hub_entry import entry_of
from neuralrank.sources._hub_files import choose
from neuralrank.sources._hub_query import Query
from neuralrank.types import Failure, ModelFacts

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, CachedRevisionInfo

_FOLDER = re.compile(r"models--[A-Za-z0-9_.\-]*[A-Za-z0-9_\-]")


def cached_entries(cache: Path, query: Query, *, source: str) -> Iterator[ModelEntry | Failure]:
    """Yield every cached revision of the models that are meant, in the order of their names.

    A repository of the cache that is damaged comes as a Failure.

    Raises:
        SourceError: the cache as a whole cannot be read.
    """
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = scan_cache_dir(cache)
    except CacheNotFound:
        return
    except (OSError, ValueError) as error:
        reason = read.text(str(error)) or type(error).__name__
        raise SourceError(
            f"The cache of the Hub in {str(cache)!r} could not be read. Got: {reason.rstrip('.')}. "
            "Mend its permissions, or set HF_HUB_CACHE to another folder."
        ) from error
    for repository in sorted(found.repos, key=lambda item: item.repo_id):
        if repository.repo_type == "model" and query.matches(repository.repo_id):
            for revision in sorted(repository.revisions, key=lambda item: item.commit_hash):
                if query.revision in ("", revision.commit_hash, *revision.refs):
                    yield _entry(cache, repository, revision, source)
    yield from _damaged([str(warning) for warning in found.warnings], query, source)


def _damaged(warnings: list[str], query: Query, source: str) -> Iterator[Failure]:
    for warning in sorted(warnings):
        folder = _FOLDER.search(warning)
        name = folder.group().removeprefix("models--").replace("--", "/") if folder else ""
        if folder and query.matches(name):
            reason = re.sub(r"\s*\(?/\S+", "", read.text(warning, 1_000) or "").rstrip(" .:")[:200]
            error = f"{name} needs to be whole in the cache of the Hub. Got: {reason}. Delete {folder.group()} there."
            yield Failure(model_id=f"{source}:{name}", stage="list", error=error)


def _entry(
    cache: Path, repository: "CachedRepoInfo", revision: "CachedRevisionInfo", source: str
) -> ModelEntry | Failure:
    snapshot = revision.snapshot_path
    changed = datetime.fromtimestamp(revision.last_modified, UTC).isoformat()
    paths = {file.file_path.relative_to(snapshot).as_posix(): file.size_on_disk for file in revision.files}
    outside = [file.file_name for file in revision.files if not _is_inside(file.file_path, cache)]
    if outside or REVISION.fullmatch(revision.commit_hash) is None:
        got = f"the file {outside[0]!r}, which leads out of it" if outside else "a revision of another kind"
        error = f"{repository.repo_id} needs to lie in the cache of the Hub. Got {got}. Delete it there."
        return Failure(model_id=f"{source}:{repository.repo_id}", stage="list", error=error)
    info = {
        "id": repository.repo_id,
        "sha": revision.commit_hash,
        "lastModified": changed,
        "siblings": [{"rfilename": path, "size": size} for path, size in paths.items()],
        "config": json_file(snapshot / "config.json"),
        "cardData": (card := _front_matter(snapshot / "README.md")),
        "tags": card.get("tags"),
    }
    entry = entry_of(info, source=source)
    if isinstance(entry, Failure):
        return entry
    if entry.format is None:
        entry = replace(entry, refusal=without_weights(entry.name))
    return replace(
        _described(entry, snapshot),
        location=f"{entry.location}@{revision.commit_hash}" if source == "hf_cache" else entry.location,
        # more files of the same revision may come later
        stamp=f"cached {len(paths)} {revision.size_on_disk} {changed}",
        description=prose(text_file(snapshot / "README.md")),
    )


def _described(entry: ModelEntry, snapshot: Path) -> ModelEntry:
    """Return the entry with what the format reads from the files; one that cannot be loaded says why."""
    if entry.refusal is not None or entry.format not in registry.names("formats"):
        return entry
    target = snapshot
    if entry.format in ("onnx", "torch_export"):
        target = snapshot / choose(entry.name, files_of(snapshot), {}, library=entry.library).target
    try:
        facts: ModelFacts | None = registry.get("formats", entry.format).describe(target)
    except (ModelError, MissingExtraError) as error:
        return replace(entry, refusal=str(error).replace(snapshot.name, entry.name))
    if facts is None:
        return entry
    return replace(
        entry,
        modality=facts.modality or entry.modality,
        architecture=facts.architecture or entry.architecture,
        label_names=facts.label_names or entry.label_names,
        params=facts.n_params,
        memory_bytes=estimated_memory(facts.n_params, entry.size_bytes),
    )


def _is_inside(path: Path, cache: Path) -> bool:
    try:
        return path.resolve().is_relative_to(cache.resolve()) and path.is_file()
    except (OSError, RuntimeError):
        return False


def _front_matter(path: Path) -> Mapping[str, Any]:
    """Return the settings at the head of a card, none if there is none or it is damaged."""
    from huggingface_hub.repocard import metadata_load
    from yaml import YAMLError  # type: ignore[import-untyped]  # comes with huggingface_hub

    if not text_file(path):
        return {}
    try:
        return read.table(metadata_load(path))
    except (OSError, ValueError, RecursionError, YAMLError):
        return {}
