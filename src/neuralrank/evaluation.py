"""How good a ranking is against known transfer accuracies, how certain that is, and how to measure such an accuracy.

Everything is a pure function of arrays. A value that is not a number means that a model has no such score: the model
stands below all that have one, tied with the others that have none. Where values tie, what is returned is the mean
over all ways of breaking the tie, so that the order in which models are listed never counts.

Resamples of the models are arrays of counts: how often each model is in each resample. Copies of a model are tied in
both orders, and Vigna's weighted τ leaves such pairs out of its numerator and of its norm alike. So the bootstrap with
replacement is used as it is, for a statistic of pairs without its diagonal (Arcones & Giné 1992, "On the bootstrap of U
and V statistics", Annals of Statistics 20), with percentile intervals: in simulations of 60 and 136 models their
coverage at 95 % is 93 to 97 %, where the basic (reflected) interval covers 84 to 91 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuralrank.errors import DataError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_HEAD_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_LEAST_VARIANCE = 0.01
"""Of one test sample: what it is at an accuracy of 0.99."""
_OUTLIER = 10.0
"""Times the median: a larger variance counts as this."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval of 95 %."""

    value: float
    low: float
    high: float

    def __truediv__(self, divisor: float) -> Estimate:
        """Return the estimate in another unit."""
        return Estimate(value=self.value / divisor, low=self.low / divisor, high=self.high / divisor)


# --- one ranking -------------------------------------------------------------------------------------------------


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


def spearman(scores: ArrayLike, accuracies: ArrayLike) -> float:
    """Return the correlation of the ranks by scores and by accuracies (midranks); nan where one of them is constant.

    Example:
        >>> spearman([0.1, 0.5, 0.9], [0.6, 0.8, 0.7])
        0.5
    """
    from scipy.stats import rankdata

    first, second = (rankdata(_lowest_if_missing(values)) for values in _paired(scores, accuracies))
    first, second = first - first.mean(), second - second.mean()
    norm = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / norm if norm else math.nan


def regret_at_k(scores: ArrayLike, accuracies: ArrayLike, *, k: int = 1) -> float:
    """Return how much accuracy is lost by taking the best of the k highest-scored models instead of the best of all.

    Example:
        >>> round(regret_at_k([0.9, 0.5, 0.1], [0.70, 0.75, 0.60]), 3)
        0.05
    """
    first, second = _paired(scores, accuracies)
    return float(second.max()) - _expected_best(first, second, k, "regret_at_k")


def hit_at_k(scores: ArrayLike, accuracies: ArrayLike, *, k: int = 1) -> float:
    """Return whether the most accurate model is among the k highest-scored ones.

    Where several models are the most accurate, each of them is a hit. Where scores tie across place k, the places left
    are drawn among the tied models and the chance of a hit is returned.

    Returns:
        1 or 0, or a chance between.

    Example:
        >>> hit_at_k([0.9, 0.5, 0.1], [0.70, 0.75, 0.60], k=2)
        1.0
        >>> hit_at_k([0.9, 0.9, 0.1], [0.70, 0.75, 0.60])
        0.5
    """
    first, second = _paired(scores, accuracies)
    return _expected_best(first, (second == second.max()).astype(np.float64), k, "hit_at_k")


def _expected_best(scores: Floats, values: Floats, k: int, name: str) -> float:
    """Return the largest value of the k highest-scored models, on average over the ways of breaking ties at place k."""
    if k < 1:
        raise DataError(f"{name} needs k >= 1. Got {k}. Use 1 for the model ranked first.")
    scores, k = _lowest_if_missing(scores), min(k, len(scores))
    boundary = np.sort(scores)[-k]
    above, tied = values[scores > boundary], np.sort(values[scores == boundary])[::-1]
    n_tied, n_drawn = len(tied), k - len(above)
    n_ways = math.comb(n_tied, n_drawn)
    chances = [
        math.comb(n_tied - 1 - place, n_drawn - 1) / n_ways for place in range(n_tied)
    ]  # of being the best drawn
    return float(np.asarray(chances) @ np.maximum(tied, above.max(initial=-np.inf)))


