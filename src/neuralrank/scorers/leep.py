"""LEEP: how well the classes that the model's own head knows predict the labels.

Where we differ from the public code, and why: source classes that no sample has any probability of are left out, where
the public code divides 0 by 0; labels may have gaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="head",
    tasks={"classification"},
    paper="Nguyen et al. 2020, ICML (LEEP)",
    needs="probabilities",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.2, 0.1),
)
def leep(prepared: Prepared) -> Score:
    """Score mean_i log Σ_z p(y_i|z) P_iz, with p(y|z) the share of label y in the probability of source class z.

    Returns:
        Score in [-log n_samples, 0], in nats; `terms` are per sample. In sample: the joint distribution is that of the
        same samples.

    Cost: O(n · s · k) for s source classes.
    """
    terms = expected_log_prediction(prepared.head_probabilities, prepared)
    return Score(value=float(terms.mean()), terms=terms)


def expected_log_prediction(assignments: NDArray[np.float64], prepared: Prepared) -> NDArray[np.float64]:
    """Return the log expected empirical prediction of each sample's label, shape (n_samples,).

    Args:
        assignments: P, shape (n_samples, n_sources); rows sum to 1.
        prepared: with the labels.
    """
    joint = prepared.sum_by_class(assignments)  # p(y, z) · n, shape (n_classes, n_sources)
    marginal = joint.sum(axis=0)
    conditional = joint / np.where(marginal > 0, marginal, 1.0)
    labels = prepared.class_indices
    predicted = (assignments @ conditional.T)[np.arange(len(labels)), labels]
    return np.asarray(np.log(np.maximum(predicted, np.finfo(np.float64).tiny)))
