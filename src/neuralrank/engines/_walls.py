"""The walls around a worker: what each keeps from a stranger's model, and whether it stands on this system.

Put up by the worker itself before it imports anything of the job's, so this file, like all it imports, needs the
standard library alone. A wall that the system lacks is told; one that it has and that fails ends the worker.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from . import _landlock, _libc, _places, _seccomp

State = Literal["on", "off", "not offered"]
NAMES = (
    "memory",
    "files and descriptors",
    "privileges",
    "network namespace",
    "writing",
    "reading",
    "tcp",
    "signals",
    "system calls",
)
"""In the order in which they are told."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 4, 24, 38, 47
_CLEAR_AMBIENT = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SYS_ADMIN = 21
_NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x08000000, 0x10000000, 0x40000000
_UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""How kernels answer that they were built without something, or that it was switched off at their start."""
_REFUSED = (*_UNKNOWN, errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS)


@dataclass(frozen=True, kw_only=True)
class Wall:
    """One wall: `state` is 'on', 'off' because nobody asked for it, or 'not offered' by the system."""

    name: str
    state: State
    why: str
    """One sentence: what is kept from the model, or why it is not."""

    def __str__(self) -> str:
        """Return name, state and reason on one line."""
        return f"{self.name}: {self.state}. {self.why}"


class WallError(Exception):
    """A wall that the system offers could not be put up."""


def put_up(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """Put up every wall that the system offers; return what stands and what does not, as JSON can carry it.

    Args:
        asked: `memory_bytes`, `file_bytes`, `open_files`; `read` (paths, None: all may be read), `write` (paths),
            `path` (where modules are imported from) and `home` (the user's).

    Raises:
        WallError: the system offers one that could not be put up.
    """
    walls = [*_limits(asked)]
    if sys.platform == "linux":
        _check_alone()
        walls += [*_linux_walls(asked)]
    else:
        system = {"darwin": "macOS"}.get(sys.platform, sys.platform)
        why = f"{system} has none that a program without rights could put up around itself."
        walls += [Wall(name=name, state="not offered", why=why) for name in NAMES[2:]]
    return [asdict(wall) for wall in walls]


def _check_alone() -> None:
    """Make sure that no thread exists yet: some walls hold for the thread alone that puts them up.

    Raises:
        WallError: there is one.
    """
    n_threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if n_threads > 1:
        raise WallError(
            f"Walls around a model need an interpreter that starts without threads. Got {n_threads - 1} more. "
            "A sitecustomize or .pth file of this Python starts them; remove it."
        )


def _linux_walls(asked: Mapping[str, Any]) -> list[Wall]:
    gpu = bool(_places.gpu_devices())  # seen now: behind the next walls, the folder of devices cannot be listed
    network = _step("network namespace", _leave_network)
    privileges = _step("privileges", _drop_privileges)
    files = _step("reading and writing", lambda: _close_files(asked))
    return [*privileges, *network, *files, *_step("system calls", lambda: _refuse_calls(gpu=gpu))]


def _step(name: str, work: Callable[[], list[Wall]]) -> list[Wall]:
    try:
        return work()
    except OSError as error:
        raise WallError(
            f"The wall {name!r} around a model could not be put up. Got: {error.strerror or error}. "
            "Run `neuralrank doctor` to see what this system allows."
        ) from error


# --- limits ------------------------------------------------------------------------------------------------------


def _limits(asked: Mapping[str, Any]) -> list[Wall]:
    """Bound memory, files and descriptors, and leave no core file.

    RLIMIT_DATA counts private writable memory. What a GPU driver reserves without access rights, and files mapped
    for reading, are not counted: under RLIMIT_AS they would be, and no CUDA program could start. RLIMIT_NPROC counts
    all processes of the user, so it is of no use for one worker.
    """
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    open_files, file_bytes, memory_bytes = asked["open_files"], asked["file_bytes"], asked["memory_bytes"]
    _lower(resource.RLIMIT_NOFILE, open_files)
    if file_bytes > 0:
        _lower(resource.RLIMIT_FSIZE, file_bytes)
    size = f"files of at most {file_bytes / 1e9:.1f} GB" if file_bytes > 0 else "files of any size"
    files = Wall(
        name="files and descriptors", state="on", why=f"At most {open_files} open files, {size}, no core files."
    )
    if memory_bytes <= 0:
        return [Wall(name="memory", state="off", why="No limit was asked for."), files]
    if sys.platform == "darwin":
        return [Wall(name="memory", state="not offered", why="macOS takes the limit and does not enforce it."), files]
    _lower(resource.RLIMIT_DATA, memory_bytes)
    return [Wall(name="memory", state="on", why=f"At most {memory_bytes / 1e9:.1f} GB."), files]


def _lower(kind: int, limit: int) -> None:
    """Lower a limit for good; one that is lower already stays."""
    import resource

    _, hard = resource.getrlimit(kind)
    kept = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (kept, kept))


# --- the kernel's means ------------------------------------------------------------------------------------------


def _leave_network() -> list[Wall]:
    """Go into a network, and message queues, that nobody else is in; for that alone a user namespace if need be."""
    name, own = "network namespace", _NEW_NETWORK | _NEW_IPC
    user, group = os.geteuid(), os.getegid()
    try:
        if _may_administer():
            _libc.unshare(own)
        else:
            _libc.unshare(own | _NEW_USER)
            _keep_ids(user, group)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        why = f"The system refuses it to this user ({os.strerror(error.errno).lower()})."
        return [Wall(name=name, state="not offered", why=why)]
    return [Wall(name=name, state="on", why="A network of its own without any connection, this machine's included.")]


def _may_administer() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _keep_ids(user: int, group: int) -> None:
    """Let files and processes show the ids they have outside; without, all would seem to be nobody's."""
    for file, text in (("setgroups", "deny"), ("gid_map", f"{group} {group} 1"), ("uid_map", f"{user} {user} 1")):
        try:
            Path(f"/proc/self/{file}").write_text(text, encoding="ascii")
        except OSError:  # some distributions refuse it; rights do not depend on it
            return


def _drop_privileges() -> list[Wall]:
    """Give up every privilege, those of a program started later, and being looked into by the user's programs."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    number = 0
    while number < 64:
        try:
            _libc.prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last that this kernel knows
                break
            if error.errno != errno.EPERM:  # without privileges there are none to drop
                raise
        number += 1
    try:
        _libc.prctl(_PR_CAP_AMBIENT, _CLEAR_AMBIENT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    _set_no_capabilities()
    _libc.prctl(_PR_SET_DUMPABLE, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # changing privileges may have undone it
    return [Wall(name="privileges", state="on", why="No capabilities, none to be gained by starting a program.")]


def _set_no_capabilities() -> None:
    import ctypes

    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    number = {"x86_64": 126}.get(os.uname().machine, 91)
    _libc.system_call(number, ctypes.byref(header), ctypes.byref(sets))


def _close_files(asked: Mapping[str, Any]) -> list[Wall]:
    """Close all files but those asked for, TCP, and signals to other processes, as far as this kernel can."""
    try:
        known = _landlock.version()
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        reason = os.strerror(error.errno).lower()
        why = f"Landlock cannot be used: it needs Linux 5.13, and some containers refuse it ({reason})."
        return [Wall(name=name, state="not offered", why=why) for name in ("writing", "reading", "tcp", "signals")]
    read = asked["read"]
    allowed = _landlock.Allowed(
        read=None if read is None else (*_places.readable(asked["path"], asked["home"]), *read),
        write=tuple(asked["write"]),
        devices=_places.writable_devices(),
    )
    # Rules hold for the very entries of /proc that they were made with; one that is in use stays when memory is short.
    os.open("/proc/self/task", os.O_PATH | os.O_CLOEXEC)
    _landlock.restrict(known, allowed)
    return [
        Wall(name="writing", state="on", why="Only into its own folder and the files it is to make."),
        Wall(name="reading", state="off", why="No files were named to which it could be kept.")
        if read is None
        else Wall(name="reading", state="on", why="Only the model, the samples, Python, and libraries."),
        _since(known, 4, "tcp", "Landlock lets no TCP port be opened or reached.", "6.7"),
        _since(known, 6, "signals", "None to other processes, no sockets without a path outside.", "6.12"),
    ]


def _since(known: int, needed: int, name: str, why: str, linux: str) -> Wall:
    if known >= needed:
        return Wall(name=name, state="on", why=why)
    return Wall(name=name, state="not offered", why=f"Landlock does this from Linux {linux} on.")


def _refuse_calls(*, gpu: bool) -> list[Wall]:
    name, machine = "system calls", os.uname().machine
    if not _seccomp.knows(machine):
        why = f"The numbers of system calls are known for x86_64 and aarch64, not for {machine}."
        return [Wall(name=name, state="not offered", why=why)]
    code = _seccomp.program(_seccomp.worker_rules(os.getpid(), gpu=gpu), machine)
    try:
        _seccomp.install(code)
    except OSError as error:
        if error.errno not in (*_UNKNOWN, errno.EPERM):
            raise
        why = f"The system takes no seccomp filters ({os.strerror(error.errno).lower()})."
        return [Wall(name=name, state="not offered", why=why)]
    why = "No programs, processes, sockets, debugging, mounts, modules, or changes of modes and times."
    return [Wall(name=name, state="on", why=why)]
