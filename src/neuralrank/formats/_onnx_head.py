"""Find the tensor that a classifier's last linear layer reads: the usual place to take features from."""

import re
from collections.abc import Collection
from typing import Any

from neuralrank.formats._onnx_graph import FLOATS, axes, element_type

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
