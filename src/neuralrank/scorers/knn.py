"""k nearest neighbours, each sample judged by the others outside its group; computed in blocks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_BLOCK_BYTES = 64 * 2**20


@scorer(
    tasks={"classification", "regression"}, paper="Cover and Hart 1967; as a transferability score: Renggli et al. 2022"
)
def knn(prepared: Prepared, *, neighbours: int = 5, metric: Literal["cosine", "euclidean"] = "cosine") -> Score:
    """Score the leave-group-out accuracy of the majority of the nearest neighbours (regression: R² of their mean).

    A tie in the vote goes to the class of the nearest neighbour among the tied.

    Args:
        prepared: features and labels.
        neighbours: how many vote, at least 1; fewer where a group leaves fewer.
        metric: 'cosine' of the centred features, or 'euclidean'.

    Returns:
        Score in [0, 1] (at most 1 for regression); `terms` are per sample.

    Cost: O(n² · d), memory bounded by blocks of 64 MiB.
    """
    if neighbours < 1:
        raise DataError(f"knn needs neighbours >= 1. Got {neighbours}. Use 5 if unsure.")
    if metric not in ("cosine", "euclidean"):
        raise DataError(f"knn needs the metric 'cosine' or 'euclidean'. Got {metric!r}. Use 'cosine' if unsure.")
    nearest = _nearest(prepared, min(neighbours, prepared.n_samples - 1), metric)
    valid = nearest >= 0
    voted = prepared.labels[np.where(valid, nearest, 0)]
    if prepared.task == "regression":
        counts = np.maximum(valid.sum(axis=1), 1)
        predicted = np.where(valid, voted, 0.0).sum(axis=1) / counts
        variance = float(np.var(prepared.labels))
        terms = 1.0 - (prepared.labels - predicted) ** 2 / variance
    else:
        terms = (_majority(voted.astype(np.int64), valid, prepared.n_classes) == prepared.labels).astype(np.float64)
    return Score(value=float(terms.mean()), terms=terms)


def _nearest(prepared: Prepared, neighbours: int, metric: str) -> NDArray[np.int64]:
    """Return the indices of the nearest samples outside each sample's group, nearest first; -1 where there are none."""
    points = prepared.features
    half_squares = 0.5 * np.sum(points**2, axis=1)
    if metric == "cosine":
        norms = np.sqrt(2.0 * half_squares)
        points = points / np.where(norms > 0, norms, 1.0)[:, None]
        half_squares = np.zeros(len(points))  # equal for all, so they do not change an order
    n_samples = prepared.n_samples
    nearest = np.empty((n_samples, neighbours), dtype=np.int64)
    block = max(1, _BLOCK_BYTES // (8 * n_samples))
    for start in range(0, n_samples, block):
        rows = np.arange(start, min(start + block, n_samples))
        # x·x' - |x'|²/2 falls as the distance grows; a row's own square does not change its order.
        closeness = points[rows] @ points.T
        closeness -= half_squares
        if prepared.groups is None:
            closeness[rows - start, rows] = -np.inf
        else:
            closeness[prepared.groups[rows][:, None] == prepared.groups] = -np.inf
        # A few passes for the maximum are faster than a partition, and take the first of equals in order.
        for place in range(neighbours):
            best = closeness.argmax(axis=1)
            found = closeness[rows - start, best] > -np.inf
            nearest[rows, place] = np.where(found, best, -1)
            closeness[rows - start, best] = -np.inf
    return nearest


def _majority(voted: NDArray[np.int64], valid: NDArray[np.bool_], n_classes: int) -> NDArray[np.int64]:
    n_samples, neighbours = voted.shape
    votes = np.zeros((n_samples, n_classes))
    for place in range(neighbours):
        # Nearer neighbours weigh more by too little to change a vote, just enough to break a tie.
        weight = 1.0 - place / (2.0 * neighbours**2)
        votes[np.arange(n_samples), voted[:, place]] += np.where(valid[:, place], weight, 0.0)
    return np.where(valid.any(axis=1), votes.argmax(axis=1), -1)
