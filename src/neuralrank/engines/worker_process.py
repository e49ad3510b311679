"""Run one job in a process of its own, so that a crash, an exit, a hang or an out-of-memory costs that job only.

It isolates faults, it is no sandbox: the job runs with the user's rights. Linux and macOS only; on macOS the system
does not enforce the memory limit, and a worker outlives a parent that is killed until its next message.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank import errors
from neuralrank.engines import _child, _failures, _process
from neuralrank.errors import ModelError, NeuralrankError, UsageError
from neuralrank.types import Stage

_LOOK_SECONDS = 0.1
_LOG_BYTES = 16 << 20
_KINDS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """How a job ended: `result` is None exactly when `error` says why."""

    result: Mapping[str, Any] | None
    error: str | None
    stage: Stage
    """The last stage that the job announced, 'load' before any."""
    kind: type[NeuralrankError] = ModelError
    """Class of the error: DataError, UsageError, … where the job raised one, ModelError for everything else."""


class _SilentError(Exception):
    """No message in time."""


class _StoppedError(Exception):
    """The caller wants no more of it."""


class _GarbledError(Exception):
    """Bytes in the pipe that are no message."""


def _ignore(message: Mapping[str, Any]) -> None:
    """Take a message and do nothing."""


def worker_process(
    function: str,
    payload: Mapping[str, Any],
    *,
    timeout_seconds: float,
    memory_bytes: int = 0,
    n_threads: int = 0,
    scratch: Path,
    on_message: Callable[[Mapping[str, Any]], None] = _ignore,
    stop: threading.Event | None = None,
) -> JobOutcome:
    """Run `function(payload, send)` in a new process and wait for its result.

    Args:
        function: "package.module:name"; imported in the worker. It returns a dict that JSON can carry, and calls
            `send(message)` with such dicts on its way; a message {"stage": "load" or "extract"} names what it does.
            Results and messages are at most 1 MiB of JSON; arrays travel through files in `scratch`.
        payload: argument of the function; JSON must be able to carry it.
        timeout_seconds: the job is stopped after this long without a message.
        memory_bytes: bound on the private memory of the worker; 0 sets none. Address space that a GPU driver
            reserves does not count.
        n_threads: threads that numerical libraries may start; 0 leaves the choice to them.
        scratch: folder for the job's files; what the worker printed stays there as `worker-*.log` if it failed.
        on_message: called with each message in the order sent; what it raises ends the job and is passed on.
        stop: ends the job soon after it is set, from whatever thread.

    Returns:
        The result, or the sentence of the failure. Nothing that the job does raises here.

    Raises:
        OutputError: `scratch` cannot be written.
        UsageError: the system is neither Linux nor macOS.
    """
    if os.name != "posix":
        raise UsageError(f"Running models needs Linux or macOS. Got {sys.platform!r}. On Windows, run it under WSL.")
    job = {"function": function, "payload": payload, "path": _process.import_path(), "memory_bytes": memory_bytes}
    job_file, log_file = _process.write_job(scratch, job)
    read_end, write_end = os.pipe()
    try:
        try:
            process = _process.start(job_file, log_file, write_end, n_threads)
        except OSError as error:
            text = f"A worker could not be started. Got: {error.strerror or error}. Close other programs and try again."
            return JobOutcome(result=None, error=text, stage="load")
        finally:
            os.close(write_end)
        outcome = _follow(
            process, read_end, log_file, timeout_seconds, memory_bytes, on_message, stop or threading.Event()
        )
        if outcome.error is None:
            log_file.unlink(missing_ok=True)
        return outcome
    finally:
        os.close(read_end)
        job_file.unlink(missing_ok=True)


def _follow(
    process: subprocess.Popen[bytes],
    pipe: int,
    log_file: Path,
    timeout_seconds: float,
    memory_bytes: int,
    on_message: Callable[[Mapping[str, Any]], None],
    stop: threading.Event,
) -> JobOutcome:
    """Take messages until the job has ended one way or another; leaves no process of its group behind."""
    stage: Stage = "load"
    try:
        for message in _messages(process, pipe, log_file, timeout_seconds, stop):
            if "result" in message:
                return JobOutcome(result=message["result"], error=None, stage=stage)
            if "error" in message:
                return _raised(message["error"], stage, memory_bytes)
            if message["message"].get("stage") in ("load", "extract"):
                stage = message["message"]["stage"]
            on_message(message["message"])
        returncode = _process.own_end(process)
        return JobOutcome(result=None, error=_failures.ended(stage, returncode, log_file, memory_bytes), stage=stage)
    except _SilentError:
        return JobOutcome(result=None, error=_failures.silence(stage, timeout_seconds), stage=stage)
    except _StoppedError:
        return JobOutcome(result=None, error="The run was stopped before this model was done.", stage=stage)
    except _GarbledError:
        return JobOutcome(result=None, error=_failures.garbled(stage), stage=stage)
    finally:
        _process.kill_group(process)


def _raised(error: Mapping[str, Any], stage: Stage, memory_bytes: int) -> JobOutcome:
    """Return the outcome of an exception that the worker described."""
    kind: type[NeuralrankError] = next((_KINDS[name] for name in error["kinds"] if name in _KINDS), ModelError)
    text = _failures.printable(error["text"])
    if issubclass(kind, ModelError) and _failures.is_about_memory(error["causes"]):
        text = _failures.too_much_memory(stage, memory_bytes)
    return JobOutcome(result=None, error=text or kind.__name__, stage=stage, kind=kind)


# --- messages ----------------------------------------------------------------------------------------------------


def _messages(
    process: subprocess.Popen[bytes], pipe: int, log_file: Path, timeout_seconds: float, stop: threading.Event
) -> Iterator[Mapping[str, Any]]:
    """Yield the messages until the worker has closed the pipe or has ended."""
    pending = b""
    deadline = time.monotonic() + timeout_seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            # Asked before the pipe is looked at: what it wrote before its end is then certain to be seen.
            ended = _process.has_ended(process)
            if selector.select(0 if ended else min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
                chunk = os.read(pipe, 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    yield _parsed(line)
                if lines and not ended:
                    deadline = time.monotonic() + timeout_seconds
                if len(pending) > _child.MESSAGE_BYTES:
                    raise _GarbledError
            elif ended:  # a process that the worker left behind may hold the pipe open
                return
            else:
                _bound_log(log_file)
            if stop.is_set():
                raise _StoppedError
            if time.monotonic() > deadline:
                raise _SilentError


def _parsed(line: bytes) -> dict[str, Any]:
    """Return one message, its form checked; what is inside a result or a message is the job's business."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise _GarbledError from None
    match message:
        case {"message": dict()} | {"result": dict()} | {"error": {"kinds": list(), "text": str(), "causes": str()}}:
            return dict(message)
    raise _GarbledError


def _bound_log(log_file: Path) -> None:
    """Empty the log of a worker that prints without end; the worker appends, so it goes on at the new end."""
    try:
        if log_file.stat().st_size > _LOG_BYTES:
            os.truncate(log_file, 0)
    except FileNotFoundError:
        return
