"""Ledoit and Wolf's shrinkage of a covariance towards a multiple of the identity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ledoit_wolf_intensity(
    trace: float, squares: float, squared_norms: NDArray[np.float64], *, n_features: int
) -> float:
    """Return the intensity a in [0, 1] of (1 - a) C + a tr(C)/d I, without the covariance C itself.

    Args:
        trace: tr(C), the sum of the eigenvalues of C.
        squares: tr(C²), the sum of their squares.
        squared_norms: shape (n_samples,); squared length of each sample, less its mean.
        n_features: d.
    """
    n_samples = len(squared_norms)
    spread = (squares - trace**2 / n_features) / n_features
    noise = (float(np.sum(squared_norms**2)) / n_samples - squares) / (n_features * n_samples)
    return float(min(max(noise, 0.0), spread) / spread) if spread > 1e-12 * squares / n_features else 0.0
