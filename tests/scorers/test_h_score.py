import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from neuralrank.scorers import score

FULL_RANK = ["P1_balanced", "P2_imbalanced", "P4_n_lt_d", "P5_k100", "P7_f32_offset"]


@pytest.mark.parametrize("problem", FULL_RANK)
def test_agrees_with_the_public_reference_where_no_column_is_dead(golden, problem):
    features, labels, value = golden(problem, "hscore_regularized@tllib")
    assert score("h_score", features, labels).value == pytest.approx(value, rel=1e-6)


def test_equals_the_definition_with_an_explicit_inverse(blobs):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    shrunk, intensity = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[labels == c].mean(axis=0) for c in range(3)])[labels]
    between = means.T @ means / (len(labels) - 1)
    expected = (1 - intensity) * np.trace(np.linalg.solve(shrunk, between))
    result = score("h_score", features, labels)
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.details["shrinkage"] == pytest.approx(intensity, rel=1e-9)


def test_dead_columns_change_nothing(blobs):
    features, labels = blobs
    padded = np.hstack([features, np.full((150, 3), 7.0)])
    assert score("h_score", padded, labels).value == pytest.approx(score("h_score", features, labels).value, rel=1e-9)


def test_shuffled_labels_do_not_reach_the_maximum_with_fewer_samples_than_dimensions():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(100, 400)), np.arange(100) % 5
    assert score("h_score", features, labels).value < 2.0  # unshrunk it would be 4 for any labels
