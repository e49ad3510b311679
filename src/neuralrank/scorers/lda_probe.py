"""Linear discriminant analysis as a probe: each sample is classified by the analysis of the others.

Leaving one sample out changes the scatter within the classes by one rank and one class mean, so all n analyses follow
exactly from the first. Samples in groups are left out in folds of whole groups, with one fit a fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._discriminant import ClassGaussians, class_gaussians, discriminants, within_intensity
from neuralrank.scorers._folds import draw_folds
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_N_FOLDS = 5
_LEAST_INTENSITY = 1e-6
_LEAST_RIDGE = 1e-12
"""Of the largest squared singular value: classes that are points have no scatter to take a ridge from."""


@scorer(
    family="probe",
    tasks={"classification"},
    paper="Fisher 1936; shrinkage: Ledoit and Wolf 2004; leaving one out: Fukunaga and Kessell 1971, IEEE ToC",
    invariances={"sample order", "rotation"},
)
def lda_probe(prepared: Prepared) -> Score:
    """Score the accuracy of linear discriminant analysis on samples it was not fitted to.

    The covariance within the classes is shrunk by Ledoit and Wolf's intensity, once for all. The only sample of a class
    counts as wrong: without it there is no such class.

    Returns:
        Score in [0, 1]; `terms` are per sample; the intensity is in the details.

    Cost: the one decomposition plus O(n · r · k + n · k²); with groups O(n · r² + r³) for rank r.
    """
    labels = prepared.class_indices
    classes = class_gaussians(prepared)
    intensity = max(within_intensity(prepared, classes), _LEAST_INTENSITY)
    if prepared.groups is None:
        distances = held_out_distances(prepared, classes, intensity)
        counts = prepared.class_counts
        log_priors = np.log(np.broadcast_to(counts.astype(np.float64), distances.shape).copy())
        log_priors[np.arange(len(labels)), labels] = np.log(np.maximum(counts - 1, 1))[labels]
        logits = log_priors - distances / 2.0
        logits[np.arange(len(labels)), labels] = np.where(
            counts[labels] > 1, logits[np.arange(len(labels)), labels], -np.inf
        )
        predicted = logits.argmax(axis=1)
    else:
        predicted = _predicted_by_folds(prepared, intensity)
    terms = (predicted == labels).astype(np.float64)
    return Score(value=float(terms.mean()), terms=terms, details={"shrinkage": intensity})


def held_out_distances(prepared: Prepared, classes: ClassGaussians, intensity: float) -> NDArray[np.float64]:
    """Return the squared Mahalanobis distance of each sample to each class, by the analysis without the sample.

    With S = n W + ρ I the ridged scatter, A = S⁻¹, e = x - m_c for a sample x of class c, and κ = n_c / (n_c - 1), the
    scatter without x is S - κ e e', and m_c moves to m_c - e / (n_c - 1). Sherman and Morrison give its inverse, and

        (x - m_j)' A' (x - m_j) = q_j + κ g_j² / (1 - κ q_c)   for j ≠ c,      κ² q_c / (1 - κ q_c)   for j = c

    with q_j = (x - m_j)' A (x - m_j) and g_j = (x - m_j)' A e. A itself follows from T = diag(s² + ρ), which is
    diagonal: S = T - M' N M with N the class sizes (Woodbury).

    Returns:
        Shape (n_samples, n_classes).
    """
    labels, counts = prepared.class_indices, prepared.class_counts.astype(np.float64)
    n_samples, values = prepared.n_samples, prepared.spectrum.values
    own = (np.arange(n_samples), labels)
    trace = float(np.trace(classes.within))
    ridge = n_samples * intensity / (1.0 - min(intensity, 1.0 - 1e-9)) * trace / prepared.features.shape[1]
    total = values**2 + max(ridge, _LEAST_RIDGE * values[0] ** 2)
    through = classes.means / total  # M T⁻¹
    inner = np.linalg.inv(np.diag(1.0 / counts) - through @ classes.means.T)
    across = prepared.spectrum.left @ (values[:, None] * through.T)  # x' T⁻¹ m_j, shape (n_samples, n_classes)
    corrected = across @ inner
    lengths = prepared.spectrum.weighted_squares(values**2 / total) + np.einsum("ij,ij->i", across, corrected)
    between = through @ classes.means.T
    means = between + between @ inner @ between  # m_j' A m_l
    across = across + corrected @ between  # x' A m_j
    squares = lengths[:, None] - 2.0 * across + np.diag(means)
    toward = lengths[:, None] - across[own][:, None] - across + means[labels]
    kappa = (counts / np.maximum(counts - 1.0, 1.0))[labels]
    left = 1.0 - kappa * squares[own]
    left = np.where(counts[labels] > 1, np.maximum(left, 1e-12), 1.0)
    distances = squares + (kappa / left)[:, None] * toward**2 * (counts[labels] > 1)[:, None]
    distances[own] = kappa**2 * squares[own] / left
    return np.asarray(np.maximum(distances, 0.0) * (n_samples - 1) / (1.0 - min(intensity, 1.0 - 1e-9)))


def _predicted_by_folds(prepared: Prepared, intensity: float) -> NDArray[np.int64]:
    points, labels = prepared.spectrum.coordinates(), prepared.class_indices
    folds = draw_folds(prepared, _N_FOLDS)
    predicted = np.empty(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        present, codes = np.unique(labels[train], return_inverse=True)
        rows, counts = points[train], np.bincount(codes)
        means = np.stack([rows[codes == index].mean(axis=0) for index in range(len(present))])
        centred = rows - means[codes]
        classes = ClassGaussians(means=means, priors=counts / len(codes), within=centred.T @ centred / len(codes))
        coefficients, intercepts = discriminants(classes, classes.shrunk(intensity, prepared.features.shape[1]))
        predicted[test] = present[(points[test] @ coefficients + intercepts).argmax(axis=1)]
    return predicted
