import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neuralrank.scorers import score
from neuralrank.scorers._discriminant import class_gaussians
from neuralrank.scorers._folds import draw_folds
from neuralrank.scorers._prepared import prepare
from neuralrank.scorers.lda_probe import held_out_distances

UNLIKE_SIZES = np.repeat([0, 1, 2, 3], (25, 11, 3, 1))


def refitted_distances(features, labels, intensity):
    """Squared Mahalanobis distances by n fits, each without one sample; the ridge is that of all samples.

    A class of one sample keeps its mean where that sample is left out: it is its own prediction that counts as wrong.
    """
    n_samples, n_features = features.shape
    classes = np.unique(labels)
    intensity = min(intensity, 1 - 1e-9)

    def fit(rows):
        means = np.stack([features[rows & (labels == c)].mean(axis=0) for c in classes])
        away = features[rows] - means[labels[rows]]
        return means, away.T @ away

    everyone = np.ones(n_samples, dtype=bool)
    trace = np.trace(fit(everyone)[1]) / n_samples
    ridge = n_samples * intensity / (1 - intensity) * trace / n_features
    distances = np.empty((n_samples, len(classes)))
    for i in range(n_samples):
        rows = everyone.copy()
        rows[i] = np.sum(labels == labels[i]) == 1
        means, scatter = fit(rows)
        covariance = (1 - intensity) / (n_samples - 1) * (scatter + ridge * np.eye(n_features))
        away = features[i] - means
        distances[i] = np.sum(np.linalg.solve(covariance, away.T).T * away, axis=1)
    return distances


@pytest.mark.parametrize("n_features", [1, 6, 90], ids=["one", "tall", "wide"])
@pytest.mark.parametrize("intensity", [1e-3, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("labels", [np.arange(40) % 4, UNLIKE_SIZES], ids=["balanced", "unlike sizes"])
def test_the_closed_form_equals_a_fit_without_each_sample(n_features, intensity, labels):
    rng = np.random.default_rng(0)
    prepared = prepare(rng.normal(size=(40, n_features)) + 0.5 * rng.normal(size=(4, n_features))[labels], labels)
    expected = refitted_distances(prepared.features, labels, intensity)
    found = held_out_distances(prepared, class_gaussians(prepared), intensity)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_accuracy_is_that_of_the_nearest_class_with_its_prior(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], (25, 11, 4))
    features = rng.normal(size=(40, 2)) + rng.normal(size=(3, 2))[labels]
    prepared = prepare(features, labels)
    result = score("lda_probe", features, labels)
    distances = refitted_distances(prepared.features, labels, result.details["shrinkage"])
    predicted = []
    for i in range(40):
        counts = np.bincount(np.delete(labels, i))
        predicted.append(np.argmax(np.log(counts) - distances[i] / 2))
    np.testing.assert_array_equal(result.terms, np.array(predicted) == labels)
    assert result.value == result.terms.mean()


def test_the_intensity_is_that_of_the_covariance_within_the_classes(blobs):
    features, labels = blobs
    away = features - np.stack([features[labels == c].mean(axis=0) for c in range(3)])[labels]
    expected = ledoit_wolf(away, assume_centered=True)[1]
    assert score("lda_probe", features, labels).details["shrinkage"] == pytest.approx(expected, rel=1e-9)


def test_agrees_with_the_k_fold_reference_within_the_noise_of_folds(golden):
    features, labels, value = golden("P6_digits", "own.lda_lw_cv5_acc@sklearn")
    # Ours learns from all samples but one, the reference from four in five.
    assert score("lda_probe", features, labels).value == pytest.approx(value, abs=0.005)


def test_the_only_sample_of_a_class_counts_as_wrong():
    features = np.random.default_rng(0).normal(size=(21, 3)) + 50.0 * np.repeat([0, 1, 2], (10, 10, 1))[:, None]
    result = score("lda_probe", features, np.repeat([0, 1, 2], (10, 10, 1)))
    assert result.terms.tolist() == [1.0] * 20 + [0.0]


def test_shuffled_labels_are_predicted_by_chance():
    rng = np.random.default_rng(0)
    values = [
        score("lda_probe", rng.normal(size=(300, 600)), rng.permutation(np.arange(300) % 3)).value for _ in "abcde"
    ]
    assert np.mean(values) == pytest.approx(1 / 3, abs=0.05)


GROUPS = np.random.default_rng(7).integers(0, 12, size=90)


def test_folds_never_split_a_group():
    prepared = prepare(np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3, groups=GROUPS)
    folds = draw_folds(prepared, 5)
    assert [len(np.unique(folds[group == GROUPS])) for group in np.unique(GROUPS)] == [1] * len(np.unique(GROUPS))
    assert np.unique(folds).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n_features", [4, 120], ids=["tall", "wide"])
def test_groups_are_left_out_in_whole_folds(n_features):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=90)
    features = rng.normal(size=(90, n_features)) + np.eye(3, n_features)[labels]
    prepared = prepare(features, labels, groups=GROUPS)
    folds = draw_folds(prepared, 5)
    result = score("lda_probe", features, labels, groups=GROUPS)
    right = np.empty(90)
    for fold in range(5):
        test = folds == fold
        model = LinearDiscriminantAnalysis(
            solver="lsqr", covariance_estimator=_Shrunk(result.details["shrinkage"])
        ).fit(prepared.features[~test], labels[~test])
        right[test] = model.predict(prepared.features[test]) == labels[test]
    np.testing.assert_array_equal(result.terms, right)


class _Shrunk:
    """A covariance with a given shrinkage, for scikit-learn, which asks for it class by class and weighs by size."""

    def __init__(self, intensity):
        self.intensity = intensity

    def fit(self, rows):
        covariance = np.cov(rows.T, ddof=0)
        ridge = self.intensity * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        self.covariance_ = (1 - self.intensity) * covariance + ridge
        return self


def test_frames_of_one_track_do_not_answer_for_each_other():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(40), 10)
    features = rng.normal(size=(40, 64))[tracks] + 1e-2 * rng.normal(size=(400, 64))
    labels = rng.integers(0, 4, size=40)[tracks]
    assert score("lda_probe", features, labels).value > 0.95
    assert score("lda_probe", features, labels, groups=tracks).value < 0.5
