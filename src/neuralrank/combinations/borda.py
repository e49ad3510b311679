"""Borda's count over the orders of several scores (de Borda 1781)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.combinations._places import beaten


def borda(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points of each model: one for every other model it beats by each score, half for a tie.

    A model without one of the scores gets no points for it. Points are divided by the most that one model can have.

    Args:
        values: shape (..., n_models, n_scores); NaN where a model has no such score.

    Returns:
        Shape (..., n_models), in [0, 1]: 1 is first in every order. A single model gets 1.

    Example:
        >>> borda(np.array([[0.9, 10.0], [0.5, 30.0], [0.1, np.nan]])).tolist()
        [0.5, 0.5, 0.0]
    """
    n_models, n_scores = values.shape[-2:]
    if n_models == 1:
        return np.ones(values.shape[:-1])
    return np.asarray(np.nansum(beaten(values), axis=-1) / (n_scores * (n_models - 1)))
