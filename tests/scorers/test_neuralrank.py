import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import Ridge

from neuralrank.scorers import neuralrank as neuralrank_file
from neuralrank.scorers import score
from neuralrank.scorers._held_out import held_out_ridge, take_rows
from neuralrank.scorers._prepared import Prepared, prepare


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
@pytest.mark.parametrize("targets", ["classes", "labels", "targets"])
def test_closed_form_equals_refitting_without_the_group(grouping, n_features, targets):
    rng = np.random.default_rng(1)
    groups = GROUPINGS[grouping]
    features, labels = rng.normal(size=(60, n_features)), rng.integers(0, 4, size=60)
    labels = {"classes": labels, "labels": np.eye(4, dtype=int)[labels], "targets": rng.normal(size=(60, 2))}[targets]
    prepared = prepare(features, labels, groups=groups)
    closed = prepared.target_means + held_out_ridge(prepared, 3.0)
    np.testing.assert_allclose(closed, refitted(prepared.features, prepared.targets, 3.0, groups), atol=1e-8)


@pytest.mark.parametrize("targets", ["classes", "targets"])
def test_closed_form_of_some_rows_is_that_of_all(targets):
    rng = np.random.default_rng(1)
    prepared = prepare(
        rng.normal(size=(60, 5)), np.arange(60) % 4 if targets == "classes" else rng.normal(size=(60, 2))
    )
    rows = np.array([3, 17, 58])
    some = held_out_ridge(prepared, 3.0, take_rows(prepared, rows))
    np.testing.assert_allclose(some, held_out_ridge(prepared, 3.0)[rows], atol=1e-12)


def compressed(features):
    """What is fitted: standardised and compressed columns."""
    return np.arcsinh((features - features.mean(axis=0)) / features.std(axis=0))


PENALTIES = np.arange(-3.0, 2.01, 0.25)
TRACKS = np.arange(150) // 2


@pytest.mark.parametrize("groups", [None, TRACKS], ids=["samples", "groups"])
def test_the_value_is_the_best_held_out_information_over_penalties_and_temperatures(blobs, groups):
    features, labels = blobs
    prepared = prepare(compressed(features), labels)
    prior = np.full(3, 1 / 3)
    held_out = np.arange(150) if groups is None else groups

    def loss(log10_penalty):
        penalty = 10.0**log10_penalty * np.mean(prepared.spectrum.values**2)
        evidence = refitted(prepared.features, prepared.targets, penalty, held_out) - prior

        def at(temperature):
            logits = np.log(prior) + temperature * evidence
            return np.mean(logsumexp(logits, axis=1) - logits[np.arange(150), labels])

        return minimize_scalar(at, bounds=(0, 100), method="bounded").fun

    best = min(loss(x) for x in PENALTIES)
    assert score("neuralrank", features, labels, groups=groups).value == pytest.approx(1 - best / np.log(3), abs=1e-4)


def test_several_labels_are_one_problem_each_at_a_shared_penalty():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 4))
    targets = (features[:, :3] + rng.normal(size=(90, 3)) * [0.3, 1.0, 9.0] > [0.0, 0.8, 0.2]).astype(int)
    prepared = prepare(compressed(features), targets)
    shares = targets.mean(axis=0)
    entropies = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares))

    def resolved(log10_penalty):
        """Per label: logistic calibration of the refitted predictions, by another search."""
        penalty = 10.0**log10_penalty * np.mean(prepared.spectrum.values**2)
        evidence = refitted(prepared.features, prepared.targets, penalty, np.arange(90)) - shares

        def loss(t, label):
            logits = np.log(shares[label] / (1 - shares[label])) + t * evidence[:, label]
            return np.mean(np.logaddexp(0, logits) - targets[:, label] * logits)

        best = [minimize_scalar(loss, bounds=(0, 100), method="bounded", args=(label,)).fun for label in range(3)]
        return 1 - np.array(best) / entropies

    expected = max((resolved(at) for at in PENALTIES), key=np.mean)
    result = score("neuralrank", features, targets)
    assert result.value == pytest.approx(expected.mean(), abs=1e-4)
    assert list(result.per_class.values()) == pytest.approx(expected, abs=1e-3)
    assert result.terms.mean() == pytest.approx(result.value, rel=1e-12)


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_the_unit_of_a_column_does_not_matter(blobs, task):
    features, labels = blobs
    labels = labels if task == "classification" else np.eye(3, dtype=int)[labels]
    units = 10.0 ** np.linspace(-4, 4, features.shape[1])
    expected = score("neuralrank", features, labels).value
    assert score("neuralrank", features * units - 7 * units, labels).value == pytest.approx(expected, rel=1e-6)


def test_a_few_extreme_samples_hide_less_of_what_a_feature_says(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = rng.normal(size=(200, 3)) + 2.0 * labels[:, None]
    features[:4] *= 20
    found = score("neuralrank", features, labels).value
    monkeypatch.setattr(Prepared, "compressed", property(lambda prepared: prepared))
    assert found > score("neuralrank", features, labels).value + 0.15


def test_one_label_is_the_problem_of_two_classes():
    # The two one-hot columns carry the same evidence with turned signs, so the best temperature is half as high.
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(80, 5)), rng.integers(0, 2, size=80)
    features[:, 0] += labels
    both = np.column_stack([labels, labels])
    value = score("neuralrank", features, both, task="multilabel").value
    assert value == pytest.approx(score("neuralrank", features, labels).value, abs=1e-6)


def test_several_regression_targets_give_the_mean_held_out_r_squared():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(90, 6))
    targets = features[:, :2] * [1.0, 100.0] + rng.normal(size=(90, 2)) * [0.5, 300.0]
    prepared = prepare(features, targets)
    unit = np.mean(prepared.spectrum.values**2)

    def r_squared(log10_penalty):
        predictions = refitted(prepared.features, targets, unit * 10.0**log10_penalty, np.arange(90))
        return np.mean(1 - np.mean((targets - predictions) ** 2, axis=0) / targets.var(axis=0))

    expected = max(r_squared(at) for at in PENALTIES)
    assert score("neuralrank", features, targets).value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("problem", ["P2_imbalanced", "P5_k100", "P6_digits"])
def test_the_search_on_some_of_the_samples_finds_the_value_of_the_search_on_all(golden, monkeypatch, problem):
    features, labels, _ = golden(problem, "own.ridge_loo_acc")
    some = score("neuralrank", features, labels)
    monkeypatch.setattr("neuralrank.scorers.neuralrank._some_rows", lambda *_: None)
    everything = score("neuralrank", features, labels)
    assert some.value == pytest.approx(everything.value, abs=2e-4)
    assert some.value <= everything.value + 1e-6


def test_large_problems_are_searched_on_some_of_the_samples():
    prepared = prepare(np.random.default_rng(0).normal(size=(5000, 3)), np.arange(5000) % 100)
    rows = neuralrank_file._some_rows(prepared, 400)
    assert rows is not None
    assert np.bincount(prepared.labels[rows.indices]).tolist() == [4] * 100
    assert neuralrank_file._some_rows(prepared, 5000) is None


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


def test_noise_is_no_better_than_the_first_of_equally_frequent_classes():
    # Leaving a sample out moves the fit away from its class: by the order of the evidence alone none would be right.
    rng = np.random.default_rng(0)
    result = score("neuralrank", rng.normal(size=(200, 4)), np.arange(200) % 4)
    assert result.details["inverse_temperature"] == 0.0
    assert result.details["accuracy"] == 0.25
    assert result.value == pytest.approx(0.0, abs=1e-12)


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
