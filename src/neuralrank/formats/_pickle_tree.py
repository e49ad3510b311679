"""Read a pickle as data: what it names is not imported, and what it would call is not called.

A pickle is a program. Here each of its instructions only builds a description: a class or function is a `Global`, a
call of one a `Call`, and whatever is stored into it stays beside it. From that one can tell what loading the file
would run, which tensors it holds and of what shape, without loading it.
"""

import pickletools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast

MAX_STEPS = 5_000_000
MAX_BYTES = 256 * 2**20
MAX_LONG = 1_000


class PickleError(ValueError):
    """The bytes are no pickle, are cut short, or use what no writer of models uses."""


@dataclass(frozen=True)
class Global:
    """A class or function by name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What a call of `function` would give, with what the pickle stores into the result afterwards."""

    function: Any
    arguments: Any
    state: Any = None
    appended: list[Any] = field(default_factory=list)
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Persistent:
    """Something that is kept outside the pickle, such as the numbers of a tensor."""

    key: Any


@dataclass(frozen=True, kw_only=True)
class PickleTree:
    """The value a pickle describes, and every class and function that it names."""

    value: Any
    named: tuple[Global, ...]


def read_pickle(file: BinaryIO) -> PickleTree:
    """Read one pickle, and leave the file just behind it.

    Raises:
        PickleError: it is damaged, or is none.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], _Limited(file)))):
            if count > MAX_STEPS:
                raise PickleError(f"more than {MAX_STEPS} steps")
            machine.step(opcode.name, argument)
        value = machine.stack.pop()
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PickleError("a damaged pickle") from error
    if value is _MARK or machine.stack:
        raise PickleError("a damaged pickle")
    return PickleTree(value=value, named=tuple(machine.named))


def walk(value: Any) -> Iterator[Any]:
    """Yield every value below `value` once, containers included, in the order of the pickle."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        inner: list[Any] = []
        if isinstance(item, Call):
            inner = [item.function, item.arguments, item.state, *item.appended]
            inner += [part for pair in item.items.items() for part in pair]
        elif isinstance(item, Mapping):
            inner = [part for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple | set | frozenset):
            inner = list(item)
        elif isinstance(item, Persistent):
            inner = [item.key]
        else:
            yield item
            continue
        if id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += reversed(inner)


class _Limited:
    """A file that may be read up to a number of bytes; a text in it may claim to be as long as the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_BYTES

    def read(self, n_bytes: int) -> bytes:
        if n_bytes > self._left:
            raise PickleError(f"more than {MAX_BYTES} bytes")
        return self._counted(self._file.read(n_bytes))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise PickleError(f"more than {MAX_BYTES} bytes")
        return content


_MARK = object()
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_LITERALS = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE
    SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()  # noqa: SIM905 - a list of quoted names would hide its gaps
)
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))


class _Machine:
    """The stack and the memo of a pickle; a step that is not known is an error."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.named: dict[Global, None] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(_literal(argument))
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name in _PUTS:
            self.memo[argument] = self._top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name not in _NOTHING:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise PickleError(f"the instruction {name}")
            handler(argument)

    def _top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise PickleError("a damaged pickle")
        return self.stack[-1]

    def _take(self) -> Any:
        value = self._top()
        self.stack.pop()
        return value

    def _since_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise PickleError("a damaged pickle")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def _name(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a name that is no text")
        found = Global(module, name)
        self.named[found] = None
        return found

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._name(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._take(), self._take()
        self.stack.append(self._name(module, name))

    def _inst(self, argument: str) -> None:
        values = tuple(self._since_mark())
        self._global(argument)
        self.stack.append(Call(self.stack.pop(), values))

    def _obj(self, _: Any) -> None:
        function, *values = self._since_mark()
        self.stack.append(Call(function, tuple(values)))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._take(), self._take()
        self.stack.append(Call(function, arguments))

    def _newobj(self, _: Any) -> None:
        self._reduce(_)

    def _newobj_ex(self, _: Any) -> None:
        named, positional, function = self._take(), self._take(), self._take()
        self.stack.append(Call(function, (positional, named)))

    def _build(self, _: Any) -> None:
        state, target = self._take(), self._top()
        if isinstance(target, Call):
            target.state = state if target.state is None else (target.state, state)
        elif not isinstance(target, Global):
            raise PickleError("a state for something that has none")
        else:
            self.stack[-1] = Call(target, (), state)

    def _append(self, _: Any) -> None:
        value = self._take()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Call):
            target = target.appended
        if not isinstance(target, list):
            raise PickleError("an item for something that is no list")
        target.extend(values)

    def _additems(self, _: Any) -> None:
        values = self._since_mark()
        target = self._top()
        if isinstance(target, Call):
            target.appended.extend(values)
        else:
            target.update(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._take(), self._take()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Call):
            target = target.items
        if not isinstance(target, dict) or len(values) % 2:
            raise PickleError("an entry for something that is no dictionary")
        target.update(zip(values[::2], values[1::2], strict=True))

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self.stack.append((self._take(),))

    def _tuple2(self, _: Any) -> None:
        second, first = self._take(), self._take()
        self.stack.append((first, second))

    def _tuple3(self, _: Any) -> None:
        third, second, first = self._take(), self._take(), self._take()
        self.stack.append((first, second, third))

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self._since_mark()))

    def _persid(self, argument: Any) -> None:
        self.stack.append(Persistent(argument))

    def _binpersid(self, _: Any) -> None:
        self.stack.append(Persistent(self._take()))

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self._top())


def _literal(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_LONG:
        raise PickleError("a number of more than 1,000 bits")
    return bytes(value) if isinstance(value, bytearray) else value
