"""Where each model stands in the order of one score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def beaten(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many of the other models that have the score each model beats; ties count half (midranks).

    Args:
        values: shape (..., n_models, n_scores); NaN where a model has no such score.

    Returns:
        The same shape, NaN in the same places.
    """
    from scipy.stats import rankdata

    missing = np.isnan(values)
    ranks = rankdata(np.where(missing, np.inf, values), axis=-2)  # those without a score stand above all others
    return np.where(missing, np.nan, ranks - 1.0)
