"""The cache of the Hugging Face Hub on this machine: what was brought before, by whatever program.

Nothing here makes a request. A model of which only some files were brought is listed with what it lacks.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import ModelError
from neuralrank.sources._hub_cache import cache_folder, record_of, snapshot_folder
from neuralrank.sources._hub_fetch import fetch_all
from neuralrank.sources._hub_local import cached_entries
from neuralrank.sources._hub_query import Query, parse_query
from neuralrank.types import Failure, ModelRecord


def hf_cache(pattern: str = "*", *, cache_dir: str | os.PathLike[str] | None = None) -> Repository:
    """Return the cached models that a pattern selects.

    Args:
        pattern: 'owner/name', 'owner/name@revision', or a pattern such as 'timm/*'.
        cache_dir: the Hub's cache; by default where HF_HUB_CACHE or HF_HOME put it.

    Raises:
        UsageError: the pattern cannot be one, or has filters, which only the Hub itself knows.
    """
    query = parse_query(pattern.removeprefix("hf_cache:"), source="hf_cache")
    return _Cache(query=query, cache=cache_folder(cache_dir))


@dataclass(frozen=True, kw_only=True)
class _Cache:
    query: Query
    cache: Path

    @property
    def spec(self) -> str:
        """Name the pattern; the folder is a setting of the machine."""
        return f"hf_cache:{self.query.text}"

    @property
    def is_complete(self) -> bool:
        """Say whether what is not listed is gone: all of the cache is listed."""
        return True

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        """Describe every model that is cached."""
        return fetch_all(self, self.list_entries({}))

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        """Yield every cached revision; damaged ones come as a Failure.

        Raises:
            SourceError: the cache as a whole cannot be read.
        """
        for entry in cached_entries(self.cache, self.query, source="hf_cache"):
            same = isinstance(entry, ModelEntry) and known.get(entry.location) == entry.stamp
            yield Unchanged(location=entry.location) if same and isinstance(entry, ModelEntry) else entry

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Describe the files of one model; they are here.

        Raises:
            ModelError: they are gone, or cannot be loaded.
        """
        name, _, revision = entry.location.partition("@")
        snapshot = snapshot_folder(self.cache, name, revision)
        if not snapshot.is_dir():
            raise ModelError(
                f"{entry.name} needs its files in the cache of the Hub. Got none at {str(snapshot)!r}. "
                f"Fetch it again as hf:{name}."
            )
        return record_of(snapshot, self.cache, entry)
