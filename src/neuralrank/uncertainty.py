"""How sure a ranking is: standard errors, ties, and the probability of being best, all from paired terms.

Every score comes here as terms whose mean is the score: one per sample where the score has them (`Score.terms`), one
per deleted block otherwise (`jackknife_terms`). Terms of one group of samples are summed first, because they are not
independent. The terms take the fitted discriminants as given: what the draw of the probe does to the fit itself is
second order and not included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from neuralrank.scorers._folds import deal

CONFIDENCE = 0.95
N_DRAWS = 2_000
N_BLOCKS = 20


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """What can be said of the scores of several models on the same samples; arrays have shape (n_models,)."""

    low: NDArray[np.float64]
    """Lower end of the 95 % interval of each score."""
    high: NDArray[np.float64]
    p_best: NDArray[np.float64]
    tie_group: NDArray[np.int64]
    """1 for the models not told apart from the best one, 2 for those not told apart from the best of the rest, …"""

    @property
    def half_width(self) -> NDArray[np.float64]:
        """Half the 95 % interval of each score."""
        return (self.high - self.low) / 2.0


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
    quantile = _quantile(len(sizes))
    half_width = quantile * _standard_errors(deviations, sizes)

    def apart(leader: int, model: int) -> bool:
        error = float(_standard_errors(deviations[leader] - deviations[model], sizes))
        return bool(scores[leader] - scores[model] > quantile * error)

    return Confidence(
        low=scores - half_width,
        high=scores + half_width,
        p_best=_shares_of_wins(_draws(sums, sizes, seed)),
        tie_group=_tie_groups(len(scores), apart),
    )


def raced_confidence(
    terms: Sequence[NDArray[np.float64]],
    groups: Sequence[NDArray[np.int64] | None],
    last: NDArray[np.int64],
    *,
    seed: int = 0,
) -> Confidence:
    """Judge models that have not all seen the same samples: each by those of its last rung.

    Two models are told apart by the largest rung that both have seen. The probability of being best is shared out rung
    by rung: the models that end at a rung get what they win there against all that have seen it, and those that go on
    share the rest.

    Args:
        terms: one array for each rung, smallest first, shape (n_models, n_samples), models best first; rows of NaN for
            models that have not reached it.
        groups: one entry for each rung, as for `confidence`.
        last: shape (n_models,), place of the last rung that each model has reached.
        seed: of the draws behind `p_best`.
    """
    rungs = [_sum_by_group(*pair) for pair in zip(terms, groups, strict=True)]
    n_models = len(last)
    low, high, p_best = np.empty(n_models), np.empty(n_models), np.zeros(n_models)
    left = 1.0
    for place, (sums, sizes) in enumerate(rungs):
        there = np.flatnonzero(last >= place)
        ending = last[there] == place
        if not ending.any():
            continue
        wins = _shares_of_wins(_draws(sums[there], sizes, seed))
        p_best[there[ending]] = left * wins[ending]
        left *= float(wins[~ending].sum())
        scores = sums[there[ending]].sum(axis=1) / sizes.sum()
        half_width = _quantile(len(sizes)) * _standard_errors(sums[there[ending]] - scores[:, None] * sizes, sizes)
        low[there[ending]], high[there[ending]] = scores - half_width, scores + half_width

    def apart(leader: int, model: int) -> bool:
        sums, sizes = rungs[min(last[leader], last[model])]
        difference = sums[leader] - sums[model]
        mean = difference.sum() / sizes.sum()
        return bool(mean > _quantile(len(sizes)) * float(_standard_errors(difference - mean * sizes, sizes)))

    return Confidence(low=low, high=high, p_best=p_best, tie_group=_tie_groups(n_models, apart))


def combined_confidence(
    terms: Sequence[NDArray[np.float64]],
    groups: Sequence[NDArray[np.int64] | None],
    combine: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int = 0,
) -> Confidence:
    """Judge models by a combination of several scores, drawing all of them anew on the same samples.

    Each of the Bayesian bootstrap's draws reweights the samples, which gives every model new scores and the pool a new
    combination; the interval holds the middle 95 % of the draws, and two models are told apart where one is ahead in
    more than 97.5 % of them.

    Args:
        terms: one array for each score, shape (n_models, n_units), models best first; rows of NaN for models that have
            no such score. Scores with as many units as others are drawn with the same weights.
        groups: one entry for each score, as for `confidence`.
        combine: of values of shape (n_draws, n_models, n_scores), to (n_draws, n_models).
        seed: of the draws.
    """
    drawn = combine(
        np.stack([_draws(*_sum_by_group(*pair), seed) for pair in zip(terms, groups, strict=True)], axis=-1)
    )
    whole = combine(np.stack([part.mean(axis=1) for part in terms], axis=-1)[None])[0]
    tails = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(drawn, (tails, 1.0 - tails), axis=0)

    def apart(leader: int, model: int) -> bool:
        return bool(np.mean(drawn[:, model] >= drawn[:, leader] - 1e-12) < tails)

    return Confidence(
        low=np.minimum(low, whole),
        high=np.maximum(high, whole),
        p_best=_shares_of_wins(drawn),
        tie_group=_tie_groups(len(whole), apart),
    )


def jackknife_terms(
    value: Callable[[NDArray[np.int64]], float],
    whole: float,
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
        whole: the score of all samples.
        labels: shape (n_samples,).
        groups: shape (n_samples,) or None.
        seed: of the assignment to blocks.

    Returns:
        Shape (n_blocks,).
    """
    blocks = deal(labels, groups, N_BLOCKS, seed=seed)
    n_blocks = int(blocks.max()) + 1
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


def _tie_groups(n_models: int, apart: Callable[[int, int], bool]) -> NDArray[np.int64]:
    """Number the tie groups from the top; a group's first model is the one its others are compared with."""
    ties = np.ones(n_models, dtype=np.int64)
    leader = 0
    for model in range(1, n_models):
        told = apart(leader, model)
        if told:
            leader = model
        ties[model] = ties[model - 1] + told
    return ties


def _shares_of_wins(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of draws, shape (n_draws, n_models), in which each model's score is the highest."""
    best = drawn >= drawn.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(np.mean(best / best.sum(axis=1, keepdims=True), axis=0))  # exact copies share the win


def _draws(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the scores in each draw of the Bayesian bootstrap (Rubin 1981), shape (n_draws, n_models)."""
    rng = np.random.default_rng(seed)
    drawn = np.empty((N_DRAWS, len(sums)))
    block = max(1, 8_000_000 // len(sizes))
    for start in range(0, N_DRAWS, block):
        weights = rng.exponential(size=(min(block, N_DRAWS - start), len(sizes)))
        drawn[start : start + len(weights)] = (weights @ sums.T) / (weights @ sizes)[:, None]
    return drawn
