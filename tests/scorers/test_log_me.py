import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
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


def converged(features, targets):
    """The best evidence over the ratio of the precisions, by another search and with the null space written out."""
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    kept = values > 1e-9 * values[0]
    left, variances = left[:, kept], values[kept] ** 2
    n_samples, n_features = features.shape

    def negative(log_ratio, target):
        ratio = np.exp(log_ratio)
        inside = (left.T @ target) ** 2
        rest = target @ target - inside.sum()
        beta = n_samples / (np.sum(inside * ratio / (variances + ratio)) + rest)
        alpha = ratio * beta
        log_det = np.sum(np.log(alpha + beta * variances)) + (n_features - len(variances)) * np.log(alpha)
        log_det -= n_features * np.log(alpha) + n_samples * np.log(beta)
        return (log_det + n_samples * (1 + np.log(2 * np.pi))) / 2

    def best(target):
        grid = np.arange(-15.0, 25.0, 0.5)
        start = grid[np.argmin([negative(at, target) for at in grid])]
        return -minimize_scalar(negative, (start - 0.5, start, start + 0.5), args=(target,), tol=1e-10).fun

    return np.mean([best(target) for target in targets.T]) / n_samples


@pytest.mark.parametrize("problem", CLASSIFICATION)
def test_the_evidence_agrees_with_the_public_code(golden, problem):
    features, labels, value = golden(problem, "logme@tllib")
    targets = np.eye(labels.max() + 1)[labels]
    assert uncentred(features, targets) == pytest.approx(value, abs=2e-6)  # the public code stops after 11 steps


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P10_relu_sparse"])
def test_the_evidence_is_converged_to_eight_digits(golden, problem):
    features, labels, _ = golden(problem, "logme@tllib")
    targets = np.eye(labels.max() + 1)[labels]
    assert uncentred(features, targets) == pytest.approx(converged(features, targets), abs=2e-8)


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


def public_fixed_point(features, targets):
    """The public algorithm: from 1 and 1, at most 11 steps, with absolute epsilons."""
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    sigma, n_samples = values**2, len(features)
    evidence = []
    for target in targets.T:
        inside = (left.T @ target) ** 2
        rest = target @ target - inside.sum()
        alpha = beta = 1.0
        for _ in range(11):
            ratio = alpha / beta
            gamma = np.sum(sigma / (sigma + ratio))
            m2 = np.sum(sigma * inside / (ratio + sigma) ** 2)
            res2 = np.sum(inside / (1 + sigma / ratio) ** 2) + rest
            alpha, beta = gamma / (m2 + 1e-5), (n_samples - gamma) / (res2 + 1e-5)
            log_p = len(sigma) * np.log(alpha) + n_samples * np.log(beta) - np.sum(np.log(alpha + beta * sigma))
            log_p -= beta * res2 + alpha * m2 + n_samples * np.log(2 * np.pi)
            if abs(alpha / beta - ratio) / ratio <= 1e-3:
                break
        evidence.append(log_p / 2 / n_samples)
    return np.mean(evidence)


def test_the_public_code_depends_on_the_scale_of_the_features_and_ours_does_not(golden):
    features, labels, public = golden("P1_balanced", "logme_fixed_point@thuml/LogME")
    targets = np.eye(10)[labels]
    assert public_fixed_point(features, targets) == pytest.approx(public, abs=1e-6)
    assert public_fixed_point(1e3 * features, targets) < public - 0.01
    value = score("log_me", features, labels).value
    assert score("log_me", 1e3 * features, labels).value == pytest.approx(value, abs=1e-9)


def test_the_public_code_depends_on_an_offset_which_serves_as_an_intercept_and_ours_does_not(blobs):
    features, labels = blobs
    targets = np.eye(3)[labels]
    assert uncentred(features + 10.0, targets) > uncentred(features - features.mean(axis=0), targets) + 0.01
    value = score("log_me", features, labels).value
    assert score("log_me", features + 10.0, labels).value == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("implementation", ["logme@tllib", "logme_icml@thuml/LogME"])
def test_the_public_code_stops_short_of_the_maximum_on_classes_of_unlike_sizes(golden, implementation):
    features, labels, stopped = golden("P2_imbalanced", implementation)
    assert stopped < converged(features, np.eye(8)[labels]) - 1e-6


def test_the_score_is_the_evidence_of_centred_features_and_labels_with_one_degree_of_freedom_less(blobs):
    features, labels = blobs
    x, y = features - features.mean(axis=0), np.eye(3)[labels] - 1 / 3
    basis = np.linalg.svd(np.eye(150) - 1 / 150)[0][:, :149]  # of what is orthogonal to the constant
    expected = converged(basis.T @ x, basis.T @ y)
    assert score("log_me", features, labels).value == pytest.approx(expected, abs=1e-7)


def test_several_targets_are_averaged(blobs):
    features, _ = blobs
    targets = features[:, :2] + np.random.default_rng(0).normal(size=(150, 2))
    alone = [score("log_me", features, target).value for target in targets.T]
    assert score("log_me", features, targets).value == pytest.approx(np.mean(alone), rel=1e-9)


def test_labels_with_gaps_are_classes_like_any(golden):
    features, labels, _ = golden("P2_imbalanced", "logme@tllib")
    # An empty class has no evidence: one public code gives NaN, another counts its zeros.
    value = score("log_me", features, labels).value
    assert score("log_me", features, 10 * labels).value == value


def test_scale_and_offset_do_not_matter(blobs):
    features, labels = blobs
    value = score("log_me", features, labels).value
    assert score("log_me", features * 1e6, labels).value == pytest.approx(value, abs=1e-9)
    assert score("log_me", features * 1e-6, labels).value == pytest.approx(value, abs=1e-9)
    assert score("log_me", features + 1000.0, labels).value == pytest.approx(value, abs=1e-6)
