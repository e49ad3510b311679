import numpy as np
import pytest
from scipy.stats import weightedtau

from neuralrank.errors import DataError
from neuralrank.evaluation import head_accuracy, regret_at_k, weighted_tau


def test_weighted_tau_is_scipys_with_its_defaults():
    rng = np.random.default_rng(0)
    scores, accuracies = rng.normal(size=12), rng.normal(size=12)
    assert weighted_tau(scores, accuracies) == pytest.approx(weightedtau(scores, accuracies).statistic)


def test_regret_is_what_following_the_ranking_costs():
    scores, accuracies = [0.9, 0.8, 0.1], [0.70, 0.74, 0.75]
    assert regret_at_k(scores, accuracies) == pytest.approx(0.05)
    assert regret_at_k(scores, accuracies, k=2) == pytest.approx(0.01)
    assert regret_at_k(scores, accuracies, k=3) == 0.0


def test_constant_scores_are_refused():
    with pytest.raises(DataError, match="weighted_tau needs values that differ"):
        weighted_tau([1.0, 1.0], [0.5, 0.6])


def test_arrays_have_to_fit():
    with pytest.raises(DataError, match=r"Got shapes \(2,\) and \(3,\)"):
        regret_at_k([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_head_reaches_what_the_classes_allow_and_chance_on_noise(blobs):
    features, labels = blobs
    assert head_accuracy(features.astype(np.float32), labels) > 0.7
    noise = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)
    assert head_accuracy(noise, labels) < 0.5
