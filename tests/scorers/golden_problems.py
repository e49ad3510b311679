"""The inputs of `golden.json`, whose values are those of the public code of each score; nothing is downloaded."""

import numpy as np


def _gaussians(seed, n_samples, n_features, n_classes, apart, counts=None):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_samples) % n_classes if counts is None else np.repeat(np.arange(n_classes), counts)
    labels = rng.permutation(labels)
    means = rng.normal(size=(n_classes, n_features)) * apart
    mixing = rng.normal(size=(n_features, n_features)) / np.sqrt(n_features)  # correlated noise
    features = means[labels] + rng.normal(size=(len(labels), n_features)) @ mixing
    return features + 0.3 * rng.normal(size=(len(labels), n_features)), labels.astype(np.int64), rng


def _head(features, rng, n_sources=20):
    weights = rng.normal(size=(features.shape[1], n_sources)) / np.sqrt(features.shape[1])
    logits = ((features - features.mean(0)) / (features.std(0) + 1e-12)) @ weights * 3.0
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    return probabilities / probabilities.sum(1, keepdims=True)


def _digits():
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return features.astype(np.float64), labels.astype(np.int64), np.random.default_rng(6)


def _with_duplicates_and_constants():
    features, labels, rng = _gaussians(3, 1200, 76, 5, 0.25)
    return np.hstack([features, features[:, :16], np.full((1200, 1), 3.0), np.zeros((1200, 3))]), labels, rng


def _float32_with_offset():
    features, labels, rng = _gaussians(7, 1000, 64, 4, 0.30)
    return (1000.0 + 1e-2 * features).astype(np.float32), labels, rng


def _rectified():
    features, labels, rng = _gaussians(10, 1500, 200, 12, 0.30)
    features = np.maximum(features - 0.3, 0) ** 1.5
    features[:, rng.choice(200, 20, replace=False)] = 0.0
    return features, labels, rng


def _regression():
    rng = np.random.default_rng(8)
    features = rng.normal(size=(1000, 128)) @ (rng.normal(size=(128, 128)) / np.sqrt(128))
    weights = np.zeros((128, 2))
    weights[:30] = rng.normal(size=(30, 2))
    return features, features @ weights * 0.5 + rng.normal(size=(1000, 2)), None


def _wide_regression():
    rng = np.random.default_rng(9)
    features = rng.normal(size=(150, 400))
    return features, features[:, :5] @ rng.normal(size=(5, 1)) + 0.5 * rng.normal(size=(150, 1)), None


_PROBLEMS = {
    "P1_balanced": lambda: _gaussians(1, 2000, 128, 10, 0.25),
    "P2_imbalanced": lambda: _gaussians(2, None, 64, 8, 0.35, [768, 384, 192, 96, 48, 24, 12, 6]),
    "P3_dup_const": _with_duplicates_and_constants,
    "P4_n_lt_d": lambda: _gaussians(4, 300, 512, 6, 0.15),
    "P5_k100": lambda: _gaussians(5, 5000, 256, 100, 0.30),
    "P6_digits": _digits,
    "P7_f32_offset": _float32_with_offset,
    "P8_regression": _regression,
    "P9_regression_n_lt_d": _wide_regression,
    "P10_relu_sparse": _rectified,
}


def build(name):
    """Return features, labels, and the class probabilities of a head over 20 source classes (None for regression)."""
    features, labels, rng = _PROBLEMS[name]()
    return features, labels, None if rng is None else _head(features.astype(np.float64), rng)
