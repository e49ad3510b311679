"""Find the logits of a graph's classifier, and what its last linear layer reads: the usual place for features."""

import re
from collections.abc import Collection
from math import prod
from typing import Any

from neuralrank.formats._onnx_graph import FLOATS, axes, element_type, free_inputs, used_names

_FEATURE_NAME = re.compile(
    r"(pooled_|image_|img_|global_)?(features?|embeddings?|embeds?|feature_vector|feature_dim|pooler_output|pre_logits)"
)
_WALK_THROUGH = {
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout", "DequantizeLinear",
    "QuantizeLinear",
}  # fmt: skip
_SQUASHES = {"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"}
_BIAS_OR_SCALE = {"Add", "Sub", "Mul", "Div"}
_RECTIFIES = {"Relu", "LeakyRelu", "Clip"}
_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean", "ReduceMax"}
_LINEAR = {"Gemm", "MatMul", "FusedGemm", "FusedMatMul"}
_INTEGER_LINEAR = {"QGemm": 3, "QLinearMatMul": 3, "MatMulInteger": 1}
"""Linear layers on whole numbers, with the place of the weights among their inputs."""
_CONVOLUTIONS = {"Conv", "FusedConv"}
_USUAL_N_CLASSES = {1000, 1001}
_MAX_STEPS = 40


def named_features(graph: Any, stated: Collection[str] = ()) -> str | None:
    """Return the graph output whose name says that it holds features, those the card states first."""
    names = [value.name for value in graph.output if _is_float(value)]
    ordered = [name for name in names if name in stated] + [name for name in names if name not in stated]
    return next((name for name in ordered if _FEATURE_NAME.fullmatch(name.lower())), None)


def head_output(graph: Any) -> str | None:
    """Return the output that holds the prediction: `logits` if there is one, else the first float output."""
    names = [value.name for value in graph.output if _is_float(value)]
    return next((name for name in names if name.lower() == "logits"), names[0] if names else None)


def penultimate(graph: Any, output: str, n_labels: int | None = None) -> str | None:
    """Walk back from `output` to the last linear layer and return what it reads, None if there is none.

    A convolution counts as linear layer if a pooling or a flattening follows. One that is rectified before the
    pooling counts only if it has as many channels as there are labels: a network without a classifier ends so too.
    """
    makers = {name: node for node in graph.node for name in node.output if name}
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    name, flattened, squashed, rectified = output, False, False, False
    for _ in range(_MAX_STEPS):
        node = makers.get(name)
        if node is None or not node.input:
            return None
        kind = node.op_type
        if kind in _LINEAR:
            return node.input[0] if _is_constant(node.input[1], makers, stored) else None
        if kind in _CONVOLUTIONS:
            n_out = (stored.get(node.input[1]) or (0,))[0]
            is_head = n_out == n_labels or n_out in _USUAL_N_CLASSES or squashed
            return node.input[0] if flattened and (is_head or not rectified) else None
        if kind in _BIAS_OR_SCALE:
            data = [item for item in node.input if not _is_constant(item, makers, stored)]
            if len(data) != 1:
                return None
            name = data[0]
        elif kind in _WALK_THROUGH or kind in _SQUASHES or kind in _POOLS or (kind in _RECTIFIES and flattened):
            name = node.input[0]
        else:
            return None
        flattened |= kind in _POOLS or kind in ("Reshape", "Flatten", "Squeeze")
        squashed |= kind in _SQUASHES
        rectified |= kind in _RECTIFIES
    return None


