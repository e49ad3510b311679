"""What a file of `torch.save` holds, told without torch and without unpickling: tensors, or a whole module.

Both kinds of file are read: the zip of torch 1.6 and newer, and the row of pickles of older ones. Every tensor is
checked to fit into the numbers that are stored for it.
"""

import io
import math
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._pickle_tree import Call, Global, Persistent, PickleError, PickleTree, read_pickle, walk
from neuralrank.formats._torch_archive import TorchArchive, first_bytes, may_be_torch, read_torch_archive

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of torch before 1.6 begins: a number chosen for it, as a pickle of its own."""
STORAGE_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
FLOATING = ("float64", "float32", "float16", "bfloat16")
REBUILDERS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETER = "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
ALLOWED = frozenset(
    (
        *(*REBUILDERS, PARAMETER, ORDERED, "torch.Size", "torch.device"),
        *(f"torch.{name}" for name in (*STORAGE_BYTES, *DTYPES.values())),
    )
)
"""What a file of weights alone may name; all of it makes tensors and containers, and nothing else."""
NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")
MAX_NAMED = 3
MAX_REPEATED = 2**31
"""Numbers of a tensor that repeats those stored, as one does whose strides are 0."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where the numbers of one tensor lie, checked to be there."""

    storage: str
    dtype: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


@dataclass(frozen=True, kw_only=True)
class TorchPickle:
    """The pickle of one file, read as data."""

    path: Path
    archive: TorchArchive | None
    """None for a file of torch before 1.6."""
    tree: PickleTree
    folder: str = "data"
    """Of the archive, with the numbers of its tensors."""

    def foreign(self) -> tuple[str, ...]:
        """List the classes and functions it names beside those that make tensors, sorted."""
        return tuple(sorted({str(found) for found in self.tree.named} - ALLOWED))


def read_torch_pickle(path: Path) -> TorchPickle | None:
    """Read the pickle of a file that `torch.save` wrote; None if it is none.

    Raises:
        ModelError: it is one and is damaged.
    """
    if not may_be_torch(path):
        return None
    archive = read_torch_archive(path)
    if archive is not None:
        if archive.is_script:
            return None
        return pickle_in(archive, "data")
    if first_bytes(path, len(LEGACY)) != LEGACY:
        return None
    if tarfile.is_tarfile(path):  # torch would look for one first, and unpack it
        raise ModelError(f"{path.name} needs to be one kind of file. Got a tar archive too. Do not use this file.")
    with path.open("rb") as file:
        for _ in range(3):  # the number, the version, the machine
            _tree(path, file)
        return TorchPickle(path=path, archive=None, tree=_tree(path, file))


def pickle_in(archive: TorchArchive, folder: str) -> TorchPickle:
    """Read the pickle of an archive that goes with one folder of numbers: `data.pkl` with `data/`.

    Raises:
        ModelError: it is not there or is damaged.
    """
    tree = _tree(archive.path, io.BytesIO(archive.read(f"{folder}.pkl")))
    return TorchPickle(path=archive.path, archive=archive, tree=tree, folder=folder)


def stored_tensor(pickle_file: TorchPickle, value: Any) -> StoredTensor | None:
    """Return where a value's numbers lie, None if it is no tensor.

    Raises:
        ModelError: it is one of a kind that is not read, or its numbers are not all in the file.
    """
    name = str(value.function) if isinstance(value, Call) else ""
    if name == PARAMETER and isinstance(value.arguments, tuple) and value.arguments:
        return stored_tensor(pickle_file, value.arguments[0])
    if name not in REBUILDERS:
        return None
    tensor, n_bytes = _layout(pickle_file.path, value)
    archive = pickle_file.archive
    if archive is None:
        have = pickle_file.path.stat().st_size
    else:
        entry = archive.entries.get(f"{pickle_file.folder}/{tensor.storage}")
        have = entry.file_size if entry is not None else 0
    if n_bytes > have:
        raise ModelError(
            f"{pickle_file.path.name} is cut short. Needed {n_bytes} bytes for one tensor. Got {have}. "
            "Download it again."
        )
    return tensor


def entries_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the entries of a dictionary, an ordered one included; None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Call) and str(value.function) == ORDERED:
        return value.items
    return None


