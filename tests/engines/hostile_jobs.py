"""What a stranger's model might try; each job tells what the system answered. Imported in the worker."""

import ctypes
import errno
import importlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, Any]], None]
_LIBC = ctypes.CDLL(None, use_errno=True)


def answer(work: Callable[[], Any]) -> str:
    """Return the name of the error that the system answers with, 'done' if there is none."""
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def called(name: str, *arguments: Any) -> str:
    """Return what a function of the C library answers."""
    ctypes.set_errno(0)
    result = getattr(_LIBC, name)(*arguments)
    return "done" if result != -1 else errno.errorcode[ctypes.get_errno()]


def write(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Try to change files in several ways: make, append, remove, rename, link, fill the name of."""
    answers: dict[str, Any] = {}
    for folder in map(Path, payload["folders"]):
        there = folder / "there.txt"
        answers[str(folder)] = [
            answer((folder / "new.txt").touch),
            answer(lambda there=there: there.open("ab")),
            answer(there.unlink),
            answer(lambda there=there: there.rename(there.with_name("moved.txt"))),
            answer((folder / "folder").mkdir),
            answer(lambda folder=folder: (folder / "link").symlink_to("/etc/passwd")),
            answer(lambda there=there: os.truncate(there, 0)),
            answer(lambda there=there: os.open(there, os.O_RDONLY | os.O_TRUNC)),
        ]
    return answers


def change_modes(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    path = Path(payload["file"])
    return {
        "chmod": answer(lambda: path.chmod(0o777)),
        "chown": answer(lambda: os.chown(path, os.getuid(), os.getgid())),
        "utime": answer(lambda: os.utime(path, (0, 0))),
        "setxattr": answer(lambda: os.setxattr(path, "user.mark", b"1")),
    }


def write_own(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Write where a worker may, and try to make there what deceives whoever looks later."""
    home = Path.home()
    (home / "a").mkdir()
    (home / "a" / "file").write_text("text")
    (home / "a" / "file").rename(home / "file")
    (home / "a").rmdir()
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"text")
    Path(payload["out"]).write_text("result")
    Path("/dev/null").write_text("nothing")
    return {
        "home": str(home),
        "temporary": tempfile.gettempdir(),
        "link": answer(lambda: (home / "link").symlink_to("/etc/passwd")),
        "hard link": answer(lambda: (home / "hard").hardlink_to(payload["model"])),
        "pipe": answer(lambda: os.mkfifo(home / "pipe")),
        "device": answer(lambda: os.mknod(home / "device", 0o20666, os.makedev(1, 3))),
        "remove result": answer(Path(payload["out"]).unlink),
    }


