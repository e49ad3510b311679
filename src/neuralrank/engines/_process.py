"""Start, look at and end the operating-system process of a worker."""

import json
import os
import signal
import site
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralrank.engines import _child, _own_folder
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
_HANDED_OVER = frozenset(
    (
        *THREAD_VARIABLES,
        "PATH",
        "LANG",
        "LANGUAGE",
        "TZ",
        "NO_COLOR",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
    )
)
_HANDED_OVER_WITH = (
    *("LC_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "MALLOC_", "GLIBC_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "ROCM_", "ROCR_", "HIP_", "HSA_", "AMD_", "GPU_"),
    *("TORCH_", "PYTORCH_", "ORT_", "ONEDNN_", "DNNL_", "TF_", "KERAS_", "XLA_"),
)
"""Beginnings of the variables by which interpreter, processors and runtimes are set up."""
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSW", "CREDENTIAL", "AUTH", "COOKIE")


def write_job(scratch: Path, job: Mapping[str, Any]) -> tuple[Path, Path, Path]:
    """Return a new folder for the worker alone, the job's description in it, and an empty log beside it.

    The files that the job may write exist from now on: what it finds there is a plain file of ours, which it cannot
    replace by a link to another.
    """
    folder, log_file = None, None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        folder = _own_folder.make(scratch)
        walls = {**job["walls"], "write": [*job["walls"]["write"], str(folder)]}
        job_file, log_file = folder / "job.json", scratch / f"{folder.name}.log"
        text = json.dumps({**job, "walls": walls})
        log_file.touch(exist_ok=False)
        job_file.write_text(text, encoding="utf-8")
        for path in job["walls"]["write"]:
            Path(path).touch()
    except BaseException as error:
        if folder is not None:
            _own_folder.remove(folder)
        if log_file is not None:
            log_file.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            f"A worker needs to write into {str(scratch)!r}. Got: {(error.strerror or str(error)).lower()}. "
            "Free some space there, or name a folder that can be written."
        ) from error
    return folder, job_file, log_file


def start(folder: Path, job_file: Path, log_file: Path, n_threads: int) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start the worker as the leader of a session: Ctrl-C reaches us alone, and its whole group can be killed.

    `_child` is run by its path: as a module, Python would import the whole package before the walls are put up.

    Returns:
        The process, the descriptor through which payloads go to it, which never blocks, and the one from which its
        messages come.

    Raises:
        OSError: there is no room for another process.
    """
    ends = [*os.pipe()]
    try:
        ends += os.pipe()
        theirs, asks, hears, tells = ends
        os.set_blocking(asks, False)
        command = [sys.executable, "-P", _child.__file__, str(job_file), str(theirs), str(tells), str(os.getpid())]
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs, tells),
                env=_environment(folder, n_threads),
                start_new_session=True,
            )
        ends = [theirs, tells]  # the others are the caller's from now on
    finally:
        for end in ends:
            os.close(end)
    return process, asks, hears


def _environment(folder: Path, n_threads: int) -> dict[str, str]:
    """Return the worker's environment: what libraries need to be found and set up by, and nothing that is secret."""
    environment = {
        **{name: value for name, value in os.environ.items() if _is_handed_over(name)},
        **_own_folder.variables(folder),
        "USER": "neuralrank",
        "LOGNAME": "neuralrank",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }
    if site.ENABLE_USER_SITE and site.USER_BASE:
        environment["PYTHONUSERBASE"] = site.USER_BASE  # or it would be looked for in the worker's own home
    if n_threads > 0:
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))
    return environment


def _is_handed_over(name: str) -> bool:
    upper = name.upper()
    return (upper in _HANDED_OVER or upper.startswith(_HANDED_OVER_WITH)) and not any(part in upper for part in _SECRET)


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
