"""How sure a ranking is: standard errors, ties, and the probability of being best, all from paired terms.

Every score comes here as terms whose mean is the score: one per sample where the score has them (`Score.terms`), one
per deleted block otherwise (`jackknife_terms`). Terms of one group of samples are summed first, because they are not
independent. The terms take the fitted discriminants as given: what the draw of the probe does to the fit itself is
second order and not included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
N_DRAWS = 2_000
N_BLOCKS = 20


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """What can be said of the scores of several models on the same samples; arrays have shape (n_models,)."""

    half_width: NDArray[np.float64]
    """Half the 95 % interval of each score."""
    p_best: NDArray[np.float64]
    tie_group: NDArray[np.int64]
    """1 for the models not told apart from the best one, 2 for those not told apart from the best of the rest, …"""


def confidence(terms: NDArray[np.float64], groups: NDArray[np.int64] | None, *, seed: int = 0) -> Confidence:
    """Judge models by the terms they have on the same samples.

    Args:
        terms: shape (n_models, n_samples), models best first.
        groups: shape (n_samples,); group index of each sample, None where every sample stands alone.
        seed: of the draws behind `p_best`.
    """
    sums, sizes = _sum_by_group(terms, groups)
    scores = sums.sum(axis=1) / sizes.sum()
    deviations = sums - scores[:, None] * sizes
    return Confidence(
        half_width=_quantile(len(sizes)) * _standard_errors(deviations, sizes),
        p_best=_probability_best(sums, sizes, seed),
        tie_group=_tie_groups(scores, deviations, sizes),
    )


def jackknife_terms(
    value: Callable[[NDArray[np.int64]], float],
    labels: NDArray[np.int64] | NDArray[np.float64],
    groups: NDArray[np.int64] | None,
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return pseudo-values of a score that has no per-sample terms, by deleting one block of samples at a time.

    Blocks hold whole groups and are spread over the classes. The pseudo-values are shifted to have the full score as
    their mean, so they stand beside per-sample terms (Tukey's jackknife; Miller 1974).

    Args:
        value: the score of the samples at the given indices.
        labels: shape (n_samples,).
        groups: shape (n_samples,) or None.
        seed: of the assignment to blocks.

    Returns:
        Shape (n_blocks,).
    """
    units = np.arange(len(labels)) if groups is None else groups
    n_units = int(units.max()) + 1
    first = np.full(n_units, len(labels))
    np.minimum.at(first, units, np.arange(len(labels)))
    shuffled = np.random.default_rng(seed).permutation(n_units)
    by_class = shuffled[np.argsort(labels[first[shuffled]], kind="stable")]
    n_blocks = min(N_BLOCKS, n_units)
    block_of_unit = np.empty(n_units, dtype=np.int64)
    block_of_unit[by_class] = np.arange(n_units) % n_blocks
    blocks = block_of_unit[units]
    whole = value(np.arange(len(labels)))
    without = np.array([value(np.flatnonzero(blocks != block)) for block in range(n_blocks)])
    pseudo = n_blocks * whole - (n_blocks - 1) * without
    return np.asarray(pseudo - pseudo.mean() + whole)


def _sum_by_group(
    terms: NDArray[np.float64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of shape (n_models, n_groups) and group sizes of shape (n_groups,)."""
    if groups is None:
        return terms, np.ones(terms.shape[1])
    sizes = np.bincount(groups).astype(np.float64)
    sums = np.stack([np.bincount(groups, weights=row) for row in terms]).astype(np.float64)
    return sums[:, sizes > 0], sizes[sizes > 0]


def _standard_errors(deviations: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of each mean; deviations are group sums less their expectation."""
    n_groups = len(sizes)
    correction = n_groups / max(n_groups - 1, 1)
    return np.asarray(np.sqrt(correction * np.sum(deviations**2, axis=-1)) / sizes.sum())


def _quantile(n_groups: int) -> float:
    return float(stdtrit(max(n_groups - 1, 1), (1 + CONFIDENCE) / 2))


def _tie_groups(
    scores: NDArray[np.float64], deviations: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Number the tie groups from the top; a group's first model is the one its others are compared with."""
    ties = np.ones(len(scores), dtype=np.int64)
    leader = 0
    quantile = _quantile(len(sizes))
    for model in range(1, len(scores)):
        error = float(_standard_errors(deviations[leader] - deviations[model], sizes))
        apart = scores[leader] - scores[model] > quantile * error
        if apart:
            leader = model
        ties[model] = ties[model - 1] + apart
    return ties


def _probability_best(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the share of Bayesian bootstrap draws (Rubin 1981) in which each model's score is the highest."""
    rng = np.random.default_rng(seed)
    wins = np.zeros(len(sums))
    block = max(1, 8_000_000 // len(sizes))
    for start in range(0, N_DRAWS, block):
        weights = rng.exponential(size=(min(block, N_DRAWS - start), len(sizes)))
        drawn = (weights @ sums.T) / (weights @ sizes)[:, None]
        best = drawn >= drawn.max(axis=1, keepdims=True) - 1e-12
        wins += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)  # exact copies share the win
    return wins / N_DRAWS
