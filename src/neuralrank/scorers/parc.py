"""PARC: whether samples with different labels have different features, by the ranks of their distances.

Where we differ from the public code, and why: no reduction to 32 principal components, whose signs are arbitrary and
change correlations of rows; pairs of different classes are equally far apart to the last bit, where the rounding of the
public code's correlations ranks some of them before others; pairs are those of a bounded number of samples; values are
not multiplied by 100; a row without variance has correlation 0 with all others instead of NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from neuralrank.scorers import scorer
from neuralrank.scorers._pairs import draw_samples
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_TIE_DIGITS = 9
"""Distances of labels that agree to so many decimals are one: rounding does not rank them."""


@scorer(
    family="similarity",
    tasks={"classification", "regression", "multilabel"},
    paper="Bolya et al. 2021, NeurIPS (PARC)",
    invariances={"sample order"},
)
def parc(prepared: Prepared, *, max_samples: int = 2_000) -> Score:
    """Score Spearman's correlation over pairs of samples of 1 - corr(features) and the distance of their labels.

    Features are standardised one by one. Labels are 1 - corr(one-hot rows) apart, which is one value for all pairs of
    different classes; rows of 3 labels or more the same. Regression targets and rows of 2 labels, standardised, are
    compared by their Euclidean distance.

    Args:
        prepared: features and labels.
        max_samples: how many samples are compared in pairs.

    Returns:
        Score in [-1, 1], no unit; 0 where all pairs are equally far apart.

    Cost: O(m² · d + m² log m) for m samples; 2,000 samples take about 130 MiB.
    """
    chosen, notes = draw_samples(prepared, max_samples, "parc")
    pairs = np.tril_indices(len(chosen), -1)
    points = prepared.features[chosen] / np.sqrt(np.einsum("ij,ij->j", prepared.features, prepared.features))
    features = 1.0 - _row_correlations(points)[pairs]
    if prepared.task == "classification":
        labels = prepared.labels[chosen]
        value = _spearman_of_two_kinds(features, (labels[:, None] == labels)[pairs])
    else:
        value = _spearman(features, _label_distances(prepared, chosen)[pairs])
    return Score(value=value, warnings=notes)


def _row_correlations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation of every pair of rows; 0 for a row that does not vary."""
    # One number has no correlation: the sign is all that can agree.
    centred = np.sign(rows) if rows.shape[1] == 1 else rows - rows.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    varies = norms > 1e-12 * np.sqrt(np.einsum("ij,ij->i", rows, rows))
    units = np.where(varies[:, None], centred / np.where(varies, norms, 1.0)[:, None], 0.0)
    return np.asarray(units @ units.T)


def _spearman_of_two_kinds(values: NDArray[np.float64], low: NDArray[np.bool_]) -> float:
    """Return Spearman's correlation with something that has one value where `low` and a higher one elsewhere.

    The sum of the midranks of the low ones is all it takes, which needs a sort and no order.
    """
    n_values, n_low = len(values), int(np.count_nonzero(low))
    ordered, chosen = np.sort(values), np.sort(values[low])
    ranks = (np.searchsorted(ordered, chosen, "left") + np.searchsorted(ordered, chosen, "right") + 1) / 2.0
    ties = np.diff(np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))).astype(np.float64)
    spread = (float(n_values) ** 3 - float(np.sum(ties**3))) / 12.0
    spread *= n_low * (n_values - n_low) / n_values
    return (n_low * (n_values + 1) / 2.0 - float(ranks.sum())) / float(np.sqrt(spread)) if spread > 0 else 0.0


def _label_distances(prepared: Prepared, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    targets = prepared.targets[chosen]
    if prepared.task == "multilabel" and targets.shape[1] > 2:
        return np.asarray(np.round(1.0 - _row_correlations(targets), _TIE_DIGITS))
    targets = targets / np.sqrt(prepared.target_squares / prepared.n_samples)
    return np.asarray(np.round(cdist(targets, targets), _TIE_DIGITS))


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    ranks = [rankdata(values) for values in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0
