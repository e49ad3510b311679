"""k nearest neighbours, each sample judged by the others outside its group; computed in blocks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._pairs import BLOCK_BYTES, draw_samples
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="probe",
    tasks={"classification", "regression", "multilabel"},
    paper="Cover and Hart 1967; as a transferability score: Renggli et al. 2022, CVPR",
)
def knn(
    prepared: Prepared,
    *,
    neighbours: int = 5,
    metric: Literal["cosine", "euclidean"] = "cosine",
    max_queries: int = 2_000,
) -> Score:
    """Score the leave-group-out accuracy of the majority of the nearest neighbours (regression: R² of their mean).

    A tie in the vote goes to the class of the nearest neighbour among the tied. Multilabel: the R² of the share of
    neighbours with each label, averaged over the labels.

    Args:
        prepared: features and labels.
        neighbours: how many vote, at least 1; fewer where a group leaves fewer.
        metric: 'cosine' of the centred features, or 'euclidean'.
        max_queries: how many samples are judged, drawn by class, each by all others; with groups, all are.

    Returns:
        Score in [0, 1] (at most 1 for regression and multilabel); `terms` are per judged sample.

    Cost: O(q · n · d) for q judged samples, memory bounded by blocks of 64 MiB.
    """
    if neighbours < 1:
        raise DataError(f"knn needs neighbours >= 1. Got {neighbours}. Use 5 if unsure.")
    if metric not in ("cosine", "euclidean"):
        raise DataError(f"knn needs the metric 'cosine' or 'euclidean'. Got {metric!r}. Use 'cosine' if unsure.")
    n_judged = max_queries if prepared.groups is None else prepared.n_samples
    queries, notes = draw_samples(prepared, n_judged, "knn", option="max_queries")
    nearest = _nearest(prepared, queries, min(neighbours, prepared.n_samples - 1), metric)
    valid = nearest >= 0
    voters = np.where(valid, nearest, 0)
    if prepared.task == "classification":
        labels = prepared.class_indices
        predicted = _majority(labels[voters], valid, prepared.n_classes)
        terms = (predicted == labels[queries]).astype(np.float64)
    else:
        targets = prepared.targets
        counts = np.maximum(valid.sum(axis=1), 1)[:, None]
        means = np.where(valid[:, :, None], targets[voters], 0.0).sum(axis=1) / counts
        variances = prepared.target_squares / prepared.n_samples
        terms = np.mean(1.0 - (targets[queries] - means) ** 2 / variances, axis=1)
    return Score(value=float(terms.mean()), terms=terms, warnings=notes)


def _nearest(prepared: Prepared, queries: NDArray[np.int64], neighbours: int, metric: str) -> NDArray[np.int64]:
    """Return the indices of the nearest samples outside each query's group, nearest first; -1 where there are none."""
    points = prepared.features
    nearest = np.empty((len(queries), neighbours), dtype=np.int64)
    block = max(1, BLOCK_BYTES // (8 * prepared.n_samples))
    for start in range(0, len(queries), block):
        rows = queries[start : start + block]
        # x·x' / |x'| falls with the angle, x·x' - |x'|²/2 with the distance; what is a row's own changes no order.
        closeness = points[rows] @ points.T
        if metric == "cosine":
            closeness *= prepared.inverse_lengths
        else:
            closeness -= prepared.squared_lengths / 2.0
        here = np.arange(len(rows))
        if prepared.groups is None:
            closeness[here, rows] = -np.inf
        else:
            closeness[prepared.groups[rows][:, None] == prepared.groups] = -np.inf
        # A few passes for the maximum are faster than a partition, and take the first of equals in order.
        for place in range(neighbours):
            best = closeness.argmax(axis=1)
            found = closeness[here, best] > -np.inf
            nearest[start + here, place] = np.where(found, best, -1)
            closeness[here, best] = -np.inf
    return nearest


def _majority(voted: NDArray[np.int64], valid: NDArray[np.bool_], n_classes: int) -> NDArray[np.int64]:
    n_samples, neighbours = voted.shape
    here = np.arange(n_samples)
    votes = np.zeros((n_samples, n_classes), dtype=np.int64)
    for place in range(neighbours):
        votes[here, voted[:, place]] += valid[:, place]
    most = votes.max(axis=1)
    predicted = np.full(n_samples, -1)
    for place in reversed(range(neighbours)):  # the nearest of the classes with the most votes has the last word
        wins = valid[:, place] & (votes[here, voted[:, place]] == most)
        predicted = np.where(wins, voted[:, place], predicted)
    return predicted
