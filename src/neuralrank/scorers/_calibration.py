"""Turn held-out evidence into probabilities: a softmax, or one sigmoid a label, of log prior + t · evidence.

The inverse temperature t >= 0 is the one of the least mean log loss: a convex problem in one number, solved by Newton's
method inside a bracket.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MAX_INVERSE_TEMPERATURE = 1e3
_NEWTON_STEPS = 40
_BLOCK_ELEMENTS = 65_536  # what a pass works on at a time stays in the processor's cache

Slopes = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]


def softmax_temperature(
    evidence: NDArray[np.float64],
    log_prior: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    start: float = 1.0,
    tolerance: float = 1e-6,
) -> float:
    """Return the best inverse temperature of softmax(log prior + t · evidence).

    Args:
        evidence: shape (n_samples, n_classes).
        log_prior: shape (n_classes,).
        labels: shape (n_samples,).
        start: where the search begins.
        tolerance: relative, of the result.
    """
    evidence = _below_zero(evidence)
    mean_own = float(evidence[np.arange(len(labels)), labels].mean())

    def slopes(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = 0.0, 0.0
        for block in _blocks(evidence):
            part = evidence[block]
            weights = _weights(part, log_prior, float(t[0]))
            sums = weights.sum(axis=1)
            weights *= part
            expected = weights.sum(axis=1) / sums
            first += float(expected.sum())
            second += float(np.sum(np.einsum("ij,ij->i", weights, part) / sums - expected**2))
        return np.array([first / len(evidence) - mean_own]), np.array([second / len(evidence)])

    return float(_newton(slopes, np.array([start]), tolerance)[0])


def softmax_losses(
    evidence: NDArray[np.float64], log_prior: NDArray[np.float64], labels: NDArray[np.int64], t: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return -log p of each sample's own class in nats, and whether it is the most probable; shapes (n_samples,)."""
    losses, right = np.empty(len(labels)), np.empty(len(labels), dtype=bool)
    evidence = _below_zero(evidence)
    for block in _blocks(evidence):
        part, own = evidence[block], labels[block]
        weights = _weights(part, log_prior, t)
        losses[block] = np.log(weights.sum(axis=1)) - log_prior[own] - t * part[np.arange(len(own)), own]
        right[block] = weights.argmax(axis=1) == own
    return losses, right


def sigmoid_temperatures(
    evidence: NDArray[np.float64],
    log_odds: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    start: NDArray[np.float64],
    tolerance: float = 1e-6,
) -> NDArray[np.float64]:
    """Return the best inverse temperature of each label's sigmoid(log odds + t · evidence), shape (n_labels,)."""
    mean_own = np.mean(evidence * targets, axis=0)

    def slopes(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        probabilities = _sigmoid(log_odds + t * evidence)
        first = np.mean(probabilities * evidence, axis=0) - mean_own
        return first, np.mean(probabilities * (1.0 - probabilities) * evidence**2, axis=0)

    return _newton(slopes, start, tolerance)


def sigmoid_losses(
    evidence: NDArray[np.float64],
    log_odds: NDArray[np.float64],
    targets: NDArray[np.float64],
    t: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the log loss of each sample and label in nats, shape (n_samples, n_labels)."""
    logits = log_odds + t * evidence
    return np.asarray(np.logaddexp(0.0, logits) - targets * logits)


def _newton(slopes: Slopes, start: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Minimise convex functions of one number each, by Newton's method kept inside a bracket."""
    low, high = np.zeros_like(start), np.full_like(start, _MAX_INVERSE_TEMPERATURE)
    t = np.clip(start, 1e-3, _MAX_INVERSE_TEMPERATURE)
    for _ in range(_NEWTON_STEPS):
        first, second = slopes(t)
        low, high = np.where(first > 0, low, t), np.where(first > 0, t, high)
        following = t - first / np.where(second > 0, second, np.inf)
        inside = (following >= low) & (following <= high) & (second > 0)  # an end itself: t is the minimum already
        following = np.where(inside, following, (low + high) / 2.0)
        if np.all(np.abs(following - t) <= tolerance * (1.0 + t)):
            return following
        t = following
    return t


def _blocks(evidence: NDArray[np.float64]) -> list[slice]:
    n_rows = max(1, _BLOCK_ELEMENTS // evidence.shape[1])
    return [slice(start, start + n_rows) for start in range(0, len(evidence), n_rows)]


def _below_zero(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the evidence less the largest of each row: the softmax is the same, and its powers of e are at most 1."""
    return np.asarray(evidence - evidence.max(axis=1, keepdims=True))


def _weights(evidence: NDArray[np.float64], log_prior: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Return exp(log prior + t · evidence), a new array."""
    logits = t * evidence
    logits += log_prior
    return np.asarray(np.exp(logits, out=logits))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(logits))
