import numpy as np
import pytest

from neuralrank import registry
from neuralrank.scorers import score

SFDA = registry.get("scorers", "sfda")
AGREEING = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P6_digits"]


def posteriors(features, labels, intensity):
    """Linear discriminant analysis with the shrunk covariance inverted."""
    classes = np.unique(labels)
    means = np.stack([features[labels == c].mean(axis=0) for c in classes])
    shares = np.array([np.mean(labels == c) for c in classes])
    within = sum(w * np.cov(features[labels == c].T, ddof=0) for w, c in zip(shares, classes, strict=True))
    if intensity is None:
        intensity = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)
    shrunk = (1 - intensity) * within + intensity * np.trace(within) / len(within) * np.eye(len(within))
    inverse = np.linalg.inv(shrunk)
    logits = features @ inverse @ means.T - np.sum(means @ inverse * means, axis=1) / 2 + np.log(shares)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True), means, intensity


def in_two_stages(features, labels):
    """The score with every mixed sample formed."""
    first, means, intensity = posteriors(features, labels, None)
    softened = np.exp(first) / np.exp(first).sum(axis=1, keepdims=True)
    n_classes = len(means)
    mixed = np.empty_like(features)
    for i, c in enumerate(labels):
        share = softened[i, c]
        mixed[i] = share * features[i] + (1 - share) * (means.sum(axis=0) - means[c]) / (n_classes - 1)
    second = posteriors(mixed, labels, intensity)[0]
    return second[np.arange(len(labels)), labels]


@pytest.mark.parametrize("n_features", [2, 6, 40])
def test_equals_the_definition_with_mixed_samples_and_explicit_inverses(n_features):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], (70, 50, 10))
    features = rng.normal(size=(130, n_features)) * 0.5 + labels[:, None]
    centred = features - features.mean(axis=0)
    scaled = centred / np.sqrt(np.mean(centred**2))
    np.testing.assert_allclose(score("sfda", features, labels).terms, in_two_stages(scaled, labels), rtol=1e-8)


@pytest.mark.parametrize("problem", AGREEING)
def test_agrees_with_the_public_code_on_unscaled_features(golden, unscaled, problem):
    features, labels, value = golden(problem, "sfda@TencentARC")
    # The public code takes three steps towards the largest eigenvalue, which sets the shrinkage.
    assert SFDA.of(unscaled(features, labels)).value == pytest.approx(value, rel=1e-6)


def test_the_public_form_depends_on_the_scale_of_the_features_and_ours_does_not(golden, unscaled):
    features, labels, _ = golden("P2_imbalanced", "sfda@TencentARC")
    as_given = SFDA.of(unscaled(features, labels)).value
    assert SFDA.of(unscaled(1e-3 * features, labels)).value < as_given - 0.1
    value = score("sfda", features, labels).value
    assert score("sfda", 1e-3 * features, labels).value == pytest.approx(value, rel=1e-9)


def test_fewer_samples_than_dimensions_score_one_for_any_labels():
    features, labels = np.random.default_rng(0).normal(size=(100, 400)), np.arange(100) % 5
    result = score("sfda", features, labels)
    assert result.value == pytest.approx(1.0, abs=1e-3)
