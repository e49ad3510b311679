"""The centred targets in an orthonormal basis, seen from the singular directions of the features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._spectrum import RANK_TOLERANCE


def target_shares(prepared: Prepared) -> NDArray[np.float64]:
    """Return, per singular direction, the share of its variance that is linear in the targets.

    With Q an orthonormal basis of the centred targets these are the row sums of (U'Q)²; for classes they are
    Σ_c (U'Y)²_c / n_c, because U is centred.

    Returns:
        Shape (rank,), each in [0, 1].
    """
    if prepared.task == "classification":
        return np.asarray(np.sum(prepared.projected**2 / prepared.class_counts, axis=1))
    centred = prepared.targets - prepared.target_means
    squares, vectors = np.linalg.eigh(centred.T @ centred)
    kept = squares > (RANK_TOLERANCE * np.sqrt(squares[-1])) ** 2
    return np.asarray(np.sum((prepared.projected @ (vectors[:, kept] / np.sqrt(squares[kept]))) ** 2, axis=1))
