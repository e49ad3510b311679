"""Start, look at and end the operating-system process of a worker."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralrank.engines import _child
from neuralrank.errors import OutputError

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 5.0
_CAN_LOOK = hasattr(os, "waitid")
"""False on macOS before Python 3.13: there a process cannot be looked at without also being waited for."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""What libraries read, when they are loaded, for the number of their threads."""


def write_job(scratch: Path, job: Mapping[str, Any]) -> tuple[Path, Path]:
    """Return the paths of the job's description, written, and of its log, made empty."""
    text = json.dumps(job)
    name = f"worker-{os.getpid()}-{secrets.token_hex(4)}"
    job_file, log_file = scratch / f"{name}.json", scratch / f"{name}.log"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        log_file.touch(exist_ok=False)
        job_file.write_text(text, encoding="utf-8")
    except OSError as error:
        for path in (job_file, log_file):
            _remove(path)
        raise OutputError(
            f"A worker needs to write into {str(scratch)!r}. Got: {(error.strerror or str(error)).lower()}. "
            "Free some space there, or name a folder that can be written."
        ) from error
    return job_file, log_file


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def start(job_file: Path, log_file: Path, pipe: int, n_threads: int) -> subprocess.Popen[bytes]:
    """Start the worker as the leader of a session: Ctrl-C reaches us alone, and its whole group can be killed.

    `_child` is run by its path: as a module, Python would import the whole package before the limits are set.
    """
    command = [sys.executable, "-P", _child.__file__, str(job_file), str(pipe), str(os.getpid())]
    with log_file.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(pipe,),
            env=_environment(n_threads),
            start_new_session=True,
        )


def _environment(n_threads: int) -> dict[str, str]:
    environment = {
        **os.environ,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }
    if n_threads > 0:
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))
    return environment


def import_path() -> list[str]:
    """Return where the worker looks for modules: as we do, but not in the folder the user happens to stand in.

    That folder counts only if neuralrank itself was imported from it.
    """
    entries = [Path(entry).resolve() for entry in sys.path if isinstance(entry, str) and entry]
    here = Path().resolve()
    return [str(entry) for entry in entries if entry != here or entry == _PACKAGE_ROOT]


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the worker has ended, and keep its id taken: its group is killed before the id can be reused."""
    if not _CAN_LOOK:
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else has waited for it
        return True


def own_end(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a worker that closed its pipe, None if it goes on running."""
    limit = time.monotonic() + _END_SECONDS
    while not has_ended(process):
        if time.monotonic() > limit:
            return None
        time.sleep(0.005)
    kill_group(process)
    return process.returncode


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and all it started, and wait for it; a process stuck inside the system is left to the system."""
    if process.returncode is None or not _CAN_LOOK:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody is left, or (on macOS) only ended processes
            process.kill()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return
