"""The folder that one worker has to itself: its home, its temporary files, its caches. Nobody trusts what is in it."""

import itertools
import os
import stat
import tempfile
from pathlib import Path

_MOST_ENTRIES = 10_000
"""A model that makes more files than this in its own folder is up to nothing good."""


def make(scratch: Path) -> Path:
    """Return a new folder that only this user may enter.

    Raises:
        OSError: it cannot be made.
    """
    return Path(tempfile.mkdtemp(prefix="worker-", dir=scratch))


def variables(folder: Path) -> dict[str, str]:
    """Return the environment that makes libraries keep their files there."""
    text = str(folder)
    same = ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR", "MPLCONFIGDIR", "NLTK_DATA")
    below = {
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
        "TORCH_HOME": "torch",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TORCH_EXTENSIONS_DIR": "extensions",
        "TRITON_CACHE_DIR": "triton",
        "NUMBA_CACHE_DIR": "numba",
        "CUDA_CACHE_PATH": "cuda",
        "HF_HOME": "hub",
        "KERAS_HOME": "keras",
        "SKLEARN_DATA": "sklearn",
    }
    return {**dict.fromkeys(same, text), **{name: f"{text}/{place}" for name, place in below.items()}}


def is_over(folder: Path, most_bytes: int) -> bool:
    """Tell whether a folder holds more than it may; files that were removed while open are not seen."""
    total, n_entries, waiting = 0, 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    n_entries += 1
                    if n_entries > _MOST_ENTRIES:
                        return True
                    status = entry.stat(follow_symlinks=False)
                    total += 512 * getattr(status, "st_blocks", status.st_size // 512)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
        except OSError:  # removed meanwhile, or closed to us: what cannot be seen is not counted
            continue
    return total > most_bytes


def remove(folder: Path) -> None:
    """Remove the folder of a worker that has ended, however deep and odd what it left there is.

    What cannot be removed stays: that costs room and never the run.
    """
    try:
        _remove(str(folder))
    except OSError:
        return


def _remove(top: str) -> None:
    """Empty folders one by one; those inside one are first brought to the top: no path grows long, nothing recurses."""
    numbers = itertools.count()
    waiting = [top]
    while waiting:
        current = waiting[-1]
        Path(current).chmod(0o700)
        with os.scandir(current) as found:
            entries = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in found]
        folders = [path for path, is_folder in entries if is_folder]
        for path, is_folder in entries:
            if not is_folder:
                path.unlink()
        for path in folders:
            path.chmod(0o700)  # a folder that cannot be written cannot be moved either
            waiting.append(str(path.rename(f"{top}/{os.getpid()}.{next(numbers)}")))
        if not folders:
            waiting.pop()
            Path(current).rmdir()
