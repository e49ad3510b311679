"""One thread: the arrays here are small, and threads that wait for each other cost more than they save."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Leave the linear algebra one thread."""
    with threadpool_limits(1):
        yield
