"""Run one job in a process of its own, so that a crash, an exit, a hang or an out-of-memory costs that job only.

On Linux there are walls around it, put up before the job is imported: see `_walls` and docs/isolation.md. On macOS it
isolates faults alone: the job runs with the user's rights, the system does not enforce the memory limit, and a worker
outlives a parent that is killed until its next message.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuralrank import errors
from neuralrank.engines import _child, _failures, _own_folder, _process
from neuralrank.engines._walls import Wall
from neuralrank.errors import ModelError, NeuralrankError, UsageError
from neuralrank.types import Stage

_LOOK_SECONDS = 0.1
_MEASURE_SECONDS = 1.0
_LOG_BYTES = 16 << 20
_OPEN_FILES = 1024
_STAGES = ("load", "extract")
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
    walls: tuple[Wall, ...] = field(default=(), compare=False)
    """What stood around the job; empty if it ended before it could tell."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """A sentence for each wall that this system does not offer."""
        return tuple(
            f"No wall {wall.name!r} around models here: {wall.why}"
            for wall in self.walls
            if wall.state == "not offered"
        )


class _SilentError(Exception):
    """No message in time."""


class _StoppedError(Exception):
    """The caller wants no more of it."""


class _GarbledError(Exception):
    """Bytes in the pipe that are no message."""


class _OverfullError(Exception):
    """More in the worker's own folder than it may have there."""


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
    readable: Sequence[Path] | None = None,
    writable: Sequence[Path] = (),
    file_bytes: int = 8 << 30,
    n_total: int | None = None,
) -> JobOutcome:
    """Run `function(payload, send)` in a new process and wait for its result.

    Args:
        function: "package.module:name"; imported in the worker. It returns a dict that JSON can carry, and calls
            `send(message)` with such dicts on its way; a message {"stage": "load" or "extract"} names what it does.
            Results and messages are at most 1 MiB of JSON; arrays travel through files.
        payload: argument of the function; JSON must be able to carry it.
        timeout_seconds: the job is stopped after this long without progress: a stage that is new, or a greater
            integer `n_done` in a message. Other messages are passed on and count for nothing.
        memory_bytes: bound on the private memory of the worker; 0 sets none. Address space that a GPU driver
            reserves does not count.
        n_threads: threads that numerical libraries may start; 0 leaves the choice to them.
        scratch: folder for the job's files; what the worker printed stays there as `worker-*.log` if it failed. The
            worker's home and temporary folder are made in it and removed at its end.
        on_message: called with each message in the order sent; what it raises ends the job and is passed on.
        stop: ends the job soon after it is set, from whatever thread.
        readable: files, and folders with all below them, that the job may read: its model, its samples. Where one is a
            link, it is the file behind it that can be read; links inside a folder open nothing outside it. Python,
            its packages and the system's libraries can always be read. None: so can everything else.
        writable: files the job may write, made empty beforehand if they are not there, and existing folders in which
            it may make plain files and folders. If `readable` is None, all of `scratch` is one of them.
        file_bytes: bound on each file that the job writes, and on its own folder as a whole; 0 sets none.
        n_total: an `n_done` beyond it is no progress; None sets no bound.

    Returns:
        The result, or the sentence of the failure. Nothing that the job does raises here.

    Raises:
        OutputError: `scratch` cannot be written.
        UsageError: the system is neither Linux nor macOS.
    """
    if os.name != "posix":
        raise UsageError(f"Running models needs Linux or macOS. Got {sys.platform!r}. On Windows, run it under WSL.")
    walls = {
        "memory_bytes": memory_bytes,
        "file_bytes": file_bytes,
        "open_files": _OPEN_FILES,
        "read": None if readable is None else [str(path.absolute()) for path in readable],
        "write": [str(path.absolute()) for path in (*writable, *([scratch] if readable is None else []))],
        "home": str(Path.home()),
    }
    job = {"function": function, "payload": payload, "path": _process.import_path(), "walls": walls}
    folder, job_file, log_file = _process.write_job(scratch, job)
    read_end, write_end = os.pipe()
    try:
        try:
            process = _process.start(folder, job_file, log_file, write_end, n_threads)
        except OSError as error:
            text = f"A worker could not be started. Got: {error.strerror or error}. Close other programs and try again."
            return JobOutcome(result=None, error=text, stage="load")
        finally:
            os.close(write_end)
        worker = _Worker(
            process=process,
            pipe=read_end,
            folder=folder,
            log_file=log_file,
            timeout_seconds=timeout_seconds,
            memory_bytes=memory_bytes,
            file_bytes=file_bytes,
            n_total=sys.maxsize if n_total is None else n_total,
            stop=stop or threading.Event(),
        )
        outcome = _follow(worker, on_message)
        if outcome.error is None:
            log_file.unlink(missing_ok=True)
        return outcome
    finally:
        os.close(read_end)
        _own_folder.remove(folder)


