"""Seccomp: system calls this process is refused from now on, by a filter that the kernel runs before each.

Refused calls fail with an error that libraries know how to meet; none kills the worker. Part of the worker's side.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from . import _calls, _libc

# --- the filter's language: classic BPF, see linux/filter.h and linux/seccomp.h ----------------------------------

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_ALLOW = 0x7FFF0000
_FAIL_WITH = 0x00050000
_WHOLE = 0xFFFFFFFF

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""AUDIT_ARCH_… by machine, and which column of the call numbers is its own."""
_X32 = 0x40000000
"""Numbers from here on are calls of x86_64's second, 32-bit interface, which no list here knows."""

_SET_FILTER = 1
_LEAVE_SPECULATION = 1 << 2

# --- constants that the rules look for in arguments --------------------------------------------------------------

_CLONE_THREAD = 0x10000
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5
_TYPE_OF_SOCKET = 0xF
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_ACCESS_AND_TRUNCATE, _TRUNCATE = 0x203, 0x200

_Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Argument:
    """A test of one argument's low 32 bits, which is all that the calls tested here look at."""

    index: int
    values: tuple[int, ...]
    mask: int = _WHOLE


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One call that fails with `error`; 0 lets it seem to succeed without being carried out."""

    call: str
    error: int = errno.EPERM
    unless: tuple[Argument, ...] = field(default=())
    """Arguments that must all be so for the call to be allowed."""
    only_if: Argument | None = None
    """The argument with which alone the call is refused."""


def worker_rules(pid: int, *, gpu: bool) -> tuple[Rule, ...]:
    """Return what the process `pid` is refused as a worker.

    CUDA's driver offers its device to other processes through a local socket of its own and fails without it, so
    where there is a GPU, local sockets can be made, but none can be connected to anything: asked for a service, such
    as the driver's multi-process one, the kernel answers that nobody listens.
    """
    plain = (*_calls.PROGRAMS, *_calls.PROCESSES, *_calls.SYSTEM, *_calls.SHARED, *_calls.ATTRIBUTES)
    own = Argument(0, (pid,))
    streams = (Argument(0, (_AF_UNIX,)), Argument(1, (_SOCK_STREAM, _SOCK_SEQPACKET), _TYPE_OF_SOCKET))
    sockets = (
        (Rule(call="socket", unless=streams), Rule(call="connect", error=errno.ECONNREFUSED))
        if gpu
        else tuple(Rule(call=name) for name in _calls.SOCKETS)
    )
    return (
        *(Rule(call=name) for name in plain),
        *sockets,
        # Copying a file copies its mode, and many libraries copy: they are told that it was done.
        *(Rule(call=name, error=0) for name in _calls.MODES),
        Rule(call="clone", unless=(Argument(0, (_CLONE_THREAD,), _CLONE_THREAD),)),
        Rule(call="clone3", error=errno.ENOSYS),  # its flags lie in memory; libraries fall back to clone
        Rule(call="socketpair", unless=streams),  # a pair of datagram sockets could be sent elsewhere
        Rule(call="kill", unless=(own,)),
        Rule(call="tgkill", unless=(own,)),
        Rule(call="rt_sigqueueinfo", unless=(own,)),
        Rule(call="rt_tgsigqueueinfo", unless=(own,)),
        Rule(call="prlimit64", unless=(Argument(0, (0, pid)),)),
        Rule(call="setpriority", unless=(Argument(0, (0,)), Argument(1, (0, pid)))),
        Rule(call="prctl", only_if=Argument(0, (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE))),
        Rule(call="ioctl", only_if=Argument(1, (_TIOCSTI, _TIOCLINUX))),
        # Opened for reading and emptied: Landlock sees that from Linux 6.2 on.
        Rule(call="open", only_if=Argument(1, (_TRUNCATE,), _ACCESS_AND_TRUNCATE)),
        Rule(call="openat", only_if=Argument(2, (_TRUNCATE,), _ACCESS_AND_TRUNCATE)),
        Rule(call="openat2", error=errno.ENOSYS),
    )


def program(rules: Iterable[Rule], machine: str) -> bytes:
    """Return the filter for one kind of processor; calls of any other interface of it fail.

    Raises:
        KeyError: the call numbers of this kind of processor are not known here.
    """
    architecture, column = _ARCHITECTURES[machine]
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, architecture),
        _fail(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32),
        _fail(errno.EPERM),
    ]
    for rule in rules:
        number = _calls.NUMBERS[rule.call][column]
        if number is not None:
            body = list(_body(rule))
            code += [(_IF_EQUAL, 0, len(body), number), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _body(rule: Rule) -> Iterator[_Instruction]:
    """Yield what is done when the number of the call is the rule's; always ends the filter."""
    if rule.only_if is not None:
        # One test whose success is the failure of the call.
        yield from _test(rule.only_if, after=(_RETURN, 0, 0, _ALLOW))
        yield _fail(rule.error)
        return
    for argument in rule.unless:
        yield from _test(argument, after=_fail(rule.error))
    yield (_RETURN, 0, 0, _ALLOW) if rule.unless else _fail(rule.error)


def _test(argument: Argument, *, after: _Instruction) -> Iterator[_Instruction]:
    """Yield a test that goes on behind itself if the argument is one of the values, and into `after` otherwise."""
    yield (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument.index)  # both machines keep the low half first
    if argument.mask != _WHOLE:
        yield (_AND, 0, 0, argument.mask)
    for left in range(len(argument.values), 0, -1):
        yield (_IF_EQUAL, left, 0, argument.values[-left])
    yield after


def _fail(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _FAIL_WITH | error)


# --- the filter in force -----------------------------------------------------------------------------------------


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(code: bytes) -> None:
    """Put the filter in force for this thread and all that it starts. `no_new_privs` must be set.

    Before Linux 5.16, a filter also slows the processor down against speculative reads unless it asks not to. That
    protects programs that keep secrets from code inside the same process; there are none here.

    Raises:
        OSError: the kernel refuses.
    """
    argument = _Program(len(code) // 8, code)
    number = _calls.NUMBERS["seccomp"][_ARCHITECTURES[os.uname().machine][1]]
    assert number is not None
    try:
        _libc.system_call(number, _SET_FILTER, _LEAVE_SPECULATION, ctypes.byref(argument))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _libc.system_call(number, _SET_FILTER, 0, ctypes.byref(argument))  # Linux before 4.17


def knows(machine: str) -> bool:
    """Tell whether the call numbers of a kind of processor are listed here."""
    return machine in _ARCHITECTURES
