"""A Keras model as an encoder: its layers by name, those of inner models as `inner/layer`, and the final Dense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.formats._torch_module import check_layers, one_line, only_array, to_array
from neuralrank.types import Batch, Hidden, ImagePreprocessing

_PASSED_THROUGH = {"Activation", "Softmax", "Sigmoid", "LogSoftmax", "Dropout", "Flatten", "Reshape", "Identity"}
_POOLS = {"GlobalAveragePooling2D", "GlobalMaxPooling2D", "AveragePooling2D"}
_MAX_STEPS = 40


@dataclass(frozen=True, kw_only=True)
class Head:
    """The final linear layer."""

    linear: str
    """Its name among the layers."""
    reads: str | None
    """The layer whose output it reads, None if that is the model's input."""
    logits: str
    """The layer with its values before any activation."""
    n_classes: int


class LayerGraph:
    """The layers of a model and of the models among them, each with the one layer before it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers: dict[str, tuple[Any, Any]] = {}
        """By name: the model that holds the layer, and the layer."""
        self.before: dict[str, str | None] = {}
        self._add(model, "", None)
        self.end = self._end(model, "")

    def _add(self, model: Any, prefix: str, entry: str | None) -> None:
        made = {id(tensor): prefix + layer.name for layer in operations(model) for tensor in _values(model, layer)}
        for layer in operations(model):
            name = prefix + layer.name
            reads = [made.get(id(tensor)) for tensor in _reads(model, layer)]
            before = reads[0] if len(reads) == 1 else None
            if type(layer).__name__ == "InputLayer":
                self.before[name] = entry
                continue
            if len(_values(model, layer)) != 1:
                continue
            self.before[name] = before
            self.layers[name] = (model, layer)
            if _is_model(layer) and len(reads) == 1:
                self._add(layer, f"{name}/", self._source(before))

    def _source(self, name: str | None) -> str | None:
        """Return the layer itself, or the one before the entry of an inner model."""
        return self.before.get(name) if name is not None and name not in self.layers else name

    def _end(self, model: Any, prefix: str) -> str | None:
        made = {id(tensor): prefix + layer.name for layer in operations(model) for tensor in _values(model, layer)}
        name = made.get(id(model.outputs[0]))
        return self._inside(name)

    def _inside(self, name: str | None) -> str | None:
        """Step into inner models: what such a model gives is what its last layer gives."""
        for _ in range(_MAX_STEPS):
            if name is None or name not in self.layers or not _is_model(self.layers[name][1]):
                return name
            inner = self._end(self.layers[name][1], f"{name}/")
            name = inner if inner in self.layers else None
        return None

    def head(self) -> Head | None:
        """Walk back from the output to the last linear layer; None if something else is met first."""
        name, pooled, found = self.end, None, None
        for _ in range(_MAX_STEPS):
            if name is None or name not in self.layers:
                return None
            layer = self.layers[name][1]
            kind = type(layer).__name__
            is_pointwise = kind == "Conv2D" and tuple(layer.kernel_size) == (1, 1)
            if kind == "Dense" or (is_pointwise and (pooled or self._is_one_pixel(name))):
                found = layer
                break
            if kind in _POOLS:
                pooled = name
            elif kind not in _PASSED_THROUGH:
                return None
            name = self._inside(self._source(self.before[name]))
        if found is None or name is None:
            return None
        reads = self._inside(self._source(self.before[name]))
        is_linear = found.activation is None or getattr(found.activation, "__name__", "") == "linear"
        if not is_linear and pooled is not None:
            return None  # rectified before it is pooled: not logits
        logits = pooled or (name if is_linear else f"{name}.logits")
        width = int(found.units if type(found).__name__ == "Dense" else found.filters)
        return Head(linear=name, reads=reads, logits=logits, n_classes=width)

    def _is_one_pixel(self, name: str) -> bool:
        model, layer = self.layers[name]
        return bool(prod(axis or 1 for axis in _values(model, layer)[0].shape) == layer.filters)


def operations(model: Any) -> list[Any]:
    """Return the layers and functions of a model in the order they are called."""
    functional = getattr(model, "_functional", None) or model
    return list(functional.operations)


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "layers") and hasattr(layer, "inputs") and hasattr(layer, "outputs")


def _nodes(model: Any, layer: Any) -> list[Any]:
    """Return the calls of a layer inside one model."""
    functional = getattr(model, "_functional", None) or model
    known = {id(node) for nodes in functional._nodes_by_depth.values() for node in nodes}
    return [node for node in layer._inbound_nodes if id(node) in known]


def _values(model: Any, layer: Any) -> list[Any]:
    """Return what a layer gives inside one model; more than one value if it is called more than once."""
    return [tensor for node in _nodes(model, layer) for tensor in node.output_tensors]


def _reads(model: Any, layer: Any) -> list[Any]:
    return [tensor for node in _nodes(model, layer) for tensor in node.input_tensors]


class KerasEncoder:
    """A Keras model that computes the layers asked for, in one pass for each model that holds one."""

    def __init__(
        self,
        *,
        keras: Any,
        model: Any,
        graph: LayerGraph,
        head: Head | None,
        feature_layer: str,
        preprocessing: ImagePreprocessing | None,
        is_channels_first: bool,
        warnings: tuple[str, ...],
    ) -> None:
        self._keras = keras
        self._model = model
        self._graph = graph
        self._head = head
        names = [*graph.layers, *([head.logits] if head is not None and head.logits not in graph.layers else [])]
        self.layers = tuple(names)
        self.feature_layer = feature_layer
        self.head_layer = head.logits if head is not None else None
        self.preprocessing = preprocessing
        self.warnings = warnings
        self._is_channels_first = is_channels_first
        self._functions: dict[tuple[str, ...], Any] = {}

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch and return the values of `layers`."""
        import torch

        check_layers(layers, self.layers)
        values = np.ascontiguousarray(only_array(batch), dtype=np.float32)
        expected = tuple(self._model.inputs[0].shape[1:])
        if len(expected) + 1 != values.ndim or any(
            want not in (None, have) for want, have in zip(expected, values.shape[1:], strict=True)
        ):
            shown, got = (" × ".join("any" if n is None else str(n) for n in s) for s in (expected, values.shape[1:]))
            raise ModelError(
                f"The model needs samples of shape {shown}. Got {got}. Choose a model made for such samples."
            )
        try:
            with torch.no_grad():
                found = self._run(values, layers)
        except (ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"The model could not be run on samples of shape {values.shape[1:]}. Got: {one_line(error)}"
            ) from error
        return {layer: Hidden(values=self._arranged(layer, found[layer], len(values))) for layer in layers}

    def _run(self, values: NDArray[np.float32], layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        import torch

        head = self._head
        is_computed = head is not None and head.logits in layers and head.logits not in self._graph.layers
        wanted = [name for name in layers if name in self._graph.layers]
        if is_computed and head is not None and head.reads is not None:
            wanted.append(head.reads)
        start = self._keras.ops.convert_to_tensor(values)
        found = self._tensors(self._model, "", start, set(wanted))
        if is_computed and head is not None:
            linear = self._graph.layers[head.linear][1]
            source = start if head.reads is None else found[head.reads]
            source, activation = torch.as_tensor(source), linear.activation
            try:
                linear.activation = None
                found[head.logits] = linear.call(source)
            finally:
                linear.activation = activation
        return {name: to_array(torch.as_tensor(found[name])) for name in layers}

    def _tensors(self, model: Any, prefix: str, start: Any, wanted: set[str]) -> dict[str, Any]:
        """Run one model up to the layers wanted of it, then the models among them that hold others."""
        if not wanted:
            return {}
        own = {name for name in wanted if self._graph.layers[name][0] is model}
        inner: dict[str, set[str]] = {}
        for name in wanted - own:
            inner.setdefault(prefix + self._inner_name(model, prefix, name), set()).add(name)
        given, entered = sorted(own), sorted(inner)
        key = (prefix, *given, "", *entered)
        if key not in self._functions:
            targets = [_values(model, self._graph.layers[name][1])[0] for name in given]
            targets += [_reads(model, self._graph.layers[name][1])[0] for name in entered]
            self._functions[key] = self._keras.Model(model.inputs[0], targets)
        values = self._function_values(key, start)
        found = dict(zip(given, values, strict=False))
        for name, value in zip(entered, values[len(given) :], strict=True):
            found |= self._tensors(self._graph.layers[name][1], f"{name}/", value, inner[name])
        return found

    def _function_values(self, key: tuple[str, ...], start: Any) -> list[Any]:
        values = self._functions[key](start, training=False)
        return list(values) if isinstance(values, list | tuple) else [values]

    @staticmethod
    def _inner_name(model: Any, prefix: str, name: str) -> str:
        """Return which of the models inside `model` holds the layer."""
        rest = name.removeprefix(prefix)
        found = [layer.name for layer in operations(model) if _is_model(layer) and rest.startswith(f"{layer.name}/")]
        return str(found[0])

    def _arranged(self, layer: str, values: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
        """Put channels before height and width; refuse what is not one row per sample."""
        if values.ndim not in (2, 3, 4) or len(values) != n_samples:
            raise ModelError(
                f"The model needs one row per sample in the layer {layer!r}. Got shape {values.shape} for {n_samples} "
                "samples. Choose another layer."
            )
        if values.ndim == 4 and not self._is_channels_first:
            values = np.moveaxis(values, 3, 1)
        return values
