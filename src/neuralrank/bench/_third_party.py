"""Networks that other people published as ONNX files, as modules of torch that can be trained.

The nodes of the graph are run one by one, each as a function of torch. Weights, biases and slopes are parameters;
running statistics and all other stored values are buffers. Not onnx2torch: its last release is of August 2024
(1.5.15) and knows ReduceMean, Pad, Reshape and others of older opsets only, so it opens none of the development zoo.

Many exports fold batch normalisation into the convolution before it, or store it as a subtraction, a product and a sum:
such a network is trained as it was published, without statistics of the batch. `n_batch_norms` says how many are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from neuralrank.bench._third_party_operators import OPERATORS, Operation, bind, trained_inputs
from neuralrank.errors import ModelError
from neuralrank.formats import _onnx_graph as graphs
from neuralrank.formats.onnx import describe, onnx
from neuralrank.types import ImagePreprocessing

MIN_OPSET = 18
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One node: what it computes, the names of what it reads ('' for nothing) and writes."""

    operation: Operation
    inputs: tuple[str, ...]
    output: str
    normalises: bool
    """It is batch normalisation, which works differently in training."""
    drops: tuple[str, ...] = ()


class TrainableNetwork(nn.Module):
    """The graph of one ONNX file, with the members that `fine_tuned` needs of a network.

    Attributes:
        name: of the file.
        preprocessing: what the network wants done to an image.
        classifier: computes logits from features; None leaves that to the file's own classifier. It is not stored.
        n_features: dimensions of the features.
        n_batch_norms: nodes of batch normalisation that the features depend on.
    """

    classifier: nn.Module | None

    def __init__(
        self, name: str, steps: Sequence[_Step], stored: Mapping[str, Tensor], trained: set[str], *,
        image: str, features: str, logits: str | None, preprocessing: ImagePreprocessing,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.preprocessing, self.classifier = name, preprocessing, None
        self._image, self._features, self._logits = image, features, logits
        self._places = {key: f"stored_{place}" for place, key in enumerate(stored)}
        for key, value in stored.items():
            if key in trained:
                self.register_parameter(self._places[key], nn.Parameter(value))
            elif value.is_floating_point() or value.dtype == torch.bool:
                self.register_buffer(self._places[key], value)
            else:
                setattr(self, self._places[key], value)  # sizes and places are read by the processor: they stay there
        self._to_features = _until(steps, (features,))
        self._to_all = _until(steps, (features, logits)) if logits else self._to_features
        self.n_batch_norms = sum(step.normalises for step in self._to_features)
        self.n_features = self._tried()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `features`, shape (n, d), and where there is a classifier `logits`, shape (n, n_classes).

        Args:
            images: as `prepare` gives them.

        Raises:
            ModelError: the network cannot work on images of this size.
        """
        own = self._logits if self.classifier is None else None
        values = {key: getattr(self, place) for key, place in self._places.items()} | {self._image: images}
        try:
            for step in self._to_all if own else self._to_features:
                inputs = [values[key] if key else None for key in step.inputs]
                extra = {"training": self.training} if step.normalises else {}
                values[step.output] = step.operation(*inputs, **extra)
                for key in step.drops:
                    del values[key]
        except torch.OutOfMemoryError:  # says nothing of the network
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._unfit(images, str(error).partition("\n")[0]) from error
        features = values[self._features]
        features = features.flatten(2).mean(2) if features.ndim > 2 else features
        if len(features) != len(images):
            raise self._unfit(images, f"{len(features)} rows of features for {len(images)} images")
        if self.classifier is not None:
            return {"features": features, "logits": self.classifier(features)}
        return {"features": features, "logits": values[own].flatten(1)} if own else {"features": features}

    def prepare(self, pixels: NDArray[np.uint8] | Tensor, side: int | None = None) -> Tensor:
        """Resize, reorder and normalise images as the card says.

        Args:
            pixels: shape (n, 1 or 3, height, width), RGB or grey, 0 to 255.
            side: height and width in place of those of the card.

        Returns:
            float32, shape (n, channels, height, width), channels last in memory.
        """
        wanted = self.preprocessing
        images = torch.as_tensor(pixels).float() * wanted.scale
        if wanted.channels == "grey":
            images = (images * images.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
        elif images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        elif wanted.channels == "BGR":
            images = images.flip(1)
        size = wanted.size if side is None else (side, side)
        if images.shape[2:] != size:
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (wanted.mean, wanted.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def _tried(self) -> int:
        """Run two black images through all of the graph and return the number of features."""
        self.eval()
        n_channels = 1 if self.preprocessing.channels == "grey" else 3
        with torch.no_grad():
            found = self(self.prepare(torch.zeros(2, n_channels, 8, 8)))
        self.train()
        return int(found["features"].shape[1])

    def _unfit(self, images: Tensor, got: str) -> ModelError:
        (height, width), (given_height, given_width) = self.preprocessing.size, images.shape[2:]
        if (height, width) == (given_height, given_width):
            return ModelError(f"{self.name} could not be run by torch. Got: {got.rstrip('.')}. Export it again.")
        return ModelError(
            f"{self.name} needs images of {height} × {width} pixels. With {given_height} × {given_width} it "
            f"gives: {got.rstrip('.')}. Leave the side out, or choose another."
        )


def load_trainable(model_file: Path) -> TrainableNetwork:
    """Turn an ONNX image model and its card into a network that can be trained.

    Args:
        model_file: `NAME.onnx`, with `NAME.json` beside it, see docs/model-card.md.

    Returns:
        A network in training mode; its features are those that a ranking takes.

    Raises:
        ModelError: the file is damaged, is no image model, or holds an operator that is not offered.
    """
    facts = describe(model_file)
    if facts is None or facts.modality != "image" or facts.preprocessing is None:
        raise ModelError(f"{model_file.name} needs to be an ONNX file that takes images. Got another. Choose one.")
    wanted = facts.preprocessing
    if (wanted.resize, wanted.interpolation, wanted.layout) != ("stretch", "bilinear", "NCHW"):
        got = f"{wanted.resize}, {wanted.interpolation}, {wanted.layout}"
        raise ModelError(f"{model_file.name} needs images stretched, bilinear, NCHW. Got {got}. Export it so.")
    encoder = onnx(model_file, facts, n_threads=1)
    model = graphs.cut_at(_with_weights(model_file), [*filter(None, [encoder.feature_layer, encoder.head_layer])])
    stored = {tensor.name: _value(tensor) for tensor in model.graph.initializer}
    trained = {
        name
        for node in model.graph.node
        for place, name in enumerate(node.input)
        if place in trained_inputs(node.op_type) and name in stored
        if stored[name].ndim > 0 and stored[name].is_floating_point()
    }
    return TrainableNetwork(
        model_file.name,
        [_step(node, model_file, _pools_all(node, model.graph)) for node in model.graph.node],
        stored,
        trained,
        image=graphs.free_inputs(model.graph)[0].name,
        features=encoder.feature_layer,
        logits=encoder.head_layer,
        preprocessing=wanted,
    )


def _with_weights(model_file: Path) -> Any:
    """Read a graph with its weights, which lie in the file or beside it."""
    from onnx.external_data_helper import load_external_data_for_model

    model = graphs.read_graph(model_file)
    graphs.external_files(model, model_file)  # raises if one lies outside the folder
    load_external_data_for_model(model, str(model_file.parent))
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise ModelError(
            f"{model_file.name} needs opset {MIN_OPSET} or later to be trained. Got {opset}. Export it again."
        )
    return model


def _value(tensor: Any) -> Tensor:
    from onnx.numpy_helper import to_array

    value = torch.from_numpy(np.array(to_array(tensor)))
    return value.float() if value.is_floating_point() else value


def _pools_all(node: Any, graph: Any) -> bool:
    """Tell whether a node averages over the whole image at the size it was exported for, which then holds at others."""
    if node.op_type != "AveragePool":
        return False
    shape = next((graphs.axes(value) for value in graph.value_info if value.name == node.input[0]), None)
    kernel = next((tuple(one.ints) for one in node.attribute if one.name == "kernel_shape"), ())
    padded = any(pad for one in node.attribute if one.name == "pads" for pad in one.ints)
    return shape is not None and shape[2:] == kernel and not padded


def _step(node: Any, model_file: Path, pools_all: bool) -> _Step:
    from onnx.helper import get_attribute_value

    attributes = {one.name: get_attribute_value(one) for one in node.attribute}
    plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    try:
        if len(list(filter(None, node.output))) != 1:
            raise ValueError(f"the operator {kind} with {len(node.output)} outputs")
        operation = bind("GlobalAveragePool", {}) if pools_all else bind(kind, plain)
    except ValueError as error:
        raise ModelError(
            f"{model_file.name} needs operators that can be trained: {', '.join(OPERATORS)}. Got {error}. "
            "Export it without."
        ) from error
    return _Step(
        operation=operation,
        inputs=tuple(node.input),
        output=node.output[0],
        normalises=kind == "BatchNormalization",
    )


def _until(steps: Sequence[_Step], outputs: Sequence[str]) -> tuple[_Step, ...]:
    """Return the steps that the outputs depend on; each drops the intermediate values that no later one reads."""
    needed, made, kept = set(outputs), {step.output for step in steps}, list[_Step]()
    for step in reversed(steps):
        if step.output in needed:
            last = {key for key in step.inputs if key in made} - needed
            needed.update(step.inputs)
            kept.append(replace(step, drops=tuple(sorted(last))))
    return tuple(reversed(kept))
