import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers import score
from neuralrank.scorers.gbc import class_gaussians, log_separation

GBC = registry.get("scorers", "gbc")
FLOOR = 1e-4


def over_all_pairs(points, labels, covariance):
    """-log of the sum of exp(-D), pair by pair."""
    classes = np.unique(labels)
    means = {c: points[labels == c].mean(axis=0) for c in classes}
    variances = {c: points[labels == c].var(axis=0) for c in classes}
    if covariance == "spherical":
        variances = {c: np.array([v.mean()]) for c, v in variances.items()}
    total = 0.0
    for a in classes:
        for b in classes:
            if a != b:
                mean = (variances[a] + variances[b]) / 2
                apart = np.sum((means[a] - means[b]) ** 2 / mean) / 8
                total += np.exp(-apart - np.sum(np.log(mean / np.sqrt(variances[a] * variances[b]))) / 2)
    return -np.log(total)


def test_a_case_worked_out_by_hand():
    # Scaled: ∓4/√17 ∓1/√17. Variances 1/17 and means 8/√17 apart: D = (64/17) / (1/17) / 8 = 8, for two ordered pairs.
    value = score("gbc", [[0.0], [2.0], [8.0], [10.0]], [0, 0, 1, 1]).value
    assert value == pytest.approx(8 - np.log(2), rel=1e-12)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_equals_a_loop_over_pairs_of_classes_in_the_principal_axes(blobs, covariance):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    axes = np.linalg.svd(centred / np.sqrt(np.mean(centred**2)), full_matrices=False)
    expected = over_all_pairs((axes.U * axes.S)[:, :4], labels, covariance)
    value = score("gbc", features, labels, covariance=covariance, n_components=4).value
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P4_n_lt_d", "P5_k100"])
def test_the_spherical_form_agrees_with_the_public_code_on_unscaled_features(golden, unscaled, problem):
    features, labels, value = golden(problem, "gbc_spherical@airtran(=stable_transfer port)")
    prepared = unscaled(features, labels)
    means, variances = class_gaussians(prepared.features, prepared)
    spherical = np.maximum(variances.mean(axis=1, keepdims=True), FLOOR)
    assert -np.exp(-log_separation(means, spherical)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P6_digits"])
def test_the_diagonal_form_agrees_with_the_public_code_on_unscaled_features(golden, unscaled, problem):
    features, labels, value = golden(problem, "gbc_diagonal@airtran(=stable_transfer port)")
    prepared = unscaled(features, labels)
    means, variances = class_gaussians(prepared.features, prepared)
    assert -np.exp(-log_separation(means, np.maximum(variances, FLOOR))) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P4_n_lt_d", "P5_k100", "P10_relu_sparse"])
def test_the_form_of_the_paper_agrees_with_the_public_code_on_unscaled_features(golden, unscaled, problem):
    features, labels, value = golden(problem, "gbc_spherical_pca64@airtran+PCA")
    assert -np.exp(-GBC.of(unscaled(features, labels)).value) == pytest.approx(value, rel=1e-9)


def test_the_public_form_depends_on_the_scale_of_the_features_and_ours_does_not(golden, unscaled):
    features, labels, _ = golden("P2_imbalanced", "gbc_spherical_pca64@airtran+PCA")
    as_given = GBC.of(unscaled(features, labels)).value
    assert GBC.of(unscaled(1e-3 * features, labels)).value < as_given - 1.0
    assert score("gbc", 1e-3 * features, labels).value == pytest.approx(score("gbc", features, labels).value, rel=1e-9)


def test_classes_far_apart_are_ordered_where_the_public_sum_underflows_to_a_tie():
    # 50 dimensions, class means 12 and 24 standard deviations apart in each: exp(-D) is 0 for both.
    noise = np.random.default_rng(0).normal(size=(100, 50))
    labels = np.repeat([0, 1], 50)
    near, far = (noise / apart + labels[:, None] for apart in (12, 24))
    values = [score("gbc", features, labels, n_components=None).value for features in (near, far)]
    assert [np.exp(-value) for value in values] == [0.0, 0.0]
    assert values[1] > values[0] + 1000


def test_a_class_of_one_sample_gets_the_variance_within_all():
    features = np.array([[0.0], [2.0], [5.0], [7.0], [4.0]])
    labels = np.array([0, 0, 1, 1, 2])
    scaled = (features - features.mean()) / features.std()
    means = np.array([[scaled[:2].mean()], [scaled[2:4].mean()], [scaled[4, 0]]])
    single = 1.0 / features.var()
    variances = np.array([[single], [single], [4 / 5 * single]])
    assert score("gbc", features, labels).value == pytest.approx(log_separation(means, variances), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"covariance": "full"},
            "gbc needs the covariance 'spherical' or 'diagonal'. Got 'full'. Use 'spherical' if unsure.",
        ),
        ({"n_components": 0}, "gbc needs n_components >= 1. Got 0. Use 64 if unsure."),
    ],
    ids=["covariance", "components"],
)
def test_wrong_options_are_refused(blobs, options, sentence):
    with pytest.raises(DataError) as error:
        score("gbc", *blobs, **options)
    assert str(error.value) == sentence
