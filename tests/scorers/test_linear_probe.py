import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from neuralrank.errors import DataError
from neuralrank.scorers import score
from neuralrank.scorers._folds import draw_folds
from neuralrank.scorers._prepared import prepare


def hard(n_classes=3):
    """Classes that overlap, so that folds make mistakes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(120) % n_classes)
    return rng.normal(size=(120, 5)) + np.eye(5)[labels], labels


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_equals_scikit_learn_on_the_same_folds(penalty):
    features, labels = hard()
    prepared = prepare(features, labels, seed=3)
    model = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000)
    folds = PredefinedSplit(draw_folds(prepared, 4))
    predicted = cross_val_predict(model, prepared.features, labels, cv=folds)
    result = score("linear_probe", features, labels, seed=3, n_folds=4, penalty=penalty)
    np.testing.assert_array_equal(result.terms, predicted == labels)
    assert 0.4 < result.value < 0.9


def test_multilabel_is_one_probe_for_each_label():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 4))
    targets = (features[:, :3] + rng.normal(size=(80, 3)) > [0.0, 0.5, -0.5]).astype(int)
    prepared = prepare(features, targets)
    folds = PredefinedSplit(draw_folds(prepared, 5))
    model = LogisticRegression(tol=1e-8)
    right = [cross_val_predict(model, prepared.features, target, cv=folds) == target for target in targets.T]
    result = score("linear_probe", features, targets)
    np.testing.assert_allclose(result.terms, np.mean(right, axis=0), atol=1e-12)


def test_folds_hold_their_share_of_every_class():
    labels = np.repeat([0, 1, 2], (50, 30, 20))
    folds = draw_folds(prepare(np.random.default_rng(0).normal(size=(100, 2)), labels), 5)
    assert [np.bincount(labels[folds == fold]).tolist() for fold in range(5)] == [[10, 6, 4]] * 5


def test_folds_are_the_same_for_every_model():
    labels, rng = np.arange(50) % 3, np.random.default_rng(0)
    folds = [draw_folds(prepare(rng.normal(size=(50, size)), labels, seed=4), 5).tolist() for size in (2, 30)]
    assert folds[0] == folds[1]


def test_another_seed_draws_other_folds():
    labels = np.arange(50) % 3
    folds = [draw_folds(prepare(np.eye(50), labels, seed=seed), 5).tolist() for seed in (0, 1)]
    assert folds[0] != folds[1]


def test_frames_of_one_track_do_not_answer_for_each_other():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(30), 5)
    features = rng.normal(size=(30, 64))[tracks] + 1e-2 * rng.normal(size=(150, 64))
    labels = rng.integers(0, 4, size=30)[tracks]
    assert score("linear_probe", features, labels).value > 0.95
    assert score("linear_probe", features, labels, groups=tracks).value < 0.6


def test_a_class_that_a_fold_cannot_learn_counts_as_wrong():
    features, labels = hard(2)
    labels[60] = 2
    assert score("linear_probe", features, labels).terms[60] == 0.0


def test_is_near_the_reference_on_digits(golden):
    features, labels, _ = golden("P6_digits", "own.logreg_cv5_acc@sklearn")
    # The reference standardises every pixel and takes all digits.
    assert score("linear_probe", features[:500], labels[:500]).value == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_folds": 1}, "linear_probe needs n_folds >= 2. Got 1. Use 5 if unsure."),
        ({"penalty": 0.0}, "linear_probe needs penalty > 0. Got 0.0. Use 1.0 if unsure."),
    ],
    ids=["folds", "penalty"],
)
def test_wrong_options_are_refused(blobs, options, sentence):
    with pytest.raises(DataError) as error:
        score("linear_probe", *blobs, **options)
    assert str(error.value) == sentence