def read(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    answers = {path: answer(lambda path=path: Path(path).read_bytes()) for path in payload["files"]}
    folders = {path: answer(lambda path=path: os.listdir(path)) for path in payload.get("folders", ())}  # noqa: PTH208
    return {**answers, **folders}


def network(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    def connected(family: int, address: Any) -> None:
        with socket.socket(family) as client:
            client.settimeout(5)
            client.connect(address)

    def bound(address: Any) -> None:
        with socket.socket() as server:
            server.bind(address)
            server.listen()

    pair = socket.socketpair()
    pair[0].send(b"x")
    return {
        "tcp": answer(lambda: connected(socket.AF_INET, ("127.0.0.1", payload["port"]))),
        "unix": answer(lambda: connected(socket.AF_UNIX, payload["socket"])),
        "abstract": answer(lambda: connected(socket.AF_UNIX, "\0" + payload["abstract"])),
        "bind": answer(lambda: bound(("127.0.0.1", 0))),
        "udp": answer(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "raw": answer(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW)),
        "netlink": answer(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "datagram pair": answer(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
        "pair": pair[1].recv(1).decode(),
        "interfaces": [name for _, name in socket.if_nameindex()] if payload.get("look") else [],
    }


def processes(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    parent = os.getppid()
    buffer = ctypes.create_string_buffer(8)
    return {
        "fork": answer(os.fork),
        "exec": answer(lambda: os.execv("/bin/sh", ["/bin/sh", "-c", "exit 0"])),
        "run": answer(lambda: subprocess.run(["/bin/sh", "-c", "exit 0"], check=False)),
        "spawn": answer(lambda: os.posix_spawn("/bin/sh", ["/bin/sh", "-c", "exit 0"], {})),
        "multiprocessing": answer(lambda: multiprocessing.get_context("fork").Process(target=print).start()),
        "thread": _answer_of_thread(),
        "kill parent": answer(lambda: os.kill(parent, 0)),
        "kill all": answer(lambda: os.kill(-1, 0)),
        "kill group": answer(lambda: os.killpg(os.getpgid(parent), 0)),
        "kill self": answer(lambda: os.kill(os.getpid(), 0)),
        "limit parent": answer(lambda: _limit(parent)),
        "nice others": answer(lambda: os.setpriority(os.PRIO_USER, 0, 19)),
        "ptrace parent": called("ptrace", 16, parent, None, None),
        "read memory": called("process_vm_readv", parent, buffer, 0, buffer, 0, 0),
        "memory file": answer(lambda: Path(f"/proc/{parent}/mem").open("rb")),
        "environment": answer(lambda: Path(f"/proc/{parent}/environ").read_bytes()),
        "command line": answer(lambda: Path(f"/proc/{parent}/cmdline").read_bytes()),
        "outlive parent": called("prctl", 1, 0, 0, 0, 0),
    }


def _limit(parent: int) -> None:
    import resource

    resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0))


def _answer_of_thread() -> str:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(answer(lambda: socket.socket())))
    thread.start()
    thread.join()
    return seen[0]


def kernel(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    numbers = payload["numbers"]
    _LIBC.syscall.restype = ctypes.c_long
    return {name: called("syscall", ctypes.c_long(number), 0, 0, 0, 0, 0) for name, number in numbers.items()}


def state(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    import resource

    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            descriptors[name] = str(Path(f"/proc/self/fd/{name}").readlink())
        except OSError:  # the listing's own
            continue
    return {
        "status": {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd", "CapAmb")},
        "dumpable": _LIBC.prctl(3, 0, 0, 0, 0),
        "uid": os.getuid(),
        "descriptors": descriptors,
        "environment": dict(os.environ),
        "limits": {
            name: resource.getrlimit(getattr(resource, name))
            for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE")
        },
        "threads": sorted(os.listdir("/proc/self/task")),  # noqa: PTH208
        "maps": len(Path("/proc/self/maps").read_text()),
    }


def fill_one_file(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    written = 0
    with (Path.home() / "big").open("wb", buffering=0) as file:
        while True:
            try:
                written += file.write(b"x" * (1 << 20))
            except OSError as error:
                return {"written": written, "answer": errno.errorcode[error.errno or 0]}


def fill_many_files(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    for number in range(10**6):
        (Path.home() / str(number)).write_bytes(b"x" * payload["each"])
    return {}


def nest_folders(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Leave what is hard to remove: folders deeper than a path can name, and one that nobody may enter."""
    (Path.home() / "closed" / "inner").mkdir(parents=True)
    os.umask(0o777)
    (Path.home() / "closed" / "inner" / "sealed").mkdir()
    os.umask(0o077)
    os.chdir(Path.home())
    for _ in range(3000):
        os.mkdir("deep")  # noqa: PTH102
        os.chdir("deep")
    Path("bottom").touch()
    return {}


def open_many(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    kept = []
    try:
        for _ in range(100_000):
            kept.append(open(os.devnull))  # noqa: PTH123, SIM115
    except OSError as error:
        n_opened = len(kept)
        kept.clear()
        return {"opened": n_opened, "answer": errno.errorcode[error.errno or 0]}
    return {"opened": len(kept)}


def memory_bomb(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    kept = []
    while True:
        kept.append(bytearray(10_000_000))


def leave_a_thread(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    def work() -> None:
        while True:
            Path(payload["out"]).write_text("alive")

    threading.Thread(target=work).start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return {"pid": os.getpid()}


def import_libraries(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Import what formats use, and do what starts programs inside libraries."""
    import ctypes.util
    import platform
    import uuid

    for name in payload["names"]:
        module = importlib.import_module(name)
        if name.endswith("._torchvision"):
            module.repair_torchvision()
    return {
        "found": ctypes.util.find_library("no-such-library"),
        "platform": platform.platform(),
        "processor": platform.processor(),
        "uuid": len(str(uuid.uuid1())),
        "imported": sorted(name for name in payload["names"] if name in sys.modules),
    }


def copy_file(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Copy as libraries copy: with the mode."""
    import shutil

    copied = shutil.copy(payload["file"], Path.home() / "copy")
    return {"text": Path(copied).read_text()}


def tell_walls(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Write what only the worker itself may write: which walls stand."""
    for number in range(3, 64):
        try:
            if str(Path(f"/proc/self/fd/{number}").readlink()).startswith("pipe:"):
                os.write(number, b'{"walls": [{"name": "writing", "state": "on", "why": "Believe me."}]}\n')
        except OSError:
            continue
    return {}


def count_with_text(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    send({"n_done": "many"})
    return {}


def compute_on_gpu(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Use the GPU as a model does, then try what the walls refuse while its driver is loaded."""
    import torch

    ones = torch.ones(256, 256, device="cuda")
    convolved = torch.nn.functional.conv2d(ones[None, None], ones[None, None, :3, :3])
    return {
        "sum": float((ones @ ones).sum()),
        "convolved": float(convolved.mean()),
        "bytes": torch.cuda.max_memory_allocated(),
        "write": answer(Path(payload["outside"]).touch),
        "read": answer(lambda: Path(payload["secret"]).read_bytes()),
        "program": answer(lambda: subprocess.run(["true"], check=False)),
        "internet": answer(lambda: socket.socket(socket.AF_INET)),
    }
