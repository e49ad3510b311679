"""Generalized discrimination value, negative: distances within classes against distances between them.

Where we differ from the public code, and why: the sign is turned, so that higher is better; classes of one sample
have no distance within and are left out of that mean; distances are taken in blocks.
"""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._pairs import distances_to_classes, draw_samples
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Schilling et al. 2021, Neural Networks (GDV, arXiv 1811.01753)",
    invariances={"sample order"},
)
def gdv(prepared: Prepared, *, max_samples: int = 5_000) -> Score:
    """Score (mean distance between classes - mean distance within classes) / sqrt(d), each class counting the same.

    Distances are Euclidean, of features standardised one by one and halved.

    Args:
        prepared: features and labels.
        max_samples: how many samples are compared in pairs.

    Returns:
        Score of about 0 for labels that say nothing and 1 for classes that are points; no unit.

    Cost: O(m² · d) for m samples, in blocks of 64 MiB.
    """
    chosen, notes = draw_samples(prepared, max_samples, "gdv")
    labels = np.unique(prepared.labels[chosen], return_inverse=True)[1].astype(np.int64)
    points = prepared.features[chosen]
    spread = points.std(axis=0)
    points = points / (2.0 * np.where(spread > 0, spread, 1.0))
    counts = np.bincount(labels)
    n_classes = len(counts)
    sums = distances_to_classes(points, labels, n_classes)
    of_classes = np.stack([np.bincount(labels, weights=sums[:, other]) for other in range(n_classes)], axis=1)
    several = counts > 1
    within = np.diag(of_classes)[several] / (counts[several] * (counts[several] - 1))
    between = (of_classes / np.outer(counts, counts))[~np.eye(n_classes, dtype=bool)]
    mean_within = float(within.mean()) if len(within) else 0.0
    return Score(value=(float(between.mean()) - mean_within) / float(np.sqrt(points.shape[1])), warnings=notes)
