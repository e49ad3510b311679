"""SFDA: self-challenging Fisher discriminant analysis.

Where we differ from the public code, and why: the discriminants of the public eigenvalue problem are the class means
times the inverse covariance, so one Cholesky factor replaces the solver; the features are scaled to a root mean square
of 1, because the shrinkage exp(-5 λ) depends on their absolute scale (multiplied by 0.001 the public score falls from
0.43 to 0.30); λ is the largest eigenvalue itself, where the public code stops after three steps towards it; the
caller's features are not overwritten. For fewer samples than dimensions the score is 1 for any labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from neuralrank.scorers import scorer
from neuralrank.scorers._discriminant import ClassGaussians, class_gaussians, discriminants, posteriors, softmax
from neuralrank.scorers._gram import weighted_gram
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_LEAST_INTENSITY = 1e-10
_FEW_AXES = 64


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Shao et al. 2022, ECCV (SFDA)",
    invariances={"sample order", "rotation"},
    noise_from=(0.2, 0.1),
)
def sfda(prepared: Prepared) -> Score:
    """Score the mean posterior of the own class, after features of unsure samples were mixed with the other classes.

    Two discriminant analyses: the posteriors p of the first, softened by a second softmax, mix each sample with the
    mean of the means of all other classes, p x + (1 - p) m; the second is fitted to the result.

    Returns:
        Score in [0, 1]; in sample. `terms` are per sample.

    Cost: the one decomposition plus O(n · d² + d³).
    """
    labels = prepared.class_indices
    classes = class_gaussians(prepared)
    intensity = _intensity(classes.within)
    shares = _softened(_posteriors(prepared, classes, intensity), labels)
    others = (classes.means.sum(axis=0) - classes.means) / (prepared.n_classes - 1)
    terms = _mixed_posteriors(prepared, shares, others, intensity)[np.arange(len(labels)), labels]
    return Score(value=float(terms.mean()), terms=terms)


def _intensity(within: NDArray[np.float64]) -> float:
    """Return the shrinkage exp(-5 λ), at least 1e-10, with λ the largest eigenvalue."""
    if np.diag(within).max() > -np.log(_LEAST_INTENSITY) / 5.0:  # no more than the largest eigenvalue
        return _LEAST_INTENSITY
    if len(within) < _FEW_AXES:
        largest = np.linalg.eigvalsh(within)[-1]
    else:
        start = np.ones(len(within))  # a start of its own would be drawn anew at every call
        largest = eigsh(within, k=1, v0=start, tol=1e-10, return_eigenvectors=False)[0]
    return max(float(np.exp(-5.0 * largest)), _LEAST_INTENSITY)


def _posteriors(prepared: Prepared, classes: ClassGaussians, intensity: float) -> NDArray[np.float64]:
    """Return the posterior of every class, shape (n_samples, n_classes)."""
    coefficients, intercepts = discriminants(classes, classes.shrunk(intensity, prepared.features.shape[1]))
    return posteriors(prepared, coefficients, intercepts)


def _mixed_posteriors(
    prepared: Prepared, shares: NDArray[np.float64], others: NDArray[np.float64], intensity: float
) -> NDArray[np.float64]:
    """Return the posteriors of the analysis of p x + (1 - p) m, without forming the mixed samples.

    Args:
        prepared: features and labels.
        shares: p, shape (n_samples,).
        others: m of each class, shape (n_classes, n_axes).
        intensity: of the shrinkage.
    """
    labels, counts = prepared.class_indices, prepared.class_counts
    left, values, rest = prepared.spectrum.left, prepared.spectrum.values, 1.0 - shares
    means = prepared.sum_by_class(left, shares) * values
    means += np.bincount(labels, weights=rest)[:, None] * others
    means /= counts[:, None]
    # The sum of (p x + q m)(p x + q m)' over the samples, q = 1 - p.
    cross = (prepared.sum_by_class(left, shares * rest) * values).T @ others
    cross += (others.T * (np.bincount(labels, weights=rest**2) / 2.0)) @ others
    squares = weighted_gram(left, shares)  # worked on in place: arrays of d × d numbers are slow to come by
    squares *= values[:, None]
    squares *= values
    squares += cross
    squares += cross.T
    squares /= prepared.n_samples
    priors = counts / prepared.n_samples
    squares -= (means.T * priors) @ means
    classes = ClassGaussians(means=means, priors=priors, within=squares)
    coefficients, intercepts = discriminants(classes, classes.shrunk(intensity, prepared.features.shape[1]))
    logits = left @ (values[:, None] * coefficients)
    logits *= shares[:, None]
    logits += rest[:, None] * (others @ coefficients)[labels]
    return softmax(logits + intercepts)


def _softened(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the softmax of probabilities at each sample's own class; overwrites them."""
    np.exp(probabilities, out=probabilities)
    return np.asarray(probabilities[np.arange(len(labels)), labels] / probabilities.sum(axis=1))
