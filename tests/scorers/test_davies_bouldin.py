import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def test_a_case_worked_out_by_hand():
    # Both classes lie 1 from their means, which are 8 apart: (1 + 1) / 8.
    assert score("davies_bouldin", [[0.0], [2.0], [8.0], [10.0]], [0, 0, 1, 1]).value == pytest.approx(-0.25, rel=1e-12)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_public_code(golden, problem):
    features, labels, value = golden(problem, "davies_bouldin_neg@sklearn")
    assert score("davies_bouldin", features, labels).value == pytest.approx(value, rel=1e-9)


def test_float32_features_are_worked_on_in_float64(golden):
    features, labels, wrong = golden("P7_f32_offset", "davies_bouldin_neg@sklearn")
    exact = features.astype(np.float64)
    expected = -davies_bouldin_score(exact - exact.mean(axis=0), labels)
    assert wrong != pytest.approx(expected, rel=5e-4)
    assert score("davies_bouldin", features, labels).value == pytest.approx(expected, rel=1e-9)


def test_classes_of_the_same_mean_are_the_worst_of_all():
    features = [[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]]
    assert score("davies_bouldin", features, [0, 0, 1, 1, 2, 2]).value < -1e5
