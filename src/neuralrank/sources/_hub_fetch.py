"""Bring the files of one model from the Hub into the cache, and describe what came."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import ModelError, SourceError
from neuralrank.sources import _hub_json as read
from neuralrank.sources._hub_cache import (
    REVISION,
    cached_revision,
    has_file,
    is_repository,
    json_file,
    n_cached,
    record_of,
    snapshot_folder,
)
from neuralrank.sources._hub_download import HubFile, OnBytes, download
from neuralrank.sources._hub_files import choose, is_plain_path, unnamed
from neuralrank.sources._hub_http import Hub
from neuralrank.sources._hub_query import address
from neuralrank.types import Failure, ModelRecord

MAX_FETCH_BYTES = 5 * 10**9
MAX_FILES = 100_000
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def fetch(
    hub: Hub, repository: str, entry: ModelEntry, *, offline: str, max_bytes: int, on_bytes: OnBytes | None = None
) -> ModelRecord:
    """Return the record of a model, its files brought first where they are not in the cache.

    Args:
        hub: where from, and into which cache.
        repository: its name on the Hub.
        entry: as it was listed; its id ends in the revision to bring, else the newest is.
        offline: what forbids requests, such as '--offline'; empty if nothing does.
        max_bytes: most that is brought.
        on_bytes: told of the bytes as they come; of less than none where some have to come again.

    Raises:
        ModelError: it has no files that can be loaded, they are too large, or access to it is closed.
        SourceError: the Hub does not answer, and the files are not in the cache.
    """
    if not is_repository(repository):
        raise ModelError(f"{entry.name} needs a name on the Hub. Got {repository[:100]!r}. List the models again.")
    listed = entry.model_id.rpartition("@")[2]
    revision = listed if REVISION.fullmatch(listed) else None
    if offline:
        return _cached(hub, repository, revision, entry, offline)
    revision = revision or _newest(hub, repository, entry)
    snapshot = snapshot_folder(hub.cache, repository, revision)
    try:
        files = _tree(hub, repository, revision, entry)
    except SourceError as error:
        try:  # a revision never changes, so that what was brought of it before is as good as the Hub's answer
            return record_of(snapshot, hub.cache, entry)
        except ModelError:
            raise error from None
    choice = choose(entry.name, list(files), {}, library=entry.library)
    if choice.refusal is not None:
        raise ModelError(choice.refusal)
    missing = [files[path] for path in choice.files if not has_file(snapshot, path, files[path].size)]
    _check_size(hub.cache, missing, max_bytes, entry)
    config = "" if choice.target else "config.json"
    for file in sorted(missing, key=lambda file: file.path != config):
        if file.path != config and config:
            _check_config(snapshot, entry)
            config = ""
        download(hub, repository, file, snapshot, entry, on_bytes)
    return record_of(snapshot, hub.cache, entry, choice)


def fetch_all(
    repository: Repository, entries: Iterable[ModelEntry | Unchanged | Failure]
) -> Iterator[ModelRecord | Failure]:
    """Yield the record of every entry, or a Failure where it cannot be loaded or brought."""
    for entry in entries:
        if isinstance(entry, Failure):
            yield entry
        elif isinstance(entry, ModelEntry) and entry.refusal is not None:
            yield Failure(model_id=entry.model_id, stage="list", error=entry.refusal)
        elif isinstance(entry, ModelEntry):
            try:
                yield repository.fetch(entry)
            except (ModelError, SourceError) as error:
                yield Failure(model_id=entry.model_id, stage="fetch", error=str(error))


def _cached(hub: Hub, repository: str, revision: str | None, entry: ModelEntry, offline: str) -> ModelRecord:
    revision = revision or cached_revision(hub.cache, repository)
    snapshot = snapshot_folder(hub.cache, repository, revision) if revision else None
    if snapshot is not None and snapshot.is_dir():
        return record_of(snapshot, hub.cache, entry)
    n = n_cached(hub.cache)
    others = f", or use the {n} cached model{'s' * (n > 1)} (hf_cache:)" if n else ""
    raise ModelError(f"{entry.model_id} needs the network. Got {offline}. Run without it{others}.")


def _newest(hub: Hub, repository: str, entry: ModelEntry) -> str:
    """Return the revision that the repository has now."""
    answer = hub.get(f"/api/models/{address(repository)}", entry.model_id)
    sha = read.table(answer.content).get("sha")
    if answer.status != 200 or not isinstance(sha, str) or REVISION.fullmatch(sha) is None:
        raise hub.closed(entry.name, answer) or hub.failed(entry.model_id, answer)
    return sha


def _tree(hub: Hub, repository: str, revision: str, entry: ModelEntry) -> dict[str, HubFile]:
    """Return the files of a revision by path; those with names or sizes that no file has are left out."""
    path = f"/api/models/{address(repository)}/tree/{revision}"
    files: dict[str, HubFile] = {}
    for page in hub.pages(path, {"recursive": "true"}, entry.model_id, name=entry.name):
        files.update((file.path, file) for file in map(_file, page) if file is not None)
        if len(files) > MAX_FILES:
            break
    return files


def _file(item: Any) -> HubFile | None:
    item = read.table(item)
    large = read.table(item.get("lfs"))
    path, digest = item.get("path"), large.get("oid") or item.get("oid")
    size = read.whole(large.get("size") if large else item.get("size"))
    if item.get("type") != "file" or not isinstance(path, str) or not is_plain_path(path) or size is None:
        return None
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        return None
    return HubFile(path=path, size=size, digest=digest)


def _check_config(snapshot: Path, entry: ModelEntry) -> None:
    """Look at the configuration, which is there, before the weights are brought.

    Raises:
        ModelError: no weights could help.
    """
    config = json_file(snapshot / "config.json")
    paths = ["config.json", "model.safetensors"]
    refusal = unnamed(entry.name, config) or choose(entry.name, paths, config, library=entry.library).refusal
    if refusal is not None:
        raise ModelError(refusal)


def _check_size(cache: Path, missing: list[HubFile], max_bytes: int, entry: ModelEntry) -> None:
    """Compare what would be brought with the limit, and with the room on the disk.

    Raises:
        ModelError: it is too much.
    """
    total = sum(file.size for file in missing)
    if total > max_bytes:
        raise ModelError(
            f"{entry.name} needs at most {_amount(max_bytes)} to be fetched. Got {_amount(total)}. "
            "Raise --max-fetch, or choose a smaller model."
        )
    there = next((folder for folder in (cache, *cache.absolute().parents) if folder.is_dir()), None)
    free = shutil.disk_usage(there).free if there else total
    if total > free:
        raise ModelError(
            f"{entry.name} needs {_amount(total)} of room in {str(cache)!r}. Got {_amount(free)}. "
            "Make room, or set HF_HUB_CACHE to a larger disk."
        )


def _amount(n: int) -> str:
    """Return a number of bytes for people."""
    unit, name = next(((unit, name) for unit, name in _UNITS if n >= unit), (1, "bytes"))
    return f"{n / unit:.1f} {name}" if unit > 1 else f"{n} {name}"
