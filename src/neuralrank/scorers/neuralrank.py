"""Discriminating power: the share of the label entropy that features resolve on samples they were not fitted to.

The paper states the idea and not the formula; this formula is ours, chosen as docs/evidence-choice.md says. Each
feature is standardised and compressed, asinh(x / σ). Ridge regression onto the one-hot classes gives each sample a
held-out discriminant (closed form, without the sample's group); a softmax with one inverse temperature turns it into
class probabilities. Penalty and inverse temperature are the ones of the best held-out likelihood. At an
inverse temperature of zero the probabilities are the class frequencies: features that say nothing get 0, however many.
Multilabel targets are one such problem a label, averaged; regression takes the features as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import _calibration as calibration
from neuralrank.scorers import scorer
from neuralrank.scorers._held_out import Rows, held_out_ridge, held_out_ridges, take_rows
from neuralrank.scorers._pairs import draw_samples
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

# Relative to the mean squared singular value: from almost no shrinkage to almost no fit.
_LOG10_PENALTIES = np.arange(-6.0, 4.0)
_NOTHING_GAINED = 1e-7  # nats
_COARSE, _FINE = 400, 1_000
"""Samples on which penalties are compared, decades apart and closer; the score itself is of all samples."""
_FINE_ELEMENTS = 20_000
"""Held-out predictions that the finer comparison makes do with, where there are many classes."""
_ROUGH, _EXACT = 0.03, 0.01
"""Tolerances of Newton's last step: what is left of the error is about its square."""


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Held-out predictions at one penalty, and how good they are."""

    terms: NDArray[np.float64]
    """Shape (n_rows, n_problems): 1 - loss / loss of the class frequencies; one problem, or one a label or target."""
    accuracy: float
    """Held-out accuracy of the classes, or of the labels on average; R² for regression."""
    inverse_temperature: NDArray[np.float64]
    right: NDArray[np.bool_] | None = None
    """Shape (n_rows,): which classes are predicted rightly; None where there are no classes."""

    @property
    def value(self) -> float:
        """The share resolved."""
        return float(self.terms.mean())


@scorer(
    family="discriminating power",
    tasks={"classification", "regression", "multilabel"},
    paper="Lee et al. 2020, neuralRank (arXiv 1903.00711); formula ours",
    invariances={"sample order"},
)
def neuralrank(prepared: Prepared) -> Score:
    """Score the share of the label entropy resolved on held-out samples (regression: held-out R²).

    With p(y|z) fitted without the sample's group: DP = 1 - mean(-log2 p(y_i|z_i)) / H(y). Several labels or regression
    targets are averaged.

    Returns:
        Score <= 1, no unit; 0 is no better than the class frequencies. `terms` are per sample; `per_class` is the
        share of the class's own surprise -log2 π_c that is resolved (multilabel: the DP of each label); `details` hold
        the held-out `accuracy` (of labels, averaged; R² for regression), the chosen `penalty` (relative to the mean
        squared singular value) and, for one problem, the `inverse_temperature`.

    Cost: a decomposition of its own, O(n · d · min(n, d)), for regression the common one; plus O(n · rank · k).
    """
    if prepared.task != "regression":
        prepared = prepared.compressed
    unit = float(np.mean(prepared.spectrum.values**2))

    def fits(log10_penalties: Sequence[float], rows: Rows | None, start: _Fit | None = None) -> list[_Fit]:
        found: list[_Fit] = []
        for evidence in held_out_ridges(prepared, [unit * 10.0**at for at in log10_penalties], rows):
            found.append(_fitted(prepared, evidence, rows, found[-1] if found else start, _ROUGH))
        return found

    best_at, best = _best_penalty(prepared, fits)
    best = _fitted(prepared, held_out_ridge(prepared, unit * 10.0**best_at), None, best, _EXACT)
    details = {"accuracy": best.accuracy, "penalty": 10.0**best_at}
    if best.inverse_temperature.size == 1:
        details["inverse_temperature"] = float(best.inverse_temperature[0])
    terms = best.terms.mean(axis=1)
    return Score(
        value=float(terms.mean()),
        terms=terms,
        correct=None if best.right is None else best.right.astype(np.float64),
        per_class=_per_class(best, prepared),
        details=details,
    )


def _best_penalty(prepared: Prepared, fits: Callable[..., list[_Fit]]) -> tuple[float, _Fit]:
    """Return the best log10 penalty and its fit: the best decade first, then halved steps to both sides."""
    decades = _LOG10_PENALTIES.tolist()
    found = fits(decades, _some_rows(prepared, _COARSE))
    decade = max(range(len(decades)), key=lambda place: found[place].value)
    rows = _some_rows(prepared, max(_COARSE, min(_FINE, _FINE_ELEMENTS // len(prepared.target_means))))
    tried: dict[float, _Fit] = {}
    best = decades[decade]
    for around in ((-0.5, 0.0, 0.5), (-0.25, 0.25)):
        penalties = [best + step for step in around]
        tried |= zip(penalties, fits(penalties, rows, tried.get(best, found[decade])), strict=True)
        best = max(tried, key=lambda at: tried[at].value)
    return best, tried[best]


def _some_rows(prepared: Prepared, n_rows: int) -> Rows | None:
    """Return some of the samples, drawn by class with the seed; None for all, where they are few or in groups."""
    if prepared.groups is not None or prepared.n_samples <= n_rows:
        return None
    return take_rows(prepared, draw_samples(prepared, n_rows, "neuralrank")[0])


def _fitted(
    prepared: Prepared,
    evidence: NDArray[np.float64],
    rows: Rows | None,
    start: _Fit | None,
    tolerance: float,
) -> _Fit:
    if prepared.task == "classification":
        return _of_classes(prepared, evidence, rows, start, tolerance)
    targets = prepared.targets if rows is None else prepared.targets[rows.indices]
    if prepared.task == "multilabel":
        return _of_labels(prepared, evidence, targets, start, tolerance)
    errors = (targets - prepared.target_means - evidence) ** 2
    terms = 1.0 - errors / (prepared.target_squares / prepared.n_samples)
    return _Fit(terms=terms, accuracy=float(terms.mean()), inverse_temperature=np.ones(1))


def _of_classes(
    prepared: Prepared,
    evidence: NDArray[np.float64],
    rows: Rows | None,
    start: _Fit | None,
    tolerance: float,
) -> _Fit:
    labels = prepared.class_indices if rows is None else prepared.class_indices[rows.indices]
    log_prior = np.log(prepared.target_means)
    entropy = -float(prepared.target_means @ log_prior)
    t = calibration.softmax_temperature(
        evidence, log_prior, labels, start=float(start.inverse_temperature[0]) if start else 1.0, tolerance=tolerance
    )
    losses, right = calibration.softmax_losses(evidence, log_prior, labels, t)
    if losses.mean() > -log_prior[labels].mean() - _NOTHING_GAINED:
        # Held-out fits of noise point away from the left-out label: at t near 0 their order alone would give an
        # accuracy of zero, where the honest prediction is the most frequent class.
        t, losses, right = 0.0, -log_prior[labels], labels == log_prior.argmax()
    # Entropy and losses are both in nats here: their ratio has no unit.
    return _Fit(
        terms=(1.0 - losses / entropy)[:, None],
        accuracy=float(right.mean()),
        inverse_temperature=np.array([t]),
        right=right,
    )


def _of_labels(
    prepared: Prepared,
    evidence: NDArray[np.float64],
    targets: NDArray[np.float64],
    start: _Fit | None,
    tolerance: float,
) -> _Fit:
    frequencies = prepared.target_means
    log_odds = np.log(frequencies) - np.log1p(-frequencies)
    entropies = -(frequencies * np.log(frequencies) + (1.0 - frequencies) * np.log1p(-frequencies))
    begin = np.ones(len(frequencies)) if start is None else start.inverse_temperature
    t = calibration.sigmoid_temperatures(evidence, log_odds, targets, start=begin, tolerance=tolerance)
    losses = calibration.sigmoid_losses(evidence, log_odds, targets, t)
    prior_losses = calibration.sigmoid_losses(evidence, log_odds, targets, np.zeros_like(t))
    nothing = losses.mean(axis=0) > prior_losses.mean(axis=0) - _NOTHING_GAINED
    losses, t = np.where(nothing, prior_losses, losses), np.where(nothing, 0.0, t)
    right = (log_odds + t * evidence > 0) == targets.astype(bool)
    return _Fit(terms=1.0 - losses / entropies, accuracy=float(right.mean()), inverse_temperature=t)


def _per_class(fit: _Fit, prepared: Prepared) -> dict[int, float]:
    """Return, per class, the share of its own surprise that is resolved; weighted by π_c·surprise they give DP."""
    if prepared.task == "regression":
        return {}
    if prepared.task == "multilabel":
        return dict(enumerate(fit.terms.mean(axis=0).tolist()))
    frequencies = prepared.target_means
    entropy = -float(frequencies @ np.log(frequencies))
    mean_terms = np.bincount(prepared.class_indices, weights=fit.terms[:, 0]) / prepared.class_counts
    shares = 1.0 - (1.0 - mean_terms) * entropy / -np.log(frequencies)
    return dict(enumerate(shares.tolist()))
