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
    units = np.arange(prepared.n_samples) if prepared.groups is None else prepared.groups
    n_units = int(units.max()) + 1
    first = np.full(n_units, prepared.n_samples)
    np.minimum.at(first, units, np.arange(prepared.n_samples))
    of_unit = prepared.labels.reshape(prepared.n_samples, -1)[first, 0]
    shuffled = np.random.default_rng(prepared.seed).permutation(n_units)
    dealt = shuffled[np.argsort(of_unit[shuffled], kind="stable")]
    folds = np.empty(n_units, dtype=np.int64)
    folds[dealt] = np.arange(n_units) % min(n_folds, n_units)
    return np.asarray(folds[units])
