import numpy as np
import pytest
from scipy.stats import entropy

from neuralrank.scorers import score

PROBLEMS = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P6_digits", "P10_relu_sparse"]


def public(features):
    """The public formula: features as given, and an epsilon on every share."""
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / values.sum() + 1e-5
    return np.exp(-np.sum(shares * np.log(shares)))


def test_a_case_worked_out_by_hand():
    # Singular values 3 : 1 are shares 3/4 and 1/4.
    features = [[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    expected = np.exp(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    assert score("rank_me", features, [0, 1, 0, 1]).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_public_code_neither_centres_nor_leaves_the_shares_alone_and_ours_does(golden, problem):
    features, labels, value = golden(problem, "rankme@stable-pretraining")
    assert public(features) == pytest.approx(value, rel=1e-6)
    expected = np.exp(entropy(np.linalg.svd(features - features.mean(axis=0), compute_uv=False)))
    assert score("rank_me", features, labels).value == pytest.approx(expected, rel=1e-6)


def test_an_offset_makes_the_public_rank_one_and_not_ours(golden):
    features, labels, wrong = golden("P7_f32_offset", "rankme@stable-pretraining")
    assert wrong == pytest.approx(1.0, abs=0.01)
    assert score("rank_me", features, labels).value == pytest.approx(55.81, abs=0.01)


def test_the_labels_are_not_used(blobs):
    features, labels = blobs
    values = {score("rank_me", features, given).value for given in (labels, labels[::-1], features[:, 0])}
    assert len(values) == 1
