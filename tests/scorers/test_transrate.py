import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers import score
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers.transrate import class_rates

TRANSRATE = registry.get("scorers", "transrate")
EPSILON = 1e-4
FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def rate(features, epsilon=EPSILON):
    """The coding rate with its determinant written out."""
    inner = np.eye(features.shape[1]) + features.T @ features / (len(features) * epsilon)
    return np.linalg.slogdet(inner)[1] / 2


def test_a_case_worked_out_by_hand():
    # Scaled: -1/√3 three times and √3; mean squares 1 of all, 1/3 and 3 of the classes.
    value = score("transrate", [[-1.0], [-1.0], [-1.0], [3.0]], [0, 0, 0, 1], epsilon=1.0).value
    assert value == pytest.approx((np.log(2) - 0.75 * np.log(4 / 3) - 0.25 * np.log(4)) / 2, rel=1e-12)


def test_equals_the_definition_with_explicit_determinants(blobs):
    features, labels = blobs
    labels = np.minimum(labels, np.arange(150) % 3)  # classes of unlike sizes
    centred = features - features.mean(axis=0)
    scaled = centred / np.sqrt(np.mean(centred**2))
    expected = rate(scaled) - sum(np.mean(labels == c) * rate(scaled[labels == c]) for c in range(3))
    assert score("transrate", features, labels).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_public_listing_on_unscaled_features_where_classes_weigh_the_same(golden, unscaled, problem):
    features, labels, value = golden(problem, "transrate@tllib")
    prepared = unscaled(features, labels)
    whole = np.sum(np.log1p(prepared.spectrum.values**2 / (len(labels) * EPSILON))) / 2
    assert whole - class_rates(prepared, EPSILON).mean() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_public_code_that_weighs_classes_by_size(golden, problem):
    features, labels, value = golden(problem, "transrate_tracenorm_weighted@emab")
    centred = features - features.mean(axis=0)
    normed = Prepared(
        features=centred / np.linalg.norm(centred), labels=labels, task="classification", n_classes=labels.max() + 1
    )
    assert TRANSRATE.of(normed).value == pytest.approx(value, rel=1e-9)


def test_equal_weights_of_classes_overrate_the_smallest(golden, unscaled):
    features, labels, public = golden("P2_imbalanced", "transrate@tllib")
    assert public > 2 * TRANSRATE.of(unscaled(features, labels)).value


def test_the_public_form_depends_on_the_scale_of_the_features_and_ours_does_not(golden, unscaled):
    features, labels, _ = golden("P1_balanced", "transrate@tllib")
    as_given = TRANSRATE.of(unscaled(features, labels)).value
    assert TRANSRATE.of(unscaled(1e-3 * features, labels)).value < 0.01 * as_given
    value = score("transrate", features, labels).value
    assert score("transrate", 1e-3 * features, labels).value == pytest.approx(value, rel=1e-9)


def test_fewer_samples_than_dimensions_hide_the_labels(golden):
    features, labels, _ = golden("P4_n_lt_d", "transrate@tllib")
    result = score("transrate", features, labels)
    shuffled = score("transrate", features, np.random.default_rng(0).permutation(labels))
    assert shuffled.value == pytest.approx(result.value, rel=2e-3)


def test_a_distortion_of_zero_is_refused(blobs):
    with pytest.raises(DataError, match=r"^transrate needs epsilon > 0\. Got 0\.0\. Use 1e-4 if unsure\.$"):
        score("transrate", *blobs, epsilon=0.0)
