"""A folder tree of checkpoints, one model directory, or one model file.

Listing reads and hashes bytes and loads no weights.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import ModelError, UsageError
from neuralrank.sources._entry import entry_from_record
from neuralrank.sources._walk import Refused, Walk, boundary_of
from neuralrank.types import Failure, ModelRecord


def folder(path: str | os.PathLike[str]) -> Repository:
    """Return the models below a folder.

    Args:
        path: a folder of any depth, a folder that is itself a model, or a model file.

    Raises:
        UsageError: there is nothing at `path`.
    """
    root = Path(path)
    if not _exists(root):
        raise UsageError(
            f"A folder or file of models is needed. Got {str(path)!r}, which does not exist. Check the path."
        )
    return _Folder(root=root)


@dataclass(frozen=True, kw_only=True)
class _Folder:
    root: Path

    @property
    def spec(self) -> str:
        """Name the folder by its absolute path."""
        return f"folder:{self.root.resolve()}"

    @property
    def is_complete(self) -> bool:
        """Say whether what is not listed is gone: all of the folder is listed."""
        return True

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        """Yield a record, or a Failure with the reason, for every model; sorted by path."""
        for _, found in self._walk().models(self.root):
            if isinstance(found, Refused):
                yield Failure(model_id=f"folder:{found.name}", stage="list", error=found.error)
            elif not isinstance(found, Unchanged):
                yield found

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        """Yield every model, also those of formats that are not loaded yet; what is unchanged is not read again."""
        walk = self._walk(known)
        for path, found in walk.models(self.root):
            location = walk.location(path)
            if isinstance(found, ModelRecord | Refused) and not _is_text(location):
                error = (
                    f"{found.name} needs a path of readable text. Got bytes that are none. Rename it to catalogue it."
                )
                yield walk.failure(path, error)
            elif isinstance(found, ModelRecord):
                yield entry_from_record(found, source="folder", location=location, stamp=walk.stamp)
            elif isinstance(found, Refused):
                yield _unloadable(found, walk, path)
            else:
                yield found

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Describe the files of one model anew.

        Raises:
            ModelError: they are gone, have changed, or cannot be loaded.
        """
        walk = self._walk()
        path = walk.base / os.path.relpath(entry.location, walk.base.resolve())
        if not _exists(path):
            raise ModelError(
                f"{entry.name} needs its file. Got nothing at {entry.location!r}. Run `neuralrank index` again."
            )
        found = [item for _, item in walk.models(path)]
        record = found[0] if len(found) == 1 else None
        if not isinstance(record, ModelRecord):
            reasons = [item.error for item in found if isinstance(item, Failure | Refused)]
            unclear = f"{entry.name} needs to be one model. Got {len(found)}. Run `neuralrank index` again."
            raise ModelError(reasons[0] if reasons else unclear)
        # The name may be another: it is the path from the folder that was listed, and that may not be this one.
        if record.model_id.rpartition("@")[2] != entry.model_id.rpartition("@")[2]:
            raise ModelError(
                f"{entry.name} needs to be as it was when it was listed. Got files that have changed since. "
                "Run `neuralrank index` again."
            )
        return replace(record, model_id=entry.model_id, name=entry.name)

    def _walk(self, known: Mapping[str, str] | None = None) -> Walk:
        if self.root.is_dir():
            return Walk(self.root, boundary_of(self.root), known)
        return Walk(self.root.parent, self.root.resolve().parent, known)


def _unloadable(refused: Refused, walk: Walk, path: Path) -> ModelEntry | Failure:
    """Return the entry of a model that can be found but not ranked."""
    try:
        content_hash, size = walk.hashed(path, refused.files)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return walk.failure(path, f"{path.name} could not be read. Got {reason}. Mend its name or permissions.")
    return ModelEntry(
        model_id=f"folder:{refused.name}@{content_hash[:16]}",
        source="folder",
        name=refused.name,
        location=walk.location(path),
        stamp=walk.stamp,
        format=refused.files[0].suffix.lower().removeprefix("."),
        refusal=refused.error,
        size_bytes=size,
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than the system takes, or behind a folder that may not be entered
        return False


def _is_text(location: str) -> bool:
    try:
        location.encode()
    except UnicodeEncodeError:
        return False
    return True
