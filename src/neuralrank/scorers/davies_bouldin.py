"""Davies-Bouldin index, negative: how much the two most similar classes overlap, averaged over the classes."""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Davies and Bouldin 1979, IEEE TPAMI",
)
def davies_bouldin(prepared: Prepared) -> Score:
    """Score -mean_c max_c' (s_c + s_c') / ||m_c - m_c'||, s_c the mean distance of a class from its mean m_c.

    Returns:
        Score <= 0, no unit; 0 where every class is a point. Classes with the same mean overlap without bound and are
        held at the distance of rounding, where scikit-learn leaves them out.

    Cost: O(n · d + k² · d).
    """
    means = prepared.class_means
    distances = np.sqrt(prepared.squares_within)
    spreads = np.bincount(prepared.class_indices, weights=distances) / prepared.class_counts
    squares = np.sum(means**2, axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * means @ means.T, 0.0))
    rounding = 1e-7 * np.sqrt(prepared.features.shape[1])  # of means of features of root mean square 1
    similarity = (spreads[:, None] + spreads) / np.maximum(apart, rounding)
    np.fill_diagonal(similarity, 0.0)
    return Score(value=-float(similarity.max(axis=1).mean()))