# --- many rankings, many resamples -------------------------------------------------------------------------------


def draw_resamples(n_models: int, *, n_resamples: int, seed: int = 0, groups: Sequence[str] | None = None) -> Counts:
    """Draw models with replacement, as many as there are.

    Args:
        n_models: number of models.
        n_resamples: number of resamples.
        seed: of the draws.
        groups: of each model; models of one group are drawn together, as relatives are no independent evidence (the
            cluster bootstrap: Field & Welsh 2007, JRSS B 69). None draws models one by one.

    Returns:
        Shape (n_resamples, n_models): how often each model is in each resample.
    """
    names, group_of = np.unique(np.arange(n_models) if groups is None else np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
    return np.asarray(counts[:, group_of], dtype=np.int64)


def estimate(value: float, resampled: Floats) -> Estimate:
    """Return a value with the percentile interval of its resamples, shape (n_resamples,).

    Two orderings are compared on the same resamples: `estimate(a - b, resampled_a - resampled_b)`.
    """
    if not len(resampled) or np.all(np.isnan(resampled)):
        return Estimate(value=value, low=math.nan, high=math.nan)
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Estimate(value=value, low=float(low), high=float(high))


def weighted_taus(scores: ArrayLike, accuracies: ArrayLike, counts: Counts | None = None) -> Floats:
    """Return the weighted τ of many rankings on many resamples of the models, each equal to SciPy's.

    SciPy ranks by decreasing values and breaks ties by the other list's values (once by scores, once by accuracies; the
    result is the mean); models that tie in both are interchangeable. With w the weight of a model, S = ±1 or 0 the
    agreement of a pair and T = 0 where a pair ties, τ = Σ_i w_i Σ_j S_ij / sqrt(Σ_i w_i Σ_j T_ij · Σ_i w_i Σ_j T'_ij);
    the inner sums are one matrix product for all resamples.

    Args:
        scores: shape (n_rankings, n_models).
        accuracies: shape (n_models,).
        counts: shape (n_resamples, n_models), how often each model is in each resample; None takes each model once.

    Returns:
        Shape (n_rankings, n_resamples); nan where all scores or all accuracies of a resample are the same.
    """
    rankings, counts = _rankings(scores, accuracies, counts)
    second = _places(np.asarray(accuracies, dtype=np.float64))
    copies = counts.astype(np.float32)  # whole numbers: their sums are exact, and twice as fast
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, counts.sum(axis=1).max() + 1))])
    others_second, signs_second = _others(second, copies), _signs(second)
    found = np.empty((len(rankings), len(counts)))
    for row, values in enumerate(rankings):
        first = _places(values)
        sums = (copies @ (_signs(first) * signs_second), _others(first, copies), others_second)
        by_first = _weighted(sums, np.lexsort((second, first))[::-1], counts, harmonic)
        by_second = _weighted(sums, np.lexsort((first, second))[::-1], counts, harmonic)
        found[row] = (by_first + by_second) / 2
    return found


def _weighted(sums: Sequence[NDArray[np.float32]], order: Counts, counts: Counts, harmonic: Floats) -> Floats:
    """Return τ under the weights of one order; copies of a model take places next to each other."""
    up_to = harmonic[np.cumsum(counts[:, order], axis=1)]
    weights = np.empty_like(up_to)
    weights[:, order] = np.diff(up_to, axis=1, prepend=0.0)
    agreement, first, second = (np.einsum("rm,rm->r", weights, part.astype(np.float64)) for part in sums)
    norms = np.sqrt(first) * np.sqrt(second)
    tau = np.divide(agreement, norms, out=np.full(len(norms), np.nan), where=norms > 0)
    return np.asarray(np.clip(tau, -1.0, 1.0))


