"""Calls of the C library and of the Linux kernel that Python does not offer, made through ctypes.

Part of the worker's side: it needs the standard library alone.
"""

import ctypes
import functools
import os
from typing import Any


def prctl(option: int, *arguments: int) -> int:
    """Return what the kernel answers.

    Raises:
        OSError: it refuses.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_library().prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded)))


def unshare(flags: int) -> None:
    """Leave some of the namespaces shared with other processes; all that is asked for, or nothing.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_library().unshare(ctypes.c_int(flags)))


def system_call(number: int, *arguments: Any) -> int:
    """Return what a system call answers; integers are passed as the kernel's long.

    Raises:
        OSError: it refuses.
    """
    passed = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return _checked(_library().syscall(ctypes.c_long(number), *passed))


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
