"""Read the arrays of an HDF5 file of the plain layout that Keras writes, in Python and as data.

The HDF5 library is a large program in C with a history of crashes on crafted files, and the format can point to other
files: external links, virtual and external data sets. So no file of a stranger is handed to it. What Keras writes
needs little: groups of the first kind (a B-tree of names) and unpacked arrays of numbers in one piece. This reads
exactly that and refuses the rest.

References:
    HDF5 File Format Specification, version 3.0, sections II and III to IV.A.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError

Read = Callable[[int, int], bytes]
"""Return that many bytes from that place; fewer at the end of the file."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MAX_DIMENSIONS = 32
MAX_AXIS = 2**31
_UNDEFINED = 2**64 - 1
_SPACE, _TYPE, _LAYOUT, _CONTINUES, _GROUP = 0x01, 0x03, 0x08, 0x10, 0x11
_IGNORED = {0x00, 0x04, 0x05, 0x0C, 0x0D, 0x0E, 0x12}
"""Nothing, fill values, attributes, comments and times: they change no number of an array in one piece."""
_REFUSED = {
    0x02: "links of the newer kind",
    0x06: "links of the newer kind, which may lead to another file",
    0x07: "data in another file",
    0x0B: "packed data",
}
_FLOATS = {2: (10, 5, 15), 4: (23, 8, 127), 8: (52, 11, 1023)}
"""Bits of mantissa and exponent, and the bias, by the size in bytes."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """Where the numbers of one array lie, checked to be inside the file."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    offset: int
    inline: bytes | None = None
    """The numbers themselves where they are stored in the header."""

    @property
    def size(self) -> int:
        """Count the numbers."""
        return prod(self.shape)

    def values(self, read: Read) -> NDArray[np.generic]:
        """Return the numbers, shape `shape`."""
        n_bytes = self.size * self.dtype.itemsize
        data = self.inline if self.inline is not None else read(self.offset, n_bytes)
        return np.frombuffer(data[:n_bytes], dtype=self.dtype).reshape(self.shape)


def read_tree(name: str, read: Read, n_bytes: int) -> Mapping[str, StoredArray]:
    """Return the arrays of an HDF5 file by their paths; their numbers stay where they are.

    Args:
        name: of the file, for messages.
        read: returns bytes of it.
        n_bytes: its length.

    Raises:
        ModelError: it is damaged, is of another layout, or points out of itself.
    """
    tree = _Tree(name, read, n_bytes)
    try:
        found = dict(tree.arrays())
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise tree.error("a whole HDF5 file of weights", "a damaged one") from error
    total = sum(array.size * array.dtype.itemsize for array in found.values())
    if total > n_bytes:
        raise tree.error("arrays no larger than the file", f"{total:,} bytes of arrays in {n_bytes:,}")
    return found


