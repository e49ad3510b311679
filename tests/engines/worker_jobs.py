"""Jobs that behave and jobs that do not; imported in the worker by the tests of `worker_process`."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neuralrank.errors

Send = Callable[[dict[str, Any]], None]


def echo(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    for number in range(3):
        send({"step": number})
    return {"payload": payload, "argv": sys.argv[1:]}


def where(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    import resource

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "path": sys.path,
        "environment": {name: os.environ.get(name) for name in names},
        "data_limit": resource.getrlimit(resource.RLIMIT_DATA)[0],
        "core_limit": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "stdin": sys.stdin.read(),
    }


def modules_before_import(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    return {"modules": sorted(sys.modules)}


def exit_3(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    send({"stage": "extract"})
    sys.stdout.write("\x1b[31mabout to\x1b[0m\x07 leave\n")
    sys.exit(3)


def print_and_exit(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    sys.stderr.write(payload["text"])
    sys.exit(5)


def exit_0(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    os._exit(0)


def exit_with_text(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    sys.exit("no weights")


def segmentation_fault(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def killed(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def die_by(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    number = payload["signal"]
    for line in range(8):
        sys.stdout.write(f"line {line}\n")
    sys.stdout.flush()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(600)
    return {}


def bad_alloc(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def interrupt_itself(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Do as OpenBLAS does where it cannot start its threads."""
    os.write(2, payload["last"].encode())
    signal.raise_signal(signal.SIGINT)
    time.sleep(60)
    return {}


def hang(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    send({"stage": "extract"})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return {}


def slow_but_alive(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    for number in range(8):
        time.sleep(0.35)
        send({"n_done": number})
    return {"done": True}


def flood(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Send messages without end: each is `payload`, its numbers replaced by a count if it says so."""
    for number in range(10**9):
        send({**payload, **({"n_done": number} if payload.get("n_done") == "count" else {})})
    return {}


def allocate(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    return {"length": len(bytearray(payload["n_bytes"]))}


def reserve(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Reserve address space as the drivers of GPUs do."""
    import mmap

    with mmap.mmap(-1, payload["n_bytes"], flags=mmap.MAP_PRIVATE, prot=0) as area:
        return {"length": len(area)}


def allocate_with_numpy(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    import numpy as np

    return {"sum": float(np.ones(payload["n_bytes"], dtype=np.uint8).sum())}


def allocate_inside_a_model_error(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    try:
        return allocate(payload, send)
    except MemoryError as error:
        raise neuralrank.errors.ModelError("The file 'a.onnx' could not be loaded.") from error


def raise_ours(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    raise getattr(neuralrank.errors, payload["kind"])(payload["text"])


def raise_foreign(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    raise RuntimeError(payload["text"])


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def raise_unprintable(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    raise _UnprintableError


def return_a_list(payload: dict[str, Any], send: Send) -> Any:
    return [1]


def return_a_set(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    return {"values": {1, 2}}


def huge_message(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    send({"text": "x" * payload["n_bytes"]})
    return {}


def many_messages(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    for number in range(payload["n"]):
        send({"number": number, "text": "x" * 1000})
    return {}


def _pipe() -> int:
    """Return the descriptor of the message pipe: the only pipe that can be written here."""
    return next(fd for fd in range(3, 64) if _is_pipe(fd))


def _is_pipe(fd: int) -> bool:
    try:
        is_pipe = str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("pipe:")
        return is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False


def write_raw(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    data = payload["text"].encode("latin-1") * payload.get("times", 1)
    while data:
        data = data[os.write(_pipe(), data) :]
    time.sleep(600)
    return {}


def close_the_pipe_and_hang(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    os.close(_pipe())
    time.sleep(600)
    return {}


def close_the_pipe_and_return(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    os.close(_pipe())
    return {}


def leave_a_grandchild(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Fork a process that keeps the pipe open, in a session of its own if asked, and die or return."""
    pid = os.fork()
    if pid == 0:
        if payload["own_session"]:
            os.setsid()
        time.sleep(payload["seconds"])
        os._exit(0)
    send({"pid": pid})
    if payload["die"]:
        time.sleep(0.1)
        os._exit(7)
    return {"pid": pid}


def start_a_program(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    process = subprocess.Popen(["sleep", "600"])
    send({"pid": process.pid})
    time.sleep(600)
    return {}


def print_a_lot(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    line = b"x" * 999 + b"\n"
    for _ in range(payload["megabytes"]):
        os.write(1, line * 1000)
        time.sleep(0.02)
    send({"log_bytes": os.fstat(1).st_size})
    raise RuntimeError("enough")


def announce_and_sleep(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    send({"pid": os.getpid()})
    time.sleep(600)
    return {}


def measure_payload(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    return {"n": len(payload["text"])}


_jobs: list[dict[str, Any]] = []
_held: list[bytearray] = []


def count_jobs(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Do what the payload asks for, and remember it for the next job of this process."""
    _jobs.append(payload)
    if "print" in payload:
        sys.stdout.write(f"{payload['print']}\n")
    if "raise" in payload:
        raise ValueError(payload["raise"])
    if "exit" in payload:
        sys.exit(payload["exit"])
    _held.append(bytearray(b"x" * payload.get("hold", 0)))
    time.sleep(payload.get("sleep", 0))
    return {"n_jobs": len(_jobs), "pid": os.getpid(), "note": payload.get("note")}
