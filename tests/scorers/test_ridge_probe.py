import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from neuralrank.scorers import score
from neuralrank.scorers._prepared import prepare


def refitted(features, targets, penalty, groups):
    """Held-out R² by fitting once per group."""
    predictions = np.empty_like(targets)
    for group in np.unique(groups):
        test = groups == group
        predictions[test] = Ridge(alpha=penalty, tol=1e-12).fit(features[~test], targets[~test]).predict(features[test])
    return 1 - np.mean((targets - predictions) ** 2 / targets.var(axis=0), axis=1), predictions


@pytest.mark.parametrize("n_features", [4, 80], ids=["tall", "wide"])
@pytest.mark.parametrize("grouped", [False, True], ids=["samples", "groups"])
@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_the_closed_form_equals_a_fit_without_each_sample_or_group(n_features, grouped, task):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, n_features))
    noisy = features[:, :2] + rng.normal(size=(50, 2))
    labels = {"classification": noisy.argmax(axis=1), "regression": noisy, "multilabel": (noisy > 0).astype(int)}[task]
    groups = rng.integers(0, 15, size=50) if grouped else None
    prepared = prepare(features, labels, task=task)
    result = score("ridge_probe", features, labels, groups=groups, task=task)
    penalty = result.details["penalty"] * np.mean(prepared.spectrum.values**2)
    terms, predictions = refitted(
        prepared.features, prepared.targets, penalty, np.arange(50) if groups is None else groups
    )
    np.testing.assert_allclose(result.terms, terms, atol=1e-8)
    assert result.value == pytest.approx(terms.mean(), abs=1e-9)
    if task == "classification":
        assert result.details["accuracy"] == np.mean(predictions.argmax(axis=1) == labels)


@pytest.mark.parametrize("problem", ["P8_regression", "P9_regression_n_lt_d"])
def test_agrees_with_the_leave_one_out_reference(golden, problem):
    features, labels, value = golden(problem, "own.ridge_loo_r2")
    # The reference takes the best penalty of a coarser grid.
    assert score("ridge_probe", features, labels).value == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P6_digits", "P10_relu_sparse"])
def test_the_accuracy_is_near_that_of_the_reference(golden, problem):
    features, labels, value = golden(problem, "own.ridge_loo_acc")
    assert score("ridge_probe", features, labels).details["accuracy"] == pytest.approx(value, abs=5e-3)


def test_the_penalty_of_generalised_cross_validation_is_near_the_best_of_leaving_one_out(blobs):
    features, _ = blobs
    target = features[:, 0] + 2 * np.random.default_rng(0).normal(size=150)
    prepared = prepare(features, target)
    unit = np.mean(prepared.spectrum.values**2)
    model = RidgeCV(unit * 10.0 ** np.arange(-6, 4.01, 0.25), store_cv_results=True).fit(prepared.features, target)
    best = 1 - model.cv_results_.mean(axis=0).min() / target.var()
    assert best - 0.005 < score("ridge_probe", features, target).value <= best + 1e-9


def test_labels_that_say_nothing_score_about_zero_though_their_accuracy_is_below_chance():
    rng = np.random.default_rng(0)
    result = score("ridge_probe", rng.normal(size=(200, 300)), np.arange(200) % 4)
    assert result.value == pytest.approx(0.0, abs=0.02)
    assert result.details["accuracy"] < 0.25


def test_frames_of_one_track_do_not_answer_for_each_other():
    rng = np.random.default_rng(0)
    tracks = np.repeat(np.arange(40), 10)
    features = rng.normal(size=(40, 64))[tracks] + 1e-2 * rng.normal(size=(400, 64))
    labels = rng.integers(0, 4, size=40)[tracks]
    assert score("ridge_probe", features, labels).value > 0.9
    assert score("ridge_probe", features, labels, groups=tracks).value < 0.05