class _Tree:
    def __init__(self, name: str, read: Read, n_bytes: int) -> None:
        self.name = name
        self.read = read
        self.n_bytes = n_bytes
        self.seen: set[int] = set()

    def error(self, need: str, got: str) -> ModelError:
        return ModelError(f"{self.name} needs {need}. Got {got}. Save the model again with Keras.")

    def at(self, place: int, n_bytes: int) -> bytes:
        if place < 0 or n_bytes < 0 or place + n_bytes > self.n_bytes:
            raise self.error("a whole HDF5 file of weights", "one that is damaged or cut short")
        data = self.read(place, n_bytes)
        if len(data) != n_bytes:
            raise self.error("a whole HDF5 file of weights", "one that is damaged or cut short")
        return data

    def once(self, place: int) -> None:
        """Count a part of the file; nothing is visited twice, so no ring of parts is followed for ever."""
        if place in self.seen or len(self.seen) >= MAX_OBJECTS:
            raise self.error(f"at most {MAX_OBJECTS:,} parts, each in one place", "more, or one in two places")
        self.seen.add(place)

    def arrays(self) -> Iterator[tuple[str, StoredArray]]:
        head = self.at(0, 96)
        if head[:8] != SIGNATURE:
            raise self.error("weights as HDF5", "something else")
        if head[8] != 0 or head[13:15] != b"\x08\x08":
            raise self.error("weights as Keras writes them, HDF5 of the earliest layout", "a later layout")
        base, _, end = struct.unpack_from("<QQQ", head, 24)
        if base != 0 or end > self.n_bytes:
            raise self.error("a whole HDF5 file of weights", "one that is cut short or starts late")
        waiting = [("", struct.unpack_from("<Q", head, 64)[0], 0)]
        while waiting:
            path, place, depth = waiting.pop()
            if depth > MAX_DEPTH:
                raise self.error(f"groups at most {MAX_DEPTH} deep", "more")
            messages = self.messages(place)
            if _GROUP in messages:
                inner = self.members(messages[_GROUP])
                waiting += [(f"{path}/{name}".lstrip("/"), header, depth + 1) for name, header in inner]
            elif path:
                yield path, self.array(path, messages)

    def messages(self, place: int) -> dict[int, bytes]:
        """Return what an object's header says by kind, each kind at most once but for those that are not read."""
        self.once(place)
        version, _, count, _, size = struct.unpack("<BBHII", self.at(place, 12))
        if version != 1:
            raise self.error("weights as Keras writes them", "an object of a later layout")
        blocks, found = [(place + 16, size)], dict[int, bytes]()
        while blocks:
            start, length = blocks.pop()
            block, position = self.at(start, length), 0
            while position + 8 <= length and count > 0:
                kind, n_bytes, flags = struct.unpack_from("<HHB", block, position)
                content = block[position + 8 : position + 8 + n_bytes]
                position, count = position + 8 + n_bytes, count - 1
                if kind in _IGNORED:
                    continue
                if kind == _CONTINUES:
                    inner = struct.unpack("<QQ", content[:16])
                    self.once(inner[0])
                    blocks.append(inner)
                elif kind in (_SPACE, _TYPE, _LAYOUT, _GROUP) and kind not in found and not flags & 2:
                    found[kind] = content
                else:
                    raise self.error("plain arrays and groups", _REFUSED.get(kind, "a header of another kind"))
        return found

    def members(self, message: bytes) -> Iterator[tuple[str, int]]:
        """Yield the names of a group with the places of their headers."""
        root, heap = struct.unpack("<QQ", message[:16])
        mark, n_names, _, names_at = struct.unpack("<4s4xQQQ", self.at(heap, 32))
        if mark != b"HEAP":
            raise self.error("a whole HDF5 file of weights", "a damaged one")
        names, nodes = self.at(names_at, n_names), [root]
        while nodes:
            place = nodes.pop()
            self.once(place)
            mark, _, _, used = struct.unpack("<4sBBH", self.at(place, 8))
            if mark == b"TREE":
                words = struct.unpack(f"<{2 * used}Q", self.at(place + 24, 16 * used))
                nodes += words[1::2]
            elif mark == b"SNOD":
                used = struct.unpack("<H", self.at(place + 6, 2))[0]
                for entry in range(used):
                    name_at, header, cache = struct.unpack("<QQI", self.at(place + 8 + 40 * entry, 20))
                    if cache not in (0, 1):
                        raise self.error("plain arrays and groups", "a link to another name")
                    yield names[name_at : names.index(b"\0", name_at)].decode(), header
            else:
                raise self.error("a whole HDF5 file of weights", "a damaged one")

    def array(self, path: str, messages: Mapping[int, bytes]) -> StoredArray:
        missing = {_SPACE, _TYPE, _LAYOUT} - set(messages)
        if missing:
            raise self.error("arrays and groups", f"{path!r}, which is neither")
        shape, dtype, layout = self.shape(messages[_SPACE]), self.dtype(path, messages[_TYPE]), messages[_LAYOUT]
        n_bytes = prod(shape) * dtype.itemsize
        if layout[0] != 3 or layout[1] not in (0, 1):
            raise self.error("every array in one piece of the file", f"{path!r}, which is in several or elsewhere")
        if layout[1] == 0:
            size = struct.unpack_from("<H", layout, 2)[0]
            place, inline = 0, layout[4 : 4 + size]
            size = len(inline)
        else:
            place, size = struct.unpack_from("<QQ", layout, 2)
            inline = None
        if n_bytes == 0:
            place, inline = 0, b""
        elif size < n_bytes or (inline is None and (place == _UNDEFINED or place + n_bytes > self.n_bytes)):
            shown = " × ".join(map(str, shape)) or "1"
            raise self.error(f"{n_bytes:,} bytes for {path!r}, an array of {shown}", "fewer")
        return StoredArray(dtype=dtype, shape=shape, offset=place, inline=inline)

    def shape(self, message: bytes) -> tuple[int, ...]:
        version, n_axes = message[0], message[1]
        if version not in (1, 2) or n_axes > MAX_DIMENSIONS or (version == 2 and message[3] == 2):
            raise self.error(f"arrays of at most {MAX_DIMENSIONS} axes", "another shape")
        axes = struct.unpack_from(f"<{n_axes}Q", message, 8 if version == 1 else 4)
        if any(axis > MAX_AXIS for axis in axes):
            raise self.error(f"arrays of at most {MAX_AXIS:,} numbers along an axis", f"{max(axes):,}")
        return axes

    def dtype(self, path: str, message: bytes) -> np.dtype[np.generic]:
        """Return the type of whole or floating numbers in the usual layout, little end first."""
        kind, bits, size = message[0] & 15, int.from_bytes(message[1:4], "little"), message[4]
        if kind == 0 and size in (1, 2, 4, 8) and not bits & 1:
            if struct.unpack_from("<HH", message, 8) == (0, 8 * size):
                return np.dtype(f"<{'i' if bits & 8 else 'u'}{size}")
        elif kind == 1 and size in _FLOATS and not bits & 0x41:
            mantissa, exponent, bias = _FLOATS[size]
            usual = (0, 8 * size, mantissa, exponent, 0, mantissa, bias)
            if struct.unpack_from("<HHBBBBI", message, 8) == usual:
                return np.dtype(f"<f{size}")
        raise self.error("weights as float16, float32, float64 or whole numbers", f"another type in {path!r}")
