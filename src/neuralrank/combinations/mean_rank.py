"""The mean place of a model in the orders of several scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.combinations._places import beaten


def mean_rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the other models that each model beats, averaged over the scores it has; ties count half.

    A model without one of the scores is judged by the others alone. A model that stands alone in an order counts 1/2
    there.

    Args:
        values: shape (..., n_models, n_scores); NaN where a model has no such score, but never in all.

    Returns:
        Shape (..., n_models), in [0, 1]: 1 is first in every order, 0 last in every order.

    Example:
        >>> mean_rank(np.array([[0.9, 10.0], [0.5, 30.0], [0.1, np.nan]])).tolist()
        [0.5, 0.75, 0.0]
    """
    n_others = np.sum(~np.isnan(values), axis=-2, keepdims=True) - 1
    shares = np.where(n_others > 0, beaten(values) / np.maximum(n_others, 1), 0.5)
    return np.asarray(np.nanmean(np.where(np.isnan(values), np.nan, shares), axis=-1))
