import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from neuralrank.errors import DataError
from neuralrank.scorers import score


def test_a_case_worked_out_by_hand():
    features = [[0.0], [0.1], [0.2], [1.0], [1.1], [0.15]]
    labels = ["a", "a", "a", "b", "b", "b"]
    # The last sample's nearest is an 'a'; 0.1 and 0.2 each have it nearest (0.05 away against 0.1); 0.0 has 0.1.
    result = score("knn", features, labels, neighbours=1, metric="euclidean")
    assert result.terms is not None
    assert result.terms.tolist() == [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]


def test_agrees_with_scikit_learn_for_one_neighbour(blobs):
    features, labels = blobs
    predicted = cross_val_predict(KNeighborsClassifier(1), features, labels, cv=LeaveOneOut())
    result = score("knn", features, labels, neighbours=1, metric="euclidean")
    np.testing.assert_array_equal(result.terms, predicted == labels)


def test_agrees_with_the_public_reference_on_digits(golden):
    features, labels, value = golden("P6_digits", "knn3_loo@transformer-ranker")
    assert score("knn", features, labels, neighbours=3, metric="euclidean").value == pytest.approx(value, abs=1e-6)


def test_regression_agrees_with_scikit_learn(blobs):
    features, _ = blobs
    target = features[:, 0] * 1.7 + 0.01
    predicted = cross_val_predict(KNeighborsRegressor(5), features, target, cv=LeaveOneOut())
    expected = 1 - np.mean((target - predicted) ** 2) / np.var(target)
    assert score("knn", features, target, metric="euclidean").value == pytest.approx(expected)


def test_no_neighbour_is_taken_from_the_own_group():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(60), 5)  # five almost equal frames of each of sixty tracks, labels by chance
    features = rng.normal(size=(60, 8))[tracks] + 1e-3 * rng.normal(size=(300, 8))
    labels = rng.integers(0, 2, size=60)[tracks]
    assert score("knn", features, labels).value > 0.99
    assert score("knn", features, labels, groups=tracks).value < 0.65


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"neighbours": 0}, "knn needs neighbours >= 1. Got 0. Use 5 if unsure."),
        ({"metric": "l1"}, "knn needs the metric 'cosine' or 'euclidean'. Got 'l1'. Use 'cosine' if unsure."),
    ],
)
def test_wrong_options_are_refused(blobs, options, sentence):
    with pytest.raises(DataError) as error:
        score("knn", *blobs, **options)
    assert str(error.value) == sentence
