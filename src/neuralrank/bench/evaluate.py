"""Hold every score against the transfer accuracies: `neuralrank bench evaluate`.

Every list is judged on each target × regime, then on average over them. Intervals are over networks (whole lineages
drawn with replacement, the same for every list and every cell) and over the draws of the probe; targets and regimes are
taken as they are. A list that orders nothing, as a constant does, has a weighted τ of 0: what a random order has on
average. A network without a score stands last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuralrank import evaluation
from neuralrank.bench._cells import (
    COMPUTED_LISTS,
    SCORED_LISTS,
    Cell,
    Question,
    ScoreBook,
    Values,
    make_cells,
    mean_of,
    scopes,
)
from neuralrank.bench._groups import GroupComparison, compare_groups
from neuralrank.bench._resamples import Resamples, taus
from neuralrank.bench._sizes import AtSize, at_sizes
from neuralrank.bench.tables import Tables
from neuralrank.errors import DataError
from neuralrank.evaluation import Estimate, estimate
from neuralrank.machine import available_cores

Floats = NDArray[np.float64]
DETAIL = 5
"""Other probe sizes and groups of networks get one in this many resamples."""


@dataclass(frozen=True, kw_only=True)
class CellTruth:
    """How exact the truth of one target × regime is."""

    target: str
    regime: str
    n_models: int
    n_repeated: int
    """Networks measured with at least two seeds."""
    ceiling: float
    """The ceiling: weighted τ that a perfect predictor has on average, see `evaluation.ceiling`; nan where that is not
    above 0, because the noise hides all differences."""
    agreement: float
    """Raw: weighted τ between single measurements that share no seed and no test image, see `evaluation.agreement`."""
    noise_std: float
    """Root of the mean variance of the noise of a network's accuracy."""
    spread: float
    """Standard deviation of the accuracies over networks."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One list on one target × regime; everything is a mean over draws of the probe."""

    score: str
    target: str
    regime: str
    n_models: int
    n_missing: int
    """Networks that cannot get the score."""
    weighted_tau: Estimate
    draw_std: float
    """Standard deviation of the weighted τ over draws; nan where there is one."""
    spearman: float
    regret_at_1: float
    regret_at_3: float
    hit_at_1: float
    hit_at_5: float
    seconds: float
    """Of the score alone; nan where it was not timed."""
    extract_seconds: float
    """Of the forward passes of so many samples."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The mean of one list over some cells."""

    weighted_tau: Estimate
    share_of_ceiling: Estimate
    """Mean weighted τ divided by the mean ceiling; nan where the ceiling of one of the cells is not known."""
    draw_std: float
    spearman: float
    regret_at_1: Estimate
    regret_at_3: float
    hit_at_1: float
    hit_at_5: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one list is above another on the same resamples."""

    against: str
    """'static list', 'published score' (the best of each in the same scope) or 'default'."""
    opponent: str
    scope: str
    weighted_tau: Estimate


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One list over all cells."""

    score: str
    kind: str
    """'ours', 'published', 'combination' or 'static'."""
    summaries: Mapping[str, Summary]
    """By scope: 'all', 'head', 'finetune', each regime, each target."""
    differences: tuple[Difference, ...]
    without: Mapping[str, float]
    """Mean weighted τ over all cells, by the architecture that is left out."""
    seconds: float
    extract_seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The answer to a question."""

    question: Question
    truths: tuple[CellTruth, ...]
    standings: tuple[Standing, ...]
    """Highest mean weighted τ first."""
    cells: tuple[CellResult, ...]
    sizes: tuple[AtSize, ...]
    groups: tuple[GroupComparison, ...]

    def standing(self, score: str) -> Standing:
        """Return how one list stands."""
        found = {standing.score: standing for standing in self.standings}
        if score not in found:
            raise DataError(f"The evaluation holds no score {score!r}. It has {', '.join(found)}. Ask about it.")
        return found[score]


def evaluate(tables: Tables, question: Question | None = None) -> Evaluation:
    """Judge the scores of the tables, and static lists beside them.

    Args:
        tables: see `tables.read_tables`; further scores come in with `tables.join_scores`.
        question: what is asked; everything if None.

    Raises:
        DataError: there is no truth, or a score that is asked about is not there.
        UsageError: the question names what there is not.
    """
    question = question or Question()
    cells, book = make_cells(tables, question), ScoreBook(tables)
    names = question.scores or book.names()
    wanted = tuple(dict.fromkeys([*names, *([question.default] if _is_there(book, question, cells) else [])]))
    truths = tuple(_truth(cell, question.seed) for cell in cells)
    ceilings = np.array([truth.ceiling for truth in truths])
    resamples = Resamples.draw(tables.networks, cells, n_resamples=question.n_resamples, seed=question.seed)
    lists = dict.fromkeys((*wanted, *book.lists()))
    with ThreadPoolExecutor(available_cores()) as pool, threadpool_limits(1, user_api="blas"):
        judged = list(pool.map(lambda name: _judge(name, tables, cells, book, resamples, question), lists))
    few = resamples.first(question.n_resamples // DETAIL)
    standings = [_standing(one, judged, cells, ceilings, question.default) for one in judged]
    return Evaluation(
        question=question,
        truths=truths,
        standings=tuple(sorted(standings, key=lambda one: -one.summaries["all"].weighted_tau.value)),
        cells=tuple(result for one in judged for result in one.results),
        sizes=at_sizes(wanted, cells, book, few, ceilings) if question.details else (),
        groups=compare_groups(wanted, tables.networks, cells, book, few, question) if question.details else (),
    )


def _is_there(book: ScoreBook, question: Question, cells: Sequence[Cell]) -> bool:
    return all(question.n_probe in book.sizes(question.default, cell.target) for cell in cells)


def _truth(cell: Cell, seed: int) -> CellTruth:
    variances = evaluation.noise_variance(cell.by_seed)
    ceiling = evaluation.ceiling(cell.accuracy, variances, seed=seed)
    return CellTruth(
        target=cell.target,
        regime=str(cell.regime),
        n_models=len(cell.networks),
        n_repeated=int(np.sum(np.sum(~np.isnan(cell.by_seed[:, :, 0]), axis=1) >= 2)),
        ceiling=ceiling if ceiling > 0 else math.nan,
        agreement=evaluation.agreement(cell.by_seed),
        noise_std=float(np.sqrt(variances.mean())),
        spread=float(cell.accuracy.std(ddof=1)),
    )


# --- one list ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Judged:
    score: str
    kind: str
    results: tuple[CellResult, ...]
    taus: Floats
    """Shape (n_cells, n_resamples)."""
    regrets: Floats
    """Shape (n_cells, n_resamples)."""
    without: Mapping[str, float]


def _judge(
    name: str, tables: Tables, cells: Sequence[Cell], book: ScoreBook, resamples: Resamples, question: Question
) -> _Judged:
    results, resampled_taus, resampled_regrets = [], [], []
    left_out: dict[str, list[float]] = {}
    for cell in cells:
        found = book.values(name, cell, question.n_probe)
        values, accuracy, counts = found.values, cell.accuracy, resamples.of(cell)
        architectures = np.array(tables.networks.architecture)[cell.networks]
        families = np.unique(architectures)
        without = (architectures != families[:, None]).astype(np.int64)
        all_taus = taus(values, accuracy, np.concatenate([counts, without]))
        resampled_taus.append(resamples.over_draws(cell.target, all_taus[:, : len(counts)]))
        resampled_regrets.append(resamples.over_draws(cell.target, evaluation.regrets(values, accuracy, counts)))
        results.append(_result(name, cell, found, resampled_taus[-1]))
        for family, value in zip(families, all_taus[:, len(counts) :].mean(axis=0), strict=True):
            left_out.setdefault(str(family), []).append(float(value))
    return _Judged(
        score=name,
        kind=_kind(name, question.default),
        results=tuple(results),
        taus=np.stack(resampled_taus),
        regrets=np.stack(resampled_regrets),
        without={family: float(np.mean(values)) for family, values in sorted(left_out.items())},
    )


def _kind(name: str, default: str) -> str:
    if name in (*COMPUTED_LISTS, *SCORED_LISTS):
        return "static"
    if ":" in name:
        return "combination"
    return "ours" if name.startswith(default) else "published"


def _result(name: str, cell: Cell, found: Values, resampled: Floats) -> CellResult:
    accuracy = cell.accuracy
    by_draw = taus(found.values, accuracy)[:, 0]

    def mean(metric: Callable[..., float], **options: int) -> float:
        return float(np.mean([np.nan_to_num(metric(values, accuracy, **options)) for values in found.values]))

    return CellResult(
        score=name,
        target=cell.target,
        regime=str(cell.regime),
        n_models=len(accuracy),
        n_missing=int(np.isnan(found.values).all(axis=0).sum()),
        weighted_tau=estimate(float(by_draw.mean()), resampled),
        draw_std=float(by_draw.std(ddof=1)) if len(by_draw) > 1 else math.nan,
        spearman=mean(evaluation.spearman),
        regret_at_1=mean(evaluation.regret_at_k, k=1),
        regret_at_3=mean(evaluation.regret_at_k, k=3),
        hit_at_1=mean(evaluation.hit_at_k, k=1),
        hit_at_5=mean(evaluation.hit_at_k, k=5),
        seconds=found.seconds,
        extract_seconds=found.extract_seconds,
    )


# --- over cells --------------------------------------------------------------------------------------------------


def _standing(
    one: _Judged, judged: Sequence[_Judged], cells: Sequence[Cell], ceilings: Floats, default: str
) -> Standing:
    masks = scopes(cells)
    return Standing(
        score=one.score,
        kind=one.kind,
        summaries={scope: _summary(one, mask, ceilings) for scope, mask in masks.items()},
        differences=tuple(
            _difference(one, opponent, against, scope, masks[scope])
            for scope in ("all", "head", "finetune")
            if scope in masks
            for against, opponent in _opponents(judged, masks[scope], default)
            if opponent is not one
        ),
        without=one.without,
        seconds=mean_of([result.seconds for result in one.results]),
        extract_seconds=mean_of([result.extract_seconds for result in one.results]),
    )


def _values(one: _Judged, name: str, mask: NDArray[np.bool_]) -> Floats:
    return np.array([getattr(result, name) for result, is_in in zip(one.results, mask, strict=True) if is_in])


def _tau(one: _Judged, mask: NDArray[np.bool_]) -> float:
    return float(np.mean([tau.value for tau in _values(one, "weighted_tau", mask)]))


def _summary(one: _Judged, mask: NDArray[np.bool_], ceilings: Floats) -> Summary:
    tau = estimate(_tau(one, mask), one.taus[mask].mean(axis=0))
    regret = float(_values(one, "regret_at_1", mask).mean())
    return Summary(
        weighted_tau=tau,
        share_of_ceiling=tau / float(ceilings[mask].mean()),
        draw_std=float(_values(one, "draw_std", mask).mean()),
        spearman=float(_values(one, "spearman", mask).mean()),
        regret_at_1=estimate(regret, one.regrets[mask].mean(axis=0)),
        regret_at_3=float(_values(one, "regret_at_3", mask).mean()),
        hit_at_1=float(_values(one, "hit_at_1", mask).mean()),
        hit_at_5=float(_values(one, "hit_at_5", mask).mean()),
    )


def _opponents(judged: Sequence[_Judged], mask: NDArray[np.bool_], default: str) -> Iterator[tuple[str, _Judged]]:
    """Yield what every list is compared with over some cells: the best of its kind there, and the default."""
    for against, kind in (("static list", "static"), ("published score", "published")):
        candidates = [one for one in judged if one.kind == kind]
        if candidates:
            yield against, max(candidates, key=lambda one: _tau(one, mask))
    yield from (("default", one) for one in judged if one.score == default)


def _difference(one: _Judged, opponent: _Judged, against: str, scope: str, mask: NDArray[np.bool_]) -> Difference:
    return Difference(
        against=against,
        opponent=opponent.score,
        scope=scope,
        weighted_tau=estimate(
            _tau(one, mask) - _tau(opponent, mask), one.taus[mask].mean(axis=0) - opponent.taus[mask].mean(axis=0)
        ),
    )
