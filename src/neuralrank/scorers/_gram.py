"""The Gram matrix of weighted samples, with a bounded part of the weighted samples in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 128 * 2**20


def weighted_gram(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ_i w_i² x_i x_i', shape (n_columns, n_columns).

    By NumPy alone: the threads of its BLAS and of SciPy's hinder each other where calls alternate.

    Args:
        rows: x, shape (n_samples, n_columns).
        weights: w, shape (n_samples,).
    """
    n_samples, n_columns = rows.shape
    gram = np.zeros((n_columns, n_columns))
    product = np.empty_like(gram)
    n_rows = min(max(1, _BLOCK_BYTES // (8 * n_columns)), n_samples)
    buffer = np.empty((n_rows, n_columns))
    for start in range(0, n_samples, n_rows):
        block = slice(start, start + n_rows)
        weighted = np.multiply(rows[block], weights[block, None], out=buffer[: n_samples - start])
        gram += np.matmul(weighted.T, weighted, out=product)
    return gram
