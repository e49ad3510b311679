"""What one model may use: time without progress, memory, threads, and how many run at once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_DEFAULT_JOBS = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one model may use."""

    timeout_seconds: float = 300.0
    """Without a sign of progress, a model is stopped after this long."""
    memory_bytes: int = 0
    """0: 80 % of the machine's memory, divided among the jobs."""
    n_threads: int = 0
    """0: the cores this process may use, divided among the jobs."""
    n_jobs: int = 0
    """Models that run at once; 0: one per core, at most 4. Small models use cores better side by side than alone."""

    @property
    def jobs(self) -> int:
        """Number of models that run at once."""
        return self.n_jobs or min(available_cores(), MAX_DEFAULT_JOBS)

    @property
    def threads_each(self) -> int:
        """Threads of each model."""
        return self.n_threads or max(1, available_cores() // self.jobs)

    @property
    def memory_each_bytes(self) -> int:
        """Memory bound of each model."""
        return self.memory_bytes or int(0.8 * total_memory_bytes() / self.jobs)


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory_bytes() -> int:
    """Return the machine's physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory_bytes() -> int:
    """Return how much memory programs can still get without swapping; where that is not told, a half of all."""
    try:
        found = re.search(
            r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE
        )
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else total_memory_bytes() // 2
