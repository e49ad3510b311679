"""A folder tree of checkpoints, one model directory, or one model file.

Listing reads and hashes bytes and loads no weights.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import ModelError, UsageError
from neuralrank.sources._entry import entry_from_record
from neuralrank.sources._stamps import stamp
from neuralrank.sources._walk import Refused, Walk, boundary_of, hash_files
from neuralrank.types import Failure, ModelEntry, ModelRecord, Repository, Unchanged


def folder(path: str | os.PathLike[str]) -> Repository:
    """Return the models below a folder.

    Args:
        path: a folder of any depth, a folder that is itself a model, or a model file.

    Raises:
        UsageError: there is nothing at `path`.
    """
    root = Path(path)
    if not root.exists():
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
            if isinstance(found, ModelRecord):
                mark = stamp(path, found.facts.files)
                yield entry_from_record(found, source="folder", location=walk.location(path), stamp=mark)
            elif isinstance(found, Refused):
                yield _unloadable(found, path, walk.location(path))
            else:
                yield found

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Describe the files of one model anew.

        Raises:
            ModelError: they are gone, have changed, or cannot be loaded.
        """
        walk = self._walk()
        path = walk.base / os.path.relpath(entry.location, walk.base.resolve())
        if not path.exists():
            raise ModelError(
                f"{entry.name} needs its file. Got nothing at {entry.location!r}. Run `neuralrank index` again."
            )
        found = [item for _, item in walk.models(path)]
        if len(found) != 1 or not isinstance(found[0], ModelRecord):
            reasons = [item.error for item in found if isinstance(item, Failure | Refused)]
            unclear = f"{entry.name} needs to be one model. Got {len(found)}. Run `neuralrank index` again."
            raise ModelError(reasons[0] if reasons else unclear)
        if found[0].model_id != entry.model_id:
            raise ModelError(
                f"{entry.name} needs to be as it was when it was listed. Got files that have changed since. "
                "Run `neuralrank index` again."
            )
        return found[0]

    def _walk(self, known: Mapping[str, str] | None = None) -> Walk:
        if self.root.is_dir():
            return Walk(self.root, boundary_of(self.root), known)
        return Walk(self.root.parent, self.root.resolve().parent, known)


def _unloadable(refused: Refused, path: Path, location: str) -> ModelEntry | Failure:
    """Return the entry of a model that can be found but not ranked."""
    try:
        content_hash, size = hash_files(path if path.is_dir() else path.parent, refused.files)
        mark = stamp(path, refused.files)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return Failure(
            model_id=f"folder:{refused.name}",
            stage="list",
            error=f"{path.name} could not be read. Got {reason}. Mend its name or permissions.",
        )
    return ModelEntry(
        model_id=f"folder:{refused.name}@{content_hash[:16]}",
        source="folder",
        name=refused.name,
        location=location,
        stamp=mark,
        format=refused.files[0].suffix.lower().removeprefix("."),
        refusal=refused.error,
        size_bytes=size,
    )
