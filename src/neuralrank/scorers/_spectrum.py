"""The one decomposition of the centred features that the scores share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._arrays import Device, to_numpy

# Singular values below this share of the largest are numerical noise: float32 features carry about 1e-7 of relative
# precision.
RANK_TOLERANCE = 1e-6
# A Gram matrix squares the singular values: those below this share of the largest have lost the digits that count.
GRAM_PRECISION = 1e-5
# What is zero in the features shows as up to this share in the roots of a Gram matrix's eigenvalues.
GRAM_NOISE = 3e-7
_BLOCK_ROWS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """Thin singular value decomposition of the centred features, X = U diag(s) V'."""

    left: NDArray[np.float64]
    """U, shape (n_samples, rank)."""
    values: NDArray[np.float64]
    """s, shape (rank,), descending."""

    def weighted_squares(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Σ_j U_ij² w_j, shape (n_samples,) or (n_samples, n_weights): leverages, if weights are shrinkages."""
        sums = np.empty((len(self.left), *weights.shape[1:]))
        for start in range(0, len(sums), _BLOCK_ROWS):  # the squares of a block stay in the processor's cache
            block = slice(start, start + _BLOCK_ROWS)
            sums[block] = np.square(self.left[block]) @ weights
        return sums

    def coordinates(self, n_components: int | None = None) -> NDArray[np.float64]:
        """Return U diag(s), shape (n_samples, n_components or rank): the features in their principal axes."""
        return self.left[:, :n_components] * self.values[:n_components]


def decompose(features: NDArray[np.float64], device: Device | None = None) -> Spectrum:
    """Return the thin SVD of centred features, through the smaller of the two Gram matrices where that is exact.

    Args:
        features: shape (n_samples, n_features), centred.
        device: where to compute; None: with NumPy.
    """
    xp: Any = np if device is None else device.namespace
    matrix: Any = features if device is None else device.take(features)
    n_samples, n_features = features.shape
    transposed = matrix.T if device is None else xp.matrix_transpose(matrix)
    gram = xp.matmul(matrix, transposed) if n_samples < n_features else xp.matmul(transposed, matrix)
    squares, vectors = xp.linalg.eigh(gram)
    values = np.sqrt(np.maximum(to_numpy(squares)[::-1], 0.0))
    lowest = values[values > GRAM_NOISE * values[0]][-1]
    if lowest < GRAM_PRECISION * values[0]:
        return _decompose_directly(matrix, xp)
    rank = int(np.count_nonzero(values >= lowest))
    vectors = xp.flip(vectors, axis=1)[:, :rank]
    if n_samples >= n_features:
        scale = 1.0 / values[:rank]
        vectors = xp.matmul(matrix, vectors * (scale if device is None else device.take(scale)))
    return Spectrum(left=np.ascontiguousarray(to_numpy(vectors)), values=np.ascontiguousarray(values[:rank]))


def _decompose_directly(matrix: Any, xp: Any) -> Spectrum:
    """Return the SVD without a Gram matrix: slower, with all digits."""
    left, values, _ = xp.linalg.svd(matrix, full_matrices=False)
    singular = to_numpy(values)
    rank = int(np.count_nonzero(singular > RANK_TOLERANCE * singular[0]))
    return Spectrum(left=np.ascontiguousarray(to_numpy(left[:, :rank])), values=np.ascontiguousarray(singular[:rank]))
