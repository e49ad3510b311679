"""The operators that a TorchScript program may use: those of `.pt2` programs, and arithmetic on numbers and lists.

`aten` also holds operators that write, read or map files, start profilers, or trust their arguments: only what is
named here can be called. The code of modules mentions random operators in branches for training; those are known and
never run.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from neuralrank.formats._export_operators import IN_PLACE, PURE

UNCHECKED = frozenset(
    """
    as_strided _unsafe_view lift lift_fresh lift_fresh_copy _native_batch_norm_legit_no_training
    _scaled_dot_product_flash_attention_for_cpu
    """.split()  # noqa: SIM905 - a list of quoted names would hide its gaps
)
TENSOR = (PURE - UNCHECKED) | frozenset(
    """
    _convolution _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
    adaptive_max_pool1d batch_norm bitwise_left_shift conv_transpose3d cosine_similarity count_nonzero
    cross dim dist dot dstack fliplr flipud hstack index_add isfinite is_floating_point item linspace logaddexp2
    masked_scatter max_pool1d nan_to_num negative nonzero nuclear_norm numel one_hot outer pairwise_distance
    renorm resolve_conj resolve_neg scatter_reduce size sgn sinc square squeeze std stride t take_along_dim tensor
    tensordot unflatten upsample_linear1d upsample_nearest3d upsample_trilinear3d vstack view_as pad im2col
    fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 real imag
    """.split()  # noqa: SIM905 - a list of quoted names would hide its gaps
)
OVERWRITING = IN_PLACE | {"copy_", "fill_", "zero_", "floor_", "ceil_", "neg_", "pow_", "index_put_", "erf_", "abs_"}
"""Operators that overwrite their first argument, which must not be a weight."""

NEVER_RUN = frozenset(
    """
    bernoulli bernoulli_ rand rand_like randn randn_like randint randint_like randperm normal normal_ uniform_
    exponential_ multinomial alpha_dropout alpha_dropout_ feature_alpha_dropout feature_alpha_dropout_ rrelu rrelu_
    dropout1d dropout3d empty empty_like new_empty _native_multi_head_attention _transformer_encoder_layer_fwd
    _upsample_lanczos2d_aa _upsample_nearest_exact3d
    """.split()  # noqa: SIM905
)
"""Random ones, those that leave memory unset, and fused ones without checks: known from branches for training."""

TRAINING_ARGUMENT: Mapping[str, int] = {
    "batch_norm": 5,
    "instance_norm": 5,
    "dropout": 2,
    "dropout_": 2,
    "feature_dropout": 2,
    "feature_dropout_": 2,
    "dropout2d": 2,
}
"""Which argument tells a program traced in training mode."""

WITH_NUMBERS = ("arange", "linspace", "full", "zeros", "ones", "eye", "tensor", "scalar_tensor")
"""Operators that make a tensor out of numbers alone; any other needs a tensor, or is arithmetic of the language."""

TYPES: Mapping[int, str] = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    15: "bfloat16",
}
"""Codes that stand for types in the code of a program."""

MAX_INTEGER = 2**63


def _divide(left: Any, right: Any) -> float:
    return float(left / right)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent * base.bit_length() > 64:
        raise OverflowError("a whole number of more than 64 bits")
    return math.pow(base, exponent) if isinstance(base, float) or isinstance(exponent, float) else base**exponent


def _append(items: list[Any], value: Any) -> list[Any]:
    items.append(value)
    return items


def _extend(items: list[Any], values: Any) -> None:
    items.extend(values)


def _set_item(items: Any, key: Any, value: Any) -> Any:
    items[key] = value
    return items


def _insert(items: list[Any], place: int, value: Any) -> None:
    items.insert(place, value)


def _pop(items: list[Any], place: int = -1) -> Any:
    return items.pop(place)


def _slice(items: Any, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    return items[start:end:step]


def _format(text: str, *values: Any) -> str:
    for value in values:
        text = text.replace("{}", str(value), 1)
    return text


def _same(left: Any, right: Any) -> bool:
    return left is right or (type(left) is type(right) is bool and left == right)


def _get(items: Mapping[Any, Any], key: Any, default: Any = None) -> Any:
    return items.get(key, default)


PLAIN: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "add_": operator.iadd,
    "sub": operator.sub,
    "rsub": lambda left, right: right - left,
    "mul": operator.mul,
    "div": _divide,
    "floordiv": operator.floordiv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "fmod": math.fmod,
    "neg": operator.neg,
    "pow": _power,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "__xor__": operator.xor,
    "sum": sum,
    "all": all,
    "any": any,
    "max": max,
    "min": min,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "IntImplicit": int,
    "FloatImplicit": float,
    "ScalarImplicit": float,
    "append": _append,
    "extend": _extend,
    "insert": _insert,
    "pop": _pop,
    "_set_item": _set_item,
    "__getitem__": operator.getitem,
    "slice": _slice,
    "copy": list,
    "list": list,
    "dict": dict,
    "keys": list,
    "values": lambda items: list(items.values()),
    "items": lambda items: list(items.items()),
    "get": _get,
    "format": _format,
    "upper": str.upper,
    "lower": str.lower,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
"""aten operators on numbers, texts, lists and dictionaries, where no tensor is among the arguments."""

OF_LISTS = frozenset("add add_ mul slice copy list pop __getitem__ keys values items get dict".split())  # noqa: SIM905
"""Those of them that put lists and dictionaries together or take them apart, of tensors too."""

ALWAYS_PLAIN: Mapping[str, Callable[..., Any]] = {
    "__is__": _same,
    "__isnot__": lambda left, right: not _same(left, right),
    "__not__": operator.not_,
    "__contains__": lambda items, value: value in items,
    "len": len,
    "append": _append,
    "extend": _extend,
    "insert": _insert,
    "_set_item": _set_item,
    "format": _format,
    "warn": lambda *_: None,
    "is_grad_enabled": lambda: True,  # code that asks chooses the plain path over a fused one
    "is_autocast_enabled": lambda: False,
    "is_scripting": lambda: True,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "IntImplicit": int,
    "FloatImplicit": float,
    "ScalarImplicit": lambda value: value.item(),
}
"""aten operators that mean the same whether or not tensors are among the arguments."""

BUILT_IN: Mapping[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": lambda value: str(getattr(value, "type", value)),
    "range": range,
    "len": len,
}

PRIM: Mapping[str, Callable[..., Any]] = {
    "device": lambda value: value.device,
    "dtype": lambda value: value.dtype,
    "type": lambda value: str(value.type),
    "is_cuda": lambda value: value.is_cuda,
    "is_nested": lambda _: False,
    "is_sparse": lambda _: False,
    "is_quantized": lambda _: False,
    "is_mkldnn": lambda _: False,
    "requires_grad": lambda _: True,
    "layout": lambda value: value.layout,
    "data": lambda value: value,
    "ndim": lambda value: value.dim(),
    "itemsize": lambda value: value.itemsize,
    "min": min,
    "max": max,
    "abs": abs,
    "unchecked_unwrap_optional": lambda value: value,
}
"""Operators of the language itself."""


def known(space: str, name: str) -> bool:
    """Say whether a program may name an operator; 'torch' is the space of `aten`."""
    if space == "prim":
        return name in PRIM or name in ("NumToTensor", "RaiseException")
    in_tables = name in TENSOR or name in OVERWRITING or name in PLAIN or name in ALWAYS_PLAIN
    return space in ("torch", "aten") and (in_tables or name in NEVER_RUN or name == "device")
