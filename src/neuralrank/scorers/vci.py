"""Variability collapse index: how far the features of each class are from lying in one point.

Where we differ from the paper, and why: the sign is turned, so that higher is better, and numerical noise does not
count as a direction. It is the H-score divided by its maximum, less 1, and saturates with it.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._targets import target_shares
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Xu and Liu 2023, ICML (arXiv 2306.03440)",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.2, 0.1),
)
def vci(prepared: Prepared) -> Score:
    """Score tr(T⁺ B) / rank(B) - 1, the negative of the paper's index.

    Returns:
        Score in [-1, 0], no unit; 0 where every class is one point, -1 where the class means are the same.

    Cost: the one decomposition plus O(rank · k).
    """
    rank = min(len(prepared.spectrum.values), prepared.n_classes - 1)
    return Score(value=float(np.sum(target_shares(prepared))) / rank - 1.0)
