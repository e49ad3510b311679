"""Discriminating power: the share of the label entropy that features resolve on samples they were not fitted to.

The paper states the idea and not the formula; this formula is ours. Ridge regression onto the one-hot classes gives
each sample a held-out discriminant (closed form, without the sample's group); a softmax with one inverse temperature
turns it into class probabilities. Penalty and inverse temperature are the ones of the best held-out likelihood. At an
inverse temperature of zero the probabilities are the class frequencies: features that say nothing get 0, however many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from neuralrank.scorers import scorer
from neuralrank.scorers._held_out import held_out_ridge
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

# Relative to the mean squared singular value: from almost no shrinkage to almost no fit.
_LOG10_PENALTIES = np.arange(-6.0, 4.0)
_REFINEMENTS = (0.5, 0.25)
_MAX_INVERSE_TEMPERATURE = 1e3
_NEWTON_STEPS = 30
_NOTHING_GAINED = 1e-7  # nats


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Held-out predictions at one penalty, and how bad they are."""

    loss: float
    terms: NDArray[np.float64]
    predictions: NDArray[np.float64]
    inverse_temperature: float


@scorer(tasks={"classification", "regression"}, paper="Lee et al. 2020, neuralRank (arXiv 1903.00711); formula ours")
def neuralrank(prepared: Prepared) -> Score:
    """Score the share of the label entropy resolved on held-out samples (regression: held-out R²).

    With p(y|z) fitted without the sample's group: DP = 1 - mean(-log2 p(y_i|z_i)) / H(y).

    Returns:
        Score <= 1, no unit; 0 is no better than the class frequencies. `terms` are per sample; `per_class` is the
        share of the class's own surprise -log2 π_c that is resolved; `details` hold the held-out `accuracy` (R² for
        regression), the chosen `penalty` (relative to the mean squared singular value) and `inverse_temperature`.

    Cost: the one decomposition plus about 14 evaluations of O(n · rank · k).
    """
    spectrum = prepared.spectrum
    targets = prepared.targets
    projected = spectrum.left.T @ targets
    unit = float(np.mean(spectrum.values**2))

    def fit(log10_penalty: float) -> _Fit:
        predictions = held_out_ridge(spectrum, projected, targets, unit * 10.0**log10_penalty, prepared.groups)
        if prepared.task == "regression":
            return _squared_loss(predictions, targets)
        return _log_loss(predictions, prepared)

    best_at, best = _minimise(fit)
    if prepared.task == "regression":
        accuracy, per_class = float(best.terms.mean()), {}
    else:
        accuracy = float(np.mean(best.predictions.argmax(axis=1) == prepared.labels))
        per_class = _per_class(best.terms, prepared)
    return Score(
        value=float(best.terms.mean()),
        terms=best.terms,
        per_class=per_class,
        details={"accuracy": accuracy, "penalty": 10.0**best_at, "inverse_temperature": best.inverse_temperature},
    )


def _minimise(fit: Callable[[float], _Fit]) -> tuple[float, _Fit]:
    """Return the best log10 penalty and its fit: a coarse grid, then halved steps to both sides of the best."""
    best_at, best = min(((float(at), fit(float(at))) for at in _LOG10_PENALTIES), key=lambda pair: pair[1].loss)
    for step in _REFINEMENTS:
        around = ((best_at + side, fit(best_at + side)) for side in (-step, step))
        best_at, best = min(((best_at, best), *around), key=lambda pair: pair[1].loss)
    return best_at, best


def _squared_loss(predictions: NDArray[np.float64], targets: NDArray[np.float64]) -> _Fit:
    errors = np.mean((targets - predictions) ** 2, axis=1)
    variance = float(np.mean((targets - targets.mean(axis=0)) ** 2))
    return _Fit(
        loss=float(errors.mean()), terms=1.0 - errors / variance, predictions=predictions, inverse_temperature=1.0
    )


def _log_loss(predictions: NDArray[np.float64], prepared: Prepared) -> _Fit:
    frequencies = prepared.class_counts / prepared.n_samples
    log_prior = np.log(frequencies)
    evidence = predictions - frequencies
    own = (np.arange(prepared.n_samples), prepared.labels.astype(np.int64))
    entropy = -float(frequencies @ log_prior)
    t = _best_inverse_temperature(evidence, log_prior, own)
    logits = log_prior + t * evidence
    losses = logsumexp(logits, axis=1) - logits[own]
    if losses.mean() > entropy - _NOTHING_GAINED:
        # Held-out fits of noise point away from the left-out label: at t near 0 their order alone would give an
        # accuracy of zero, where the honest prediction is the most frequent class.
        t, logits = 0.0, np.broadcast_to(log_prior, evidence.shape)
        losses = -log_prior[own[1]]
    # Entropy and losses are both in nats here: their ratio has no unit.
    return _Fit(loss=float(losses.mean()), terms=1.0 - losses / entropy, predictions=logits, inverse_temperature=t)


def _best_inverse_temperature(
    evidence: NDArray[np.float64],
    log_prior: NDArray[np.float64],
    own: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> float:
    """Return t >= 0 with the least mean log loss of softmax(log prior + t · evidence): convex in t, by safe Newton."""
    low, high = 0.0, _MAX_INVERSE_TEMPERATURE
    t = 1.0
    mean_own = float(evidence[own].mean())
    for _ in range(_NEWTON_STEPS):
        logits = log_prior + t * evidence
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.einsum("ij,ij->i", weights, evidence)
        slope = float(expected.mean()) - mean_own
        curvature = float(np.mean(np.einsum("ij,ij,ij->i", weights, evidence, evidence) - expected**2))
        low, high = (low, t) if slope > 0 else (t, high)
        newton = t - slope / curvature if curvature > 0 else high
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - t) <= 1e-6 * (1.0 + t):
            return following
        t = following
    return t


def _per_class(terms: NDArray[np.float64], prepared: Prepared) -> dict[int, float]:
    """Return, per class, the share of its own surprise that is resolved; weighted by π_c·surprise they give DP."""
    frequencies = prepared.class_counts / prepared.n_samples
    entropy = -float(frequencies @ np.log(frequencies))
    mean_terms = np.bincount(prepared.labels.astype(np.int64), weights=terms) / prepared.class_counts
    shares = 1.0 - (1.0 - mean_terms) * entropy / -np.log(frequencies)
    return {index: float(share) for index, share in enumerate(shares)}
