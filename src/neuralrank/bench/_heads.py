"""The first transfer accuracy: a logistic head on frozen features."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths that are tried, strongest first."""
VALIDATION_SHARE = 0.2
_NEVER = -1e3


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear classifier of features as the network gives them."""

    weights: NDArray[np.float64]
    """Shape (n_classes, d)."""
    bias: NDArray[np.float64]
    """Shape (n_classes,)."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the classes of features (n, d)."""
        return np.asarray((features @ self.weights.T + self.bias).argmax(axis=1))

    def layer(self) -> nn.Linear:
        """Return the same as a layer of torch."""
        layer = nn.Linear(self.weights.shape[1], len(self.bias))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weights))
            layer.bias.copy_(torch.from_numpy(self.bias))
        return layer


def train_head(features: NDArray[np.float32], labels: NDArray[np.int64], n_classes: int) -> Head:
    """Train a logistic head.

    Features are standardised, which the weights undo; the penalty is the one that does best on the last fifth of the
    samples, and the head is then trained on all of them.

    Args:
        features: shape (n, d), in random order.
        labels: shape (n,).
        n_classes: of the head; one without samples is never predicted.
    """
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 1e-6 * max(spread.max(), 1e-12), spread, np.inf)  # a dead column gets no weight
    standardised = (features - mean) / scale
    n_fit = len(labels) - int(VALIDATION_SHARE * len(labels))
    tried = _heads(standardised[:n_fit], labels[:n_fit], PENALTIES)
    accuracies = [head.score(standardised[n_fit:], labels[n_fit:]) for head in tried]
    (head,) = _heads(standardised, labels, (PENALTIES[int(np.argmax(accuracies))],))
    weights, bias = np.zeros((n_classes, features.shape[1])), np.full(n_classes, _NEVER)
    rows = head.classes_ if len(head.coef_) > 1 else head.classes_[1:]  # of two classes, one is told by its sign
    bias[head.classes_] = 0.0
    weights[rows], bias[rows] = head.coef_ / scale, head.intercept_ - head.coef_ @ (mean / scale)
    return Head(weights=weights, bias=bias)


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
