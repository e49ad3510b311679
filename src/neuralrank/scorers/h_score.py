"""H-score: how much of the feature covariance the labels explain.

Where we differ from the public code, and why: the trace is a sum over singular directions, so no d × d pseudo-inverse
is formed, and directions that are numerical noise are left out (a pseudo-inverse with a cut of 1e-15 keeps them, which
moves the score of float32 features by some per cent); google-research/stable_transfer multiplies element by element
instead of the matrices. For fewer samples than dimensions the score is its maximum for any labels: see h_score_shrunk.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._targets import target_shares
from neuralrank.types import Score


@scorer(
    family="Gaussian",
    tasks={"classification", "regression", "multilabel"},
    paper="Bao et al. 2019, ICIP",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.2, 0.1),
)
def h_score(prepared: Prepared) -> Score:
    """Score tr(T⁺ B) with T the covariance of the features and B that of their expectation given the labels.

    For targets that are not classes, B is the part of the covariance that is linear in the targets; both are the sum of
    the squared canonical correlations.

    Returns:
        Score in [0, min(rank, n_classes - 1)], no unit; regression: up to the rank of the targets.

    Cost: the one decomposition plus O(rank · k).
    """
    return Score(value=float(np.sum(target_shares(prepared))))
