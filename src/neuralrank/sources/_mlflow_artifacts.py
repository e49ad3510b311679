"""The files of one model version: listed and read where they are kept, whoever put them there.

Names that lead out of the model's folder, links, and files that never end are refused. Requests go to the registry's
own server and to clouds, never to another address that a version names: they carry the user's login.
"""

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from neuralrank.errors import ModelError
from neuralrank.sources._hub_files import is_plain_path
from neuralrank.sources._hub_json import parsed, rows, table, text, whole
from neuralrank.sources._mlflow_client import Registry, manners

MAX_FILES = 2_000
MAX_FOLDERS = 100
MAX_LISTING_BYTES = 8 * 2**20
CHUNK_BYTES = 2**20
SLOWEST_BYTES_PER_SECOND = 10_000
GRACE_SECONDS = 60.0
CLOUDS = {
    "s3": "boto3",
    "gs": "google-cloud-storage",
    "wasbs": "azure-storage-blob azure-identity",
    "abfss": "azure-storage-file-datalake azure-identity",
}
"""What MLflow needs to read from each."""
_ENDPOINT = "/api/2.0/mlflow-artifacts/artifacts"
_PROGRAMS = "code"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One name in a folder."""

    name: str
    is_folder: bool
    size_bytes: int | None = None


class Store(Protocol):
    """Where the files of one version are kept."""

    def listed(self, folder: str) -> Iterator[Found]:
        """Yield what is in a folder, '' for the outermost."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        ...


