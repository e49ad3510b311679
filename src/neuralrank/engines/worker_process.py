"""Run one job in a worker of its own."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from neuralrank.engines.worker import JobOutcome, worker


def worker_process(
    function: str,
    payload: Mapping[str, Any],
    *,
    timeout_seconds: float,
    on_message: Callable[[Mapping[str, Any]], None] = lambda _: None,
    stop: threading.Event | None = None,
    n_total: int | None = None,
    **limits: Any,
) -> JobOutcome:
    """Run `function(payload, send)` in a new process, wait for its result, and end the process.

    Args:
        function: see `Worker.function`.
        payload: see `Worker.run`, as for the four that follow.
        timeout_seconds: without progress.
        on_message: takes the messages.
        stop: ends the job.
        n_total: bound of progress.
        limits: what a `Worker` is made with: `scratch`, `memory_bytes`, `readable`, …

    Raises:
        OutputError: the scratch folder cannot be written.
        UsageError: the system is neither Linux nor macOS.
    """
    with worker(function, **limits) as ours:
        return ours.run(payload, timeout_seconds=timeout_seconds, on_message=on_message, stop=stop, n_total=n_total)
