"""Weights without a network: state dicts of torch, pickled or as safetensors, checked first and then loaded.

A pickled one is read as data by `_torch_pickle.py`; only where it makes tensors and containers alone, torch may read
it, with `weights_only=True`. What is wrapped around the weights in a checkpoint of a training is left out, and said.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neuralrank.errors import ModelError
from neuralrank.formats._safetensors import StoredWeights, listed_shards, stored_weights
from neuralrank.formats._torch_module import one_line
from neuralrank.formats._torch_pickle import (
    TorchPickle,
    check_only_tensors,
    count_parameters,
    entries_of,
    read_torch_pickle,
    stored_tensor,
)

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Keys under which scripts store the weights beside the state of a training; the first that is there counts."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers of a network (parallel, compiled, of a trainer) put before each name."""
PICKLED = "pytorch_model.bin"
MAX_WRAPPERS = 4


@dataclass(frozen=True, kw_only=True)
class StateFile:
    """What one file of weights holds."""

    shapes: Mapping[str, tuple[int, ...]]
    n_params: int
    notes: tuple[str, ...]
    """What was left out around the weights, one sentence each."""


def describe_state(pickle_file: TorchPickle) -> StateFile:
    """Say what weights a pickle holds.

    Raises:
        ModelError: it holds more than tensors and containers, or no weights by name.
    """
    check_only_tensors(pickle_file)
    name = pickle_file.path.name
    tree = pickle_file.tree.value
    found, notes = unwrapped(name, tree, entries_of, lambda value: stored_tensor(pickle_file, value))
    shapes = {key: tensor.sizes for key, tensor in found.items()}
    return StateFile(shapes=shapes, n_params=count_parameters(found), notes=notes)


def load_state(file: Path) -> "dict[str, torch.Tensor]":
    """Load the weights of one file, safetensors or a checked pickle.

    Raises:
        ModelError: it is damaged, or a pickle that does more than make tensors.
    """
    import torch

    if file.suffix.lower() == ".safetensors":
        found, _ = unwrapped(file.name, _safetensors(file), _entries, _tensor)
        return dict(found)
    pickle_file = read_torch_pickle(file)
    if pickle_file is None:
        raise ModelError(f"{file.name} needs to be a file of torch.save. Got another one. Download it again.")
    check_only_tensors(pickle_file)
    mapped = pickle_file.archive is not None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds on damaged files, plain Exception among them
        if isinstance(error, MemoryError):
            raise
        raise ModelError(
            f"{file.name} needs readable weights. Got {one_line(error)!r} from torch. Download it again."
        ) from error
    found, _ = unwrapped(file.name, content, _entries, _tensor)
    return dict(found)


def load_states(files: tuple[Path, ...]) -> "dict[str, torch.Tensor]":
    """Load the weights of all shards among `files`; indexes and settings beside them are passed over."""
    state: dict[str, torch.Tensor] = {}
    for file in files:
        if file.suffix.lower() in (".safetensors", ".bin"):
            state.update(load_state(file))
    return state


def folder_weights(folder: Path) -> StoredWeights | None:
    """Say what the weights of a model folder are: safetensors, else checked pickles; None if it has neither.

    Raises:
        ModelError: a file is damaged, or a pickle does more than make tensors.
    """
    weights = stored_weights(folder)
    if weights is not None:
        return weights
    index = folder / f"{PICKLED}.index.json"
    if (folder / PICKLED).is_file():
        files: tuple[Path, ...] = (folder / PICKLED,)
        listed = files
    elif index.is_file():
        files = listed_shards(folder, index, suffix=".bin")
        listed = (index, *files)
    else:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    n_params = 0
    for file in files:
        pickle_file = read_torch_pickle(file)
        if pickle_file is None:
            raise ModelError(
                f"{file.name} needs to be a file of torch.save. Got {file.stat().st_size} other bytes. "
                "Download it again, or save the weights as safetensors."
            )
        state = describe_state(pickle_file)
        shapes.update(state.shapes)
        n_params += state.n_params
    return StoredWeights(files=listed, shapes=shapes, n_params=n_params)


def unwrapped(
    name: str, value: Any, entries: Callable[[Any], Mapping[Any, Any] | None], tensor: Callable[[Any], T | None]
) -> tuple[Mapping[str, T], tuple[str, ...]]:
    """Find the weights by name in what a file holds.

    Args:
        name: the file, for messages.
        value: what it holds, loaded or described.
        entries: gives the entries of a dictionary, None for anything else.
        tensor: gives the tensor that a value is, None for anything else.

    Returns:
        The weights by their names in the network, and a sentence on what was left out around them.

    Raises:
        ModelError: there are none.
    """
    keys: list[str] = []
    held = entries(value) or {}
    for _ in range(MAX_WRAPPERS):
        inner = {key: entries(held[key]) for key in WRAPPERS if key in held}
        key = next((key for key, found in inner.items() if found), None)
        if key is None:
            break
        keys.append(key)
        held = inner[key] or {}
    weights = {key: tensor(item) for key, item in held.items() if isinstance(key, str)}
    found = {key: item for key, item in weights.items() if item is not None}
    if not found:
        raise ModelError(
            f"{name} needs weights by name. Got none. Save the state_dict() of the network with torch.save or "
            "safetensors."
        )
    note = f"The weights were taken from {'.'.join(keys)!r} in {name}; what lies beside them was left out."
    return found, (note,) if keys else ()


def without_prefix(names: Mapping[str, T]) -> tuple[dict[str, T], tuple[str, ...]]:
    """Take off what wrappers of a network put before every name, and say so.

    Example:
        >>> without_prefix({"module.fc.bias": 1})[0]
        {'fc.bias': 1}
    """
    prefix = ""
    while part := next((part for part in PREFIXES if all(name.startswith(prefix + part) for name in names)), None):
        prefix += part
    note = f"The names of the weights were read without the {prefix!r} before each."
    return {name.removeprefix(prefix): item for name, item in names.items()}, (note,) if prefix else ()


def _safetensors(file: Path) -> "dict[str, torch.Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: dict[str, torch.Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file.parent.name} needs readable safetensors. Got {one_line(error)!r}. Download it again."
        ) from error
    return loaded


def _entries(value: Any) -> Mapping[Any, Any] | None:
    return value if isinstance(value, Mapping) else None


def _tensor(value: Any) -> "torch.Tensor | None":
    import torch

    return value.detach() if isinstance(value, torch.Tensor) else None
