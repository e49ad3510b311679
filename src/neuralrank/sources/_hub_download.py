"""Bring one file of the Hub into the cache: resumed where it was cut off, and trusted only if its hash is right."""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from neuralrank.entries import ModelEntry
from neuralrank.errors import ModelError
from neuralrank.sources._hub_cache import add_file
from neuralrank.sources._hub_http import Answer, Hub, Trouble
from neuralrank.sources._hub_json import text
from neuralrank.sources._hub_query import address

OnBytes = Callable[[int], None]
SLOWEST_BYTES_PER_SECOND = 10_000
LEFT_OVER_SECONDS = 3600
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a revision, as the Hub lists it."""

    path: str
    size: int
    digest: str
    """SHA-256 of its bytes if it is kept as a large file, else the SHA-1 that git knows it by."""


def download(
    hub: Hub, repository: str, file: HubFile, snapshot: Path, entry: ModelEntry, on_bytes: OnBytes | None
) -> None:
    """Bring one file; nothing is left in the cache unless it came whole.

    Raises:
        ModelError: access to it is closed, or the disk does not take it.
        SourceError: it did not come whole in the given tries.
    """
    partial = _Partial(file=file, report=on_bytes or (lambda _: None))
    source = f"/{address(repository)}/resolve/{snapshot.name}/{address(file.path)}"
    blobs = snapshot.parent.parent / "blobs"
    temporary = blobs / f"{file.digest}.{uuid.uuid4().hex[:8]}.incomplete"
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        snapshot.parent.mkdir(exist_ok=True)  # without it, the client takes the repository for damaged
        _remove_left_over(blobs, file.digest)
        with temporary.open("xb") as stream:
            partial.start(stream)
            refused = hub.retried(entry.model_id, lambda: hub.exchange(source, partial.read, partial.headers()))
            if refused is not None:
                raise hub.closed(entry.name, refused) or hub.failed(entry.model_id, refused)
            stream.flush()
            os.fsync(stream.fileno())
        add_file(snapshot, file.path, temporary, file.digest)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ModelError(
            f"{entry.name} needs {file.size} bytes in {str(blobs)!r} for {file.path}. Got: {reason}. "
            "Make room or mend the permissions."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left_over(blobs: Path, digest: str) -> None:
    """Remove what processes that were killed had of a file; one that is still at work writes all the time."""
    for partial in blobs.glob(f"{digest}.*.incomplete"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > LEFT_OVER_SECONDS:
                partial.unlink()


class _Partial:
    """What has come of one file so far."""

    def __init__(self, *, file: HubFile, report: OnBytes) -> None:
        self.file = file
        self.report = report
        self.n = 0

    def start(self, stream: IO[bytes]) -> None:
        """Begin from nothing."""
        self.stream = stream
        stream.seek(0)
        stream.truncate()
        if self.n:
            self.report(-self.n)
        self.n = 0
        is_sha256 = len(self.file.digest) == 64
        self.hash = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
        if not is_sha256:
            self.hash.update(b"blob %d\0" % self.file.size)

    def headers(self) -> Mapping[str, str]:
        """Ask for the bytes that are missing, as they are: compressed ones could not be resumed."""
        return {"accept-encoding": "identity", **({"range": f"bytes={self.n}-"} if self.n else {})}

    def read(self, response: Any) -> Answer | Trouble | None:
        """Take in an answer: None once the file is whole, an Answer if the Hub does not give it."""
        status = response.status_code
        if status == 416 and self.n:
            self.start(self.stream)
            return Trouble(reason="HTTP 416")
        if status not in (200, 206):
            return Answer(status=status, code=text(response.headers.get("X-Error-Code"), 40) or "")
        begins = _RANGE.fullmatch(response.headers.get("Content-Range") or "") if status == 206 else None
        if self.n and (begins is None or int(begins.group(1)) != self.n):
            self.start(self.stream)
            if status == 206:
                return Trouble(reason=f"another part of {self.file.path} than was asked for")
        end = time.monotonic() + 60 + self.file.size / SLOWEST_BYTES_PER_SECOND
        for chunk in response.iter_bytes():
            if self.n + len(chunk) > self.file.size:
                return self._again(f"more than {self.file.size} bytes")
            self.stream.write(chunk)
            self.hash.update(chunk)
            self.n += len(chunk)
            self.report(len(chunk))
            if time.monotonic() > end:
                return Trouble(reason=f"less than {SLOWEST_BYTES_PER_SECOND} bytes per second")
        if self.n != self.file.size:
            return self._again(f"{self.n} of {self.file.size} bytes")
        return None if self.hash.hexdigest() == self.file.digest else self._again("bytes with another hash than listed")

    def _again(self, got: str) -> Trouble:
        self.start(self.stream)
        return Trouble(reason=f"{got} for {self.file.path}")
