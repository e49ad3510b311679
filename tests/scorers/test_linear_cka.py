import numpy as np
import pytest

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def over_all_pairs(features, targets):
    """The alignment of two centred n × n kernels."""
    x, y = (part - part.mean(axis=0) for part in (features, targets))
    k, m = x @ x.T, y @ y.T
    return np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))


def test_a_case_worked_out_by_hand():
    # One dimension and one contrast: the squared correlation, 2² / (8 · 1).
    assert score("linear_cka", [[0.0], [2.0], [2.0], [4.0]], [0, 0, 1, 1]).value == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_reference(golden, problem):
    features, labels, value = golden(problem, "own.linear_cka_labels")
    assert score("linear_cka", features, labels).value == pytest.approx(value, rel=1e-9)


def test_float32_features_are_worked_on_in_float64(golden):
    features, labels, wrong = golden("P7_f32_offset", "own.linear_cka_labels")
    expected = over_all_pairs(features.astype(np.float64), np.eye(4)[labels])
    assert wrong != pytest.approx(expected, rel=1e-3)
    assert score("linear_cka", features, labels).value == pytest.approx(expected, rel=1e-6)


def test_several_regression_targets_are_standardised_first():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(80, 5)), rng.normal(size=(80, 2)) * [1.0, 1e4]
    expected = over_all_pairs(features, targets / targets.std(axis=0))
    assert score("linear_cka", features, targets).value == pytest.approx(expected, rel=1e-9)


def test_multilabel_targets_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(80, 5)), (rng.random((80, 3)) < [0.1, 0.5, 0.8]).astype(int)
    assert score("linear_cka", features, targets).value == pytest.approx(over_all_pairs(features, targets), rel=1e-9)
