import numpy as np
import pytest

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def explicit(features, labels):
    classes = np.unique(labels)
    shares = [np.mean(labels == c) for c in classes]
    within = sum(w * np.trace(np.cov(features[labels == c].T, ddof=0)) for w, c in zip(shares, classes, strict=True))
    return (np.trace(np.cov(features.T, ddof=0)) - within) / within


def test_a_case_worked_out_by_hand():
    # Between 4², within 1².
    assert score("fisher_ratio", [[0.0], [2.0], [8.0], [10.0]], [0, 0, 1, 1]).value == pytest.approx(16, rel=1e-12)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_a_loop_over_the_classes(golden, problem):
    features, labels, value = golden(problem, "own.fisher_trace_ratio")
    assert score("fisher_ratio", features, labels).value == pytest.approx(value, rel=1e-9)
    assert value == pytest.approx(explicit(features, labels), rel=1e-9)


def test_float32_features_are_worked_on_in_float64(golden):
    features, labels, wrong = golden("P7_f32_offset", "own.fisher_trace_ratio")
    value = score("fisher_ratio", features, labels).value
    assert value == pytest.approx(explicit(features.astype(np.float64), labels), rel=1e-6)
    assert wrong > 1.05 * value


def test_classes_that_are_points_have_a_finite_score():
    assert score("fisher_ratio", [[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1]).value == pytest.approx(1e12, rel=1e-3)
