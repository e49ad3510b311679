"""The worker's side of `worker_process`: set the limits, run one job, tell the parent how it went.

It is started as a script by its path, not as a module of the package, so that the limits hold before anything heavy
is imported: it needs the standard library alone until it imports the job's function.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 1 << 20
"""Longest message in either sense of the word: progress, result or error; arrays travel through files."""

_TEXT_CHARACTERS = 4000
_PR_SET_PDEATHSIG = 1

Send = Callable[[Mapping[str, Any]], None]


def main(job_file: str, pipe: int, parent: int) -> None:
    """Run the job described in `job_file`, write its messages to the descriptor `pipe`, and end the process."""
    os.set_inheritable(pipe, False)  # a program that the job starts must not keep the parent waiting
    _die_with(parent)
    job = json.loads(Path(job_file).read_bytes())
    _limit_memory(job["memory_bytes"])
    own_path = [entry for entry in sys.path if entry not in job["path"]]
    sys.path[:] = job["path"] + own_path
    del sys.argv[1:]
    status = 1
    try:
        status = _run(job, _sender(pipe))
    finally:
        # Exit handlers and threads that never end cannot hold up a job whose outcome has been sent.
        os._exit(status)


def _run(job: Mapping[str, Any], send: Send) -> int:
    """Return the exit status."""
    try:
        module, _, name = job["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        result = function(job["payload"], lambda message: send({"message": dict(message)}))
        if not isinstance(result, dict):
            raise TypeError(f"{job['function']} needs to return a dict. Got {type(result).__name__}.")
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
    return 0


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


def _sender(pipe: int) -> Send:
    lock = threading.Lock()

    def send(message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > MESSAGE_BYTES:
            raise ValueError(f"A message needs at most {MESSAGE_BYTES} bytes. Got {len(line)}. Put arrays into files.")
        with lock:
            while line:
                line = line[os.write(pipe, line) :]

    return send


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent ends; elsewhere than on Linux nothing does that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


def _limit_memory(memory_bytes: int) -> None:
    """Bound what this process may allocate, and leave no core file.

    RLIMIT_DATA counts private writable memory. What a GPU driver reserves without access rights, and files mapped
    for reading, are not counted: under RLIMIT_AS they would be, and no CUDA program could start.
    """
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        if memory_bytes > 0:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a full disk or a stream that the job closed costs the log, not the result
            continue


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
