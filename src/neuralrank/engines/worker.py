"""Run jobs in a process of their own, so that a crash, an exit, a hang or an out-of-memory costs those jobs only.

On Linux there are walls around it, put up before any job is imported: see `_walls` and docs/isolation.md. On macOS it
isolates faults alone: jobs run with the user's rights, the system does not enforce the memory limit, and a worker
outlives a parent that is killed until its next message.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuralrank import errors
from neuralrank.engines import _failures, _memory, _messages, _own_folder, _process
from neuralrank.engines._messages import Line
from neuralrank.engines._walls import Wall
from neuralrank.errors import ModelError, NeuralrankError, UsageError
from neuralrank.types import Stage

_OPEN_FILES = 1024
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


def _ignore(message: Mapping[str, Any]) -> None:
    """Take a message and do nothing."""


@dataclass(kw_only=True)
class Worker:
    """A process that runs jobs one after the other, for as long as each gives a result; a context manager that ends it.

    It is started by the first job, and by the next one after it has ended. What a job leaves in its modules, a loaded
    model for instance, is there for the next.
    """

    function: str
    """Of the jobs: "package.module:name", imported in the worker, called as `name(payload, send)` for each. It returns
    a dict that JSON can carry, and calls `send(message)` with such dicts on its way; a message {"stage": "load" or
    "extract"} names what it does. Results and messages are at most 1 MiB of JSON; arrays travel through files."""
    scratch: Path
    """Folder for the worker's files; what it printed stays there as `worker-*.log` if a job failed. Its home and
    temporary folder are made in it and removed at its end."""
    memory_bytes: int = 0
    """Bound on its private memory; 0 sets none. Address space that a GPU driver reserves does not count."""
    n_threads: int = 0
    """Threads that numerical libraries may start; 0 leaves the choice to them."""
    readable: Sequence[Path] | None = None
    """Files, and folders with all below them, that jobs may read: their model, their samples. Where one is a link, it
    is the file behind it that can be read; links inside a folder open nothing outside it. Python, its packages and
    the system's libraries can always be read. None: so can everything else."""
    writable: Sequence[Path] = ()
    """Files that jobs may write, made empty beforehand if they are not there, and existing folders in which they may
    make plain files and folders. If `readable` is None, all of `scratch` is one of them."""
    file_bytes: int = 8 << 30
    """Bound on each file that they write, and on the worker's own folder as a whole; 0 sets none."""
    _line: Line | None = None

    def __enter__(self) -> "Worker":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def run(
        self,
        payload: Mapping[str, Any],
        *,
        timeout_seconds: float,
        on_message: Callable[[Mapping[str, Any]], None] = _ignore,
        stop: threading.Event | None = None,
        n_total: int | None = None,
    ) -> JobOutcome:
        """Run one job and wait for its result; a job that gives none ends the process.

        Args:
            payload: argument of the function; JSON must be able to carry it.
            timeout_seconds: the job is stopped after this long without progress: a stage that is new, or a greater
                integer `n_done` in a message. Other messages are passed on and count for nothing.
            on_message: called with each message in the order sent; what it raises ends the job and is passed on.
            stop: ends the job soon after it is set, from whatever thread.
            n_total: an `n_done` beyond it is no progress; None sets no bound.

        Returns:
            The result, or the sentence of the failure. Nothing that the job does raises here.

        Raises:
            OutputError: `scratch` cannot be written.
            UsageError: the system is neither Linux nor macOS.
        """
        text = json.dumps(payload).encode() + b"\n"
        line = self._line
        if line is None or _process.has_ended(line.process):
            self.close()
            try:
                line = self._start()
            except OSError as error:
                return _not_started(error)
        line.begin(
            timeout_seconds=timeout_seconds,
            n_total=sys.maxsize if n_total is None else n_total,
            stop=stop or threading.Event(),
        )
        kept = False
        try:
            outcome = _follow(line, text, on_message)
            kept = outcome.error is None
            return outcome
        finally:
            if not kept:
                self._end(failed=True)

    def held_bytes(self) -> int:
        """Return the memory that the process holds for itself alone; 0 if there is none, or the system cannot tell."""
        return 0 if self._line is None else _memory.private_bytes(self._line.process.pid)

    def close(self) -> None:
        """End the process, if there is one; the log of one whose jobs all gave results is removed."""
        self._end(failed=False)

    def _start(self) -> Line:
        if os.name != "posix":
            raise UsageError(
                f"Running models needs Linux or macOS. Got {sys.platform!r}. On Windows, run it under WSL."
            )
        asked = {
            "memory_bytes": self.memory_bytes,
            "file_bytes": self.file_bytes,
            "open_files": _OPEN_FILES,
            "read": None if self.readable is None else [str(path.absolute()) for path in self.readable],
            "write": [
                str(path.absolute()) for path in (*self.writable, *([self.scratch] if self.readable is None else []))
            ],
            "home": str(Path.home()),
        }
        job = {"function": self.function, "path": _process.import_path(), "walls": asked}
        folder, job_file, log_file = _process.write_job(self.scratch, job)
        try:
            process, asks, hears = _process.start(folder, job_file, log_file, self.n_threads)
        except BaseException:
            _own_folder.remove(folder)
            raise
        self._line = Line(
            process=process,
            asks=asks,
            hears=hears,
            folder=folder,
            log_file=log_file,
            memory_bytes=self.memory_bytes,
            file_bytes=self.file_bytes,
        )
        return self._line

    def _end(self, *, failed: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        try:
            line.close()
        finally:
            if not failed:
                line.log_file.unlink(missing_ok=True)
            _own_folder.remove(line.folder)


def worker(function: str, *, scratch: Path, **limits: Any) -> Worker:
    """Return a worker for jobs of one function; it is started by the first of them.

    Args:
        function: see `Worker.function`.
        scratch: folder for its files.
        limits: further fields of `Worker`: what it may use, read and write.
    """
    return Worker(function=function, scratch=scratch, **limits)


def _not_started(error: OSError) -> JobOutcome:
    text = f"A worker could not be started. Got: {error.strerror or error}. Close other programs and try again."
    return JobOutcome(result=None, error=text, stage="load")


def _follow(line: Line, payload: bytes, on_message: Callable[[Mapping[str, Any]], None]) -> JobOutcome:
    """Take messages until the job has ended one way or another."""
    try:
        for message in _messages.exchange(line, payload):
            if "result" in message:
                return _outcome(line, result=message["result"])
            if "error" in message:
                return _raised(message["error"], line)
            on_message(message["message"])
        returncode = _process.own_end(line.process)
        return _outcome(line, error=_failures.ended(line.stage, returncode, line.log_file, line.memory_bytes))
    except _messages.SilentError:
        return _outcome(line, error=_failures.silence(line.stage, line.timeout_seconds))
    except _messages.StoppedError:
        return _outcome(line, error="The run was stopped before this model was done.")
    except _messages.GarbledError:
        return _outcome(line, error=_failures.garbled(line.stage))
    except _messages.OverfullError:
        return _outcome(line, error=_failures.overfull(line.stage, line.file_bytes))


def _outcome(line: Line, *, result: Mapping[str, Any] | None = None, error: str | None = None) -> JobOutcome:
    return JobOutcome(result=result, error=error, stage=line.stage, walls=line.walls)


def _raised(error: Mapping[str, Any], line: Line) -> JobOutcome:
    """Return the outcome of an exception that the worker described."""
    kind: type[NeuralrankError] = next((_KINDS[name] for name in error["kinds"] if name in _KINDS), ModelError)
    text = _failures.printable(error["text"])
    is_memory = _failures.is_about_memory(error["causes"])
    if text.startswith("KeyboardInterrupt"):  # no terminal is near: a library raised it, and printed why
        is_memory = _failures.printed_about_memory(line.log_file)
    if issubclass(kind, ModelError) and is_memory:
        text = _failures.too_much_memory(line.stage, line.memory_bytes)
    return replace(_outcome(line, error=text or kind.__name__), kind=kind)
