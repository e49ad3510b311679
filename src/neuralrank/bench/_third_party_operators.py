"""The ONNX operators that published image networks are made of, each as a function of torch that can be trained.

Keyword-only parameters are the attributes of the operator, by their ONNX names (opset 18 and later). An attribute that
is no parameter is refused unless its value is listed in `_ONLY`: nothing is computed otherwise than the file says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Operation = Callable[..., Tensor]
_NO_PADS = (0, 0, 0, 0)


def bind(kind: str, attributes: Mapping[str, Any]) -> Operation:
    """Return the function of an operator with its attributes set.

    Raises:
        ValueError: the operator, or an attribute of it, is not offered; the message says which.
    """
    if kind not in OPERATORS:
        raise ValueError(f"the operator {kind}")
    function, only = OPERATORS[kind], _ONLY.get(kind, {})
    taken = set(inspect.getfullargspec(function).kwonlyargs) if inspect.isfunction(function) else set()
    for name, value in attributes.items():
        allowed = only.get(name, None if name in taken else ())
        if allowed is not None and value not in allowed:
            raise ValueError(f"the operator {kind} with {name} {value!r}")
    return partial(function, **{name: value for name, value in attributes.items() if name in taken})


def trained_inputs(kind: str) -> Sequence[int]:
    """Return at which places an operator reads what training changes; all else that is stored stays as it is."""
    return _TRAINED.get(kind, ())


# --- layers with weights -----------------------------------------------------------------------------------------


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = _NO_PADS, dilations: Sequence[int] = (1, 1), group: int = 1,
) -> Tensor:  # fmt: skip
    x, padding = _padded(x, pads, 0.0)
    return functional.conv2d(x, weight, bias, tuple(strides), padding, tuple(dilations), group)


def _gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Tensor:  # fmt: skip
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def batch_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5,
    momentum: float = 0.9, training: bool = False,
) -> Tensor:  # fmt: skip
    """Normalise by the statistics of the batch and update the stored ones in training, else by the stored ones."""
    return functional.batch_norm(x, mean, variance, scale, bias, training, 1 - momentum, epsilon)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    if x.ndim >= 2 and slope.numel() == x.shape[1] == slope.shape[-x.ndim + 1 :].numel():
        return functional.prelu(x, slope.flatten())  # one slope a channel
    return torch.where(x < 0, x * slope, x)


# --- pooling and sizes -------------------------------------------------------------------------------------------


def _average_pool(
    x: Tensor, *, kernel_shape: Sequence[int], strides: Sequence[int] = (1, 1), pads: Sequence[int] = _NO_PADS,
    ceil_mode: int = 0, count_include_pad: int = 0,
) -> Tensor:  # fmt: skip
    counted = bool(count_include_pad)
    if not counted and _asymmetric(pads):
        raise ValueError("an average over pads that differ by side and do not count")
    x, padding = _padded(x, pads, 0.0)
    return functional.avg_pool2d(x, tuple(kernel_shape), tuple(strides), padding, bool(ceil_mode), counted)


def _max_pool(
    x: Tensor, *, kernel_shape: Sequence[int], strides: Sequence[int] = (1, 1), pads: Sequence[int] = _NO_PADS,
    dilations: Sequence[int] = (1, 1), ceil_mode: int = 0,
) -> Tensor:  # fmt: skip
    x, padding = _padded(x, pads, float("-inf"))
    return functional.max_pool2d(x, tuple(kernel_shape), tuple(strides), padding, tuple(dilations), bool(ceil_mode))


def global_average_pool(x: Tensor) -> Tensor:
    """Return the mean over height and width, which stay as axes of length one."""
    return x.mean((2, 3), keepdim=True)


def _reduce_mean(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1) -> Tensor:
    return x.mean(tuple(range(x.ndim)) if axes is None else axes.tolist(), keepdim=bool(keepdims))


def _resize(
    x: Tensor, _region: Tensor | None, _scales: Tensor | None, sizes: Tensor, *,
    coordinate_transformation_mode: str = "half_pixel",
) -> Tensor:  # fmt: skip
    align = {"align_corners": True, "half_pixel": False}[coordinate_transformation_mode]
    return functional.interpolate(x, size=sizes.tolist()[2:], mode="bilinear", align_corners=align)


def _pad(x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    ends = pads.tolist()
    n = len(ends) // 2
    pairs = [end for axis in reversed(range(n)) for end in (ends[axis], ends[axis + n])]
    return functional.pad(x, pairs, value=0.0 if value is None else float(value))


def _padded(x: Tensor, pads: Sequence[int], value: float) -> tuple[Tensor, tuple[int, int]]:
    """Return the image and the padding that is left to the operator: it takes the same on both sides only."""
    top, left, bottom, right = pads
    if _asymmetric(pads):
        return functional.pad(x, (left, right, top, bottom), value=value), (0, 0)
    return x, (top, left)


def _asymmetric(pads: Sequence[int]) -> bool:
    return tuple(pads[:2]) != tuple(pads[2:])


# --- shapes ------------------------------------------------------------------------------------------------------


def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    return x.reshape([x.shape[axis] if size == 0 and not allowzero else size for axis, size in enumerate(sizes)])


def _transpose(x: Tensor, *, perm: Sequence[int]) -> Tensor:
    return x.permute(tuple(perm))


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end])


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    along = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), along, by, strict=True):
        if step < 1:
            raise ValueError("a slice that runs backwards")
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
    return x


def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    if indices.ndim == 0:
        return x.select(axis, int(indices))
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


def _gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    return x[indices.unbind(-1)]


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return functional.leaky_relu(x, alpha)


OPERATORS: Mapping[str, Operation] = {
    "Add": torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "Div": _divide,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average_pool,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "Mul": torch.mul,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Transpose": _transpose,
    "Where": torch.where,
}

_WINDOW: Mapping[str, Sequence[Any] | None] = {"auto_pad": ("NOTSET",), "storage_order": (0,), "dilations": ([1, 1],)}
_ONLY: Mapping[str, Mapping[str, Sequence[Any] | None]] = {
    "AveragePool": _WINDOW,
    "BatchNormalization": {"training_mode": (0,)},
    "Conv": {"auto_pad": ("NOTSET",), "kernel_shape": None},
    "GatherND": {"batch_dims": (0,)},
    "MaxPool": {**_WINDOW, "dilations": None},
    "Pad": {"mode": ("constant",)},
    "ReduceMean": {"noop_with_empty_axes": (0,)},
    "Resize": {
        "mode": ("linear",),
        "coordinate_transformation_mode": ("align_corners", "half_pixel"),
        "antialias": (0,),
        "exclude_outside": (0,),
        "keep_aspect_ratio_policy": ("stretch",),
        "extrapolation_value": None,
        "nearest_mode": None,
        "cubic_coeff_a": None,
    },
}
"""Values that an attribute may have; None: any, as it changes nothing here."""

_TRAINED: Mapping[str, Sequence[int]] = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "Gemm": (1, 2),
    "Mul": (0, 1),
    "PRelu": (1,),
}
