"""The operators that a `.pt2` program may use: named one by one, because `aten` also holds some that touch files.

Left out on purpose: `aten.save` and `aten.from_file` (they write and map files), operators without bounds checks
(`_unsafe_*`, `set_`, `resize_`), random ones, and all of training.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

PURE = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit_no_training
    _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _unsafe_view abs acos adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d add addbmm addcdiv addcmul addmm
    alias all amax amin any arange argmax argmin argsort as_strided asin atan atan2 avg_pool1d avg_pool2d avg_pool3d
    baddbmm batch_norm bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat ceil celu channel_shuffle
    chunk clamp clamp_max clamp_min clone concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d convolution copy cos cosh cummax cummin cumsum detach detach_copy diagonal div dropout
    dropout2d einsum elu embedding eq erf erfc exp expand expand_as expm1 eye feature_dropout fill flatten flip
    floor floor_divide fmod frobenius_norm full full_like gather ge gelu glu grid_sampler grid_sampler_2d group_norm
    gt hardsigmoid hardswish hardtanh hypot im2col index index_select instance_norm isinf isnan layer_norm le
    leaky_relu lerp lift lift_fresh lift_fresh_copy linalg_matrix_norm linalg_norm linalg_vector_norm linear log
    log10 log1p log2 log_sigmoid log_softmax logaddexp logical_and logical_not logical_or logical_xor logit
    logsumexp lt masked_fill masked_select matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
    maximum mean min minimum mish mm movedim mul multiply mv nan_to_num narrow native_group_norm native_layer_norm
    ne neg new_full new_ones new_zeros norm numel ones ones_like pad permute pixel_shuffle pixel_unshuffle pow prelu
    prod reciprocal reflection_pad1d reflection_pad2d relu relu6 remainder repeat repeat_interleave
    replication_pad1d replication_pad2d reshape reshape_as rms_norm roll rot90 round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add select selu sigmoid sign silu sin sinh slice softmax softplus
    softshrink softsign sort split split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum swapaxes
    sym_numel sym_size sym_stride t tan tanh tanhshrink tensor_split threshold tile to topk transpose tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze upsample_bicubic2d upsample_bilinear2d
    upsample_nearest1d upsample_nearest2d var var_mean view view_as where zeros zeros_like
    """.split()  # noqa: SIM905 - a list of quoted names would hide its gaps
)
"""aten operators that compute new values from old ones and check their arguments.

The two that would not check theirs, batch normalisation without training and attention for CPUs, are replaced by
their public forms when a program runs.
"""

IN_PLACE = frozenset(
    """
    add_ sub_ mul_ div_ relu_ relu6_ hardtanh_ hardswish_ hardsigmoid_ silu_ leaky_relu_ elu_ celu_ selu_ sigmoid_
    tanh_ clamp_ clamp_min_ clamp_max_ mish_ exp_ sqrt_ masked_fill_ squeeze_ unsqueeze_ transpose_ dropout_
    feature_dropout_
    """.split()  # noqa: SIM905
)
"""aten operators that overwrite their first argument; it must be an intermediate result, never a weight."""

CHECKS = (
    "torch.ops.aten._assert",
    "torch.ops.aten.sym_constrain_range",
    "torch.ops.aten._assert_tensor_metadata",
    "torch.ops.aten._functional_assert",
)
"""Steps without a result that only check shapes; left out."""

NUMBERS: Mapping[str, Callable[..., Any]] = {
    "_operator.add": operator.add,
    "_operator.sub": operator.sub,
    "_operator.mul": operator.mul,
    "_operator.floordiv": operator.floordiv,
    "_operator.truediv": operator.truediv,
    "_operator.mod": operator.mod,
    "_operator.neg": operator.neg,
    "_operator.pos": operator.pos,
    "_operator.eq": operator.eq,
    "_operator.ne": operator.ne,
    "_operator.lt": operator.lt,
    "_operator.le": operator.le,
    "_operator.gt": operator.gt,
    "_operator.ge": operator.ge,
    "_operator.and_": operator.and_,
    "_operator.or_": operator.or_,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_not": operator.not_,
    "torch.sym_sqrt": math.sqrt,
}
"""Arithmetic on sizes; powers and shifts are left out, as their results can fill the memory."""

TRAINING_FLAGS: Mapping[str, str] = {
    "batch_norm": "training",
    "dropout": "train",
    "dropout_": "train",
    "dropout2d": "train",
    "feature_dropout": "train",
    "feature_dropout_": "train",
}
"""The argument that tells a program exported in training mode."""


def aten_name(target: str) -> tuple[str, str] | None:
    """Split `torch.ops.aten.relu.default` into ('relu', 'default'); None for any other target."""
    parts = target.split(".")
    if len(parts) != 5 or parts[:3] != ["torch", "ops", "aten"]:
        return None
    return parts[3], parts[4]


def is_allowed(target: str) -> bool:
    """Tell whether a program may use `target`."""
    name = aten_name(target)
    return target in NUMBERS or (name is not None and (name[0] in PURE or name[0] in IN_PLACE))
