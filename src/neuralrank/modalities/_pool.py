"""Hidden states of one batch → one float32 row a sample, the same rule in every modality."""

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.types import Hidden


def pool_hidden(hidden: Hidden) -> NDArray[np.float32]:
    """Average over tokens (where the mask is 1) or over height and width; vectors stay as they are.

    Args:
        hidden: shape (n, d), (n, tokens, d) or (n, channels, height, width).

    Returns:
        Shape (n, d) or (n, channels). Means are taken in float32, so half precision cannot overflow; a sample whose
        mask is empty gives zeros.

    Raises:
        ModelError: any other rank, or a mask that does not fit.
    """
    values = hidden.values
    if values.dtype.kind not in "fiu":
        raise ModelError(f"The layer needs to hold numbers. Got {values.dtype}. Choose another layer.")
    values = np.asarray(values, dtype=np.float32)
    if values.ndim == 2:
        return values
    if values.ndim == 3:
        return _mean_over_tokens(values, hidden.mask)
    if values.ndim == 4:
        n, channels, height, width = values.shape
        return np.asarray(values.reshape(n, channels, height * width).mean(axis=2), dtype=np.float32)
    raise ModelError(
        f"The layer needs one vector, a row of tokens or a map per sample (rank 2, 3 or 4). Got rank {values.ndim}. "
        "Choose another layer."
    )


def _mean_over_tokens(values: NDArray[np.float32], mask: NDArray[np.generic] | None) -> NDArray[np.float32]:
    if mask is None:
        return np.asarray(values.mean(axis=1), dtype=np.float32)
    if mask.shape != values.shape[:2]:
        raise ModelError(
            f"The mask needs one entry per token, shape {values.shape[:2]}. Got {mask.shape}. Choose another layer."
        )
    weights = mask.astype(np.float32)
    total = np.matmul(weights[:, None, :], values)[:, 0, :]
    pooled: NDArray[np.float32] = total / np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return pooled
