"""Loaded models that wait to be asked for more samples, as many as memory allows: loading is what costs most."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from neuralrank.limits import Limits
from neuralrank.machine import available_memory_bytes, total_memory_bytes
from neuralrank.passes import Pass

MAX_WAITING = 100
"""Each holds a process and three descriptors."""
FREE_SHARE = 0.2
"""Of the machine's memory, what is left to other programs."""


@dataclass(kw_only=True)
class _Seat:
    """One model that waits."""

    waiting: Pass
    held_bytes: int
    worth: float = math.inf


@dataclass(kw_only=True)
class Waiting:
    """Passes by the id of their model; where room is short, those that are worth least are closed.

    Together with as many running models as there are jobs, each as large as the largest so far, they stay below the
    memory that the run may use.
    """

    limits: Limits
    free_bytes: Callable[[], int] = available_memory_bytes
    _seats: dict[str, _Seat] = field(default_factory=dict)
    _largest: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __contains__(self, model_id: str) -> bool:
        """Whether a model waits."""
        return model_id in self._seats

    def put(self, model_id: str, waiting: Pass) -> None:
        """Let a model wait; until it is rated it is worth more than all that are."""
        held = waiting.worker.held_bytes() or waiting.peak_bytes
        self.release(model_id)
        with self._lock:
            self._seats[model_id] = _Seat(waiting=waiting, held_bytes=held)
            self._largest = max(self._largest, held, waiting.peak_bytes)
        while (least := self._one_too_many()) is not None:
            least.close()

    def take(self, model_id: str) -> Pass | None:
        """Return a model that waits and is the caller's from now on, None if it does not."""
        with self._lock:
            seat = self._seats.pop(model_id, None)
        return None if seat is None else seat.waiting

    def rate(self, model_id: str, worth: float) -> None:
        """Say how likely it is that a model will be asked again, by a number that grows with it."""
        with self._lock:
            if model_id in self._seats:
                self._seats[model_id].worth = worth

    def release(self, model_id: str) -> None:
        """Close a model that will not be asked again."""
        waiting = self.take(model_id)
        if waiting is not None:
            waiting.close()

    def close(self) -> None:
        """Close all."""
        for model_id in list(self._seats):
            self.release(model_id)

    def _one_too_many(self) -> Pass | None:
        """Take the model that is worth least, if there is not room for all."""
        with self._lock:
            held = sum(seat.held_bytes for seat in self._seats.values())
            fits = held + self.limits.jobs * self._largest <= self.limits.jobs * self.limits.memory_each_bytes
            is_free = self.free_bytes() >= FREE_SHARE * total_memory_bytes()
            if not self._seats or (fits and is_free and len(self._seats) <= MAX_WAITING):
                return None
            return self._seats.pop(min(self._seats, key=lambda each: self._seats[each].worth)).waiting