def _others(places: Counts, copies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return with how many models of the resample each model does not tie, shape (n_resamples, n_models)."""
    tied = copies.copy()
    for place in np.flatnonzero(np.bincount(places) > 1):
        members = places == place
        tied[:, members] = copies[:, members].sum(axis=1, keepdims=True)
    return np.asarray(copies.sum(axis=1, keepdims=True) - tied)


def _signs(places: Counts) -> NDArray[np.float32]:
    return np.asarray(np.sign(places[:, None] - places), dtype=np.float32)


def regrets(scores: ArrayLike, accuracies: ArrayLike, counts: Counts | None = None) -> Floats:
    """Return `regret_at_k` with k = 1 of many rankings on many resamples.

    Args:
        scores: shape (n_rankings, n_models).
        accuracies: shape (n_models,).
        counts: shape (n_resamples, n_models), how often each model is in each resample; None takes each model once.

    Returns:
        Shape (n_rankings, n_resamples), in units of accuracy; nan where a resample is empty.
    """
    rankings, counts = _rankings(scores, accuracies, counts)
    truth = np.asarray(accuracies, dtype=np.float64)
    present = counts > 0
    best = np.where(present, truth, -np.inf).max(axis=1)
    found = np.empty((len(rankings), len(counts)))
    for row, values in enumerate(rankings):
        places = _places(values)
        top = places == np.where(present, places, -1).max(axis=1, keepdims=True)
        chosen = np.where(top, counts, 0)
        n_chosen = chosen.sum(axis=1)
        found[row] = np.where(n_chosen > 0, best - (chosen @ truth) / np.maximum(n_chosen, 1), np.nan)
    return found


def _rankings(scores: ArrayLike, accuracies: ArrayLike, counts: Counts | None) -> tuple[Floats, Counts]:
    rankings = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rankings.ndim != 2 or rankings.shape[1] < 2 or np.shape(accuracies) != rankings.shape[1:]:
        raise _unpaired(rankings.shape, np.shape(accuracies))
    counts = np.ones((1, rankings.shape[1]), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[1] != rankings.shape[1]:
        raise DataError(
            f"Resamples need one count for each of {rankings.shape[1]} models. Got shape {counts.shape}. "
            "Draw them with draw_resamples."
        )
    return rankings, counts


def _places(values: Floats) -> Counts:
    """Return whole numbers in the order of the values, from 0; equal where values are."""
    return np.asarray(np.unique(_lowest_if_missing(values), return_inverse=True)[1], dtype=np.int64)


def _lowest_if_missing(values: Floats) -> Floats:
    return np.where(np.isnan(values), -np.inf, values)


# --- how exact the truth is --------------------------------------------------------------------------------------


def agreement(accuracies: Floats) -> float:
    """Return the weighted τ that one measurement of the truth has against another that shares nothing with it.

    Each measurement is one seed on one half of the test set; pairs of them have other seeds and other halves. Both are
    noisier than the mean that scores are held against, so a perfect predictor does better than this: a lower bound of
    the ceiling, free of assumptions.

    Args:
        accuracies: shape (n_models, n_seeds, 2), for both halves of the test set; nan where a seed was not measured.

    Returns:
        The mean over all such pairs, each on the models that have both seeds; nan where no two models have two seeds.
    """
    found = []
    for first in range(accuracies.shape[1]):
        for second in range(accuracies.shape[1]):
            pair = np.stack([accuracies[:, first, 0], accuracies[:, second, 1]])
            pair = pair[:, ~np.isnan(pair).any(axis=0)]
            if first != second and pair.shape[1] >= 2:
                found.append(float(weighted_taus(pair[0], pair[1])[0, 0]))
    return float(np.mean(found)) if found else math.nan


def noise_variance(accuracies: Floats) -> Floats:
    """Estimate the variance of each model's mean accuracy over seeds and halves, around what it would be on average.

    Three sources: the seed (other training samples, weights and batches), the test images (but not what they do to
    every model alike, so halves are compared after their mean difference is taken away), and both together. The
    variance over seeds and the difference of halves each hold the last one, so it is subtracted once.
    Two seeds, or two halves, tell little about one model, so variances are fitted to all models: a constant and a
    multiple of p (1 - p), which is a binomial's. A model whose variance is more than ten times the usual one, as where
    a training fails, counts as ten times: the ceiling is rather too high than too low.

    Args:
        accuracies: shape (n_models, n_seeds, 2), for both halves of the test set; nan where a seed was not measured;
            each model has at least one seed.

    Returns:
        Shape (n_models,). Where no model has two seeds, the noise of the seeds is not known and taken to be 0.
    """
    by_seed, gaps = accuracies.mean(axis=2), accuracies[:, :, 0] - accuracies[:, :, 1]
    n_seeds = np.sum(~np.isnan(by_seed), axis=1)
    level = np.nanmean(by_seed, axis=1)
    binomial = np.maximum(level * (1 - level), _LEAST_VARIANCE)
    gap = np.nanmean(gaps, axis=1)
    test = _fitted((gap - gap.mean()) ** 2 / 4, binomial, binomial)
    repeated = n_seeds >= 2
    seeds = np.zeros(len(level))
    if repeated.any():
        own = np.nanvar(by_seed[repeated], axis=1, ddof=1) - np.nanvar(gaps[repeated], axis=1, ddof=1) / 4
        seeds = _fitted(own, binomial[repeated], binomial)
    return np.asarray(test + seeds / n_seeds)


def _fitted(variances: Floats, binomial: Floats, at: Floats) -> Floats:
    """Fit variances by a constant and a multiple of the binomial's, neither negative, and return them at other places.

    A variance errs in proportion to its size, so models weigh by the inverse of the binomial's.
    """
    from scipy.optimize import nnls

    ratios = variances / binomial
    ratios = np.minimum(ratios, _OUTLIER * np.median(np.abs(ratios)))
    constant, multiple = nnls(np.stack([1 / binomial, np.ones(len(binomial))], axis=1), ratios)[0]
    return np.asarray(constant + multiple * at)


def ceiling(means: Floats, variances: Floats, *, n_simulations: int = 200, seed: int = 0) -> float:
    """Return the weighted τ that a perfect predictor of the expected accuracies has against such a noisy truth.

    Simulated: expected accuracies, and measurements of them with normal noise. The measured means are themselves spread
    by noise, and adding noise to them would count it twice; so they are first drawn together around their mean until
    their variance is less by that of the noise. On simulated repositories whose expected accuracies are known
    this comes within 0.004 of the real value while that lies between 0.87 and 0.99.

    Args:
        means: shape (n_models,), measured accuracies.
        variances: shape (n_models,), of their noise, see `noise_variance`.
        n_simulations: number of simulated measurements.
        seed: of the noise.

    Returns:
        The mean over simulations. A score that predicts no better than perfectly may exceed it by luck.
    """
    spread = float(np.var(means, ddof=1))
    kept = math.sqrt(max(0.0, 1 - float(variances.mean()) / spread)) if spread else 0.0
    expected = means.mean() + kept * (means - means.mean())
    noise = np.random.default_rng(seed).normal(size=(n_simulations, len(means))) * np.sqrt(variances)
    return float(np.nan_to_num(weighted_taus(expected + noise, expected)).mean())


# --- heads -------------------------------------------------------------------------------------------------------


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
        raise _unpaired(first.shape, second.shape)
    return first, second


def _unpaired(first: tuple[int, ...], second: tuple[int, ...]) -> DataError:
    return DataError(
        f"Judging a ranking needs one score and one accuracy for each of at least 2 models. Got shapes "
        f"{first} and {second}. Build both from the same list of models."
    )
