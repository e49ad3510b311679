import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from neuralrank.scorers import score
from neuralrank.scorers.log_me import log_evidence

CLASSIFICATION = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P6_digits", "P10_relu_sparse"]


def uncentred(features, targets):
    """The score as the public code defines it: no intercept, no centring."""
    left, values, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = values > 1e-9 * values[0]
    projected = left[:, kept].T @ targets
    return log_evidence(values[kept] ** 2, projected**2, np.sum(targets**2, axis=0), n_samples=len(targets)).mean()


def exact(features, target):
    """Maximise the marginal likelihood of y ~ N(0, X X'/alpha + I/beta) numerically: no shared algebra."""
    gram = features @ features.T

    def negative(parameters):
        covariance = gram * np.exp(-parameters[0]) + np.eye(len(target)) * np.exp(-parameters[1])
        return -multivariate_normal(cov=covariance).logpdf(target)

    starts = [(a, b) for a in (-4.0, 0.0, 4.0) for b in (-2.0, 2.0)]
    return max(-minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-7}).fun for start in starts)


@pytest.mark.parametrize("problem", CLASSIFICATION)
def test_the_evidence_agrees_with_the_converged_public_reference(golden, problem):
    features, labels, value = golden(problem, "logme@tllib")
    targets = np.eye(labels.max() + 1)[labels]
    assert uncentred(features, targets) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("problem", ["P8_regression", "P9_regression_n_lt_d"])
def test_the_regression_evidence_agrees_with_the_converged_public_reference(golden, problem):
    features, labels, value = golden(problem, "logme_reg@tllib")
    assert uncentred(features, labels) == pytest.approx(value, abs=5e-4)  # the reference stops after 11 steps


def test_the_fast_path_of_the_public_code_is_wrong_for_fewer_samples_than_dimensions(golden):
    features, labels, wrong = golden("P4_n_lt_d", "logme_fixed_point@thuml/LogME")
    value = uncentred(features, np.eye(labels.max() + 1)[labels])
    converged = golden("P4_n_lt_d", "logme@tllib")[2]
    assert wrong == pytest.approx(2.578, abs=1e-3)
    # The public fixed point rests at a local maximum of one column here; the evidence is a maximum, so ours is higher.
    assert converged < value < converged + 0.005


@pytest.mark.parametrize(("n_samples", "n_features"), [(40, 5), (20, 60)], ids=["tall", "wide"])
def test_the_evidence_is_the_maximal_marginal_likelihood(n_samples, n_features):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n_samples, n_features))
    target = features[:, 0] + 0.5 * rng.normal(size=n_samples)
    expected = exact(features, target) / n_samples
    assert uncentred(features, target[:, None]) == pytest.approx(expected, abs=1e-6)


def test_scale_and_offset_do_not_matter(blobs):
    features, labels = blobs
    value = score("log_me", features, labels).value
    assert score("log_me", features * 1e6, labels).value == pytest.approx(value, abs=1e-9)
    assert score("log_me", features * 1e-6, labels).value == pytest.approx(value, abs=1e-9)
    assert score("log_me", features + 1000.0, labels).value == pytest.approx(value, abs=1e-6)


def test_warns_where_noise_of_many_dimensions_would_win():
    rng = np.random.default_rng(0)
    assert score("log_me", rng.normal(size=(30, 50)), np.arange(30) % 2).warnings
    assert not score("log_me", rng.normal(size=(50, 30)), np.arange(50) % 2).warnings
