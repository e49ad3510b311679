"""What the encoders that run on torch share: importing it, where to run, arrays in and out, watching inner modules."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.formats._torchvision import repair_torchvision
from neuralrank.types import Batch

if TYPE_CHECKING:
    import torch


def import_for(format_name: str, package: str, extra: str) -> Any:
    """Import `package` for one format, with torchvision repaired first where it is broken.

    Raises:
        MissingExtraError: the package, or torch, is not installed.
    """
    for name in dict.fromkeys(("torch", package)):
        try:
            if name != "torch":
                repair_torchvision()
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            raise MissingExtraError(
                f"The {format_name} format needs the package {missing!r}. Got no such module. "
                f"Run: pip install 'neuralrank[{extra}]'"
            ) from error
    return module


def prepare_torch(n_threads: int) -> "torch.device":
    """Set the number of threads where one is asked for, and return where models run here.

    Convolutions on a GPU keep the precision of float32, as everything else does: rounded to that of TF32, torch's
    default for them, features would depend on the machine and on the size of the batch.
    """
    import torch

    if n_threads > 0:
        torch.set_num_threads(n_threads)
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name_gpu(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:  # noqa: ARG001
    """Compute on the GPU and name it, or tell what torch says: a job for a worker, which walls may keep from it."""
    import torch

    send({"stage": "load"})
    try:
        torch.ones(8, device="cuda").sum().item()
        return {"given": True, "told": torch.cuda.get_device_name()}
    except (RuntimeError, AssertionError) as error:  # built without GPUs, no driver, or one that does not work
        return {"given": False, "told": str(error).partition("\n")[0]}


def to_tensors(batch: Batch, device: "torch.device", *, channels_last: bool = False) -> dict[str, "torch.Tensor"]:
    """Move a batch to the device; images, the arrays of four axes, in channels-last order if asked for."""
    import torch

    tensors = {}
    for name, array in batch.items():
        # a copy where the array is read-only: torch has no such tensors and would let an operator write into it
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
        if channels_last and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        tensors[name] = tensor
    return tensors


def only_array(batch: Batch) -> NDArray[Any]:
    """Return the one array of a batch for a model with one input.

    Raises:
        ModelError: the batch holds several.
    """
    if len(batch) != 1:
        raise ModelError(
            f"The model needs a batch of one array. Got {len(batch)}: {', '.join(batch)}. Use it on images or vectors."
        )
    return next(iter(batch.values()))


def to_array(tensor: "torch.Tensor") -> NDArray[np.float32]:
    """Return a tensor as a float32 array in plain memory order."""
    array: NDArray[np.float32] = tensor.detach().float().cpu().contiguous().numpy()
    return array


def has_convolutions(module: "torch.nn.Module") -> bool:
    """Tell whether two-dimensional convolutions do the work, so that channels-last order pays."""
    import torch

    kernels = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    return sum(max(part.kernel_size) > 1 for part in kernels) > 1 or len(kernels) > 2


def in_channels_last(module: "torch.nn.Module") -> "torch.nn.Module":
    """Reorder the weights of convolutions in memory, which makes them faster and changes no value."""
    import torch

    # torch states no type for this keyword
    reordered: torch.nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return reordered


@contextmanager
def watched(module: "torch.nn.Module", *, inputs: bool = False) -> Iterator[list[Any]]:
    """Collect the output (or the first input) of `module` on every call while the context is open."""
    seen: list[Any] = []

    def keep_output(_module: Any, _args: Any, output: Any) -> None:
        seen.append(output)

    def keep_input(_module: Any, args: tuple[Any, ...]) -> None:
        seen.extend(args[:1])

    handle = module.register_forward_pre_hook(keep_input) if inputs else module.register_forward_hook(keep_output)
    try:
        yield seen
    finally:
        handle.remove()


def check_layers(wanted: Sequence[str], layers: tuple[str, ...]) -> None:
    """Raise ModelError unless each of `wanted` is one of `layers`."""
    for layer in wanted:
        if layer not in layers:
            raise ModelError(f"The model has no layer {layer!r}. Available: {', '.join(layers)}.")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, shortened: what a foreign library says inside our sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def state_mismatch(missing: list[str], unexpected: list[str], wrong: list[str]) -> str:
    """Say how a state dict differs from its module, with one example of each kind."""
    kinds = (("missing", missing), ("not known", unexpected), ("of another shape", wrong))
    return ", ".join(f"{len(names)} {kind} (first: {names[0]!r})" for kind, names in kinds if names)
