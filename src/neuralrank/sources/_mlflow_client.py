"""Questions to an MLflow registry, asked through MLflow's own client: addresses, limits on waiting, pages.

The client waits for minutes where a server is down, writes to a database that it opens, and reports its use to its
makers. Here it waits for a bounded time, reads a database without the right to write, and reports nothing.
"""

import importlib
import logging
import os
import re
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from neuralrank.errors import MissingExtraError, NeuralrankError, SourceError, UsageError
from neuralrank.sources._hub_json import text
from neuralrank.sources._mlflow_downloads import n_downloaded
from neuralrank.sources._mlflow_errors import client_errors, translated

PAGE = 500
MAX_PAGES = 10_000
_SQLITE = "sqlite:///"
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""Where the user has set another value, that one holds. Together: four tries in at most about 90 seconds."""

_LOCK = threading.RLock()
"""The environment, the loggers and the warnings are the whole process's: one thread at a time changes them."""

T = TypeVar("T")


def check_address(uri: str) -> str:
    """Return the address of a registry in the one form that is used for it.

    Raises:
        UsageError: it is of a kind that is not read, holds a password, or names a file that does not exist.
    """
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE)).expanduser()
        if not path.is_file():
            raise UsageError(
                f"mlflow:{_SQLITE}PATH needs the database of a registry. Got {str(path)!r}, where there is no file. "
                "Check the path."
            )
        return _SQLITE + str(path.resolve())
    try:
        parts = urlsplit(uri)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if sound and "@" in parts.netloc:
        raise UsageError(
            "The address of an MLflow server needs to be without a password. Got one in it, not shown here. "
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if not sound or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", uri):
        kind = text(parts.scheme, 40) or text(uri, 40) or ""
        raise UsageError(
            f"The mlflow source needs an address such as http://HOST:PORT or sqlite:////PATH. Got {kind!r}. "
            "For another database, start `mlflow server` on it and use the server's address."
        )
    return uri.rstrip("/")


@contextmanager
def manners() -> Iterator[None]:
    """Have MLflow wait for a bounded time, report nothing, and keep its notices to itself; then undo that."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = {name: value for name, value in _MANNERS.items() if name not in os.environ}
        levels = [logger.level for logger in loggers]
        try:
            os.environ.update(ours)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name in ours:
                os.environ.pop(name, None)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One registry and how to ask it."""

    address: str
    downloads: Path
    """Where what was fetched from it lies; errors say how many models that are."""

    @property
    def is_local(self) -> bool:
        """Say whether it is a database on this machine."""
        return self.address.startswith(_SQLITE)

    @cached_property
    def client(self) -> Any:
        """MLflow's client."""
        with manners():
            mlflow = import_mlflow(is_local=self.is_local)
            address = self._read_only() if self.is_local else self.address
            return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)

    def ask(self, question: Callable[[Any], T], what: str = "") -> T:
        """Return what `question` makes of the client.

        Args:
            question: calls the client once.
            what: the model it is about; the registry itself if empty.

        Raises:
            SourceError: the registry does not answer, or not as MLflow does.
            ModelError: it has no such model.
            UsageError: it does not understand the question.
            MissingExtraError: MLflow's client, or what it needs, is not installed.
        """
        try:
            with manners():
                return question(self.client)
        except NeuralrankError:
            raise
        except client_errors() as error:
            raise self.failed(error, what) from error

    def location(self, name: str, version: str) -> str:
        """Return the address of the files of one version.

        Raises:
            ModelError, SourceError: as for `ask`.
        """
        model = f"{name}@{version}"
        uri = str(self.ask(lambda client: client.get_model_version_download_uri(name, version), model))
        logged = re.fullmatch(r"models:/(m-[0-9a-f]+)/?", uri)
        if logged is not None:
            return str(self.ask(lambda client: client.get_logged_model(logged[1]).artifact_location, model))
        of_run = re.fullmatch(r"runs:/([^/]+)/(.+)", uri)
        if of_run is not None:
            root = self.ask(lambda client: client.get_run(of_run[1]).info.artifact_uri, model)
            return f"{str(root).rstrip('/')}/{of_run[2]}"
        return uri

    def pages(self, question: Callable[[Any, Any], Any]) -> Iterator[Any]:
        """Yield the items of all pages; `question` gets the client and the token of the page.

        Raises:
            SourceError: as for `ask`, or the pages have no end.
        """
        token, seen = None, set()
        for _ in range(MAX_PAGES):
            page = self.ask(lambda client, token=token: question(client, token))  # type: ignore[misc]
            yield from page
            token = page.token
            if not token or token in seen:
                break
            seen.add(token)
        if token:
            raise SourceError(
                f"mlflow:{self.address} needs to list its models in pages that end. Got one page again and again. "
                "Update its MLflow server."
            )

    def failed(self, error: BaseException, model: str = "") -> NeuralrankError:
        """Return the error to raise in place of one of the client; it names `model`, else the registry."""
        n = n_downloaded(self.downloads)
        others = f", or run with --offline to use the {n} downloaded model{'s' * (n > 1)}" if n else ""
        way_out = f"Check the address and retry later{others}."
        return translated(error, model or f"mlflow:{self.address}", is_model=bool(model), way_out=way_out)

    def _read_only(self) -> str:
        """Return the address at which MLflow cannot write; before, make sure that there is a registry.

        Otherwise MLflow adds its tables to any database, and migrates those of an older version, which the server
        that works on them would then not understand. With the driver's name in it, it makes no folders either.
        """
        from sqlalchemy.engine import URL

        file = f"file:{quote(self.address.removeprefix(_SQLITE))}"
        try:
            with closing(sqlite3.connect(f"{file}?mode=ro", uri=True)) as database:
                rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        except sqlite3.Error as error:
            raise self.failed(error) from error
        if not {"registered_models", "model_versions", "alembic_version"} <= {name for (name,) in rows}:
            raise SourceError(
                f"mlflow:{self.address} needs the tables of an MLflow registry. Got a database without them. "
                "Check the path."
            )
        url = URL.create("sqlite+pysqlite", database=file, query={"mode": "ro", "uri": "true"})
        return url.render_as_string(hide_password=False)


def import_mlflow(*, is_local: bool) -> Any:
    """Return the package.

    Raises:
        MissingExtraError: it, or what it needs to read a database, is not installed.
    """
    for name in ("mlflow", *(("sqlalchemy", "alembic") if is_local else ())):
        try:
            importlib.import_module(name)
        except ImportError as error:
            package = {"mlflow": "mlflow-skinny"}.get(name, name)
            raise MissingExtraError(
                f"The mlflow source needs the package {package!r}. Got no such module. "
                "Run: pip install 'neuralrank[mlflow]'"
            ) from error
    mlflow = importlib.import_module("mlflow")
    if not hasattr(mlflow, "MlflowClient"):
        raise MissingExtraError(
            "The mlflow source needs the package 'mlflow-skinny'. Got an mlflow without a client. "
            "Run: pip install 'neuralrank[mlflow]'"
        )
    return mlflow
