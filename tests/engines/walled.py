"""What the tests of walls share: where they can be tested, and what a job came back with."""

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from neuralrank.engines import _landlock, _seccomp
from neuralrank.engines.worker_process import JobOutcome

Run = Callable[..., JobOutcome]


def _landlock_version() -> int:
    try:
        return _landlock.version()
    except OSError:
        return 0


NEEDS_WALLS = pytest.mark.skipif(
    sys.platform != "linux" or _landlock_version() < 6 or not _seccomp.knows(os.uname().machine),
    reason="the walls tested here need Linux 6.12 with Landlock on x86_64 or aarch64",
)


def result(outcome: JobOutcome) -> dict[str, Any]:
    """Return what a job gave; it must not have failed."""
    assert outcome.error is None, outcome.error
    assert outcome.result is not None
    return dict(outcome.result)
