"""The parent's side of the line to a worker: hand it a payload, take its messages, notice when it is silent or full."""

import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralrank.engines import _child, _own_folder, _process
from neuralrank.engines._walls import Wall
from neuralrank.types import Stage

_LOOK_SECONDS = 0.1
_MEASURE_SECONDS = 1.0
_LOG_BYTES = 16 << 20
_STAGES = ("load", "extract")


class SilentError(Exception):
    """No message in time."""


class StoppedError(Exception):
    """The caller wants no more of it."""


class GarbledError(Exception):
    """Bytes in the pipe that are no message."""


class OverfullError(Exception):
    """More in the worker's own folder than it may have there."""


@dataclass(kw_only=True)
class Line:
    """A running worker, what it may use, and how far its job has come."""

    process: subprocess.Popen[bytes]
    asks: int
    """Descriptor through which payloads go to the worker."""
    hears: int
    """Descriptor through which its messages come."""
    folder: Path
    log_file: Path
    memory_bytes: int
    file_bytes: int
    timeout_seconds: float = 0.0
    n_total: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    stage: Stage = "load"
    n_done: int = -1
    walls: tuple[Wall, ...] = ()

    def begin(self, *, timeout_seconds: float, n_total: int, stop: threading.Event) -> None:
        """Make ready for the next job."""
        self.timeout_seconds, self.n_total, self.stop = timeout_seconds, n_total, stop
        self.stage, self.n_done = "load", -1

    def advances(self, message: Mapping[str, Any]) -> bool:
        """Take a message into account and tell whether the job has come further, which can happen only so often."""
        stage, n_done = message.get("stage"), message.get("n_done", -1)
        further = stage in _STAGES and _STAGES.index(stage) > _STAGES.index(self.stage)
        if stage in _STAGES:
            self.stage = stage
        if self.n_done < n_done <= self.n_total:
            self.n_done, further = n_done, True
        return further

    def close(self) -> None:
        """Kill the worker and all it started."""
        try:
            _process.kill_group(self.process)
        finally:
            os.close(self.asks)
            os.close(self.hears)


def exchange(line: Line, payload: bytes) -> Iterator[Mapping[str, Any]]:
    """Hand over a payload, one line, and yield the messages until the worker has closed its pipe or has ended."""
    unsent, pending = payload, b""
    deadline, measure = time.monotonic() + line.timeout_seconds, time.monotonic() + _MEASURE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(line.hears, selectors.EVENT_READ)
        selector.register(line.asks, selectors.EVENT_WRITE)
        while True:
            # Asked before the pipe is looked at: what it wrote before its end is then certain to be seen.
            ended = _process.has_ended(line.process)
            wait = 0.0 if ended else min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic()))
            ready = {key.fd for key, _ in selector.select(wait)}
            if line.asks in ready:
                unsent = _sent(line.asks, unsent)
                if not unsent:
                    selector.unregister(line.asks)
            if line.hears in ready:
                chunk = os.read(line.hears, 1 << 16)
                if not chunk:
                    return
                *lines, pending = (pending + chunk).split(b"\n")
                for message in map(_parsed, lines):
                    if "walls" in message:
                        line.walls = _walls(line, message["walls"])
                        deadline = time.monotonic() + line.timeout_seconds  # what came before was our own doing
                        continue
                    if "message" in message and line.advances(message["message"]) and not ended:
                        deadline = time.monotonic() + line.timeout_seconds
                    yield message
                if len(pending) > _child.MESSAGE_BYTES:
                    raise GarbledError
            elif ended:  # a process that the worker left behind may hold the pipe open
                return
            if line.stop.is_set():
                raise StoppedError
            if time.monotonic() > deadline:
                raise SilentError
            if time.monotonic() > measure:
                measure = time.monotonic() + _MEASURE_SECONDS
                _bound_log(line.log_file)
                if line.file_bytes > 0 and _own_folder.is_over(line.folder, line.file_bytes):
                    raise OverfullError


def _sent(descriptor: int, unsent: bytes) -> bytes:
    """Write as much as the pipe takes now and return the rest; a worker that is gone needs none of it."""
    try:
        return unsent[os.write(descriptor, unsent) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        return b""


def _walls(line: Line, told: list[Any]) -> tuple[Wall, ...]:
    """Return what the worker told of its walls, which it does once, before any code of a model runs in it."""
    if line.walls:
        raise GarbledError
    try:
        return tuple(Wall(**wall) for wall in told)
    except TypeError:
        raise GarbledError from None


def _parsed(line: bytes) -> dict[str, Any]:
    """Return one message, its form checked; what is inside a result or a message is the job's business."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise GarbledError from None
    match message:
        case {"message": dict() as told} if type(told.get("n_done", 0)) is int:
            return dict(message)
        case {"result": dict()} | {"error": {"kinds": list(), "text": str(), "causes": str()}} | {"walls": list()}:
            return dict(message)
    raise GarbledError


def _bound_log(log_file: Path) -> None:
    """Empty the log of a worker that prints without end; the worker appends, so it goes on at the new end."""
    try:
        if log_file.stat().st_size > _LOG_BYTES:
            os.truncate(log_file, 0)
    except FileNotFoundError:
        return
