"""EMMS with one-hot label embeddings: how well a linear map of the features reaches the labels.

Where we differ from the public code, and why: with one label embedding there is no mixture to fit, which leaves least
squares; the residual is a share of the variance of each label column, averaged, where the public code writes
`/ N * D2` and so multiplies by the number of columns it meant to divide by. For fewer samples than dimensions the
residual is 0 for any labels.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="similarity",
    tasks={"classification", "regression", "multilabel"},
    paper="Meng et al. 2023, NeurIPS (EMMS)",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.2, 0.1),
)
def emms(prepared: Prepared) -> Score:
    """Score -(1 - R²) of the least squares fit of the features to each target column, averaged over the columns.

    Returns:
        Score in [-1, 0], no unit; 0 where the features reach every label, in sample.

    Cost: the one decomposition plus O(rank · k).
    """
    reached = np.sum(prepared.projected**2, axis=0) / prepared.target_squares
    return Score(value=float(np.mean(np.minimum(reached, 1.0))) - 1.0)
