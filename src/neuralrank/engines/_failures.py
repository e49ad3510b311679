"""Say in one or two sentences how a worker failed."""

import re
import signal
from pathlib import Path

_LAST_CHARACTERS = 300
_LAST_LINES = 5
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)", re.DOTALL)
_MEMORY = re.compile(
    r"\bMemoryError\b|bad_alloc|Failed to allocate|Unable to allocate|DefaultCPUAllocator"
    r"|memory allocation of \d+ bytes failed|[Cc]annot allocate memory(?! in static TLS)"
    # libraries that are loaded and start their threads; where a library may not be run at all, a reason follows
    r"|failed to map segment from shared object(?!: (?:Operation not permitted|Permission denied))"
    r"|cannot map zero-fill pages|can't start new thread|libgomp: Thread creation failed"
    r"|OpenBLAS blas_thread_init|OpenBLAS error: Memory allocation"
)
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUDA error|HIP out of memory")
_DOING = {"load": "loading", "extract": "extracting"}
_CAUSES = {
    "SIGKILL": "out of memory is the usual cause",
    "SIGBUS": "a file that became shorter while it was read is the usual cause",
    "SIGSYS": "the system forbids something it asked for",
    "SIGXCPU": "its time on the processor is limited",
    "SIGXFSZ": "it wrote a larger file than it may",
}


def silence(stage: str, timeout_seconds: float) -> str:
    """Say that no message came in time."""
    return (
        f"The model gave no sign of progress for {timeout_seconds:g} s while it was {_DOING[stage]} and was stopped. "
        "Raise --model-timeout if it is merely slow."
    )


def garbled(stage: str) -> str:
    """Say that the worker wrote something else than messages into its pipe."""
    return f"The worker sent something that is no message while it was {_DOING[stage]} and was stopped."


def overfull(stage: str, file_bytes: int) -> str:
    """Say that the worker kept too much in its own folder."""
    return (
        f"The model filled its scratch folder with more than {file_bytes / 1e9:.1f} GB, or with thousands of files, "
        f"while it was {_DOING[stage]} and was stopped."
    )


def too_much_memory(stage: str, memory_bytes: int) -> str:
    """Say that an allocation was refused."""
    if memory_bytes > 0:
        return (
            f"The model asked for more memory than the limit of {_gigabytes(memory_bytes)} while it was "
            f"{_DOING[stage]}. Raise --model-memory if the machine has more."
        )
    return f"The model asked for more memory than the machine has while it was {_DOING[stage]}. Choose a smaller model."


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e9:.1g} GB"


def ended(stage: str, returncode: int | None, log_file: Path, memory_bytes: int) -> str:
    """Say how the worker ended without a result; None as `returncode`: it went on but had closed its pipe."""
    last = last_output(log_file)
    if is_about_memory(last):
        return too_much_memory(stage, memory_bytes)
    doing = f"while it was {_DOING[stage]}"
    if returncode is None:
        what = f"The worker closed its line to the parent {doing} and was stopped."
    elif returncode >= 0:
        what = f"The worker ended with exit code {returncode} and without a result {doing}."
    else:
        name = _signal_name(-returncode)
        cause = f": {_CAUSES[name]}" if name in _CAUSES else ""
        what = f"The worker was killed by signal {-returncode}{f' ({name})' if name else ''} {doing}{cause}."
    return f"{what} Its last output: {last}" if last else f"{what} It printed nothing."


def is_about_memory(text: str) -> bool:
    """Tell whether a library's message means that host memory was refused."""
    return bool(_MEMORY.search(text)) and not _GPU_MEMORY.search(text)


def last_output(log_file: Path) -> str:
    """Return the last lines of what the worker printed, on one line of printable characters; empty if there is none."""
    text = " | ".join(_last_lines(log_file)[-_LAST_LINES:])
    return text if len(text) <= _LAST_CHARACTERS else "…" + text[1 - _LAST_CHARACTERS :]


def printed_about_memory(log_file: Path) -> bool:
    """Tell whether what the worker printed means that memory was refused, also before the traceback at its end."""
    return is_about_memory(" ".join(_last_lines(log_file)))


def _last_lines(log_file: Path) -> list[str]:
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - 16 * _LAST_CHARACTERS))
            lines = [printable(line) for line in log.read().decode(errors="replace").split("\n")]
    except OSError:
        return []
    return [line for line in lines if line]


def printable(text: str) -> str:
    """Return `text` on one line, without control characters, escape sequences and lone surrogates."""
    plain = _ESCAPES.sub("", text)
    return " ".join("".join(char if char.isprintable() else " " for char in plain).split())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        return ""
