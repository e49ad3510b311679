"""What the messages of libraries are taken for."""

import pytest

from neuralrank.engines import _failures


@pytest.mark.parametrize(
    "text",
    [
        "MemoryError",
        "_csv.cpython-311-x86_64-linux-gnu.so: failed to map segment from shared object",
        "libtorch_python.so: failed to map segment from shared object: Cannot allocate memory",
        "libtorch_python.so: cannot map zero-fill pages",
        "cannot allocate memory for thread-local data: ABORT",
        "OSError: [Errno 12] Cannot allocate memory",
        "can't start new thread",
        "libgomp: Thread creation failed: Resource temporarily unavailable",
        "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 2: Resource temporarily unavailable",
        "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
    ],
)
def test_libraries_that_find_no_room_are_about_memory(text: str) -> None:
    assert _failures.is_about_memory(text)


@pytest.mark.parametrize(
    "text",
    [
        "libtorch_python.so: failed to map segment from shared object: Operation not permitted",
        "libgomp.so.1: cannot allocate memory in static TLS block",
        "libGL.so.1: cannot open shared object file: No such file or directory",
        "CUDA out of memory. Tried to allocate 20.00 GiB. MemoryError",
    ],
)
def test_libraries_that_fail_otherwise_are_not(text: str) -> None:
    assert not _failures.is_about_memory(text)


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [(5_000_000, "0.005 GB"), (40_000_000, "0.04 GB"), (400_000_000, "0.4 GB"), (3 << 30, "3.2 GB")],
)
def test_a_limit_is_never_shown_as_nothing(n_bytes: int, shown: str) -> None:
    assert _failures.too_much_memory("load", n_bytes) == (
        f"The model asked for more memory than the limit of {shown} while it was loading. "
        "Raise --model-memory if the machine has more."
    )
