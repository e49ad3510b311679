import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers import score

GAUSS = registry.get("scorers", "pactran_gauss")
PROBLEMS = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P10_relu_sparse"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("P5_k100", "P6_digits")]


def explicit(features, labels, width, factor):
    """Both terms at the optimum that scikit-learn finds."""
    n_samples, n_features = features.shape
    n_classes = labels.max() + 1
    strength = width * n_samples
    model = LogisticRegression(C=width, tol=1e-10, max_iter=10_000).fit(features, labels)
    posteriors = model.predict_proba(features)
    loss = -np.log(posteriors[np.arange(n_samples), labels]).mean() + np.sum(model.coef_**2) / (2 * strength)
    curvature = np.sum(posteriors * (1 - posteriors), axis=1)
    total = np.sum(curvature * (np.sum(features**2, axis=1) + 1)) + n_classes * n_features / strength
    variance = factor / n_features * np.log(total * strength / (n_classes * n_features) + 1e-10)
    return loss, 0.5 * n_classes * n_features / strength * variance


@pytest.mark.parametrize("problem", [*PROBLEMS, *SLOW])
def test_agrees_on_unscaled_features_with_the_public_code_which_stops_early(golden, unscaled, problem):
    features, labels, whole = golden(problem, "pac_gauss_l1_s100@pactran(seed0)")
    _, _, stopped = golden(problem, "pac_gauss_l1_optonly@pactran(seed0)")
    result = GAUSS.of(unscaled(features, labels))
    assert 0.98 * stopped < result.details["loss"] < stopped
    # Digits are far from their optimum after the 100 steps of the public code.
    assert result.value == pytest.approx(-whole, rel=5e-3 if problem == "P6_digits" else 1e-3)


@pytest.mark.parametrize(("width", "factor"), [(1.0, 100.0), (0.01, 10.0), (10.0, 1.0)])
def test_both_terms_are_those_at_the_optimum_of_scikit_learn(blobs, width, factor):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    loss, variance = explicit(centred / np.sqrt(np.mean(centred**2)), labels, width, factor)
    result = score("pactran_gauss", features, labels, prior_width=width, variance_factor=factor)
    assert result.details["loss"] == pytest.approx(loss, rel=1e-6)
    assert result.details["variance"] == pytest.approx(variance, rel=1e-4)
    assert result.value == -(result.details["loss"] + result.details["variance"])


def test_the_public_form_depends_on_the_scale_of_the_features_and_ours_does_not(blobs, unscaled):
    features, labels = blobs
    as_given = GAUSS.of(unscaled(features, labels)).details["loss"]
    assert GAUSS.of(unscaled(0.01 * features, labels)).details["loss"] > 2 * as_given
    value = score("pactran_gauss", features, labels).value
    assert score("pactran_gauss", 0.01 * features, labels).value == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prior_width": 0.0}, "pactran_gauss needs prior_width > 0. Got 0.0. Leave it out if unsure."),
        ({"variance_factor": -1.0}, "pactran_gauss needs variance_factor > 0. Got -1.0. Leave it out if unsure."),
    ],
    ids=["width", "factor"],
)
def test_wrong_options_are_refused(blobs, options, sentence):
    with pytest.raises(DataError) as error:
        score("pactran_gauss", *blobs, **options)
    assert str(error.value) == sentence
