"""Mean silhouette: whether each sample is closer to its own class than to the next one.

Where we differ from the public code, and why: the cosine form is exact without pairs, because the mean cosine to a
class is the cosine to the mean of its unit vectors, O(n k d) in place of O(n² d); the features are centred first, so
that an offset does not matter.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._pairs import distances_to_classes, draw_samples
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Rousseeuw 1987; as a transferability score: Meiseles and Rokach 2020, IEEE Access",
    noise_from=(0.2, 0.0),
)
def silhouette(
    prepared: Prepared, *, metric: Literal["cosine", "euclidean"] = "cosine", max_samples: int = 5_000
) -> Score:
    """Score the mean of (b - a) / max(a, b), a the mean distance to the own class and b that to the nearest other.

    Args:
        prepared: features and labels.
        metric: 'cosine' distance of the centred features, or 'euclidean'.
        max_samples: how many samples the Euclidean form compares in pairs; the cosine form takes all.

    Returns:
        Score in [-1, 1], no unit; a class of one sample counts 0. `terms` are per sample.

    Cost: cosine O(n · k · d); Euclidean O(m² · d) for m samples, in blocks of 64 MiB.
    """
    if metric not in ("cosine", "euclidean"):
        raise DataError(f"silhouette needs the metric 'cosine' or 'euclidean'. Got {metric!r}. Use 'cosine' if unsure.")
    if metric == "cosine":
        terms = _silhouettes(_cosine_distances(prepared), prepared.class_indices)
        return Score(value=float(terms.mean()), terms=terms)
    chosen, notes = draw_samples(prepared, max_samples, "silhouette")
    labels = np.unique(prepared.labels[chosen], return_inverse=True)[1].astype(np.int64)
    sums = distances_to_classes(prepared.features[chosen], labels, int(labels.max()) + 1)
    terms = _silhouettes(sums, labels)
    return Score(value=float(terms.mean()), terms=terms, warnings=notes)


def _cosine_distances(prepared: Prepared) -> NDArray[np.float64]:
    """Return the sum of the cosine distances of each sample to each class, shape (n_samples, n_classes)."""
    inverse = prepared.inverse_lengths
    cosines = prepared.features @ prepared.sum_by_class(prepared.features, inverse).T
    sums = prepared.class_counts - inverse[:, None] * cosines
    own = (np.arange(prepared.n_samples), prepared.class_indices)
    # A point at the mean has no direction: its distance from itself is 0, from others 1.
    sums[own] -= prepared.squared_lengths == 0
    return np.asarray(np.maximum(sums, 0.0))


def _silhouettes(sums: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the silhouette of each sample from its summed distances to each class, which count itself as 0."""
    counts = np.bincount(labels)
    own = (np.arange(len(labels)), labels)
    within = sums[own] / np.maximum(counts[labels] - 1, 1)
    means = sums / counts
    means[own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    terms = (nearest - within) / np.where(larger > 0, larger, 1.0)
    return np.asarray(np.where(counts[labels] > 1, terms, 0.0))
