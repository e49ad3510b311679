"""Any torch module as an encoder: its inner modules are layers, and the last linear one is its classifier."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.errors import ModelError
from neuralrank.formats._torch_module import (
    check_layers,
    has_convolutions,
    in_channels_last,
    one_line,
    only_array,
    to_array,
    to_tensors,
    watched,
)
from neuralrank.types import Batch, Hidden, ImagePreprocessing

if TYPE_CHECKING:
    import torch

FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError)
N_BLANK = 2
RESERVED = ("features", "logits", "output")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last linear layer that ran, by its name."""

    name: str
    width: int


class ModuleEncoder:
    """One module in evaluation mode; 'features' is what its last linear layer reads, 'logits' what that gives.

    Without such a layer, 'output' is what the module returns, and stands for the features.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        device: "torch.device",
        preprocessing: ImagePreprocessing | None,
        *,
        shape: tuple[int, ...],
        n_classes: int = 0,
        feature_layer: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        model = model.eval().float().to(device)
        self._channels_last = len(shape) == 3 and has_convolutions(model)
        self._model: Any = in_channels_last(model) if self._channels_last else model
        self._device = device
        self._shape = shape
        self.preprocessing = preprocessing
        called, output = self._blank_pass()
        self._head = _head(model, called, output)
        inner = tuple(name for name in called if name not in RESERVED)
        named = ("features", "logits") if self._head is not None else ()
        self.layers = (*inner, *named, "output")
        self.feature_layer = feature_layer or ("features" if self._head is not None else "output")
        check_layers([self.feature_layer], self.layers)
        is_classifier = self._head is not None and self._head.width >= 2 and n_classes in (0, self._head.width)
        self.head_layer = "logits" if is_classifier else None
        unknown = "No final linear layer was found; the output itself is taken as the features."
        self.warnings = (*warnings, *(() if self._head is not None or feature_layer else (unknown,)))

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch and return the hidden states of `layers`."""
        check_layers(layers, self.layers)
        values = only_array(batch)
        if values.shape[1:] != self._shape:
            raise ModelError(
                f"The network needs samples of shape {self._shape}. Got {values.shape[1:]}. "
                "Choose a model made for such samples."
            )
        tensors = to_tensors({"input": values.astype(np.float32)}, self._device, channels_last=self._channels_last)
        with ExitStack() as stack:
            seen = {layer: stack.enter_context(self._watched(layer)) for layer in layers if layer != "output"}
            output = self._run(tensors["input"])
        found = {layer: _tensor(calls[-1]) if calls else None for layer, calls in seen.items()}
        found["output"] = output
        return {layer: Hidden(values=self._rows(found[layer], layer, len(values))) for layer in layers}

    def _watched(self, layer: str) -> Any:
        name = self._head.name if self._head is not None and layer in ("features", "logits") else layer
        return watched(self._model.get_submodule(name), inputs=layer == "features")

    def _rows(self, value: "torch.Tensor | None", layer: str, n_rows: int) -> np.ndarray:
        if value is None or value.ndim not in (2, 3, 4) or len(value) != n_rows:
            got = "none" if value is None else f"shape {tuple(value.shape)}"
            raise ModelError(
                f"The network needs one row per sample in the layer {layer!r}. Got {got} for {n_rows} samples. "
                "Choose another layer."
            )
        return to_array(value)

    def _run(self, values: "torch.Tensor") -> "torch.Tensor | None":
        import torch

        try:
            with torch.inference_mode():
                return _tensor(self._model(values))
        except FAILURES as error:
            raise ModelError(f"The network could not run a batch. Got {one_line(error)!r}.") from error

    def _blank_pass(self) -> tuple[tuple[str, ...], "torch.Tensor | None"]:
        """Run blank samples; return the modules that give arrays of features, in the order in which they ended."""
        import torch

        ended: dict[str, None] = {}

        def note(name: str) -> Any:
            def hook(_module: Any, _arguments: Any, output: Any) -> None:
                value = _tensor(output)
                if value is not None and value.ndim in (2, 3, 4) and len(value) == N_BLANK:
                    ended.pop(name, None)
                    ended[name] = None

            return hook

        handles = [part.register_forward_hook(note(name)) for name, part in self._model.named_modules() if name]
        try:
            output = self._run(torch.zeros(N_BLANK, *self._shape, device=self._device))
        finally:
            for handle in handles:
                handle.remove()
        return tuple(ended), output


def _head(model: "torch.nn.Module", called: Sequence[str], output: "torch.Tensor | None") -> Head | None:
    """Return the last linear layer that ran (or convolution of single pixels) and is as wide as the output."""
    import torch

    if output is None or output.ndim != 2:
        return None
    width = int(output.shape[1])
    for name in reversed(called):
        part = model.get_submodule(name)
        if isinstance(part, torch.nn.Linear):
            return Head(name=name, width=width) if part.out_features == width else None
        if isinstance(part, torch.nn.Conv2d):
            single = tuple(part.kernel_size) == (1, 1) and part.out_channels == width
            return Head(name=name, width=width) if single else None
    return None


def _tensor(value: Any) -> "torch.Tensor | None":
    """Return a tensor, or the first of what a module returns several of."""
    import torch

    for _ in range(4):
        if isinstance(value, torch.Tensor):
            return value
        if isinstance(value, Mapping):
            value = value.get("logits", next(iter(value.values()), None))
        elif isinstance(value, tuple | list) and value:
            value = value[0]
        else:
            return None
    return None