def check_only_tensors(pickle_file: TorchPickle) -> None:
    """Raise ModelError unless the pickle makes tensors and containers alone, and does nothing else."""
    name = pickle_file.path.name
    foreign = pickle_file.foreign()
    if foreign:
        raise ModelError(
            f"{name} needs to hold weights alone. Got {shown(foreign)} beside them, and loading that runs code. "
            "Where you trust it, save its state_dict() alone with torch.save or safetensors."
        )
    for value in walk(pickle_file.tree.value):
        if isinstance(value, Persistent):
            _storage(pickle_file.path, value)
        elif isinstance(value, Call):
            called = str(value.function)
            plain = called in ("torch.Size", "torch.device", ORDERED)
            if not plain and stored_tensor(pickle_file, value) is None:
                raise _unreadable(pickle_file.path, f"a call of {called[:80]}")
            # a state would be set as attributes; of an ordered dictionary torch leaves a note on versions there
            if value.state is not None and called != ORDERED:
                raise _unreadable(pickle_file.path, f"a state for {called[:80]}")


def find_module(pickle_file: TorchPickle) -> Call | None:
    """Return the outermost module of a pickle, None if it holds none."""
    held = pickle_file.tree.value
    values = [held, *(entries_of(held) or {}).values()]
    return next((value for value in values if _is_module(value)), None)


def _is_module(value: Any) -> bool:
    state = value.state if isinstance(value, Call) else None
    return isinstance(state, Mapping) and "_modules" in state and "_parameters" in state


def count_parameters(tensors: Mapping[str, StoredTensor]) -> int:
    """Count the learned numbers: those with fractions that are no running statistics."""
    learned = {name: tensor for name, tensor in tensors.items() if name.rsplit(".", 1)[-1] not in NOT_LEARNED}
    return sum(math.prod(tensor.sizes) for tensor in learned.values() if tensor.dtype in FLOATING)


def shown(names: Iterable[str]) -> str:
    """Return the first few names as text."""
    listed = [name if name.isprintable() else repr(name) for name in names]
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(name[:100] for name in listed[:MAX_NAMED]) + more


def whole_numbers(value: Any) -> tuple[int, ...] | None:
    """Return a tuple of sizes or strides, None if it is anything else."""
    if isinstance(value, Call) and str(value.function) == "torch.Size" and isinstance(value.arguments, tuple):
        (value,) = value.arguments or ((),)
    good = isinstance(value, tuple | list) and all(type(item) is int and 0 <= item < 2**48 for item in value)
    return tuple(value) if good else None


def _tree(path: Path, file: Any) -> PickleTree:
    try:
        return read_pickle(file)
    except PickleError as error:
        raise ModelError(
            f"{path.name} needs a pickle as torch.save writes it. Got {error}. Download it again."
        ) from error
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error


def _layout(path: Path, value: Call) -> tuple[StoredTensor, int]:
    """Return a tensor's place, and how many bytes of its storage there have to be."""
    arguments = value.arguments if isinstance(value.arguments, tuple) else ()
    storage, offset, sizes, strides = (*arguments, None, None, None, None)[:4]
    if not isinstance(storage, Persistent):
        raise _unreadable(path, "a tensor without numbers of its own")
    kind, key, n_items = _storage(path, storage)
    places, steps = whole_numbers(sizes), whole_numbers(strides)
    if type(offset) is not int or not 0 <= offset < 2**48 or places is None or steps is None:
        raise _unreadable(path, "a tensor without a shape")
    n_numbers = math.prod(list(places))
    last = offset + sum((size - 1) * step for size, step in zip(places, steps, strict=False))
    if len(places) != len(steps) or (n_numbers and last + 1 > n_items) or n_numbers > max(n_items, MAX_REPEATED):
        raise ModelError(
            f"{path.name} needs tensors that fit into their numbers. Got the shape {list(places)} for {n_items} "
            "of them. Download it again."
        )
    tensor = StoredTensor(storage=key, dtype=DTYPES[kind], sizes=places, strides=steps, offset=offset)
    return tensor, n_items * STORAGE_BYTES[kind]


def _storage(path: Path, storage: Persistent) -> tuple[str, str, int]:
    """Return type, key and length of a storage."""
    key = storage.key
    if isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage" and isinstance(key[1], Global):
        known = key[1].module == "torch" and key[1].name in STORAGE_BYTES
        if not known:
            raise _unreadable(path, f"numbers of the kind {str(key[1])[:80]}")
        plain = isinstance(key[2], str) and isinstance(key[3], str) and type(key[4]) is int
        if plain and 0 <= key[4] < 2**48 and key[5:] in ((), (None,)):
            return key[1].name, key[2], key[4]
    raise _unreadable(path, "a reference to something that is no tensor")


def _unreadable(path: Path, got: str) -> ModelError:
    return ModelError(
        f"{path.name} needs plain tensors. Got {got}. Where you trust it, save its weights with safetensors."
    )
