"""The first transfer accuracy: a logistic head on frozen features."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths that are tried, strongest first."""
VALIDATION_SHARE = 0.2


def head_correct(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float32],
    test_labels: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Train a head and return which test samples it gets right.

    Features are standardised; the penalty is the one that does best on the last fifth of the training samples, and the
    head is then trained on all of them.

    Args:
        train: shape (n_train, d), in random order.
        train_labels: shape (n_train,).
        test: shape (n_test, d).
        test_labels: shape (n_test,).

    Returns:
        Shape (n_test,).
    """
    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 1e-6 * max(spread.max(), 1e-12), spread, np.inf)  # a dead column stays at zero
    fitted = ((train - mean) / scale).astype(np.float64)
    n_fit = len(fitted) - int(VALIDATION_SHARE * len(fitted))
    heads = _heads(fitted[:n_fit], train_labels[:n_fit], PENALTIES)
    accuracies = [head.score(fitted[n_fit:], train_labels[n_fit:]) for head in heads]
    best = PENALTIES[int(np.argmax(accuracies))]
    (head,) = _heads(fitted, train_labels, (best,))
    return np.asarray(head.predict(((test - mean) / scale).astype(np.float64)) == test_labels)


def _heads(features: NDArray[np.float64], labels: NDArray[np.int64], penalties: tuple[float, ...]) -> list[Any]:
    """Fit one head a penalty, each starting from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(tol=1e-3, max_iter=200, warm_start=True)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are the recipe, converged or not
        for penalty in penalties:
            head.C = penalty
            found.append(copy.deepcopy(head.fit(features, labels)))
    return found
