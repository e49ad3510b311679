"""Landlock: files and folders this process may use from now on, chosen by itself and never to be had back.

Reference: https://docs.kernel.org/userspace-api/landlock.html. Any user may use it; part of the worker's side.
"""

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass

from . import _libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_DIR = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
_ALL_FIRST = (1 << 13) - 1
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15

_READ = _READ_FILE | _READ_DIR
# No links, pipes, sockets and devices: whoever looks at the folder later must meet plain files alone.
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_DEVICE = _READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Paths that stay usable; one that does not exist is left out, a folder stands for all below it."""

    read: tuple[str, ...] | None
    """None: every file may be read."""
    write: tuple[str, ...]
    """May be read as well; in folders, plain files and folders may be made and removed."""
    devices: tuple[str, ...]


def version() -> int:
    """Return what the kernel knows of Landlock: 1 files, 3 truncating, 4 TCP, 5 devices, 6 signals.

    Raises:
        OSError: nothing.
    """
    return _libc.system_call(_CREATE_RULESET, None, 0, _ASK_VERSION)


def restrict(known: int, allowed: Allowed) -> None:
    """Refuse this process, as far as version `known` can, every other file, TCP, and signals to others.

    `no_new_privs` must be set.

    Raises:
        OSError: the kernel refuses.
    """
    files = _ALL_FIRST
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        files |= right if known >= since else 0
    if allowed.read is None:
        files &= ~_READ
    attributes = _Ruleset(
        files=files,
        network=_BIND_AND_CONNECT_TCP if known >= 4 else 0,
        scoped=_ABSTRACT_SOCKETS_AND_SIGNALS if known >= 6 else 0,
    )
    size = 8 * (1 + (known >= 4) + (known >= 6))  # older kernels refuse a longer structure
    ruleset = _libc.system_call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        _add(ruleset, allowed.read or (), _READ & files)
        _add(ruleset, allowed.write, _WRITE & files)
        _add(ruleset, allowed.devices, _DEVICE & files)
        _libc.system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _add(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in dict.fromkeys(paths):
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not there, or out of this user's reach anyway
            continue
        try:
            kept = rights if os.path.isdir(f"/proc/self/fd/{descriptor}") else rights & _OF_FILES  # noqa: PTH112
            if kept:
                rule = _Beneath(allowed=kept, folder=descriptor)
                _libc.system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(descriptor)
