"""H-score with Ledoit-Wolf shrinkage: how much of the shrunk feature covariance the labels explain.

Where we differ from the public code, and why: the trace is taken through the singular values, so no d × d inverse is
formed; columns that do not vary are dropped first.

What is kept as published: the score carries the factor 1 - a, so features that are white within the noise of few
samples, for which the intensity a is 1, get 0 however well they tell the classes apart.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._shrinkage import ledoit_wolf_intensity
from neuralrank.scorers._targets import target_shares
from neuralrank.types import Score


@scorer(
    family="Gaussian",
    tasks={"classification", "regression", "multilabel"},
    paper="Ibrahim et al. 2021, ECML PKDD; shrinkage: Ledoit and Wolf 2004",
    invariances={"sample order", "rotation"},
    noise_from=(0.0, None),
)
def h_score_shrunk(prepared: Prepared) -> Score:
    """Score (1 - a) tr(T_a⁻¹ B) with T_a = (1 - a) T + a tr(T)/d I the shrunk covariance, B that of the class means.

    Returns:
        Score in [0, n_classes - 1], no unit. The intensity a is in `details`.

    Cost: the one decomposition plus O(n · d).
    """
    n_samples, n_features = prepared.features.shape
    squares = prepared.spectrum.values**2 / n_samples
    intensity = ledoit_wolf_intensity(
        float(squares.sum()),
        float(np.sum(squares**2)),
        prepared.squared_lengths,
        n_features=n_features,
    )
    # The public code divides B by n - 1 and the shrunk covariance by n.
    between = squares * target_shares(prepared) * (n_samples / (n_samples - 1))
    shrunk = (1.0 - intensity) * squares + intensity * squares.sum() / n_features
    return Score(value=float((1.0 - intensity) * np.sum(between / shrunk)), details={"shrinkage": intensity})
