"""What makers of bad checkpoints share: the table they enter, the place they write to, and ways to damage a file."""

import builtins
import importlib
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))

DAMAGES = {
    "cut short": "the file ends too early, at several places",
    "bits flipped": "one bit in every few bytes, or one in the weights",
    "empty": "no byte at all, or weights without tensors",
    "wrong shape": "weights or values that do not fit the graph, the architecture or the data",
    "wrong type": "integers, texts or doubles where single precision is needed",
    "absurd size": "a header that promises tensors of terabytes, or a layer that asks for them",
    "zip bomb": "an entry that grows a thousandfold",
    "path out": "an entry of the archive, or a file that is named, leads out of the folder",
    "link out": "a symbolic link, or a link of HDF5, that leads out of the folder",
    "endless": "a loop in the graph, or a pattern of a tokenizer, that never ends",
    "hungry": "asks for far more memory than it may have",
    "NaN": "features that are no numbers, or infinite",
    "batch": "values that grow with the batch, or mix its samples",
    "constant": "features that depend on nothing",
    "code": "a payload that makes a file and reaches a server, wherever the format can hide one",
    "download": "a configuration that names something to fetch",
    "nested": "configurations of a hundred thousand levels",
    "card": "a card that contradicts its model, or is no card",
    "pipe": "a pipe, a device or a link to itself in the place of a file",
    "name": "names with escape sequences and line breaks, or that differ in case alone",
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a corpus is written, and what a payload would reach if it ran."""

    folder: Path
    outside: Path
    """Files that links of the corpus lead to."""
    traces: Path
    """A payload makes a file in this folder; nothing else does."""
    port: int = 9
    """Of a server on this machine that a payload connects to."""

    def trace(self, path: Path) -> Path:
        return self.traces / "".join(char if char.isalnum() else "_" for char in path.name)


Make = Callable[[Path, Site], None]


@dataclass(frozen=True, kw_only=True)
class BadCheckpoint:
    """One entry of the corpus."""

    name: str
    """Path below the folder of the corpus."""
    format: str
    damage: str
    stages: tuple[str, ...]
    """Where it may fail."""
    make: Make
    modality: str = "image"
    quick: bool = False
    """Needs no framework, neither to be made nor to be found bad."""
    shown: str = ""
    """Its name in the report, if that is another."""
    why: str = ""

    @property
    def row(self) -> str:
        return self.shown or self.name

    @property
    def folder(self) -> str:
        return f"{self.modality}/{self.format}"


@dataclass
class Table:
    """The bad checkpoints of one format."""

    format: str
    suffix: str
    modality: str = "image"
    rows: list[BadCheckpoint] = field(default_factory=list)

    def bad(self, damage: str, *stages: str, **more: Any) -> Callable[[Make], Make]:
        """Enter the decorated maker; its name is that of the file, its docstring says what is wrong."""

        def enter(make: Make) -> Make:
            self.add(make.__name__, damage, *stages, make=make, why=make.__doc__ or "", **more)
            return make

        return enter

    def add(self, name: str, damage: str, *stages: str, make: Make, **more: Any) -> None:
        file = more.pop("file", f"{name}{self.suffix}")
        modality = more.pop("modality", self.modality)
        shown = more.pop("shown", "")
        self.rows.append(
            BadCheckpoint(
                name=f"{modality}/{self.format}/{file}",
                shown=f"{modality}/{self.format}/{shown}" if shown else "",
                format=self.format,
                damage=damage,
                stages=stages,
                make=make,
                modality=modality,
                **more,
            )
        )

    def hostile(self, module: str, makers: Mapping[str, str], *stages: str, **more: Any) -> None:
        """Enter makers of a module of tests/formats, each with its damage."""
        for name, damage in makers.items():
            self.add(name, damage, *stages, make=_lent(module, name), **more)


def _lent(module: str, name: str) -> Make:
    def make(path: Path, site: Site) -> None:
        getattr(importlib.import_module(module), name)(path, site.trace(path))

    return make


# --- damage ------------------------------------------------------------------------------------------------------


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def flip_bits(path: Path, every: int = 7) -> None:
    content = bytearray(path.read_bytes())
    for place in range(3, len(content), every):
        content[place] ^= 0x10
    path.write_bytes(content)


def bomb(path: Path, *names: str) -> None:
    """Write an archive of a few hundred kilobytes with entries of 200 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            archive.writestr(name, b" " * 200_000_000)


def nested(levels: int = 100_000) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def safetensors(tensors: Mapping[str, tuple[str, list[int]]], content: bytes = b"") -> bytes:
    """Return a file of safetensors whose header says whatever is given; the first tensor has all of the content."""
    header: dict[str, Any] = {}
    for name, (kind, shape) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [0 if not header else len(content), len(content)],
        }
    return packed(json.dumps(header).encode(), content)


def packed(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# --- payloads ----------------------------------------------------------------------------------------------------


def program(path: Path, site: Site) -> str:
    """Return Python that makes a file, reaches the server, and goes on whatever comes of it."""
    return (
        "import contextlib, os, socket\n"
        "with contextlib.suppress(OSError):\n"
        f"    with open({str(site.trace(path))!r}, 'w') as trace:\n"
        "        trace.write(repr(dict(os.environ)))\n"
        "with contextlib.suppress(OSError):\n"
        f"    socket.create_connection(('127.0.0.1', {site.port}), 2).close()\n"
    )


class Payload:
    """Runs a program when it is unpickled."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __reduce__(self) -> Any:
        return builtins.exec, (self.source, {})


def readable_files(folder: Path) -> Iterator[Path]:
    """Yield the regular files below a folder, links not followed."""
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            if path.is_file() and not path.is_symlink():
                yield path
