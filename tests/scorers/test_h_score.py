import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def explicit(features, labels):
    """tr(T⁻¹ B) with the matrices written out."""
    classes = np.unique(labels)
    total = np.cov(features, rowvar=False, ddof=0)
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])
    shares = np.array([np.mean(labels == c) for c in classes])
    away = means - features.mean(axis=0)
    return np.trace(np.linalg.solve(total, (away.T * shares) @ away))


def test_a_case_worked_out_by_hand():
    # Means 1 and 3 around 2; B = 1, T = mean of (2², 0, 0, 2²) = 2.
    assert score("h_score", [[0.0], [2.0], [2.0], [4.0]], [0, 0, 1, 1]).value == pytest.approx(0.5, rel=1e-12)


def test_equals_the_definition_with_an_explicit_inverse(blobs):
    features, labels = blobs
    assert score("h_score", features, labels).value == pytest.approx(explicit(features, labels), rel=1e-9)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_public_code(golden, problem):
    features, labels, value = golden(problem, "hscore@tllib")
    assert score("h_score", features, labels).value == pytest.approx(value, rel=1e-9)


def test_the_pseudo_inverse_of_the_public_code_is_wrong_for_float32_features(golden):
    features, labels, wrong = golden("P7_f32_offset", "hscore@tllib")
    value = score("h_score", features, labels).value
    assert value == pytest.approx(explicit(features.astype(np.float64), labels), rel=1e-7)
    assert wrong > 1.015 * value


def test_the_element_by_element_product_of_the_public_code_is_not_a_trace(golden):
    features, labels, wrong = golden("P1_balanced", "hscore_elementwise_BUG@stable_transfer(np port)")
    value = score("h_score", features, labels).value
    assert value == pytest.approx(explicit(features, labels), rel=1e-9)
    assert value <= 9 < wrong


def test_labels_with_gaps_are_classes_like_any(golden):
    features, labels, value = golden("P1_balanced", "hscore@tllib")
    assert score("h_score", features, 7 * labels + 3).value == pytest.approx(value, rel=1e-9)


def test_fewer_samples_than_dimensions_reach_the_maximum_for_any_labels():
    features, labels = np.random.default_rng(0).normal(size=(100, 400)), np.arange(100) % 5
    result = score("h_score", features, labels)
    assert result.value == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_targets_give_the_sum_of_the_squared_canonical_correlations(task):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5))
    targets = features[:, :3] + rng.normal(size=(200, 3))
    if task == "multilabel":
        targets = (targets > 0).astype(int)
    x, y = CCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(features, targets.astype(float))
    expected = sum(np.corrcoef(x[:, j], y[:, j])[0, 1] ** 2 for j in range(3))
    assert score("h_score", features, targets, task=task).value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_targets_that_follow_from_others_count_once(seed):
    rng = np.random.default_rng(seed)
    features, targets = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    more = np.column_stack([targets, 3 * targets[:, 0], targets[:, 0] - 0.1 * targets[:, 1]])
    once = score("h_score", features, targets).value
    assert score("h_score", features, more).value == pytest.approx(once, rel=1e-9)
