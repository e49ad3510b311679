"""An MLflow model registry: the latest version of every name, and every version with an alias.

Listing brings no weights. Fetching brings the files that loading reads, never a pickle, and MLflow loads none of them.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank import settings
from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import ModelError, SourceError, UsageError
from neuralrank.sources._hub_download import OnBytes
from neuralrank.sources._hub_fetch import MAX_FETCH_BYTES, fetch_all
from neuralrank.sources._hub_json import table, text
from neuralrank.sources._mlflow_artifacts import open_store
from neuralrank.sources._mlflow_client import PAGE, Registry, check_address
from neuralrank.sources._mlflow_downloads import downloaded_entries, is_downloaded, registry_folder
from neuralrank.sources._mlflow_entry import Named, entry_of, named_of, read_contents, stamp_of
from neuralrank.sources._mlflow_fetch import fetch, record_of
from neuralrank.types import Failure, ModelRecord

NEWEST_FIRST = ["name ASC", "version_number DESC"]
READY = "READY"
MAX_TROUBLES = 3
"""So many versions in a row whose files the server does not give end a listing: each costs all tries."""


def mlflow(
    uri: str,
    *,
    offline: bool = False,
    max_bytes: int = MAX_FETCH_BYTES,
    download_dir: str | os.PathLike[str] | None = None,
    on_bytes: OnBytes | None = None,
) -> Repository:
    """Return the models of an MLflow registry.

    Args:
        uri: 'http://HOST:PORT' or 'sqlite:////PATH'; with '?filter=' and a filter of MLflow's for versions at its
            end, taken as it is: "http://HOST:PORT?filter=name LIKE 'vit%'". See docs/sources.md.
        offline: make no request: list and use what was downloaded from this registry, whatever the filter.
        max_bytes: most that is brought for one model.
        download_dir: where models are kept; by default `mlflow` in the cache.
        on_bytes: told how many bytes have come, as they come.

    Raises:
        UsageError: the address is of another kind, holds a password, or names a file that does not exist.
    """
    address, _, condition = uri.removeprefix("mlflow:").partition("?filter=")
    address = check_address(address.strip())
    downloads = Path(download_dir) if download_dir is not None else settings.cache_dir() / "mlflow"
    registry = Registry(address=address, downloads=registry_folder(downloads.expanduser(), address))
    return _Versions(
        registry=registry, condition=condition.strip(), offline=offline, max_bytes=max_bytes, on_bytes=on_bytes
    )


@dataclass(frozen=True, kw_only=True)
class _Versions:
    registry: Registry
    condition: str
    offline: bool
    max_bytes: int
    on_bytes: OnBytes | None

    @property
    def spec(self) -> str:
        """Name the registry and the filter."""
        return f"mlflow:{self.registry.address}" + (f"?filter={self.condition}" if self.condition else "")

    @property
    def is_complete(self) -> bool:
        """Say whether what is not listed is gone: offline, it may only not have been downloaded."""
        return not self.offline

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        """Bring every model that is listed, one after the other."""
        return fetch_all(self, self.list_entries({}))

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        """Yield the latest version of each name and those with an alias; one whose stamp is known is not read.

        Raises:
            SourceError: the registry does not answer.
            UsageError: it does not understand the filter.
            MissingExtraError: MLflow's client is not installed.
        """
        if self.offline:
            for entry in downloaded_entries(self.registry.downloads):
                yield Unchanged(location=entry.location) if known.get(entry.location) == entry.stamp else entry
            return
        names = self._names()
        previous, n_troubles = None, 0
        for version in self._versions():
            name, number = version.name, str(version.version)
            is_latest, previous = name != previous, name
            # a name that is none of a model is one of a prompt, or came after the names were asked for
            if name not in names or not (is_latest or number in names[name].aliases):
                continue
            location = f"{name}/{number}"
            if location in known and known[location] == stamp_of(version, names[name]):
                yield Unchanged(location=location)
                continue
            try:
                yield self._entry(version, names[name])
                n_troubles = 0
            except (ModelError, SourceError) as error:
                n_troubles = n_troubles + 1 if isinstance(error, SourceError) else 0
                if n_troubles == MAX_TROUBLES:
                    raise
                yield Failure(model_id=f"mlflow:{_shown(version)}", stage="list", error=str(error))

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Bring the files of one version, unless they are there.

        Raises:
            ModelError: it has none that can be loaded, they are too large, or they are gone.
            SourceError: the registry does not answer.
        """
        if entry.refusal is not None:
            raise ModelError(entry.refusal)
        if is_downloaded(self.registry.downloads, entry):
            return record_of(self.registry.downloads, entry)
        if self.offline:
            raise ModelError(f"{entry.model_id} needs the network. Got --offline. Run without it.")
        return fetch(self.registry, entry, max_bytes=self.max_bytes, on_bytes=self.on_bytes)

    def _names(self) -> dict[str, Named]:
        def page(client: Any, token: Any) -> Any:
            return client.search_registered_models(max_results=PAGE, page_token=token)

        return {model.name: named_of(model) for model in self.registry.pages(page)}

    def _versions(self) -> Iterator[Any]:
        def page(client: Any, token: Any) -> Any:
            return client.search_model_versions(
                self.condition or None, max_results=PAGE, order_by=NEWEST_FIRST, page_token=token
            )

        return self.registry.pages(page)

    def _entry(self, version: Any, named: Named) -> ModelEntry:
        """Read one version closely."""
        model = _shown(version)
        if not version.name.isprintable() or not str(version.version).isdecimal():
            raise ModelError(f"{model} needs a name of printable characters. Got others. Rename it.")
        if version.status != READY:
            got = text(version.status, 40)
            raise ModelError(f"{model} needs to be {READY}. Got {got}. Wait, or register it again.")
        uri = self.registry.location(version.name, str(version.version))
        contents = read_contents(open_store(self.registry, uri, model), model)
        return entry_of(version, named, contents, self._metrics(version.run_id))

    def _metrics(self, run_id: Any) -> Mapping[str, Any]:
        """Return the metrics of a run, none where it was deleted or the model came without one."""
        if not isinstance(run_id, str) or not run_id:
            return {}
        try:
            return table(self.registry.ask(lambda client: client.get_run(run_id).data.metrics, run_id))
        except (ModelError, UsageError):
            return {}


def _shown(version: Any) -> str:
    return f"{text(version.name, 256)}@{text(str(version.version), 20)}"
