"""Gaussian Bhattacharyya coefficient: how much the classes overlap, each taken as a Gaussian.

Where we differ from the public code, and why: the score is -log of the summed overlaps instead of -sum, which has the
same order and does not underflow to one value for all models whose classes are far apart; the variance of a class of
one sample, which has none, is that within all classes; the floor of the variance is relative to the features.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_VARIANCE_FLOOR = 1e-4


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Pándy et al. 2022, CVPR (GBC)",
    invariances={"sample order", "rotation"},
    noise_from=(0.2, None),
)
def gbc(
    prepared: Prepared,
    *,
    covariance: Literal["spherical", "diagonal"] = "spherical",
    n_components: int | None = 64,
) -> Score:
    """Score -log Σ_{c ≠ c'} exp(-D(c, c')) with D the Bhattacharyya distance of two classes.

    D = 1/8 Σ (m - m')² / v̄ + 1/2 Σ log(v̄ / sqrt(v v')), v̄ the mean of the two variances; a spherical class has one
    variance, whose logarithm counts once.

    Args:
        prepared: features and labels.
        covariance: 'spherical' or 'diagonal', in the principal axes.
        n_components: principal components used, as in the paper; None: all.

    Returns:
        Score >= -log(k (k - 1)), in nats; that bound where all classes are the same.

    Cost: the one decomposition plus O(n · p + k² · p) for p components.
    """
    if covariance not in ("spherical", "diagonal"):
        raise DataError(
            f"gbc needs the covariance 'spherical' or 'diagonal'. Got {covariance!r}. Use 'spherical' if unsure."
        )
    if n_components is not None and n_components < 1:
        raise DataError(f"gbc needs n_components >= 1. Got {n_components}. Use 64 if unsure.")
    points = prepared.spectrum.coordinates(n_components)
    means, variances = class_gaussians(points, prepared)
    if covariance == "spherical":
        variances = variances.mean(axis=1, keepdims=True)
    return Score(value=log_separation(means, np.maximum(variances, _VARIANCE_FLOOR)))


def class_gaussians(points: NDArray[np.float64], prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and variances of each class, shapes (n_classes, n_columns)."""
    counts = prepared.class_counts[:, None]
    means = prepared.sum_by_class(points) / counts
    scatters = prepared.sum_by_class((points - means[prepared.class_indices]) ** 2)
    pooled = scatters.sum(axis=0) / prepared.n_samples
    return means, np.where(counts > 1, scatters / counts, pooled)


def log_separation(means: NDArray[np.float64], variances: NDArray[np.float64]) -> float:
    """Return -log Σ exp(-D) over the ordered pairs of classes.

    Args:
        means: shape (n_classes, n_columns).
        variances: shape (n_classes, n_columns), or (n_classes, 1) for spherical classes.
    """
    overlaps = []
    for index in range(len(means)):
        others = np.arange(len(means)) != index
        mean_variance = (variances[index] + variances[others]) / 2.0
        apart = np.sum((means[index] - means[others]) ** 2 / mean_variance, axis=1) / 8.0
        unlike = np.sum(np.log(mean_variance) - np.log(variances[index] * variances[others]) / 2.0, axis=1) / 2.0
        overlaps.append(-(apart + unlike))
    return -float(logsumexp(np.concatenate(overlaps)))
