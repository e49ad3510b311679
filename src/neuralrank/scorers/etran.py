"""ETran: the posterior of a linear discriminant analysis, and the energy of the features.

Where we differ from the public code, and why: the public "LDA" hands a matrix that is not symmetric to a solver for
symmetric ones, which leaves the nearest class mean, unwhitened, at a temperature of 1, so that the value depends on the
scale of the features; here the discriminants are whitened by the covariance within the classes, with Ledoit and Wolf's
shrinkage. The energy is the mean over all samples, where the public code takes the lowest 0.5 %, of features of root
mean square 1. The two terms are absolute: the public code scales each over the pool of models, so that one more model
changes the score of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._discriminant import class_gaussians, discriminants, posteriors, within_intensity
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_WEIGHTS = (0.85, 0.15)
_BLOCK_ROWS = 256


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Gholami et al. 2023, ICCV (ETran)",
    invariances={"sample order"},
    noise_from=(0.2, 0.1),
)
def etran(prepared: Prepared) -> Score:
    """Score 0.85 times the mean posterior of the own class plus 0.15 times the energy.

    The energy of a sample is log(mean_j exp(x_j)) over its features: 0 for features that do not vary, 0.5 for normal
    ones, more for heavy tails.

    Returns:
        Score, no unit; the terms `posterior` in [0, 1], in sample, and `energy` are in the details.

    Cost: the one decomposition plus O(n · d · k + d³).
    """
    labels = prepared.class_indices
    classes = class_gaussians(prepared)
    covariance = classes.shrunk(within_intensity(prepared, classes), prepared.features.shape[1])
    coefficients, intercepts = discriminants(classes, covariance)
    own = posteriors(prepared, coefficients, intercepts)[np.arange(len(labels)), labels]
    posterior = float(own.mean())
    energy = _mean_energy(prepared.features)
    value = _WEIGHTS[0] * posterior + _WEIGHTS[1] * energy
    return Score(value=value, details={"posterior": posterior, "energy": energy})


def _mean_energy(features: NDArray[np.float64]) -> float:
    """Return the mean over the samples of log(mean_j exp(x_j)), in blocks that stay in the processor's cache."""
    total = 0.0
    for start in range(0, len(features), _BLOCK_ROWS):
        block = features[start : start + _BLOCK_ROWS]
        largest = block.max(axis=1)
        total += float(np.sum(largest + np.log(np.exp(block - largest[:, None]).mean(axis=1))))
    return total / len(features)
