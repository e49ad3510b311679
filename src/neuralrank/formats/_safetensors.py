"""What the header of safetensors files says: names, types and shapes of the weights, without reading them.

A header comes from a stranger: its length, its offsets and the names of shards are checked against the files.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._model_folder import read_json

MAX_HEADER_BYTES = 100 * 2**20
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")
COUNTERS = ("I64", "U64", "I32", "U32", "BOOL")
"""Types of position indices and masks, which are stored beside the weights but are none."""


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """The weight files of a folder and what they hold."""

    files: tuple[Path, ...]
    """The index first, if there is one, then the shards."""
    shapes: Mapping[str, tuple[int, ...]]
    n_params: int
    """Learned numbers; running statistics, counters and index tables are left out."""


def stored_weights(folder: Path, name: str = "model.safetensors") -> StoredWeights | None:
    """Read the headers of `name`, or of the shards its index lists; None if there is neither.

    Raises:
        ModelError: a file is cut short, is not safetensors, or the index names a file outside the folder.
    """
    index = folder / f"{name}.index.json"
    if (folder / name).is_file():
        files: tuple[Path, ...] = (folder / name,)
        listed = files
    elif index.is_file():
        files = listed_shards(folder, index)
        listed = (index, *files)
    else:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    n_params = 0
    for file in files:
        found, n_found = read_header(file)
        shapes.update(found)
        n_params += n_found
    return StoredWeights(files=listed, shapes=shapes, n_params=n_params)


def read_header(file: Path) -> tuple[Mapping[str, tuple[int, ...]], int]:
    """Return the shape of each tensor of one file, and how many numbers of them are learned.

    Raises:
        ModelError: the file is cut short, or is not safetensors.
    """
    entries = _header(file)
    learned = [
        math.prod(shape)
        for key, (kind, shape) in entries.items()
        if key.rsplit(".", 1)[-1] not in NOT_LEARNED and kind not in COUNTERS
    ]
    return {key: shape for key, (_, shape) in entries.items()}, sum(learned)


def listed_shards(folder: Path, index: Path, *, suffix: str = ".safetensors") -> tuple[Path, ...]:
    """Return the files that an index names, sorted.

    Raises:
        ModelError: one is not there, or the index names something else than files of its own folder.
    """
    weight_map = (read_json(index) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index.name} needs a 'weight_map'. Got none. Download it again.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        inside = PurePosixPath(name).name == name and "\\" not in name and name.endswith(suffix)
        if not inside:
            raise ModelError(
                f"{index.name} needs to name {suffix} files of its own folder. Got {name!r}. Download it again."
            )
        if not (folder / name).is_file():
            raise ModelError(f"{index.name} needs the file {name!r}. Got a folder without it. Download it again.")
    return tuple(folder / name for name in names)


def _header(path: Path) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape per tensor, after checking that the file is as long as its header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= MAX_HEADER_BYTES:
                raise _broken(path, "a header of at most 100 MiB", f"{length} bytes" if start else "an empty file")
            if size < 8 + length:
                raise _cut_short(path, 8 + length, size)
            content = json.loads(file.read(length))
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, "a safetensors header in JSON", "something else") from error
    if not isinstance(content, dict):
        raise _broken(path, "a safetensors header with one entry per tensor", "something else")
    entries = {key: _entry(path, value) for key, value in content.items() if key != "__metadata__"}
    end = 8 + length + max((stop for _, _, stop in entries.values()), default=0)
    if size < end:
        raise _cut_short(path, end, size)
    if size > end:
        raise _broken(path, f"{end} bytes", str(size))
    return {key: (kind, shape) for key, (kind, shape, _) in entries.items()}


def _entry(path: Path, value: Any) -> tuple[str, tuple[int, ...], int]:
    """Return type, shape and end offset of one tensor, after checking that the three agree."""
    entry = value if isinstance(value, dict) else {}
    kind, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    sizes, places = _whole_numbers(shape), _whole_numbers(offsets)
    if sizes is None or places is None or len(places) != 2 or not isinstance(kind, str):
        raise _broken(path, "a type, a shape and two offsets per tensor", "an entry without them")
    n_bits = math.prod(sizes) * BITS.get(kind, 0)
    if kind not in BITS or n_bits != 8 * (places[1] - places[0]):
        raise _broken(path, "offsets that fit type and shape", f"{kind!r} {sizes!r} at {places!r}")
    return kind, sizes, places[1]


def _whole_numbers(value: Any) -> tuple[int, ...] | None:
    good = isinstance(value, list) and all(type(item) is int and 0 <= item < 2**62 for item in value)
    return tuple(value) if good else None


def _broken(path: Path, need: str, got: str) -> ModelError:
    return ModelError(f"{path.name} needs {need}. Got {got}. Download it again.")


def _cut_short(path: Path, need: int, got: int) -> ModelError:
    return ModelError(f"{path.name} is cut short. Needed {need} bytes. Got {got}. Download it again.")
