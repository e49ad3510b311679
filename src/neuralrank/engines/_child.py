"""The worker's side of `Worker`: put up the walls, run jobs one after the other, tell the parent how each went.

It is started as a script by its path, not as a module of the package, so that the walls stand before anything heavy
is imported: it needs the standard library and the files beside it until it imports the job's function.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 1 << 20
"""Longest message in either sense of the word: progress, result or error; arrays travel through files."""

_TEXT_CHARACTERS = 4000
_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 1 << 16

Send = Callable[[Mapping[str, Any]], None]


def main(job_file: str, hears: int, tells: int, parent: int) -> None:
    """Run the function described in `job_file` on each payload that comes, until one fails or no more can come.

    Args:
        job_file: JSON, see `Worker`.
        hears: descriptor from which payloads are read.
        tells: descriptor to which messages are written.
        parent: id of the process that started this one.
    """
    first = 3
    for descriptor in sorted((hears, tells)):
        os.set_inheritable(descriptor, False)  # a program that the job starts must not keep the parent waiting
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _MOST_DESCRIPTORS)
    _die_with(parent)
    job = json.loads(Path(job_file).read_bytes())
    own_path = [entry for entry in sys.path if entry not in job["path"]]
    sys.path[:] = job["path"] + own_path
    del sys.argv[1:]
    send, status = _sender(tells), 1
    try:
        if _are_put_up(job["walls"], send):
            status = _run_all(job["function"], hears, send)
    finally:
        # Exit handlers and threads that never end cannot hold up a job whose outcome has been sent.
        os._exit(status)


def _are_put_up(asked: Mapping[str, Any], send: Send) -> bool:
    """Put up the walls and tell which stand: the first message, sent before any code of a model can send another."""
    walls = _beside("_walls")
    try:
        send({"walls": walls.put_up({**asked, "path": sys.path})})
    except walls.WallError as error:
        send({"error": {"kinds": [], "text": str(error), "causes": ""}})
        return False
    return True


def _beside(name: str) -> Any:
    """Import a file of this folder under a package of its own: neuralrank itself must not be imported yet."""
    package = types.ModuleType("neuralrank_worker")
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules.setdefault(package.__name__, package)
    return importlib.import_module(f"{package.__name__}.{name}")


def _run_all(function: str, hears: int, send: Send) -> int:
    """Return the exit status."""
    with os.fdopen(hears, "rb") as payloads:
        for payload in payloads:
            status = _run(function, json.loads(payload), send)
            if status is not None:
                return status
    return 0


def _run(function: str, payload: Mapping[str, Any], send: Send) -> int | None:
    """Return the exit status, None if there was a result and more jobs may come."""
    try:
        module, _, name = function.partition(":")
        result = getattr(importlib.import_module(module), name)(
            payload, lambda message: send({"message": dict(message)})
        )
        if not isinstance(result, dict):
            raise TypeError(f"{function} needs to return a dict. Got {type(result).__name__}.")
        _flush()
        send({"result": result})
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
        _flush()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - whatever a model's libraries raise has to reach the report
        _print_traceback(error)
        _flush()
        send({"error": _describe(error)})
        return 1
    return None


def _print_traceback(error: BaseException) -> None:
    import traceback

    try:
        traceback.print_exception(error)
    except Exception:  # noqa: BLE001 - no memory left or a broken __str__: the sentence must still be sent
        return


def _describe(error: BaseException) -> dict[str, Any]:
    """Return the error as JSON: our own class names, nearest first, its sentence, and the text of all its causes."""
    ours = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "neuralrank.errors"]
    lines = [line for line in _text(error).splitlines() if line.strip()]
    first_line = ": ".join([type(error).__name__, *lines[:1]])
    causes = " ".join(f"{'MemoryError' * isinstance(cause, MemoryError)} {_text(cause)}" for cause in _chain(error))
    return {
        "kinds": ours,
        "text": (_text(error) if ours else first_line)[:_TEXT_CHARACTERS],
        "causes": causes[:_TEXT_CHARACTERS],
    }


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of a foreign library may fail to print itself
        return ""


def _sender(tells: int) -> Send:
    lock = threading.Lock()

    def send(message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > MESSAGE_BYTES:
            raise ValueError(f"A message needs at most {MESSAGE_BYTES} bytes. Got {len(line)}. Put arrays into files.")
        with lock:
            while line:
                line = line[os.write(tells, line) :]

    return send


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent ends; elsewhere than on Linux nothing does that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a full disk or a stream that the job closed costs the log, not the result
            continue


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
