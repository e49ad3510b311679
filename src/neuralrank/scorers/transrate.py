"""TransRate: the coding rate of all features less that within the classes.

Where we differ from the public code, and why: classes are weighted by their size, as in the paper, where the public
listing weights all the same; the features are scaled to a root mean square of 1, so that ε means the same for every
model (multiplied by 0.001 the public score falls from 14.0 to 0.0014). For fewer samples than dimensions the score does
not see the labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Huang et al. 2022, ICML (TransRate)",
    invariances={"sample order", "rotation"},
    noise_from=(0.0, 0.0),
)
def transrate(prepared: Prepared, *, epsilon: float = 1e-4) -> Score:
    """Score R(X) - Σ_c (n_c / n) R(X_c) with R(X) = 1/2 log det(I + X'X / (n ε)).

    Args:
        prepared: features and labels.
        epsilon: distortion ε > 0, relative to features of root mean square 1.

    Returns:
        Score >= 0 up to rounding, in nats.

    Cost: the one decomposition plus Σ_c n_c · d · min(n_c, d).
    """
    if not epsilon > 0:
        raise DataError(f"transrate needs epsilon > 0. Got {epsilon}. Use 1e-4 if unsure.")
    frequencies = prepared.class_counts / prepared.n_samples
    rates = class_rates(prepared, epsilon)
    whole = 0.5 * float(np.sum(np.log1p(prepared.spectrum.values**2 / (prepared.n_samples * epsilon))))
    return Score(value=whole - float(frequencies @ rates))


def class_rates(prepared: Prepared, epsilon: float) -> NDArray[np.float64]:
    """Return R of each class, shape (n_classes,), through the smaller Gram matrix of each."""
    rates = np.empty(prepared.n_classes)
    for index, rows in enumerate(prepared.rows_by_class):
        members = prepared.features[rows]
        gram = members @ members.T if len(members) < members.shape[1] else members.T @ members
        gram /= len(members) * epsilon
        gram[np.diag_indices_from(gram)] += 1.0
        rates[index] = np.sum(np.log(np.diag(np.linalg.cholesky(gram))))  # half the log determinant
    return rates
