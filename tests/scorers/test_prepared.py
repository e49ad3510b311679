import numpy as np
import pytest

from neuralrank.errors import DataError
from neuralrank.scorers import score
from neuralrank.scorers._arrays import to_numpy
from neuralrank.scorers._labels import encode_labels
from neuralrank.scorers._pairs import draw_samples
from neuralrank.scorers._prepared import prepare
from neuralrank.scorers._spectrum import decompose

GOOD = np.random.default_rng(0).normal(size=(20, 4))
HALVES = np.arange(20) % 2


def centred(matrix):
    return matrix - matrix.mean(axis=0)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20), (40, 1)], ids=["tall", "wide", "square", "one column"])
def test_the_decomposition_agrees_with_a_direct_svd(shape):
    matrix = centred(np.random.default_rng(0).normal(size=shape))
    spectrum = decompose(matrix)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(spectrum.values, values[values > 1e-6 * values[0]], rtol=1e-9)
    np.testing.assert_allclose(spectrum.left.T @ spectrum.left, np.eye(len(spectrum.values)), atol=1e-8)
    # The left factor times its own projection of the features gives the features back.
    np.testing.assert_allclose(spectrum.left @ (spectrum.left.T @ matrix), matrix, atol=1e-8)


def of_values(values, n_samples, n_features):
    """Centred features of exactly these singular values."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(centred(rng.normal(size=(n_samples, len(values)))))[0]
    right = np.linalg.qr(rng.normal(size=(n_features, len(values))))[0]
    return left * values @ right.T, left


@pytest.mark.parametrize("shape", [(60, 12), (30, 80)], ids=["tall", "wide"])
def test_ill_conditioned_features_are_decomposed_directly_with_all_digits(monkeypatch, shape):
    values = np.logspace(0, -5.7, 12)  # singular values up to 500,000 times apart; their squares lose the last digits
    matrix, left = of_values(values, *shape)
    calls = []
    direct = np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda *args, **options: calls.append(1) or direct(*args, **options))
    spectrum = decompose(matrix)
    assert calls == [1]
    np.testing.assert_allclose(spectrum.values, values, rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(spectrum.left * left, axis=0)), 1.0, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 12), (30, 80)], ids=["tall", "wide"])
def test_well_conditioned_features_are_decomposed_through_a_gram_matrix(monkeypatch, shape):
    matrix, _ = of_values(np.logspace(0, -3, 12), *shape)
    monkeypatch.setattr(np.linalg, "svd", None)
    np.testing.assert_allclose(decompose(matrix).values, np.logspace(0, -3, 12), rtol=1e-6)


@pytest.mark.parametrize("shape", [(60, 12), (30, 80)], ids=["tall", "wide"])
def test_directions_of_rounding_noise_are_left_out(shape):
    matrix, _ = of_values(np.array([1.0, 0.5, 1e-9]), *shape)
    assert len(decompose(matrix).values) == 2


def test_features_become_centred_with_unit_mean_square_and_without_dead_columns():
    features = np.hstack([GOOD * 1e3 + 1e5, np.full((20, 2), 0.1)])
    prepared = prepare(features, HALVES)
    assert prepared.features.shape == (20, 4)
    np.testing.assert_allclose(prepared.features.mean(axis=0), 0, atol=1e-9)
    assert np.mean(prepared.features**2) == pytest.approx(1.0)


@pytest.mark.parametrize(("share", "n_kept"), [(1e-8, 4), (1e-10, 3)], ids=["small", "rounding"])
def test_a_column_that_varies_by_no_more_than_rounding_is_dead(share, n_kept):
    assert prepare(GOOD * [1.0, 1.0, 1.0, share], HALVES).features.shape == (20, n_kept)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_extreme_scales_stay_in_range(factor):
    assert score("knn", GOOD * factor, HALVES).value == score("knn", GOOD, HALVES).value


def test_integer_features_are_features():
    features = np.random.default_rng(0).integers(0, 255, size=(20, 4), dtype=np.uint8)
    assert score("h_score", features, HALVES).value == score("h_score", features.astype(float), HALVES).value


@pytest.mark.parametrize(
    ("labels", "task", "n_classes"),
    [
        pytest.param(["b", "a", "b"], "classification", 2, id="strings"),
        pytest.param([b"b", b"a", b"b"], "classification", 2, id="bytes"),
        pytest.param([True, False, True], "classification", 2, id="booleans"),
        pytest.param([7, -4, 300], "classification", 3, id="whole numbers with gaps"),
        pytest.param(np.array([1, 0, 1], dtype=np.uint8), "classification", 2, id="unsigned"),
        pytest.param([1.0, 2.0, 1.0], "classification", 2, id="floats without fractions"),
        pytest.param([1.0, 2.5, 1.0], "regression", 0, id="floats with fractions"),
        pytest.param([[1], [0], [1]], "classification", 2, id="one column"),
        pytest.param([[0.5], [1.5], [1.0]], "regression", 0, id="one column of fractions"),
        pytest.param([[1, 0], [0, 1], [1, 1]], "multilabel", 2, id="columns of 0 and 1"),
        pytest.param([[True, False], [False, True], [True, True]], "multilabel", 2, id="columns of booleans"),
        pytest.param([[1, 0], [0, 2], [1, 1]], "regression", 0, id="columns with a 2"),
        pytest.param([[0.1, 0], [0, 1], [1, 1]], "regression", 0, id="columns with fractions"),
        pytest.param(np.array(["b", "a", "b"], dtype=object), "classification", 2, id="objects that are strings"),
        pytest.param(np.array([1.0, 2.5, 1.0], dtype=object), "regression", 0, id="objects that are floats"),
        pytest.param(
            np.array([np.int64(3), np.int64(1), np.int64(3)], dtype=object), "classification", 2, id="NumPy objects"
        ),
    ],
)
def test_labels_say_their_task(labels, task, n_classes):
    encoded = encode_labels(to_numpy(labels), None)
    assert (encoded.task, encoded.n_classes) == (task, n_classes)


def test_classes_are_numbered_in_sorted_order_without_gaps():
    assert encode_labels(np.array([300, -4, 7, -4]), None).labels.tolist() == [2, 0, 1, 0]


def test_the_task_overrides_what_the_labels_look_like():
    assert encode_labels(np.array([1, 2, 3, 3]), "regression").labels.tolist() == [1.0, 2.0, 3.0, 3.0]
    assert encode_labels(np.array([0.5, 1.5, 0.5]), "classification").labels.tolist() == [0, 1, 0]
    assert encode_labels(np.array([[1, 0], [0, 1]]), "regression").task == "regression"


@pytest.mark.parametrize("values", [[3, 1, 3], ["x", "y", "x"], [0.5, 1.5, 0.5]], ids=["numbers", "strings", "floats"])
def test_groups_of_any_kind_are_numbered(values):
    prepared = prepare(np.eye(3), [0, 1, 1], groups=values)
    assert prepared.groups is not None
    assert prepared.groups[0] == prepared.groups[2] != prepared.groups[1]


def test_groups_of_one_sample_each_are_no_groups():
    assert prepare(GOOD, HALVES, groups=np.arange(20)).groups is None


def test_a_subset_is_the_preparation_of_those_samples_alone():
    rows = np.array([1, 4, 6, 9, 13])
    alone = prepare(GOOD[rows], HALVES[rows])
    np.testing.assert_allclose(prepare(GOOD, HALVES).subset(rows).features, alone.features, atol=1e-12)


def test_a_subset_of_one_class_cannot_be_scored():
    with pytest.raises(DataError, match="at least 2 classes"):
        prepare(GOOD, HALVES).subset(np.array([0, 2, 4]))


@pytest.mark.parametrize("max_samples", [2, 7, 40, 99])
def test_a_draw_has_the_size_that_was_asked_for(max_samples):
    prepared = prepare(np.random.default_rng(0).normal(size=(100, 2)), np.arange(100) % 4)
    chosen, notes = draw_samples(prepared, max_samples, "parc")
    assert len(np.unique(chosen)) == len(chosen) == max_samples
    assert notes == (f"parc looked at {max_samples} of 100 samples, drawn by class with seed 0.",)


def test_a_draw_keeps_the_shares_of_the_classes_and_two_samples_of_each():
    labels = np.repeat(np.arange(4), (600, 300, 97, 3))
    chosen, _ = draw_samples(prepare(np.random.default_rng(0).normal(size=(1000, 2)), labels), 100, "parc")
    counts = np.bincount(labels[chosen])
    np.testing.assert_allclose(counts[:3], [60, 30, 10], atol=2)
    assert counts[3] == 2


def test_a_draw_from_more_classes_than_fit_takes_pairs_of_classes_from_all_over():
    # Sorted by class: taking the first samples would never see a class beyond the fiftieth.
    labels = np.repeat(np.arange(500), 4)
    chosen, _ = draw_samples(prepare(np.random.default_rng(0).normal(size=(2000, 2)), labels), 100, "parc")
    drawn, counts = np.unique(labels[chosen], return_counts=True)
    assert counts.tolist() == [2] * 50
    assert drawn.mean() == pytest.approx(250, abs=60)


def test_a_draw_depends_on_the_seed_and_the_labels_alone():
    labels, rng = np.arange(300) % 3, np.random.default_rng(0)
    draws = [
        draw_samples(prepare(rng.normal(size=(300, size)), labels, seed=seed), 50, "parc")[0].tolist()
        for size, seed in ((2, 0), (9, 0), (2, 1))
    ]
    assert draws[0] == draws[1] != draws[2]
