"""NCTI: how close the features are to the collapsed geometry that training ends in.

Where we differ from the public code, and why: its three terms are scaled to [0, 1] over the pool of models, so that one
more model changes all scores and a pool of one has none; here each is divided by its value for a reference geometry and
enters as it is. The principal components are exact, where the public code draws them anew at every call.

What is kept as published: posteriors that say nothing are all alike, which the last term takes for compact classes, so
that labels without any relation to the features can get the higher score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._discriminant import class_gaussians, discriminants, posteriors
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_N_COMPONENTS = 64


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Wang et al. 2023, ICCV (NCTI)",
    invariances={"sample order", "rotation"},
    noise_from=(0.0, 0.0),
)
def ncti(prepared: Prepared) -> Score:
    """Score log(S / S₀) + P - log(C / C₀), of a discriminant analysis of the first 64 principal components.

    S is the nuclear norm of the discriminant coordinates, S₀ = sqrt(n · min(k - 1, p)) · sqrt(min(k - 1, p)) its value
    where all class means are one; P the mean posterior of the own class; C the sum over the classes of the nuclear
    norms of their posteriors, C₀ = Σ_c sqrt(n_c) its value where each class is one point.

    Returns:
        Score, no unit; the terms `log_spread` >= 0, `posterior` in [0, 1] and `log_compactness` are in the details; all
        in sample.

    Cost: the one decomposition plus O(n · p · k + Σ_c n_c · k · min(n_c, k)) for p = 64.
    """
    labels = prepared.class_indices
    spread, found = collapse(prepared)
    compactness = sum(_nuclear_norm(found[rows]) for rows in prepared.rows_by_class)
    log_compactness = float(np.log(compactness / np.sqrt(prepared.class_counts).sum()))
    own = float(found[np.arange(len(labels)), labels].mean())
    n_axes = len(spread)
    log_spread = float(np.log(spread.sum() / (np.sqrt(prepared.n_samples) * n_axes)))
    return Score(
        value=log_spread + own - log_compactness,
        details={"log_spread": log_spread, "posterior": own, "log_compactness": log_compactness},
    )


def collapse(prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the singular values of the discriminant coordinates, and the posterior of every class.

    The coordinates have covariance 1 within the classes: the squared singular values are n (1 + λ), with λ the
    generalised eigenvalues of the covariance between the classes.
    """
    classes = class_gaussians(prepared, _N_COMPONENTS)
    values = prepared.spectrum.values[:_N_COMPONENTS]
    variances = values**2 / prepared.n_samples
    intensity = max(float(np.exp(-variances[:32].sum())), 1e-10)
    covariance = classes.shrunk(intensity, len(values))
    coefficients, intercepts = discriminants(classes, covariance)
    n_axes = min(prepared.n_classes - 1, len(values))
    # Between the classes, whitened: the nonzero eigenvalues of W⁻¹ B are those of the k × k matrix of the means.
    whitened = np.sqrt(classes.priors)[:, None] * (classes.means @ coefficients) * np.sqrt(classes.priors)
    ratios = np.maximum(np.linalg.eigvalsh((whitened + whitened.T) / 2.0)[::-1][:n_axes], 0.0)
    singular = np.sqrt(prepared.n_samples * (1.0 + ratios))
    return singular, posteriors(prepared, coefficients, intercepts)


def _nuclear_norm(matrix: NDArray[np.float64]) -> float:
    """Return the sum of the singular values, through the smaller Gram matrix: half the time of a decomposition."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    return float(np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))))
