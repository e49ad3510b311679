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


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P4_n_lt_d", "P10_relu_sparse"])
def test_a_tied_vote_goes_to_the_nearest_where_the_public_code_takes_the_first_class(golden, problem):
    features, labels, public = golden(problem, "knn3_loo@transformer-ranker")
    squares = np.sum(features**2, axis=1)
    distances = squares[:, None] + squares - 2 * features @ features.T
    np.fill_diagonal(distances, np.inf)
    nearest = labels[np.argsort(distances, axis=1, kind="stable")[:, :3]]
    lowest, ours = ([], [])
    for votes in nearest:
        counts = np.bincount(votes)
        lowest.append(counts.argmax())
        ours.append(max(votes, key=lambda label, counts=counts: counts[label]))  # the first, so the nearest, of equals
    value = score("knn", features, labels, neighbours=3, metric="euclidean").value
    assert np.mean(np.array(lowest) == labels) == pytest.approx(public, abs=1e-6)
    assert value == np.mean(np.array(ours) == labels)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["b", "a", "c"]], ids=["in order", "the other way round"])
def test_a_tie_of_two_votes_each_goes_to_the_class_of_the_nearest(names):
    # The judged sample at 0 sees, nearest first, the first class, the second twice, and the first again.
    near, other, own = names
    features = [[0.0], [1.0], [1.1], [1.2], [1.3], [50.0], [51.0], [52.0]]
    labels = [own, near, other, other, near, own, own, own]
    judged = score("knn", features, labels, neighbours=4, metric="euclidean").terms[0]
    assert judged == 0.0
    labels[0] = near
    assert score("knn", features, labels, neighbours=4, metric="euclidean").terms[0] == 1.0


def test_the_cosine_is_that_of_centred_features(blobs):
    features, labels = blobs
    model = KNeighborsClassifier(1, metric="cosine", algorithm="brute")
    predicted = cross_val_predict(model, features - features.mean(axis=0), labels, cv=LeaveOneOut())
    result = score("knn", features + 100.0, labels, neighbours=1)
    np.testing.assert_array_equal(result.terms, predicted == labels)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_several_targets_are_averaged(blobs, task):
    features, _ = blobs
    targets = features[:, :3] * [1.0, 5.0, 0.1] + 0.01
    if task == "multilabel":
        targets = (targets > 0).astype(int)
    expected = []
    for target in targets.T.astype(float):
        predicted = cross_val_predict(KNeighborsRegressor(5), features, target, cv=LeaveOneOut())
        expected.append(1 - np.mean((target - predicted) ** 2) / np.var(target))
    assert score("knn", features, targets, metric="euclidean").value == pytest.approx(np.mean(expected), rel=1e-9)


def test_fewer_queries_are_drawn_by_class_and_said():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (300, 100))
    features = rng.normal(size=(400, 4)) + labels[:, None]
    full = score("knn", features, labels)
    part = score("knn", features, labels, max_queries=200)
    assert part.value == pytest.approx(full.value, abs=0.05)
    assert len(part.terms) == 200
    assert part.warnings == ("knn looked at 200 of 400 samples, drawn by class with seed 0.",)
    assert not full.warnings


def test_a_group_of_all_but_a_few_leaves_fewer_neighbours():
    features = np.array([[0.0], [0.1], [0.2], [5.0]])
    result = score("knn", features, [0, 0, 1, 1], groups=["x", "x", "x", "y"], neighbours=3, metric="euclidean")
    # The first three see the last alone; it sees all three and follows the majority.
    assert result.terms.tolist() == [0.0, 0.0, 1.0, 0.0]


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
        ({"max_queries": 1}, "knn needs max_queries >= 2. Got 1. Use 2000 if unsure."),
    ],
    ids=["neighbours", "metric", "queries"],
)
def test_wrong_options_are_refused(blobs, options, sentence):
    with pytest.raises(DataError) as error:
        score("knn", *blobs, **options)
    assert str(error.value) == sentence
