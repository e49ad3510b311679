"""Read a `.pt2` file, a saved torch.export program, as data: a zip of raw tensors and one JSON graph.

`torch.export.load` is not used, because it runs what a stranger writes into the file: see docs/formats.md. Here
nothing is unpickled, evaluated or imported by name. The sample inputs, the symbolic expressions, the guards and the
tree specifications, through which code could come, are never looked at.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._export_graph import Program, parse_program
from neuralrank.formats._plain_zip import PlainZip, checked, open_archive

MAX_JSON_BYTES = 256 * 2**20
ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
"""Bytes per number of each type code of the format: the whole, floating and boolean types of torch."""
STRIDED = 7
NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")
COMPILED = ("data/aotinductor/", "data/executorch/", "data/mtia/")


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies in the archive, checked to fit into its entry."""

    entry: str
    kind: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    is_param: bool


@dataclass(frozen=True, kw_only=True)
class ExportArchive:
    """One program and its tensors, by the names they have in it."""

    program: Program
    tensors: Mapping[str, StoredTensor]

    def n_params(self) -> int:
        """Count the learned numbers."""
        used = {entry.target: self.tensors[entry.target] for entry in self.program.stored_inputs}
        return sum(
            math.prod(tensor.sizes)
            for name, tensor in used.items()
            if tensor.is_param and name.rsplit(".", 1)[-1] not in NOT_LEARNED
        )


def is_pt2(path: Path) -> bool:
    """Tell whether the name and the first bytes are those of a `.pt2` file."""
    return path.suffix.lower() == ".pt2" and path.is_file()


def read_archive(path: Path) -> ExportArchive:
    """Check the archive and read its graph; tensors stay on disk.

    Raises:
        ModelError: the file is damaged, of an older format, holds pickled or compiled parts, or a graph with
            operators that are not known to be safe.
    """
    with open_export(path) as opened:
        model = _only_model(opened)
        program = parse_program(path.name, _json(opened, f"models/{model}.json"))
        tensors = {
            **_tensors(opened, "data/weights/", f"{model}_weights_config.json"),
            **_tensors(opened, "data/constants/", f"{model}_constants_config.json"),
        }
    for stored in program.stored_inputs:
        if stored.target not in tensors:
            raise ModelError(f"{path.name} needs the tensor {stored.target!r}. Got none. Export it again.")
    return ExportArchive(program=program, tensors=tensors)


def open_export(path: Path) -> PlainZip:
    """Open the archive, its entries below its only folder.

    Raises:
        ModelError: it is damaged, of an older format, or holds compiled parts.
    """
    archive = open_archive(path, kind="torch.export archive")
    if not any(name.rpartition("/")[2] == "archive_format" for name in archive.namelist()):
        archive.close()
        raise ModelError(
            f"{path.name} needs the archive format of torch 2.8 or newer. Got an older one, which holds pickles. "
            "Load it where you trust it, and save it again with torch.export.save."
        )
    opened = checked(path, archive).below_one_folder()
    if any(name.startswith(COMPILED) or name.endswith((".so", ".dll", ".dylib")) for name in opened.entries):
        archive.close()
        raise ModelError(
            f"{path.name} needs to hold a program of torch operators. Got compiled machine code. "
            "Export the model with torch.export.save."
        )
    return opened


def _only_model(opened: PlainZip) -> str:
    models = [name for name in opened.entries if name.startswith("models/") and name.endswith(".json")]
    if len(models) != 1:
        raise ModelError(f"{opened.name} needs exactly one program. Got {len(models)}. Save each one to its own file.")
    return models[0].removeprefix("models/").removesuffix(".json")


def _json(opened: PlainZip, name: str) -> dict[str, Any]:
    content = opened.read_json(name, max_bytes=MAX_JSON_BYTES)
    if not isinstance(content, dict):
        raise ModelError(f"{opened.name} needs a JSON object in {name!r}. Got something else. Export it again.")
    return content


def _tensors(opened: PlainZip, folder: str, config: str) -> dict[str, StoredTensor]:
    listed = _json(opened, folder + config).get("config")
    if not isinstance(listed, dict):
        raise ModelError(f"{opened.name} needs a list of tensors in {config!r}. Got none. Export it again.")
    return {name: _tensor(opened, folder, name, meta) for name, meta in listed.items()}


def _tensor(opened: PlainZip, folder: str, name: str, meta: Any) -> StoredTensor:
    """Check that the bytes of one tensor hold every number that its sizes and strides reach."""
    meta = meta if isinstance(meta, dict) else {}
    if meta.get("use_pickle") is not False:
        raise ModelError(
            f"{opened.name} needs plain tensors. Got {name!r} as a pickle, which can run code while it is read. "
            "Export the model without tensor subclasses and custom objects."
        )
    described = meta.get("tensor_meta")
    layout = described if isinstance(described, dict) else {}
    entry = folder + str(meta.get("path_name"))
    info = opened.entries.get(entry)
    sizes, strides = _whole(layout.get("sizes")), _whole(layout.get("strides"))
    offset = _whole([layout.get("storage_offset")])
    kind = layout.get("dtype")
    known = info is not None and sizes is not None and strides is not None and offset is not None
    if not known or kind not in ITEM_BYTES or layout.get("layout") != STRIDED or len(sizes or ()) != len(strides or ()):
        raise ModelError(f"{opened.name} needs a known type and shape for {name!r}. Got another one. Export it again.")
    assert info is not None
    assert sizes is not None
    assert strides is not None
    assert offset is not None
    count = math.prod(sizes)
    last = offset[0] + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if count and max(last + 1, count) * ITEM_BYTES[kind] > info.file_size:
        raise ModelError(f"{opened.name} is cut short: {name!r} needs more bytes than it has. Download it again.")
    return StoredTensor(
        entry=entry,
        kind=kind,
        sizes=sizes,
        strides=strides,
        offset=offset[0],
        is_param=meta.get("is_param") is True,
    )


def _whole(values: Any) -> tuple[int, ...] | None:
    """Return [{"as_int": 3}, …] as whole numbers, None if it is anything else."""
    if not isinstance(values, list):
        return None
    numbers = [value.get("as_int") if isinstance(value, dict) else None for value in values]
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        return None
    return tuple(number for number in numbers if number is not None)
