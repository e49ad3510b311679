"""The Hugging Face Hub: one model, or all that a pattern and the Hub's own filters select.

Listing brings no weights: it reads what the Hub's listing says, page by page. The cards and configurations of single
models are read only where few are listed. Fetching brings the safe files of one model into the Hub's cache.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import SourceError, UsageError
from neuralrank.sources import _hub_json as read
from neuralrank.sources._hub_cache import cache_folder
from neuralrank.sources._hub_card import prose
from neuralrank.sources._hub_download import OnBytes
from neuralrank.sources._hub_entry import entry_of, location_of, revision_of, sizes_of, stamp_of
from neuralrank.sources._hub_fetch import MAX_FETCH_BYTES, fetch, fetch_all
from neuralrank.sources._hub_files import unnamed
from neuralrank.sources._hub_http import Hub
from neuralrank.sources._hub_local import cached_entries
from neuralrank.sources._hub_open import offline_reason, open_hub
from neuralrank.sources._hub_query import Query, address, parse_query
from neuralrank.types import Failure, ModelRecord

READ_CLOSELY = 200
"""Up to so many models, card and configuration of each are read: two requests more per model."""
N_READERS = 8
PAGE = 1000
MAX_CARD_BYTES = 2**20
MAX_CONFIG_BYTES = 2**24
EXPANDED = """
    cardData config createdAt disabled downloads gated lastModified library_name likes model-index pipeline_tag
    safetensors sha siblings tags
    """.split()  # noqa: SIM905


def hf(
    pattern: str = "*",
    *,
    offline: bool = False,
    max_bytes: int = MAX_FETCH_BYTES,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    on_bytes: OnBytes | None = None,
) -> Repository:
    """Return the models of the Hugging Face Hub that a pattern selects.

    Args:
        pattern: a name, 'owner/name' or 'owner/name@revision', or a pattern with filters of the Hub,
            'timm/*?pipeline_tag=image-classification&sort=downloads&limit=500'; see docs/sources.md.
        offline: make no request: list and use what the Hub's cache has. HF_HUB_OFFLINE=1 says the same.
        max_bytes: most that is brought for one model.
        token: for private and gated models; by default HF_TOKEN, or what `hf auth login` stored.
        endpoint: address of the Hub; by default HF_ENDPOINT, or the public Hub.
        cache_dir: the Hub's cache; by default where HF_HUB_CACHE or HF_HOME put it.
        on_bytes: told how many bytes have come, as they come.

    Raises:
        UsageError: the pattern, the endpoint or the token cannot be one.
    """
    query = parse_query(pattern.removeprefix("hf:"))
    reason = offline_reason(offline)
    hub = open_hub(cache=cache_folder(cache_dir), endpoint=endpoint, token=token, offline=bool(reason))
    return _HubRepository(query=query, hub=hub, offline=reason, max_bytes=max_bytes, on_bytes=on_bytes)


@dataclass(frozen=True, kw_only=True)
class _HubRepository:
    query: Query
    hub: Hub
    offline: str
    max_bytes: int
    on_bytes: OnBytes | None = None

    @property
    def spec(self) -> str:
        """Name the pattern and its filters."""
        return f"hf:{self.query.text}"

    @property
    def is_complete(self) -> bool:
        """Say whether what is not listed is gone: offline, it may only not be cached."""
        return not self.offline

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        """Bring every model that is listed, one after the other."""
        return fetch_all(self, self.list_entries({}))

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        """Yield what the Hub lists, page by page; a model whose stamp is known costs nothing more.

        Raises:
            SourceError: the Hub does not answer.
            UsageError: one model is named, and there is none of that name.
        """
        if self.offline:
            yield from self._cached(known)
            return
        found = islice(self._found(), self.query.limit)
        few = list(islice(found, READ_CLOSELY + 1))
        if len(few) > READ_CLOSELY:
            for info in chain(few, found):
                yield self._unchanged(info, known) or self._entry(info)
            return
        seen = [(info, self._unchanged(info, known)) for info in few]  # here: `known` may belong to this thread
        with ThreadPoolExecutor(N_READERS) as readers:
            try:
                yield from readers.map(lambda one: one[1] or self._read_closely(one[0]), seen)
            finally:
                readers.shutdown(cancel_futures=True)

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Bring the files of one model, as they were when it was listed.

        Raises:
            ModelError: it has none that can be loaded, they are too large, or access to it is closed.
            SourceError: the Hub does not answer.
        """
        limits: dict[str, Any] = {"max_bytes": self.max_bytes, "on_bytes": self.on_bytes}
        return fetch(self.hub, entry.location, entry, offline=self.offline, **limits)

    def _cached(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        n = 0
        for entry in cached_entries(self.hub.cache, self.query, source="hf"):
            n += 1
            same = isinstance(entry, ModelEntry) and known.get(entry.location) in (
                entry.stamp,
                entry.model_id.rpartition("@")[2],  # what the Hub itself said of this revision is more than files tell
            )
            yield Unchanged(location=entry.location) if same and isinstance(entry, ModelEntry) else entry
        if self.query.named and n == 0:
            raise SourceError(
                f"{self.spec} needs the network. Got {self.offline}. Run without it, or list the cached models: "
                "hf_cache:"
            )

    def _found(self) -> Iterator[Any]:
        """Yield the Hub's descriptions of the models that are meant."""
        if self.query.named:
            yield self._one()
            return
        size = min(PAGE, self.query.limit or PAGE)
        params = {**self.query.params, "limit": str(size), "expand": EXPANDED}
        for page in self.hub.pages("/api/models", params, self.spec):
            for info in page:
                location = location_of(info)
                if location is None or self.query.matches(location):
                    yield info

    def _one(self) -> Any:
        revision = f"/revision/{address(self.query.revision)}" if self.query.revision else ""
        answer = self.hub.get(f"/api/models/{address(self.query.pattern)}{revision}", self.spec, query="blobs=true")
        # to someone who is not logged in, the Hub does not say whether a model is private or absent
        if answer.status in (403, 404, 410) or (answer.status == 401 and self.hub.token is None):
            raise UsageError(
                f"{self.spec} needs to be a model that you can see on the Hub. Got HTTP {answer.status}. "
                "Check the name; if it is private or gated, run: hf auth login"
            )
        if answer.status != 200:
            raise self.hub.failed(self.spec, answer)
        return answer.content

    def _unchanged(self, info: Any, known: Mapping[str, str]) -> Unchanged | None:
        location = location_of(info)
        if location is None or known.get(location) != stamp_of(info, has_token=self.hub.token is not None):
            return None
        return Unchanged(location=location)

    def _entry(self, info: Any) -> ModelEntry | Failure:
        return entry_of(info, has_token=self.hub.token is not None)

    def _read_closely(self, info: Any) -> ModelEntry | Failure:
        """Return the entry with what the model's own configuration and card add."""
        location, revision = location_of(info), revision_of(read.table(info))
        names = sizes_of(read.table(info))
        if location is None or revision is None:
            return self._entry(info)
        base = f"/{address(location)}/resolve/{revision}"
        config = (
            _object(self._file(f"{base}/config.json", location, MAX_CONFIG_BYTES)) if "config.json" in names else {}
        )
        entry = self._entry({**info, "config": {**read.table(info.get("config")), **config}})
        if config and isinstance(entry, ModelEntry) and str(entry.format).endswith("_folder") and entry.loadable:
            entry = replace(entry, refusal=unnamed(location, config))
        if "README.md" in names and isinstance(entry, ModelEntry):
            card = self._file(f"{base}/README.md", location, MAX_CARD_BYTES).decode(errors="replace")
            entry = replace(entry, description=prose(card))
        return entry

    def _file(self, path: str, location: str, limit: int) -> bytes:
        """Return a small file of a model, nothing if access to it is closed or it is too long."""
        answer = self.hub.get(path, f"hf:{location}", raw_bytes=limit)
        return answer.content if answer.status == 200 and isinstance(answer.content, bytes) else b""


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        return read.table(read.parsed(content))
    except ValueError:
        return {}
