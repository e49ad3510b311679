import numpy as np
import pytest
from scipy.spatial.distance import cdist

from neuralrank.scorers import score

FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P6_digits", "P10_relu_sparse"]


def over_all_pairs(features, labels):
    """The definition, pair by pair."""
    points = features / features.std(axis=0) / 2
    distances = cdist(points, points)
    classes = np.unique(labels)
    within = [
        np.mean([distances[i, j] for i in np.flatnonzero(labels == c) for j in np.flatnonzero(labels == c) if i != j])
        for c in classes
        if np.sum(labels == c) > 1
    ]
    between = [distances[np.ix_(labels == a, labels == b)].mean() for a in classes for b in classes if a < b]
    return (np.mean(between) - np.mean(within)) / np.sqrt(features.shape[1])


def test_a_case_worked_out_by_hand():
    # Standard deviation 1, halved: points at ∓1/2; between 1, within 0.
    assert score("gdv", [[3.0], [3.0], [5.0], [5.0]], [0, 0, 1, 1]).value == pytest.approx(1.0, rel=1e-12)


def test_equals_a_loop_over_pairs(blobs):
    features, labels = blobs
    labels = np.where(np.arange(150) == 7, 5, labels)  # a class of one sample has no distance within
    assert score("gdv", features, labels).value == pytest.approx(over_all_pairs(features, labels), rel=1e-9)


@pytest.mark.parametrize("problem", [*FLOAT64, pytest.param("P5_k100", marks=pytest.mark.slow)])
def test_agrees_with_the_public_definition(golden, problem):
    features, labels, value = golden(problem, "own.gdv_neg")
    if problem in ("P3_dup_const", "P6_digits", "P10_relu_sparse"):
        n_live = np.count_nonzero(features.std(axis=0))
        value *= np.sqrt(features.shape[1] / n_live)  # the public code counts dead columns as dimensions
    assert score("gdv", features, labels, max_samples=len(labels)).value == pytest.approx(value, rel=1e-9)


def test_labels_that_say_nothing_score_about_zero():
    features = np.random.default_rng(0).normal(size=(600, 20))
    assert score("gdv", features, np.arange(600) % 4).value == pytest.approx(0.0, abs=2e-3)
