"""H-score with Ledoit-Wolf shrinkage: how much of the shrunk feature covariance the class means explain.

Where we differ from the public code, and why: the trace is taken through the singular values, so no d × d inverse is
formed; columns that do not vary are dropped first. The unshrunk score is not offered here: for fewer samples than
dimensions it is its maximum for any labels, shuffled ones included.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(tasks={"classification"}, paper="Bao et al. 2019, ICIP; shrinkage: Ibrahim et al. 2021")
def h_score(prepared: Prepared) -> Score:
    """Score (1 - a) tr(T_a⁻¹ B) with T_a = (1 - a) T + a tr(T)/d I the shrunk covariance, B that of the class means.

    Returns:
        Score in [0, n_classes - 1], no unit. The intensity a is in `details`.

    Cost: the one decomposition plus O(n · rank).
    """
    n_samples, n_features = prepared.features.shape
    squares = prepared.spectrum.values**2
    intensity = _ledoit_wolf_intensity(prepared)
    mean_variance = float(squares.sum()) / (n_samples * n_features)
    # U'Y, column c divided by sqrt(n_c): its square sums are the between-class share of each direction.
    projected = prepared.spectrum.left.T @ prepared.targets
    between = squares * np.sum(projected**2 / prepared.class_counts, axis=1) / (n_samples - 1)
    shrunk = (1.0 - intensity) * squares / n_samples + intensity * mean_variance
    return Score(value=float((1.0 - intensity) * np.sum(between / shrunk)), details={"shrinkage": intensity})


def _ledoit_wolf_intensity(prepared: Prepared) -> float:
    """Return the shrinkage of Ledoit and Wolf (2004), without forming the covariance."""
    n_samples, n_features = prepared.features.shape
    squares = prepared.spectrum.values**2 / n_samples
    mean_variance = float(squares.sum()) / n_features
    fourth = float(np.sum(np.sum(prepared.features**2, axis=1) ** 2)) / n_samples
    spread = (float(np.sum(squares**2)) - n_features * mean_variance**2) / n_features
    noise = (fourth - float(np.sum(squares**2))) / (n_features * n_samples)
    return float(min(max(noise, 0.0), spread) / spread) if spread > 0 else 0.0
