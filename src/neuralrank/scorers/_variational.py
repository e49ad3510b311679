"""What the two discrete PACTran bounds share: the variational assignment of samples to source classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from neuralrank.errors import DataError
from neuralrank.scorers._prepared import Prepared

N_STEPS = 10
_SMALL = 1e-10


def check_concentration(concentration: float, score: str) -> None:
    """Refuse a concentration of the prior that is not positive."""
    if not concentration > 0:
        raise DataError(f"{score} needs concentration > 0. Got {concentration}. Use 1.0 if unsure.")


def prior_counts(prepared: Prepared, concentration: float) -> NDArray[np.float64]:
    """Return the prior pseudo-counts of the labels, shape (n_classes, 1)."""
    return np.asarray(concentration * prepared.target_means[:, None] + _SMALL)


def assign(
    prepared: Prepared,
    prior: NDArray[np.float64],
    log_likelihood: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], float]:
    """Return the posterior pseudo-counts of labels by source class, and the divergence of the assignments.

    Args:
        prepared: with the labels and the probabilities S of the head.
        prior: pseudo-counts, shape (n_classes, 1).
        log_likelihood: of the labels given the source classes, from pseudo-counts of shape (n_classes, n_sources).

    Returns:
        Counts of shape (n_classes, n_sources), and Σ q log(q / S) over samples and source classes.
    """
    labels = prepared.class_indices
    log_source = np.log(prepared.head_probabilities + _SMALL)
    assignments = prepared.head_probabilities
    for _ in range(N_STEPS):
        counts = prior + prepared.sum_by_class(assignments)
        logits = log_source + log_likelihood(counts)[labels]
        log_assignments = logits - logsumexp(logits, axis=1, keepdims=True)
        assignments = np.exp(log_assignments)
    return counts, float(np.sum(assignments * (log_assignments - log_source)))
