import numpy as np
import pytest

from neuralrank.scorers import score


def explicit(features, labels):
    """tr(T⁺ B) / rank(B) - 1 with the matrices written out."""
    total = np.cov(features, rowvar=False, ddof=0)
    means = np.stack([features[labels == c].mean(axis=0) for c in labels])
    between = np.cov(means, rowvar=False, ddof=0)
    return np.trace(np.linalg.pinv(total) @ between) / np.linalg.matrix_rank(between) - 1


def test_a_case_worked_out_by_hand():
    # T = 2, B = 1 (means 1 and 3 around 2).
    assert score("vci", [[0.0], [2.0], [2.0], [4.0]], [0, 0, 1, 1]).value == pytest.approx(-0.5, rel=1e-12)


def test_equals_the_definition_with_explicit_matrices(blobs):
    features, labels = blobs
    assert score("vci", features, labels).value == pytest.approx(explicit(features, labels), rel=1e-9)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P10_relu_sparse"])
def test_is_the_public_h_score_over_its_maximum(golden, problem):
    features, labels, value = golden(problem, "hscore@tllib")
    assert score("vci", features, labels).value == pytest.approx(value / labels.max() - 1, rel=1e-9)


def test_fewer_dimensions_than_classes_have_a_smaller_maximum():
    # In one dimension the means of five classes span one direction: collapsed classes reach 0 all the same.
    assert score("vci", np.repeat(np.arange(5.0), 4)[:, None], np.repeat(np.arange(5), 4)).value == pytest.approx(0.0)


def test_classes_of_the_same_mean_score_minus_one():
    features = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    assert score("vci", features, [0, 0, 1, 1]).value == pytest.approx(-1.0, abs=1e-12)
