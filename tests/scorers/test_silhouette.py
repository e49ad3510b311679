import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers import score

SILHOUETTE = registry.get("scorers", "silhouette")
FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P6_digits", "P10_relu_sparse"]


def test_a_case_worked_out_by_hand():
    # Own distances 1, 1, 1, 1; means to the other class 4.5, 3.5, 3.5, 4.5.
    result = score("silhouette", [[0.0], [1.0], [4.0], [5.0]], ["a", "a", "b", "b"], metric="euclidean")
    assert result.terms == pytest.approx([1 - 1 / 4.5, 1 - 1 / 3.5, 1 - 1 / 3.5, 1 - 1 / 4.5], rel=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_agrees_with_scikit_learn_sample_by_sample(blobs, metric):
    features, labels = blobs
    expected = silhouette_samples(features - features.mean(axis=0), labels, metric=metric)
    np.testing.assert_allclose(score("silhouette", features, labels, metric=metric).terms, expected, atol=1e-10)


@pytest.mark.parametrize("problem", [*FLOAT64, pytest.param("P5_k100", marks=pytest.mark.slow)])
def test_the_euclidean_form_agrees_with_the_public_code(golden, problem):
    features, labels, value = golden(problem, "msc_silhouette_l2@airtran/sklearn")
    result = score("silhouette", features, labels, metric="euclidean", max_samples=len(labels))
    assert result.value == pytest.approx(value, rel=1e-9)
    assert not [warning for warning in result.warnings if "looked at" in warning]


@pytest.mark.parametrize("problem", [*FLOAT64, "P5_k100"])
def test_the_cosine_form_agrees_with_the_public_code_on_features_that_are_not_centred(golden, unscaled, problem):
    features, labels, value = golden(problem, "msc_silhouette_cos@airtran/sklearn")
    assert SILHOUETTE.of(unscaled(features, labels, centred=False)).value == pytest.approx(value, rel=1e-9)


def test_an_offset_turns_the_cosine_form_of_the_public_code_around_and_not_ours(golden):
    features, labels, wrong = golden("P7_f32_offset", "msc_silhouette_cos@airtran/sklearn")
    exact = features.astype(np.float64)
    expected = silhouette_score(exact - exact.mean(axis=0), labels, metric="cosine")
    assert wrong < 0 < expected
    assert score("silhouette", features, labels).value == pytest.approx(expected, rel=1e-6)


def test_a_class_of_one_sample_counts_zero():
    features = np.random.default_rng(0).normal(size=(9, 3))
    assert score("silhouette", features, [0] * 4 + [1] * 4 + [2]).terms[8] == 0.0


def test_a_sample_at_the_mean_has_no_direction():
    # By hand: cosines of (1, 1, -1, -1, 0); the last is at distance 1 from all, so its silhouette is 0.
    result = score("silhouette", [[1.0], [2.0], [-1.0], [-2.0], [0.0]], [0, 0, 1, 1, 1])
    assert result.terms == pytest.approx([1.0, 1.0, (2 - 0.5) / 2, (2 - 0.5) / 2, 0.0], rel=1e-12)


def test_a_subsample_is_drawn_by_class_and_said():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (900, 100))
    features = rng.normal(size=(1000, 4)) + labels[:, None]
    full = score("silhouette", features, labels, metric="euclidean").value
    part = score("silhouette", features, labels, metric="euclidean", max_samples=500)
    assert part.value == pytest.approx(full, abs=0.02)
    assert "silhouette looked at 500 of 1,000 samples, drawn by class with seed 0." in part.warnings


def test_an_unknown_metric_is_refused(blobs):
    with pytest.raises(DataError) as error:
        score("silhouette", *blobs, metric="l1")
    assert str(error.value) == (
        "silhouette needs the metric 'cosine' or 'euclidean'. Got 'l1'. Use 'cosine' if unsure."
    )
