"""How good a ranking is against known transfer accuracies, and how to measure such an accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuralrank.errors import DataError

_HEAD_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)


def weighted_tau(scores: ArrayLike, accuracies: ArrayLike) -> float:
    """Return the weighted Kendall correlation of scores and transfer accuracies.

    SciPy's defaults: additive hyperbolic weights by rank, averaged over the ranking by scores and by accuracies, so
    that agreement at the top counts most.

    Args:
        scores: shape (n_models,).
        accuracies: shape (n_models,), in the same order of models.

    Returns:
        Between -1 and 1.

    Raises:
        DataError: fewer than two models, other lengths, or constant values, for which it is not defined.

    Example:
        >>> weighted_tau([0.1, 0.5, 0.9], [0.6, 0.7, 0.8])
        1.0
    """
    from scipy.stats import weightedtau

    first, second = _paired(scores, accuracies)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise DataError("weighted_tau needs values that differ. Got the same for every model. It is not defined there.")
    return float(weightedtau(first, second).statistic)


def regret_at_k(scores: ArrayLike, accuracies: ArrayLike, *, k: int = 1) -> float:
    """Return how much accuracy is lost by taking the best of the k highest-scored models instead of the best of all.

    Example:
        >>> round(regret_at_k([0.9, 0.5, 0.1], [0.70, 0.75, 0.60]), 3)
        0.05
    """
    first, second = _paired(scores, accuracies)
    if k < 1:
        raise DataError(f"regret_at_k needs k >= 1. Got {k}. Use 1 for the model ranked first.")
    chosen = np.argsort(-first, kind="stable")[:k]
    return float(second.max() - second[chosen].max())


def head_accuracy(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, n_folds: int = 4, seed: int = 0
) -> float:
    """Train a logistic head on frozen features and return its accuracy on samples it was not trained on.

    The samples are split into folds by class; each fold is predicted by a head trained on the others, on standardised
    features, with the penalty that does best on a quarter of its training samples.

    Args:
        features: shape (n_samples, n_features).
        labels: shape (n_samples,), class indices; each class has at least 4 samples.
        n_folds: number of folds, at least 2.
        seed: of the splits.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    correct = 0
    for train, test in folds.split(features, labels):
        predicted = _head_predictions(features[train], labels[train], features[test], seed)
        correct += int(np.count_nonzero(predicted == labels[test]))
    return correct / len(labels)


def _head_predictions(
    features: NDArray[np.float32], labels: NDArray[np.int64], new_features: NDArray[np.float32], seed: int
) -> NDArray[np.int64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    fit, tune = train_test_split(np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=seed)

    def head(penalty: float, rows: NDArray[np.int64]) -> LogisticRegression:
        return LogisticRegression(C=penalty, tol=1e-3, max_iter=1_000).fit(scaled[rows], labels[rows])

    best = max(_HEAD_PENALTIES, key=lambda penalty: head(penalty, fit).score(scaled[tune], labels[tune]))
    return np.asarray(head(best, np.arange(len(labels))).predict(scaler.transform(new_features)))


def _paired(scores: ArrayLike, accuracies: ArrayLike) -> Sequence[NDArray[np.float64]]:
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise DataError(
            f"Judging a ranking needs one score and one accuracy for each of at least 2 models. Got shapes "
            f"{first.shape} and {second.shape}. Build both from the same list of models."
        )
    return first, second
