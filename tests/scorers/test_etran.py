import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

from neuralrank.scorers import score


def posterior(features, labels, covariance):
    """Mean posterior of the own class of discriminants with an explicit inverse."""
    classes = np.unique(labels)
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])
    inverse = np.linalg.inv(covariance)
    logits = features @ inverse @ means.T - np.sum(means @ inverse * means, axis=1) / 2
    logits += np.log([np.mean(labels == c) for c in classes])
    return np.exp(logits[np.arange(len(labels)), labels] - logsumexp(logits, axis=1)).mean()


def shrunk_within(features, labels):
    classes = np.unique(labels)
    away = features - np.stack([features[labels == c].mean(axis=0) for c in classes])[labels]
    return ledoit_wolf(away, assume_centered=True)[0]


@pytest.mark.parametrize("problem", ["P1_balanced", "P3_dup_const", "P10_relu_sparse"])
def test_the_discriminants_of_the_public_code_are_the_nearest_mean_unwhitened(golden, problem):
    features, labels, public = golden(problem, "etran_lda@etran")
    assert posterior(features, labels, np.eye(features.shape[1])) == pytest.approx(public, rel=1e-9)


def test_the_discriminants_of_the_public_code_depend_on_the_scale_of_the_features_and_ours_do_not(golden):
    features, labels, public = golden("P1_balanced", "etran_lda@etran")
    assert posterior(1e-3 * features, labels, np.eye(128)) < 0.2 < public
    value = score("etran", features, labels).value
    assert score("etran", 1e-3 * features, labels).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P4_n_lt_d"])
def test_ours_are_discriminants_of_the_shrunk_covariance_within_the_classes(golden, problem):
    features, labels, public = golden(problem, "etran_lda@etran")
    expected = posterior(features, labels, shrunk_within(features, labels))
    found = score("etran", features, labels).details["posterior"]
    assert found == pytest.approx(expected, rel=1e-8)
    assert found != pytest.approx(public, rel=1e-3)


def test_the_energy_is_that_of_scaled_features_and_weighs_15_per_cent(blobs):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    scaled = centred / np.sqrt(np.mean(centred**2))
    energy = np.mean(logsumexp(scaled, axis=1) - np.log(6))
    result = score("etran", features, labels)
    assert result.details["energy"] == pytest.approx(energy, rel=1e-12)
    assert result.value == pytest.approx(0.85 * result.details["posterior"] + 0.15 * energy, rel=1e-12)
