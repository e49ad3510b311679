"""Find out what the walls around a worker hold here, by a worker that tries to get through them.

Everything it tries is harmless where it succeeds: the file, the secret and the servers are made for it.
"""

import errno
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neuralrank.engines._walls import Wall
from neuralrank.engines.worker_process import worker_process

_TIMEOUT_SECONDS = 60.0
_KEPT_BY: Mapping[str, tuple[str, ...]] = {
    "write a file outside its folder": ("writing",),
    "change the mode of a file": ("system calls",),
    "read a secret file": ("reading",),
    "connect to a server on this machine": ("network namespace", "tcp", "system calls"),
    "open a server": ("tcp", "system calls"),
    "connect to a local socket": ("system calls",),
    "start a program": ("writing", "system calls"),
    "leave a process behind": ("system calls",),
    "signal another process": ("signals", "system calls"),
    "see a secret in the environment": (),
}
"""What is tried, and the walls each of which prevents it alone."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One thing that a model might try."""

    name: str
    state: Literal["refused", "not prevented", "wrong"]
    """'wrong': a wall is said to stand, and it went through all the same."""
    answer: str
    """What the system answered."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a worker could do here; without walls and attempts if `error` says why none could be run."""

    walls: tuple[Wall, ...]
    attempts: tuple[Attempt, ...]
    error: str | None


def probe() -> Probe:
    """Start a worker as for a model, and let it try to get through its walls.

    Raises:
        OutputError: there is no room for its files.
    """
    with tempfile.TemporaryDirectory(prefix="neuralrank-doctor-") as name, _servers() as addresses:
        base = Path(name).resolve()
        for folder in ("scratch", "outside"):
            (base / folder).mkdir()
        secret = base / "outside" / "secret.txt"
        secret.write_text("secret")
        secret.chmod(0o600)
        os.environ["NEURALRANK_PROBE_TOKEN"] = "secret"
        try:
            outcome = worker_process(
                f"{__name__}:attempt_all",
                {**addresses, "outside": str(base / "outside"), "secret": str(secret), "parent": os.getpid()},
                timeout_seconds=_TIMEOUT_SECONDS,
                memory_bytes=1 << 30,
                scratch=base / "scratch",
                readable=(),
            )
        finally:
            del os.environ["NEURALRANK_PROBE_TOKEN"]
    if outcome.error is not None:
        return Probe(walls=outcome.walls, attempts=(), error=outcome.error)
    standing = {wall.name for wall in outcome.walls if wall.state == "on"}
    answers = outcome.result or {}
    attempts = tuple(_judged(name, str(answers[name]), standing) for name in _KEPT_BY)
    return Probe(walls=outcome.walls, attempts=attempts, error=None)


def _judged(name: str, answer: str, standing: set[str]) -> Attempt:
    if answer:
        return Attempt(name=name, state="refused", answer=answer)
    kept = not _KEPT_BY[name] or standing.intersection(_KEPT_BY[name])
    return Attempt(name=name, state="wrong" if kept else "not prevented", answer="went through")


@contextmanager
def _servers() -> Iterator[dict[str, Any]]:
    """Listen on a port and on a local socket, where anybody on this machine could call."""
    with (
        tempfile.TemporaryDirectory(prefix="neuralrank-") as folder,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as local,
    ):
        path = f"{folder}/socket"
        local.bind(path)
        local.listen()
        yield {"port": tcp.getsockname()[1], "socket": path}


# --- in the worker -----------------------------------------------------------------------------------------------


def attempt_all(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, str]:
    """Try everything; return by name what the system answered, nothing where it went through."""
    send({"stage": "load"})
    outside, secret = Path(payload["outside"]), Path(payload["secret"])
    return {
        "write a file outside its folder": _answer(lambda: (outside / "new.txt").write_text("text")),
        "change the mode of a file": _answer(lambda: _open_to_all(secret)),
        "read a secret file": _answer(secret.read_bytes),
        "connect to a server on this machine": _answer(lambda: _connect(("127.0.0.1", payload["port"]))),
        "open a server": _answer(lambda: socket.create_server(("127.0.0.1", 0)).close()),
        "connect to a local socket": _answer(lambda: _connect(payload["socket"])),
        "start a program": _answer(lambda: subprocess.run(["/bin/sh", "-c", "exit 0"], check=False)),
        "leave a process behind": _answer(_leave_a_process),
        "signal another process": _answer(lambda: os.kill(payload["parent"], 0)),
        "see a secret in the environment": "not handed over" if "secret" not in os.environ.values() else "",
    }


def _answer(work: Callable[[], Any]) -> str:
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ""


def _open_to_all(file: Path) -> None:
    file.chmod(0o644)
    if file.stat().st_mode & 0o777 != 0o644:  # the call was answered and not carried out
        raise PermissionError(errno.EPERM, "no effect")


def _connect(address: Any) -> None:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(5)
        client.connect(address)


def _leave_a_process() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)  # that it could be made is enough
    os.waitpid(pid, 0)
