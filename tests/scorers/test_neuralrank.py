import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import Ridge

from neuralrank.scorers import score
from neuralrank.scorers._held_out import held_out_ridge
from neuralrank.scorers._prepared import prepare


def refitted(features, targets, penalty, groups):
    """Held-out ridge predictions by fitting once per group: the definition itself."""
    predictions = np.empty_like(targets)
    for group in np.unique(groups):
        test = groups == group
        model = Ridge(alpha=penalty, solver="cholesky", tol=1e-12).fit(features[~test], targets[~test])
        predictions[test] = model.predict(features[test])
    return predictions


GROUPINGS = {
    "each sample alone": np.arange(60),
    "pairs and singles": np.concatenate([np.repeat(np.arange(20), 2), 20 + np.arange(20)]),
    "groups larger than the rank": np.arange(60) % 3,
    "scattered sizes": np.array([0] * 17 + [1] * 2 + [2] * 23 + [3] * 1 + [4] * 17),
}


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("n_features", [5, 90], ids=["tall", "wide"])
def test_closed_form_equals_refitting_without_the_group(grouping, n_features):
    rng = np.random.default_rng(1)
    prepared = prepare(rng.normal(size=(60, n_features)), rng.integers(0, 4, size=60))
    groups = GROUPINGS[grouping]
    projected = prepared.spectrum.left.T @ prepared.targets
    closed = held_out_ridge(
        prepared.spectrum, projected, prepared.targets, 3.0, None if len(set(groups)) == 60 else groups
    )
    np.testing.assert_allclose(closed, refitted(prepared.features, prepared.targets, 3.0, groups), atol=1e-8)


def test_the_value_is_the_best_held_out_information_over_penalties_and_temperatures(blobs):
    features, labels = blobs
    prepared = prepare(features, labels)
    prior = np.full(3, 1 / 3)

    def loss(log10_penalty):
        penalty = 10.0**log10_penalty * np.mean(prepared.spectrum.values**2)
        evidence = refitted(prepared.features, prepared.targets, penalty, np.arange(150)) - prior

        def at(temperature):
            logits = np.log(prior) + temperature * evidence
            return np.mean(logsumexp(logits, axis=1) - logits[np.arange(150), labels])

        return minimize_scalar(at, bounds=(0, 100), method="bounded").fun

    best = min(loss(x) for x in np.arange(-3.0, 2.0, 0.25))
    assert score("neuralrank", features, labels).value == pytest.approx(1 - best / np.log(3), abs=2e-4)


def test_terms_average_to_the_value_and_classes_recombine_to_it():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (100, 40, 10))
    result = score("neuralrank", np.eye(3)[labels] * 2 + rng.normal(size=(150, 3)), labels)
    assert result.terms is not None
    assert result.terms.mean() == pytest.approx(result.value)
    frequencies = np.array([100, 40, 10]) / 150
    surprise = -np.log(frequencies)
    shares = np.array([result.per_class[index] for index in range(3)])
    assert np.sum(frequencies * surprise * shares) / np.sum(frequencies * surprise) == pytest.approx(result.value)


@pytest.mark.parametrize("n_features", [16, 128, 1024, 4096])
@pytest.mark.parametrize("n_samples", [200, 1000])
def test_noise_resolves_nothing_whatever_its_dimension(n_samples, n_features):
    rng = np.random.default_rng(n_features)
    labels = np.arange(n_samples) % 5
    noise = score("neuralrank", rng.normal(size=(n_samples, n_features)), labels)
    assert -0.01 <= noise.value <= 0.02
    informative = rng.normal(size=(n_samples, 16))
    informative[:, :5] += 0.8 * np.eye(5)[labels]
    assert score("neuralrank", informative, labels).value > noise.value + 0.01


def test_shuffled_labels_of_real_features_resolve_nothing(golden):
    features, labels, _ = golden("P6_digits", "knn3_loo@transformer-ranker")
    shuffled = np.random.default_rng(0).permutation(labels)
    assert score("neuralrank", features, labels).value > 0.9
    assert abs(score("neuralrank", features, shuffled).value) <= 0.02


def test_an_uninformative_model_predicts_the_most_frequent_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (140, 60))
    result = score("neuralrank", rng.normal(size=(200, 4)), labels)
    assert result.details["accuracy"] == pytest.approx(0.7, abs=0.02)


def test_frames_of_one_track_do_not_answer_for_each_other():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(40), 10)
    features = rng.normal(size=(40, 64))[tracks] + 1e-2 * rng.normal(size=(400, 64))
    labels = rng.integers(0, 4, size=40)[tracks]
    assert score("neuralrank", features, labels).value > 0.9
    assert score("neuralrank", features, labels, groups=tracks).value < 0.05


def test_regression_is_the_held_out_r_squared(golden):
    features, labels, value = golden("P9_regression_n_lt_d", "own.ridge_loo_r2")
    assert score("neuralrank", features, labels[:, 0]).value == pytest.approx(value, abs=2e-3)
