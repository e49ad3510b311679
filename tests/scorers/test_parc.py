import numpy as np
import pytest
from scipy.stats import spearmanr

from neuralrank.scorers import score


def standardised(features):
    exact = features.astype(np.float64)
    return (exact - exact.mean(axis=0)) / exact.std(axis=0)


def public(features, label_rows, digits=None):
    """The public formula: correlations of rows, of features and of labels, over the pairs below the diagonal."""
    below = np.tril_indices(len(features), -1)
    labels = (1 - np.corrcoef(label_rows))[below]
    if digits is not None:
        labels = np.round(labels, digits)
    return spearmanr((1 - np.corrcoef(standardised(features)))[below], labels)[0]


def test_a_case_worked_out_by_hand():
    # Rows (1, -1), (2, -2), (-1, 1) correlate by +1 and -1: distances 0, 2, 2 for label distances 0, 1, 1.
    assert score("parc", [[1.0, -1.0], [2.0, -2.0], [-3.0, 3.0]], [0, 0, 1]).value == pytest.approx(1.0, rel=1e-12)
    # With the labels (0, 1, 1) they are 1, 1, 0: ranks (1, 2.5, 2.5) against (2.5, 2.5, 1) correlate by -1/2.
    assert score("parc", [[1.0, -1.0], [2.0, -2.0], [-3.0, 3.0]], [0, 1, 1]).value == pytest.approx(-0.5, rel=1e-12)


def test_agrees_with_the_public_code_where_it_ties_equal_pairs(golden):
    features, labels, value = golden("P2_imbalanced", "parc_full@parc")
    assert 100 * score("parc", features, labels, max_samples=2000).value == pytest.approx(value, rel=1e-6)


def test_rounding_ranks_equal_pairs_in_the_public_code_and_not_in_ours(golden):
    features, labels, wrong = golden("P4_n_lt_d", "parc_full@parc")
    one_hot = np.eye(6)[labels]
    value = 100 * score("parc", features, labels).value
    assert len(np.unique((1 - np.corrcoef(one_hot))[np.tril_indices(300, -1)])) > 2  # same class or not: two at most
    assert value == pytest.approx(100 * public(features, one_hot, digits=9), rel=1e-9)
    assert value > wrong + 0.5


def test_the_order_of_the_classes_moves_the_ties_of_the_public_code_and_not_ours(blobs):
    features, labels = blobs
    values = [score("parc", features, names[labels]).value for names in (np.array([0, 1, 2]), np.array([2, 0, 1]))]
    assert values[0] == values[1]


def test_multilabel_rows_are_compared_by_their_correlation():
    rng = np.random.default_rng(0)
    targets = np.eye(4, dtype=int)[np.arange(60) % 4] | (rng.random((60, 4)) < 0.3)
    targets = targets[targets.sum(axis=1) < 4]
    features = rng.normal(size=(len(targets), 5)) + targets @ rng.normal(size=(4, 5))
    assert score("parc", features, targets).value == pytest.approx(public(features, targets, digits=9), rel=1e-9)


def test_a_regression_target_is_compared_by_distance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6))
    target = features @ rng.normal(size=6)
    below = np.tril_indices(50, -1)
    distances = np.abs(target[:, None] - target)[below]
    expected = spearmanr((1 - np.corrcoef(standardised(features)))[below], distances)[0]
    assert score("parc", features, target).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_rounding_does_not_rank_pairs_that_are_equally_far_apart(task):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 6))
    if task == "regression":  # marks from 1 to 5: distances 0 to 4, many of each
        targets = rng.integers(1, 6, size=60).astype(float)
        distances = np.abs(targets[:, None] - targets)
    else:
        targets = rng.integers(0, 2, size=(60, 2))
        distances = np.linalg.norm((targets[:, None] - targets) / targets.std(axis=0), axis=2).round(9)
    below = np.tril_indices(60, -1)
    expected = spearmanr((1 - np.corrcoef(standardised(features)))[below], distances[below])[0]
    assert score("parc", features, targets, task=task).value == pytest.approx(expected, rel=1e-9)


def test_several_regression_targets_are_standardised_first():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(50, 6)), rng.normal(size=(50, 2))
    value = score("parc", features, targets).value
    assert score("parc", features, targets * [1.0, 1e5]).value == pytest.approx(value, rel=1e-9)


def test_one_dimension_has_no_correlation_but_a_sign():
    assert score("parc", [[-1.0], [-2.0], [2.0], [1.0]], [0, 0, 1, 1]).value == pytest.approx(1.0, rel=1e-12)


def test_a_subsample_is_drawn_by_class_and_said():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (1500, 1000))
    result = score("parc", rng.normal(size=(2500, 3)) + 2 * labels[:, None] * [1, 0, 0], labels)
    assert "parc looked at 2,000 of 2,500 samples, drawn by class with seed 0." in result.warnings


def test_shuffled_labels_score_about_zero_with_fewer_samples_than_dimensions(golden):
    features, labels, _ = golden("P4_n_lt_d", "parc_full@parc")
    assert score("parc", features, np.random.default_rng(0).permutation(labels)).value == pytest.approx(0.0, abs=0.01)
