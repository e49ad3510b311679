import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from neuralrank.scorers import score

NO_DEAD_COLUMN = ["P1_balanced", "P2_imbalanced", "P4_n_lt_d", "P5_k100", "P7_f32_offset"]


@pytest.mark.parametrize("problem", NO_DEAD_COLUMN)
def test_agrees_with_the_public_code_where_no_column_is_dead(golden, problem):
    features, labels, value = golden(problem, "hscore_regularized@tllib")
    assert score("h_score_shrunk", features, labels).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", ["P3_dup_const", "P6_digits", "P10_relu_sparse"])
def test_dead_columns_move_the_public_code_and_not_ours(golden, problem):
    features, labels, value = golden(problem, "hscore_regularized@tllib")
    kept = score("h_score_shrunk", features, labels).value
    assert kept != pytest.approx(value, rel=1e-5)
    assert score("h_score_shrunk", features[:, features.std(axis=0) > 0], labels).value == pytest.approx(kept, rel=1e-9)


def test_equals_the_definition_with_an_explicit_inverse(blobs):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    shrunk, intensity = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[labels == c].mean(axis=0) for c in range(3)])[labels]
    between = means.T @ means / (len(labels) - 1)
    expected = (1 - intensity) * np.trace(np.linalg.solve(shrunk, between))
    result = score("h_score_shrunk", features, labels)
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.details["shrinkage"] == pytest.approx(intensity, rel=1e-9)


@pytest.mark.parametrize("shape", [(60, 5), (20, 45)], ids=["tall", "wide"])
def test_the_intensity_is_the_one_of_scikit_learn(shape):
    features = np.random.default_rng(1).normal(size=shape) * np.arange(1, shape[1] + 1)
    expected = ledoit_wolf(features)[1]
    result = score("h_score_shrunk", features, np.arange(shape[0]) % 2)
    assert result.details["shrinkage"] == pytest.approx(expected, rel=1e-9)


def test_shuffled_labels_do_not_reach_the_maximum_with_fewer_samples_than_dimensions():
    features, labels = np.random.default_rng(0).normal(size=(100, 400)), np.arange(100) % 5
    assert score("h_score_shrunk", features, labels).value < 2.0  # unshrunk it would be 4 for any labels
