"""What one model may use: time without progress, memory, threads, and how many run at once."""

from __future__ import annotations

from dataclasses import dataclass

from neuralrank.machine import available_cores, total_memory_bytes

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
