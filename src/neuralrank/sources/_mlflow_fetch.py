"""Bring the files of one version of an MLflow registry, and describe what came."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from neuralrank.entries import ModelEntry
from neuralrank.errors import ModelError, SourceError
from neuralrank.sources._hub_download import OnBytes
from neuralrank.sources._mlflow_artifacts import Store, open_store
from neuralrank.sources._mlflow_client import Registry
from neuralrank.sources._mlflow_downloads import files_folder, new_version
from neuralrank.sources._mlflow_entry import read_contents
from neuralrank.sources.folder import folder
from neuralrank.types import Failure, ModelRecord

TRIES = 3


def fetch(
    registry: Registry, entry: ModelEntry, *, max_bytes: int, on_bytes: OnBytes | None = None, pause_seconds: float = 1
) -> ModelRecord:
    """Download one version and return its record.

    Args:
        registry: where from, and into which folder.
        entry: as it was listed.
        max_bytes: most that is brought.
        on_bytes: told of the bytes as they come; of less than none where some have to come again.
        pause_seconds: wait before a file that was cut off is tried again; the second time, twice as long.

    Raises:
        ModelError: it has no files that can be loaded, they are too large, or the disk does not take them.
        SourceError: the registry does not answer.
    """
    name, _, number = entry.location.rpartition("/")
    model = f"{name}@{number}"
    store = open_store(registry, registry.location(name, number), model)
    contents = read_contents(store, model)
    if contents.choice.refusal is not None:
        raise ModelError(contents.choice.refusal)
    if (contents.size_bytes or 0) > max_bytes:
        raise _too_large(model, f"{contents.size_bytes} bytes", max_bytes)
    try:
        free = _free_bytes(registry.downloads)
        if (contents.size_bytes or 0) > free:
            raise ModelError(
                f"{model} needs {contents.size_bytes} bytes in {str(registry.downloads)!r}. Got {free} that are free. "
                "Make room, or set NEURALRANK_CACHE_DIR to a larger disk."
            )
        with new_version(registry.downloads, entry) as files:
            _bring(store, contents.files, files, model, max_bytes, on_bytes or (lambda _: None), pause_seconds)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ModelError(
            f"{model} needs to be stored in {str(registry.downloads)!r}. Got: {reason}. "
            "Make room or mend the permissions."
        ) from error
    return record_of(registry.downloads, entry)


def record_of(downloads: Path, entry: ModelEntry) -> ModelRecord:
    """Describe a version that was downloaded, under the id and name it is catalogued with.

    Raises:
        ModelError: its files are damaged.
    """
    found = list(folder(files_folder(downloads, entry)).list_models())
    record = next((model for model in found if isinstance(model, ModelRecord)), None)
    if record is None:
        error = next((model.error for model in found if isinstance(model, Failure)), "No files of a model are there.")
        raise ModelError(error)
    facts = record.facts
    filled = replace(
        facts,
        licence=facts.licence or entry.license,
        reported_accuracy=entry.accuracy if facts.reported_accuracy is None else facts.reported_accuracy,
    )
    return replace(record, model_id=entry.model_id, name=entry.name, facts=filled)


def _bring(
    store: Store,
    files: Mapping[str, str],
    into: Path,
    model: str,
    max_bytes: int,
    report: OnBytes,
    pause_seconds: float,
) -> None:
    """Download files, each tried again where it was cut off; no more than `max_bytes`, whatever was listed."""
    left = max_bytes
    for place, path in files.items():
        target = into / place
        target.parent.mkdir(parents=True, exist_ok=True)
        for n in range(1, TRIES + 1):
            came = 0
            try:
                with target.open("wb") as stream:
                    for chunk in store.chunks(path):
                        came += len(chunk)
                        if came > left:
                            raise _too_large(model, "more than was listed", max_bytes)
                        stream.write(chunk)
                        report(len(chunk))
                break
            except SourceError:
                report(-came)
                if n == TRIES:
                    raise
                time.sleep(pause_seconds * n)
        left -= came


def _too_large(model: str, got: str, max_bytes: int) -> ModelError:
    return ModelError(
        f"{model} needs at most {max_bytes} bytes to be fetched. Got {got}. "
        "Raise --max-fetch, or choose a smaller model."
    )


def _free_bytes(path: Path) -> int:
    there = next((parent for parent in (path, *path.absolute().parents) if parent.is_dir()), None)
    return shutil.disk_usage(there).free if there else 2**63
