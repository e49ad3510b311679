"""Linear discriminants in the principal axes of the features, where their covariance is diagonal.

With m_c the class means in these axes and T = diag(s²/n) the covariance, that within the classes is
W = T - Σ_c π_c m_c m_c'. Directions without variance carry neither means nor samples and play no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._shrinkage import ledoit_wolf_intensity


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassGaussians:
    """Gaussian classes of one covariance."""

    means: NDArray[np.float64]
    """Shape (n_classes, n_axes)."""
    priors: NDArray[np.float64]
    within: NDArray[np.float64]
    """W, shape (n_axes, n_axes)."""

    def shrunk(self, intensity: float, n_features: int) -> NDArray[np.float64]:
        """Return (1 - a) W + a tr(W)/d I in these axes, d the dimension of the features they came from."""
        shrunk = (1.0 - intensity) * self.within
        shrunk[np.diag_indices_from(shrunk)] += intensity * np.trace(self.within) / n_features
        return shrunk


def class_gaussians(prepared: Prepared, n_components: int | None = None) -> ClassGaussians:
    """Return the classes in the first principal axes, or in all."""
    values = prepared.spectrum.values[:n_components]
    means = (prepared.projected[:n_components] * values[:, None]).T / prepared.class_counts[:, None]
    priors = prepared.class_counts / prepared.n_samples
    within = -(means.T * priors) @ means
    within[np.diag_indices_from(within)] += values**2 / prepared.n_samples
    return ClassGaussians(means=means, priors=priors, within=within)


def discriminants(classes: ClassGaussians, covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the coefficients, shape (n_axes, n_classes), and the intercepts of the linear discriminants.

    A covariance that is singular to rounding is mended by the least ridge that makes it positive.
    """
    ridge, factor = 0.0, None
    scale = float(np.trace(covariance)) / len(covariance)
    while factor is None:
        try:
            factor = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)) if ridge else covariance)
        except np.linalg.LinAlgError:
            ridge = max(10.0 * ridge, 1e-14 * scale, 1e-300)
    half = solve_triangular(factor, classes.means.T, lower=True, check_finite=False)
    coefficients = solve_triangular(factor, half, lower=True, trans="T", check_finite=False)
    intercepts = np.log(classes.priors) - np.einsum("cj,jc->c", classes.means, coefficients) / 2.0
    return coefficients, intercepts


def posteriors(
    prepared: Prepared, coefficients: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the posterior of every class by discriminants in the first axes, shape (n_samples, n_classes)."""
    n_axes = len(coefficients)
    scaled = prepared.spectrum.values[:n_axes, None] * coefficients
    return softmax(prepared.spectrum.left[:, :n_axes] @ scaled + intercepts)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn logits into probabilities, in place: there may be many of them."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def within_intensity(prepared: Prepared, classes: ClassGaussians) -> float:
    """Return the Ledoit-Wolf intensity of the covariance within the classes."""
    return ledoit_wolf_intensity(
        float(np.trace(classes.within)),
        float(np.sum(classes.within**2)),
        prepared.squares_within,
        n_features=prepared.features.shape[1],
    )
