"""PACTran-Gaussian: a PAC-Bayesian bound of the transfer loss with a Gaussian prior on a linear head, negative.

Where we differ from the public code, and why: the sign is turned, because the bound is a loss; the optimum of the
convex problem is sought from zero to convergence, in the principal axes, where the public code starts from unseeded
normal numbers and stops after 100 steps; the features are scaled to a root mean square of 1, because the prior has an
absolute width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_MAX_STEPS = 500


@scorer(
    family="evidence",
    tasks={"classification"},
    paper="Ding et al. 2022, ECCV (PACTran)",
    invariances={"sample order", "rotation"},
    noise_from=(0.2, 0.1),
)
def pactran_gauss(prepared: Prepared, *, prior_width: float = 1.0, variance_factor: float = 100.0) -> Score:
    """Score -(L + k d / (2 λ n) · σ² · log v), L the least of mean log loss + ||W||² / (2 λ n) over linear heads W.

    v is λ n times the mean curvature of the log loss in the k d weights and k offsets, summed over the samples, and
    σ² = variance_factor / d.

    Args:
        prepared: features and labels.
        prior_width: λ > 0.
        variance_factor: of σ²; the term that grows with the dimension is proportional to it.

    Returns:
        Score in nats, unbounded; the terms `loss` (L) and `variance` are in the details.

    Cost: the one decomposition plus up to 500 steps of O(n · rank · k).
    """
    for name, value in (("prior_width", prior_width), ("variance_factor", variance_factor)):
        if not value > 0:
            raise DataError(f"pactran_gauss needs {name} > 0. Got {value}. Leave it out if unsure.")
    n_samples, n_features = prepared.features.shape
    strength = prior_width * n_samples
    n_weights = prepared.n_classes * n_features
    loss, posteriors = _fit(prepared, strength)
    curvature = np.sum(posteriors - posteriors**2, axis=1)
    total = float(curvature @ (prepared.squared_lengths + 1.0)) + n_weights / strength
    spread = variance_factor / n_features * np.log(total * strength / n_weights + 1e-10)
    variance = 0.5 * n_weights / strength * float(spread)
    return Score(value=-(loss + variance), details={"loss": loss, "variance": variance})


def _fit(prepared: Prepared, strength: float) -> tuple[float, NDArray[np.float64]]:
    """Return the least penalised loss and the class probabilities there, shape (n_samples, n_classes)."""
    points, targets = prepared.spectrum.coordinates(), prepared.targets
    shape = (points.shape[1] + 1, prepared.n_classes)
    own = (np.arange(prepared.n_samples), prepared.class_indices)

    def probabilities(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = parameters.reshape(shape)
        logits = points @ head[:-1] + head[-1]
        logits -= logits.max(axis=1, keepdims=True)
        own_logits = logits[own]
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1)
        logits /= sums[:, None]
        return float(np.mean(np.log(sums) - own_logits) + np.sum(head[:-1] ** 2) / (2.0 * strength)), logits

    def loss_and_slope(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, errors = probabilities(parameters)
        errors -= targets
        errors /= prepared.n_samples
        slope = np.vstack([points.T @ errors + parameters.reshape(shape)[:-1] / strength, errors.sum(axis=0)])
        return loss, slope.ravel()

    start = np.zeros(shape)
    start[-1] = np.log(prepared.target_means)
    best = minimize(
        loss_and_slope, start.ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "ftol": 1e-9, "gtol": 1e-6, "maxcor": 20},
    )  # fmt: skip
    return probabilities(best.x)
