import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def test_a_case_worked_out_by_hand():
    # Between: 4 · 4² / 1; within: 4 · 1² / 2.
    assert score("calinski_harabasz", [[0.0], [2.0], [8.0], [10.0]], [0, 0, 1, 1]).value == pytest.approx(32, rel=1e-12)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_public_code(golden, problem):
    features, labels, value = golden(problem, "calinski_harabasz@sklearn")
    assert score("calinski_harabasz", features, labels).value == pytest.approx(value, rel=1e-9)


def test_float32_features_are_worked_on_in_float64(golden):
    features, labels, _ = golden("P7_f32_offset", "calinski_harabasz@sklearn")
    expected = calinski_harabasz_score(features.astype(np.float64), labels)
    assert score("calinski_harabasz", features, labels).value == pytest.approx(expected, rel=1e-7)


def test_labels_that_say_nothing_score_about_one():
    features = np.random.default_rng(0).normal(size=(2000, 50))
    assert score("calinski_harabasz", features, np.arange(2000) % 10).value == pytest.approx(1.0, abs=0.15)


def test_as_many_classes_as_samples_score_one():
    features = np.random.default_rng(0).normal(size=(5, 3))
    assert score("calinski_harabasz", features, np.arange(5)).value == 1.0
