"""Split samples into folds: by class, whole groups together, and the same for every model of a ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._prepared import Prepared


def draw_folds(prepared: Prepared, n_folds: int) -> NDArray[np.int64]:
    """Return a fold number for each sample, 0 … n_folds - 1, fewer folds where there are fewer groups or samples.

    The units, samples or groups, are shuffled with the seed and dealt out in the order of their classes (for other
    tasks: of their first target), so that each fold gets its share of each. Labels and seed alone decide.
    """
    of_sample = prepared.labels.reshape(prepared.n_samples, -1)[:, 0]
    return deal(of_sample, prepared.groups, n_folds, seed=prepared.seed)


def deal(
    labels: NDArray[np.int64] | NDArray[np.float64], groups: NDArray[np.int64] | None, n_parts: int, *, seed: int
) -> NDArray[np.int64]:
    """Return a part 0 … n_parts - 1 for each sample: whole groups, shuffled and dealt out in the order of their labels.

    Args:
        labels: shape (n_samples,).
        groups: shape (n_samples,) or None, where every sample stands alone.
        n_parts: number of parts; fewer where there are fewer groups or samples.
        seed: of the shuffle.
    """
    units = np.arange(len(labels)) if groups is None else groups
    n_units = int(units.max()) + 1
    first = np.full(n_units, len(labels))
    np.minimum.at(first, units, np.arange(len(labels)))
    shuffled = np.random.default_rng(seed).permutation(n_units)
    dealt = shuffled[np.argsort(labels[first[shuffled]], kind="stable")]
    parts = np.empty(n_units, dtype=np.int64)
    parts[dealt] = np.arange(n_units) % min(n_parts, n_units)
    return np.asarray(parts[units])
