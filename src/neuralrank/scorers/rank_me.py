"""RankMe: the effective rank of the features, a diagnostic that never sees a label.

Where we differ from the public code, and why: the features are centred (an offset of 1,000 takes the public value
from 60 to 1.09), and no epsilon is added to the shares, which would add to the rank of features of many dimensions.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="label-free",
    tasks={"classification", "regression", "multilabel"},
    paper="Garrido et al. 2023, ICML (RankMe)",
    invariances={"sample order", "rotation"},
    noise_from=(0.0, 0.0),
)
def rank_me(prepared: Prepared) -> Score:
    """Score exp(-Σ p log p) with p the singular values over their sum.

    Returns:
        Score in [1, min(n_samples - 1, n_features)]: a number of dimensions.

    Cost: the one decomposition.
    """
    shares = prepared.spectrum.values / prepared.spectrum.values.sum()
    return Score(value=float(np.exp(-np.sum(shares * np.log(shares)))))
