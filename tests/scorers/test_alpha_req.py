import numpy as np
import pytest
from scipy.stats import linregress

from neuralrank.scorers import score

PROBLEMS = ["P1_balanced", "P2_imbalanced", "P5_k100", "P6_digits"]


def axes_of_variance(variances):
    """Features whose covariance is diagonal with exactly these variances, up to a factor."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, len(variances)))
    return np.linalg.qr(noise - noise.mean(axis=0))[0] * np.sqrt(variances)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_power_law_gives_its_exponent(exponent):
    features = axes_of_variance(np.arange(1, 31) ** -exponent)
    result = score("alpha_req", features, np.arange(200) % 2)
    assert result.details["alpha"] == pytest.approx(exponent, rel=1e-9)
    assert result.value == pytest.approx(-abs(exponent - 1), abs=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_agrees_with_the_reference_on_places_11_to_50(golden, problem):
    features, labels, value = golden(problem, "own.alpha_req_slope")
    assert score("alpha_req", features, labels).details["alpha"] == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize(("n_dims", "places"), [(49, slice(0, 49)), (50, slice(10, 50)), (80, slice(10, 50))])
def test_equals_a_regression_on_the_eigenvalues_of_the_covariance(n_dims, places):
    features = np.random.default_rng(2).normal(size=(400, n_dims)) * np.linspace(1, 3, n_dims)
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    slope = linregress(np.log(np.arange(1, n_dims + 1))[places], np.log(eigenvalues)[places]).slope
    assert score("alpha_req", features, np.arange(400) % 2).details["alpha"] == pytest.approx(-slope, rel=1e-8)


def test_one_dimension_has_no_slope():
    result = score("alpha_req", [[0.0], [1.0], [2.0]], [0, 1, 0])
    assert result.details["alpha"] == 0.0
    assert result.value == -1.0
