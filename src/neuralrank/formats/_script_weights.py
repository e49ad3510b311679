"""The tensors of a TorchScript archive in memory: raw numbers, in single precision where they have fractions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._script_archive import ScriptArchive, ScriptObject
from neuralrank.formats._torch_module import one_line
from neuralrank.formats._torch_pickle import FLOATING, StoredTensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ScriptWeights:
    """The modules of one archive with tensors as attributes."""

    root: ScriptObject
    constants: tuple[Any, ...]
    named: "Mapping[str, torch.Tensor]"
    """By path in the modules; constants as `CONSTANTS.0` and so on."""
    storages: frozenset[int]
    """Where in memory they lie, so that a step that overwrites one is noticed."""
    has_convolutions: bool


def load_weights(archive: ScriptArchive, device: "torch.device") -> ScriptWeights:
    """Read every tensor.

    Raises:
        ModelError: the bytes of one are damaged.
    """
    loader = _Loader(archive, device)
    root = loader.value(archive.root, "", "data")
    constants = tuple(
        loader.value(value, f"CONSTANTS.{index}", "constants") for index, value in enumerate(archive.constants)
    )
    named = loader.named
    kernels = [tensor.shape[2:] for tensor in named.values() if tensor.ndim == 4]
    return ScriptWeights(
        root=root,
        constants=constants,
        named=named,
        storages=frozenset(tensor.untyped_storage().data_ptr() for tensor in named.values() if tensor.numel()),
        has_convolutions=sum(max(kernel) > 1 for kernel in kernels) > 1 or len(kernels) > 2,
    )


class _Loader:
    """Copies the modules, with tensors in place of the notes where their numbers lie."""

    def __init__(self, archive: ScriptArchive, device: "torch.device") -> None:
        self._archive = archive
        self._device = device
        self._made: dict[int, Any] = {}
        self._tensors: dict[StoredTensor, torch.Tensor] = {}
        self.named: dict[str, torch.Tensor] = {}

    def value(self, value: Any, path: str, folder: str) -> Any:
        if isinstance(value, StoredTensor):
            self.named[path] = self._tensor(value, folder)
            return self.named[path]
        if isinstance(value, ScriptObject):
            return self._module(value, folder)
        if isinstance(value, list | tuple | dict):
            if id(value) not in self._made:
                self._made[id(value)] = self._container(value, path, folder)
            return self._made[id(value)]
        return value

    def _container(self, value: Any, path: str, folder: str) -> Any:
        if isinstance(value, dict):
            return {key: self.value(item, f"{path}.{key}", folder) for key, item in value.items()}
        return type(value)(self.value(item, f"{path}.{index}", folder) for index, item in enumerate(value))

    def _module(self, value: ScriptObject, folder: str) -> Any:
        if id(value) not in self._made:
            made = self._made[id(value)] = ScriptObject(class_name=value.class_name, path=value.path)
            prefix = f"{value.path}." if value.path else ""
            for name, item in value.attributes.items():
                made.attributes[name] = self.value(item, prefix + name, folder)
            if made.attributes.get("training") is True:  # what model.eval() does
                made.attributes["training"] = False
        return self._made[id(value)]

    def _tensor(self, stored: StoredTensor, folder: str) -> "torch.Tensor":
        import torch

        kind = getattr(torch, stored.dtype)
        raw = bytearray(self._archive.archive.read(f"{folder}/{stored.storage}", limit=2**48))
        flat = torch.frombuffer(raw, dtype=kind, count=len(raw) // kind.itemsize) if raw else torch.empty(0, dtype=kind)
        try:
            tensor = torch.as_strided(flat, stored.sizes, stored.strides, stored.offset)
            tensor = tensor.to(self._device, torch.float32 if stored.dtype in FLOATING else kind)
        except RuntimeError as error:
            raise ModelError(
                f"{self._archive.path.name} holds damaged weights. Got {one_line(error)!r}. Download it again."
            ) from error
        return tensor.contiguous()
