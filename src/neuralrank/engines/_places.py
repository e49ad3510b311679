"""What a worker has to read and write besides its model: the interpreter, its packages, system libraries, devices.

Part of the worker's side. Everything is named narrowly: no home folder, no other user's files, no secrets of /etc.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path

_LIBRARIES = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/cuda*",
    "/usr/local/nvidia",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/usr/share/nvidia",
    "/usr/share/libdrm",
    "/usr/share/misc",
    "/usr/share/hwdata",
    "/opt/rocm*",
    "/nix/store",
    "/gnu/store",
    "/run/opengl-driver",
)
_SETTINGS = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "localtime",
    "timezone",
    "os-release",
    "nsswitch.conf",
    "passwd",
    "group",
    "mime.types",
    "ssl/openssl.cnf",
    "ssl/certs",
    "pki/tls/openssl.cnf",
    "pki/tls/openssl.d",
    "crypto-policies",
    "nvidia",
    "OpenCL",
)
# Of /proc, the worker itself and the machine; not what other processes were called with.
_KERNEL = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/devices",
    "/proc/driver/nvidia",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/stat",
    "/proc/sys",
    "/proc/uptime",
    "/proc/version",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/sys/hypervisor",
    "/sys/kernel/mm",
    "/sys/module",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
)
_GPU_DEVICES = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/nvgpu", "/dev/dxg", "/dev/dri", "/dev/kfd")
# The driver names its threads through /proc; these files are the worker's own.
_ALWAYS_WRITABLE = ("/dev/null", "/proc/self/task")
_NEVER_WHOLE = {"/", "/boot", "/etc", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/var"}


def gpu_devices() -> tuple[str, ...]:
    """Return the device files through which drivers of GPUs are reached; empty where there are none."""
    return tuple(path for pattern in _GPU_DEVICES for path in sorted(glob(pattern)))  # noqa: PTH207


def writable_devices() -> tuple[str, ...]:
    """Return the files that are no files: writing there leaves nothing behind."""
    return (*_ALWAYS_WRITABLE, *gpu_devices())


def readable(import_path: Iterable[str], home: str) -> tuple[str, ...]:
    """Return what the interpreter, its packages and the system's libraries have to read.

    A folder of Python's that holds the user's home, or is a system folder as a whole, is left out: a script started
    from there would open it to the model.
    """
    own = [*_python(), *import_path, *_of_environment(), *_editable()]
    narrow = [path for path in own if _is_narrow(os.path.realpath(path), home)]
    system = [path for pattern in (*_LIBRARIES, *_KERNEL) for path in glob(pattern)]  # noqa: PTH207
    return (*system, *(f"/etc/{name}" for name in _SETTINGS), *_folders_of_loader(), *narrow)


def _python() -> Iterator[str]:
    yield from (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    yield from (sys.executable, os.path.realpath(sys.executable), os.__file__.rpartition("/")[0])
    yield str(Path(__file__).parents[1])


def _of_environment() -> Iterator[str]:
    for name in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "ROCM_PATH", "CONDA_PREFIX"):
        yield from (entry for entry in os.environ.get(name, "").split(":") if entry.startswith("/"))


def _editable() -> Iterator[str]:
    """Yield the sources of packages that were installed as editable through a finder, which `sys.path` lacks."""
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None)
        if name.startswith("__editable__") and isinstance(mapping, dict):
            yield from (str(path) for path in mapping.values())


def _folders_of_loader() -> Iterator[str]:
    """Yield the library folders that an administrator added to those of the system."""
    for file in ("/etc/ld.so.conf", *glob("/etc/ld.so.conf.d/*.conf")):  # noqa: PTH207
        try:
            lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            path = line.partition("#")[0].strip()
            if path.startswith("/") and _is_narrow(path, "/"):
                yield path


def _is_narrow(path: str, home: str) -> bool:
    return path not in _NEVER_WHOLE and not f"{os.path.realpath(home)}/".startswith(f"{path}/")