def logits_layer(graph: Any, *, n_classes: int | None = None, features: str | None = None) -> str | None:
    """Return the tensor with the logits of the graph's own classifier, None if it has none or several.

    An output counts if a final linear layer makes it, it is one row of at least two numbers a sample, and it is
    not named as features. Of an output that ends in a softmax or sigmoid, the logits are the tensor before.

    Args:
        graph: onnx.GraphProto.
        n_classes: how many the card says there are; an output of another width does not count.
        features: tensor that is known to hold features; without `n_classes` it does not count.
    """
    if n_classes is not None and n_classes < 2:
        return None
    found: dict[str, str] = {}
    for value in graph.output:
        if not _is_float(value) or _FEATURE_NAME.fullmatch(value.name.lower()):
            continue
        name = _before_squashing(graph, value.name)
        if name is None or (n_classes is None and name == features) or not _one_row_each(graph, value, n_classes):
            continue
        if penultimate(graph, value.name, n_classes) is not None or _ends_integer_linear(graph, value.name):
            found.setdefault(name, value.name)
    if len(found) > 1:  # what another one is made from are features
        inner = {name for other in found for name in _read_by(graph, other)}
        found = {name: output for name, output in found.items() if name not in inner}
    if len(found) > 1:
        found = {name: output for name, output in found.items() if output.lower() == "logits"}
    return next(iter(found)) if len(found) == 1 else None


def _read_by(graph: Any, name: str) -> set[str]:
    """Return every tensor that `name` is made from."""
    inner: set[str] = set()
    for node in reversed(graph.node):  # in the order of computing
        if inner.intersection(node.output) or name in node.output:
            inner |= used_names(node)
    return inner


def _ends_integer_linear(graph: Any, output: str) -> bool:
    """Tell whether a quantized linear layer makes `output`: its input is no use as features, its result is logits."""
    makers = {name: node for node in graph.node for name in node.output if name}
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    name = output
    for _ in range(_MAX_STEPS):
        node = makers.get(name)
        if node is None or not node.input:
            return False
        if node.op_type in _INTEGER_LINEAR:
            return _is_constant(node.input[_INTEGER_LINEAR[node.op_type]], makers, stored)
        if node.op_type in _BIAS_OR_SCALE:
            data = [item for item in node.input if not _is_constant(item, makers, stored)]
            # dynamic quantization scales by a number that depends on the sample: the sums are the whole numbers cast
            data = data if len(data) == 1 else [item for item in data if item in makers and _is_cast(makers[item])]
            if len(data) != 1:
                return False
            name = data[0]
        elif node.op_type in _WALK_THROUGH | _SQUASHES:
            name = node.input[0]
        else:
            return False
    return False


def _is_cast(node: Any) -> bool:
    return bool(node.op_type == "Cast")


def _before_squashing(graph: Any, output: str) -> str | None:
    """Return what the final softmax or sigmoid reads, and `output` where there is none.

    None if its rows are turned, or something is done to the probabilities: then they are no logits, nor is what makes
    them the whole of the head.
    """
    makers = {name: node for node in graph.node for name in node.output if name}
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    name, plain = output, True
    for _ in range(_MAX_STEPS):
        node = makers.get(name)
        if node is None or not node.input:
            return output
        kind = node.op_type
        if kind in _SQUASHES:
            return str(node.input[0]) if plain else None
        if kind not in _WALK_THROUGH | _BIAS_OR_SCALE | _POOLS | _RECTIFIES:
            return output
        order = next((attribute.ints for attribute in node.attribute if attribute.name == "perm"), (0,))
        plain &= kind in _WALK_THROUGH and order[0] == 0
        name = next((item for item in node.input if not _is_constant(item, makers, stored)), "")
    return output


def _one_row_each(graph: Any, value: Any, n_classes: int | None) -> bool:
    """Tell whether an output may be one row of logits a sample, as far as its shape is stated."""
    shape = axes(value)
    if shape is None:
        return True
    long = [size for size in shape[1:] if size != 1]
    if len(long) != 1 or (None not in (long[0], n_classes) and long[0] != n_classes):
        return False
    images = [shape[1:] for shape in map(axes, free_inputs(graph)) if shape is not None and len(shape) == 4]
    n_pixels = {prod(size or 0 for size in image) for image in images}
    return n_classes is not None or long[0] not in n_pixels  # as many as pixels: an image made again


def _is_float(value: Any) -> bool:
    shape = axes(value)
    return element_type(value) in FLOATS and (shape is None or 2 <= len(shape) <= 4)


def _is_constant(name: str, makers: dict[str, Any], stored: dict[str, tuple[int, ...]], depth: int = 8) -> bool:
    if name in stored:
        return True
    node = makers.get(name)
    if node is None or depth == 0:
        return False
    return all(_is_constant(item, makers, stored, depth - 1) for item in node.input if item)