def open_store(registry: Registry, uri: str, model: str) -> Store:
    """Return where the files at `uri` are kept.

    Raises:
        ModelError: it is no place that files are fetched from.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file") and parts.netloc in ("", "localhost"):
        root = Path(unquote(parts.path) if parts.scheme else uri)
        if root.is_dir():
            return _Folder(root=root, model=model)
        way_out = "Start the server with --serve-artifacts." if not registry.is_local else "Restore it."
        raise ModelError(f"{model} needs its folder {text(str(root))!r} on this machine. Got none. {way_out}")
    if parts.scheme == "mlflow-artifacts" and not registry.is_local:
        if parts.netloc in ("", urlsplit(registry.address).netloc):
            return _Server(registry=registry, root=parts.path.strip("/"), model=model)
    elif parts.scheme == "mlflow-artifacts":
        raise ModelError(
            f"{model} needs the server that keeps its files. Got the database alone. Use mlflow:http://HOST:PORT."
        )
    if parts.scheme in CLOUDS:
        return _Cloud(registry=registry, uri=uri, model=model)
    place = f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"
    raise ModelError(
        f"{model} needs its files on the registry's own server, in a folder, or in a cloud ({', '.join(CLOUDS)}). "
        f"Got {text(place, 80)!r}, where no request is sent. Register it again from such a place."
    )


def all_files(store: Store, model: str) -> dict[str, int | None]:
    """Return the paths of all files with their sizes; the folder of programs is left out.

    Raises:
        ModelError: a name leads out of its folder, or there are too many.
    """
    files: dict[str, int | None] = {}
    waiting, n_folders = [""], 0
    while waiting:
        folder = waiting.pop()
        n_folders += 1
        for found in store.listed(folder):
            if "/" in found.name or not is_plain_path(found.name):
                raise ModelError(
                    f"{model} needs files inside its own folder. Got the name {text(found.name, 80)!r}. "
                    "Choose another model."
                )
            path = f"{folder}/{found.name}" if folder else found.name
            if not found.is_folder:
                files[path] = found.size_bytes
            elif path != _PROGRAMS:
                waiting.append(path)
        if len(files) > MAX_FILES or n_folders + len(waiting) > MAX_FOLDERS:
            raise ModelError(
                f"{model} needs at most {MAX_FILES} files in {MAX_FOLDERS} folders. Got more. "
                "Register the model's own folder."
            )
    return files


def read_small(store: Store, path: str, limit: int) -> bytes | None:
    """Return the bytes of a file, None if there are more than `limit`."""
    content = bytearray()
    with closing(store.chunks(path)) as chunks:  # type: ignore[type-var]
        for chunk in chunks:
            content += chunk
            if len(content) > limit:
                return None
    return bytes(content)


@dataclass(frozen=True, kw_only=True)
class _Folder:
    """A folder of this machine; nothing is followed out of it."""

    root: Path
    model: str

    def listed(self, folder: str) -> Iterator[Found]:
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    state = entry.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(state.st_mode) and not stat.S_ISREG(state.st_mode):
                        raise self._odd(entry.name)
                    yield Found(name=entry.name, is_folder=stat.S_ISDIR(state.st_mode), size_bytes=whole(state.st_size))
        except OSError as error:
            raise self._unreadable(error) from error

    def chunks(self, path: str) -> Iterator[bytes]:
        try:
            # a file that has become a link or a pipe since it was listed is not opened, and not waited for
            descriptor = os.open(self.root / path, os.O_RDONLY | _NO_LINKS)
            with os.fdopen(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._odd(path)
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise self._unreadable(error) from error

    def _odd(self, name: str) -> ModelError:
        return ModelError(
            f"{self.model} needs regular files. Got {text(name, 80)!r}, a link, pipe or device. "
            "Put the file itself there."
        )

    def _unreadable(self, error: OSError) -> ModelError:
        reason = (error.strerror or type(error).__name__).lower()
        return ModelError(
            f"{self.model} needs its files to be readable. Got {reason} in {text(str(self.root))!r}. "
            "Mend the names or permissions."
        )


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The files that an MLflow server hands out itself."""

    registry: Registry
    root: str
    model: str

    def listed(self, folder: str) -> Iterator[Found]:
        path = "/".join(filter(None, (self.root, folder)))
        content = bytearray()
        for chunk in self._got(_ENDPOINT, {"path": path}):
            content += chunk
            if len(content) > MAX_LISTING_BYTES:
                raise ModelError(f"{self.model} needs a list of its files. Got an endless one. Choose another model.")
        try:
            files = rows(table(parsed(bytes(content))).get("files"), MAX_FILES + 1)
        except ValueError as error:
            raise self.registry.failed(error, self.model) from error
        for file in map(table, files):
            size = file.get("file_size")
            size = int(size) if isinstance(size, str) and size.isdecimal() and len(size) < 20 else size
            name = file.get("path")
            yield Found(
                name=name if isinstance(name, str) else "", is_folder=file.get("is_dir") is True, size_bytes=whole(size)
            )

    def chunks(self, path: str) -> Iterator[bytes]:
        yield from self._got(f"{_ENDPOINT}/{quote(f'{self.root}/{path}')}", {})

    def _got(self, endpoint: str, params: dict[str, str]) -> Iterator[bytes]:
        """Yield the bytes of an answer; the client's limit is on silence, so that here is one on slowness."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        try:
            with manners():
                login = get_default_host_creds(self.registry.address)
                response = http_request(login, endpoint, "GET", params=params, stream=True, allow_redirects=False)
            with closing(response):
                if response.status_code != 200:
                    raise self._refused(response.status_code)
                began, n = time.monotonic(), 0
                for chunk in response.iter_content(CHUNK_BYTES):
                    n += len(chunk)
                    if time.monotonic() - began > GRACE_SECONDS + n / SLOWEST_BYTES_PER_SECOND:
                        raise TimeoutError("timed out")
                    yield chunk
        except (MlflowException, OSError, ValueError) as error:
            raise self.registry.failed(error, self.model) from error

    def _refused(self, status: int) -> Exception:
        if status in (404, 410):
            return ModelError(
                f"{self.model} needs its files on the server. Got HTTP {status}: they are gone. Register it again."
            )
        return self.registry.failed(ConnectionError(f"HTTP {status}"), self.model)


@dataclass(frozen=True, kw_only=True)
class _Cloud:
    """The files in a cloud, read with what MLflow has for it."""

    registry: Registry
    uri: str
    model: str

    def listed(self, folder: str) -> Iterator[Found]:
        for info in self._asked(lambda repository: repository.list_artifacts(folder or None)):
            name = info.path.removeprefix(f"{folder}/") if folder else info.path
            yield Found(name=name, is_folder=bool(info.is_dir), size_bytes=whole(info.file_size))

    def chunks(self, path: str) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            file = self._asked(lambda repository: repository.download_artifacts(path, folder))
            with Path(file).open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk

    def _asked(self, question: Any) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        address, cloud = self.registry.address, urlsplit(self.uri).scheme
        try:
            with manners():
                return question(get_artifact_repository(self.uri, tracking_uri=address, registry_uri=address))
        except ImportError as error:
            raise ModelError(
                f"{self.model} needs the client of {cloud}://. Got no module {text(error.name, 40)!r}. "
                f"Run: pip install {CLOUDS[cloud]}"
            ) from error
        except Exception as error:  # every cloud's client has errors of its own
            said = str(error).partition("http")[0]  # an address there may be signed, and so open the file to a reader
            reason = f"{type(error).__name__}: {text(said, 160) or ''}".rstrip(" :.")
            raise ModelError(
                f"{self.model} needs its files in {cloud}://. Got {reason}. Check the login for that cloud."
            ) from error
