"""Run many independent pieces of work in worker processes, one thread each, with progress and a polite end."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from neuralrank.engines._process import THREAD_VARIABLES

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]
"""Called with what has just been done, how many pieces are done, and how many there are."""


def run_jobs(
    work: Callable[[Item], None], items: Sequence[Item], *, name: Callable[[Item], str], jobs: int, progress: Progress
) -> None:
    """Call `work` for every item; each writes its own result, so that what is finished stays when this is stopped.

    Args:
        work: a module-level function.
        items: in the order in which they are begun.
        name: what an item is called in the progress.
        jobs: processes at once.
        progress: is told after every item.

    Raises:
        KeyboardInterrupt: the user stopped it; pieces under way are given up.
    """
    if not items:
        return
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread(),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool,
    ):
        waiting: dict[Future[None], Item] = {pool.submit(work, item): item for item in items}
        n_done = 0
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    item = waiting.pop(future)
                    future.result()
                    n_done += 1
                    progress(name(item), n_done, len(items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are begun meanwhile compute on one core each: libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def default_jobs() -> int:
    """Return one process a core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(parent: int) -> None:
    """A worker computes on one core, leaves Ctrl-C to its parent, and ends when that has died."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
