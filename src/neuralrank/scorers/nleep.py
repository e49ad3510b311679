"""NLEEP: LEEP with the clusters of the features in place of source classes.

Where we differ from the public code, and why: the mixture has diagonal covariances in the principal axes, because full
ones are singular for fewer samples than 5 k dimensions and make the public code run for minutes; it has at most one
component for ten samples; k-means++ starts it from a stated seed and from the samples in an order of their own, so that
the order they come in does not matter; the features are scaled, so that the floor of the variances means the same.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers.leep import expected_log_prediction
from neuralrank.types import Score

_ENERGY = 0.8
_MAX_AXES = 64
_SAMPLES_EACH = 10
_MAX_STEPS = 50


@scorer(
    family="Gaussian",
    tasks={"classification"},
    paper="Li et al. 2021, CVPR (NLEEP)",
    noise_from=(1.0, None),
)
def nleep(prepared: Prepared, *, components_per_class: int = 5) -> Score:
    """Score LEEP of the posteriors of a Gaussian mixture of the features.

    Args:
        prepared: features and labels.
        components_per_class: Gaussians for each class; fewer where that leaves less than 10 samples for each.

    Returns:
        Score <= 0, in nats; `terms` are per sample. In sample.

    Cost: the one decomposition plus up to 50 steps of O(n · c · p) for c Gaussians in the p <= 64 axes that hold 80 %
    of the variance.
    """
    if components_per_class < 1:
        raise DataError(f"nleep needs components_per_class >= 1. Got {components_per_class}. Use 5 if unsure.")
    n_components = max(1, min(components_per_class * prepared.n_classes, prepared.n_samples // _SAMPLES_EACH))
    terms = expected_log_prediction(_posteriors(_axes(prepared), n_components, prepared.seed), prepared)
    return Score(value=float(terms.mean()), terms=terms)


def _axes(prepared: Prepared) -> NDArray[np.float64]:
    """Return the samples in the leading principal axes, each axis turned so that its third moment is positive."""
    shares = np.cumsum(prepared.spectrum.values**2)
    n_axes = min(int(np.searchsorted(shares, _ENERGY * shares[-1])) + 1, _MAX_AXES)
    points = prepared.spectrum.coordinates(n_axes)
    return np.asarray(points * np.where(np.sum(points**3, axis=0) < 0, -1.0, 1.0))


def _posteriors(points: NDArray[np.float64], n_components: int, seed: int) -> NDArray[np.float64]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    order = np.argsort(points[:, 0], kind="stable")
    mixture = GaussianMixture(
        n_components,
        covariance_type="diag",
        init_params="k-means++",
        max_iter=_MAX_STEPS,
        random_state=np.random.RandomState(seed),
    )
    posteriors = np.empty((len(points), n_components))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 50 steps are the definition here
        posteriors[order] = mixture.fit(points[order]).predict_proba(points[order])
    return posteriors