@dataclass(kw_only=True)
class _Worker:
    """A running worker, what it may use, and how far it has come."""

    process: subprocess.Popen[bytes]
    pipe: int
    folder: Path
    log_file: Path
    timeout_seconds: float
    memory_bytes: int
    file_bytes: int
    n_total: int
    stop: threading.Event
    stage: Stage = "load"
    n_done: int = -1
    walls: tuple[Wall, ...] = ()

    def outcome(self, *, result: Mapping[str, Any] | None = None, error: str | None = None) -> JobOutcome:
        return JobOutcome(result=result, error=error, stage=self.stage, walls=self.walls)

    def advances(self, message: Mapping[str, Any]) -> bool:
        """Take a message into account and tell whether the job has come further, which can happen only so often."""
        stage, n_done = message.get("stage"), message.get("n_done", -1)
        further = stage in _STAGES and _STAGES.index(stage) > _STAGES.index(self.stage)
        if stage in _STAGES:
            self.stage = stage
        if self.n_done < n_done <= self.n_total:
            self.n_done, further = n_done, True
        return further


def _follow(worker: _Worker, on_message: Callable[[Mapping[str, Any]], None]) -> JobOutcome:
    """Take messages until the job has ended one way or another; leaves no process of its group behind."""
    try:
        for message in _messages(worker):
            if "result" in message:
                return worker.outcome(result=message["result"])
            if "error" in message:
                return _raised(message["error"], worker)
            on_message(message["message"])
        returncode = _process.own_end(worker.process)
        error = _failures.ended(worker.stage, returncode, worker.log_file, worker.memory_bytes)
        return worker.outcome(error=error)
    except _SilentError:
        return worker.outcome(error=_failures.silence(worker.stage, worker.timeout_seconds))
    except _StoppedError:
        return worker.outcome(error="The run was stopped before this model was done.")
    except _GarbledError:
        return worker.outcome(error=_failures.garbled(worker.stage))
    except _OverfullError:
        return worker.outcome(error=_failures.overfull(worker.stage, worker.file_bytes))
    finally:
        _process.kill_group(worker.process)


def _raised(error: Mapping[str, Any], worker: _Worker) -> JobOutcome:
    """Return the outcome of an exception that the worker described."""
    kind: type[NeuralrankError] = next((_KINDS[name] for name in error["kinds"] if name in _KINDS), ModelError)
    text = _failures.printable(error["text"])
    if issubclass(kind, ModelError) and _failures.is_about_memory(error["causes"]):
        text = _failures.too_much_memory(worker.stage, worker.memory_bytes)
    return replace(worker.outcome(error=text or kind.__name__), kind=kind)


# --- messages ----------------------------------------------------------------------------------------------------


def _messages(worker: _Worker) -> Iterator[Mapping[str, Any]]:
    """Yield the messages until the worker has closed the pipe or has ended."""
    pending = b""
    deadline, measure = time.monotonic() + worker.timeout_seconds, time.monotonic() + _MEASURE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(worker.pipe, selectors.EVENT_READ)
        while True:
            # Asked before the pipe is looked at: what it wrote before its end is then certain to be seen.
            ended = _process.has_ended(worker.process)
            if selector.select(0 if ended else min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
                chunk = os.read(worker.pipe, 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for message in map(_parsed, lines):
                    if "walls" in message:
                        worker.walls = _walls(worker, message["walls"])
                        deadline = time.monotonic() + worker.timeout_seconds  # what came before was our own doing
                        continue
                    if "message" in message and worker.advances(message["message"]) and not ended:
                        deadline = time.monotonic() + worker.timeout_seconds
                    yield message
                if len(pending) > _child.MESSAGE_BYTES:
                    raise _GarbledError
            elif ended:  # a process that the worker left behind may hold the pipe open
                return
            if worker.stop.is_set():
                raise _StoppedError
            if time.monotonic() > deadline:
                raise _SilentError
            if time.monotonic() > measure:
                measure = time.monotonic() + _MEASURE_SECONDS
                _bound_log(worker.log_file)
                if worker.file_bytes > 0 and _own_folder.is_over(worker.folder, worker.file_bytes):
                    raise _OverfullError


def _walls(worker: _Worker, told: list[Any]) -> tuple[Wall, ...]:
    """Return what the worker told of its walls, which it does once, before any code of a model runs in it."""
    if worker.walls:
        raise _GarbledError
    try:
        return tuple(Wall(**wall) for wall in told)
    except TypeError:
        raise _GarbledError from None


def _parsed(line: bytes) -> dict[str, Any]:
    """Return one message, its form checked; what is inside a result or a message is the job's business."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise _GarbledError from None
    match message:
        case {"message": dict() as told} if type(told.get("n_done", 0)) is int:
            return dict(message)
        case {"result": dict()} | {"error": {"kinds": list(), "text": str(), "causes": str()}} | {"walls": list()}:
            return dict(message)
    raise _GarbledError


def _bound_log(log_file: Path) -> None:
    """Empty the log of a worker that prints without end; the worker appends, so it goes on at the new end."""
    try:
        if log_file.stat().st_size > _LOG_BYTES:
            os.truncate(log_file, 0)
    except FileNotFoundError:
        return
