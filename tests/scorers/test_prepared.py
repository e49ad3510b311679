import numpy as np
import pytest

from neuralrank.errors import DataError, UnknownNameError
from neuralrank.scorers import score, score_many
from neuralrank.scorers._prepared import decompose, prepare

GOOD = np.random.default_rng(0).normal(size=(20, 4))
HALVES = np.arange(20) % 2


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)], ids=["tall", "wide"])
def test_decomposition_agrees_with_a_direct_svd(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    matrix -= matrix.mean(axis=0)
    spectrum = decompose(matrix)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(spectrum.values, values[values > 1e-6 * values[0]], rtol=1e-9)
    np.testing.assert_allclose(spectrum.left.T @ spectrum.left, np.eye(len(spectrum.values)), atol=1e-8)


def test_features_become_centred_with_unit_mean_square_and_without_dead_columns():
    features = np.hstack([GOOD * 1e3 + 1e5, np.full((20, 2), 0.1)])
    prepared = prepare(features, HALVES)
    assert prepared.features.shape == (20, 4)
    np.testing.assert_allclose(prepared.features.mean(axis=0), 0, atol=1e-9)
    assert np.mean(prepared.features**2) == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_extreme_scales_stay_in_range(factor):
    assert score("knn", GOOD * factor, HALVES).value == score("knn", GOOD, HALVES).value


def test_inputs_are_not_changed():
    features, labels = GOOD.copy(), HALVES.copy()
    score_many(["neuralrank", "log_me", "h_score", "knn"], features, labels)
    np.testing.assert_array_equal(features, GOOD)
    np.testing.assert_array_equal(labels, HALVES)


def test_several_scores_share_one_preparation_and_give_the_same_values():
    together = score_many(["neuralrank", "knn"], GOOD, HALVES)
    assert together["neuralrank"].value == score("neuralrank", GOOD, HALVES).value
    assert together["knn"].value == score("knn", GOOD, HALVES).value


NAN = GOOD.copy()
NAN[[3, 7], 1] = np.nan
BAD = {
    "another number of labels": (
        (GOOD, HALVES[:19]),
        "A score needs one label per feature row. Got 20 rows and 19 labels. Build both from the same probe.",
    ),
    "a flat array": (
        (GOOD[:, 0], HALVES),
        "Features need the shape (n_samples, n_features), neither of them 0. Got (20,). "
        "Pool each sample to one row first.",
    ),
    "no features": (
        (np.empty((20, 0)), HALVES),
        "Features need the shape (n_samples, n_features), neither of them 0. Got (20, 0). "
        "Pool each sample to one row first.",
    ),
    "objects": (
        (np.array([[None]] * 20), HALVES),
        "Features need to be numbers. Got an array of type object. Convert them to float32.",
    ),
    "not a number": (
        (NAN, HALVES),
        "Features need to be finite. Got NaN or infinity in 2 of 20 rows. Check the model that made them.",
    ),
    "one class": (
        (GOOD, np.zeros(20, dtype=int)),
        "A score needs at least 2 classes. Got 1. Use data with more classes.",
    ),
    "constant features": (
        (np.full((20, 4), 0.1), HALVES),
        "Features need to differ between samples. Got the same values for all. Check the model or the layer.",
    ),
    "labels in two columns": (
        (GOOD, np.zeros((20, 2))),
        "Labels need the shape (n_samples,). Got (20, 2). Give one label per sample.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_get_one_sentence(case):
    arrays, sentence = BAD[case]
    with pytest.raises(DataError) as error:
        score("neuralrank", *arrays)
    assert str(error.value) == sentence


def test_groups_have_to_fit():
    with pytest.raises(DataError, match=r"Groups need the shape \(20,\). Got \(3,\)"):
        score("neuralrank", GOOD, HALVES, groups=[1, 2, 3])
    with pytest.raises(DataError, match=r"at least 2 groups\. Got 1"):
        score("neuralrank", GOOD, HALVES, groups=["p"] * 20)


def test_a_score_that_is_not_defined_for_the_task_says_so():
    with pytest.raises(DataError, match=r"h_score is defined for classification. Got regression labels"):
        score("h_score", GOOD, GOOD[:, 0])


def test_an_unknown_score_gets_a_suggestion():
    with pytest.raises(UnknownNameError) as error:
        score("hscor", GOOD, HALVES)
    assert str(error.value) == (
        "Unknown scorer 'hscor'. Did you mean 'h_score'? Available: h_score, knn, log_me, neuralrank."
    )
