"""Does a score rank as well across architectures, training sets and algorithms as within one of them?

A weighted τ depends on how many models are ranked, so each group is held against random subsets of all networks of the
same size. It also depends on how far their accuracies lie apart, which is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench._cells import Cell, Question, ScoreBook, scopes
from neuralrank.bench._resamples import Resamples, taus
from neuralrank.bench.tables import Networks
from neuralrank.evaluation import Estimate, estimate

GROUPINGS = ("architecture", "pretraining_data", "algorithm")
LEAST = 5
"""Models that a group needs."""
_SUBSETS, _SUBSETS_OF_RESAMPLE = 100, 2
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GroupComparison:
    """One score within the groups of networks and across them; means over groups, then over cells."""

    score: str
    grouping: str
    """'architecture', 'pretraining_data' or 'algorithm'."""
    scope: str
    """'all', 'head' or 'finetune'."""
    n_groups: int
    """Groups of at least five models, of all cells together."""
    within: Estimate
    """Weighted τ within a group."""
    across: Estimate
    """Weighted τ in random subsets of the same size."""
    drop: Estimate
    """Within minus across, in pairs; above 0 where ranking across groups is harder."""
    spread_within: float
    """Standard deviation of the accuracies within a group."""
    spread_across: float
    """Standard deviation of the accuracies of all networks."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The groups of one cell, as counts of models to take τ of; the same for every score."""

    cell: Cell
    place: int
    members: NDArray[np.bool_]
    """Shape (n_groups, n_models)."""
    subsets: NDArray[np.bool_]
    """Shape (n_groups, n_subsets, n_models): as many models as the group has."""
    resampled_within: Integers
    """Shape (n_groups, n_resamples, n_models)."""
    resampled_across: Integers
    """Shape (n_groups, n_resamples, n_subsets, n_models)."""


def compare_groups(
    scores: Sequence[str], networks: Networks, cells: Sequence[Cell], book: ScoreBook, resamples: Resamples,
    question: Question,
) -> tuple[GroupComparison, ...]:  # fmt: skip
    """Compare τ within groups with τ in random subsets of the same size.

    Each resample takes one draw of the probe in turn, so that the intervals hold for a single draw.
    """
    found: list[GroupComparison] = []
    for grouping in GROUPINGS:
        tasks = list(_tasks(np.array(getattr(networks, grouping)), cells, resamples, question.seed))
        for score in scores if tasks else ():
            found += _compare(score, grouping, tasks, book, question.n_probe)
    return tuple(found)


def _tasks(labels: NDArray[np.str_], cells: Sequence[Cell], resamples: Resamples, seed: int) -> Iterator[_Task]:
    for place, cell in enumerate(cells):
        own = labels[cell.networks]
        members = np.array([own == label for label in np.unique(own) if np.sum(own == label) >= LEAST])
        if not len(members) or len(np.unique(own)) < 2:
            continue
        counts = resamples.of(cell)
        generator = np.random.default_rng([seed, place])
        drawn = _subsets(members, len(counts) * _SUBSETS_OF_RESAMPLE, generator)
        drawn = drawn.reshape(len(members), len(counts), _SUBSETS_OF_RESAMPLE, -1)
        yield _Task(
            cell=cell,
            place=place,
            members=members,
            subsets=_subsets(members, _SUBSETS, generator),
            resampled_within=counts * members[:, None, :],
            resampled_across=counts[:, None, :] * drawn,
        )


def _subsets(members: NDArray[np.bool_], n_subsets: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw models without replacement, shape (n_groups, n_subsets, n_models)."""
    n_groups, n_models = members.shape
    ranks = generator.random((n_groups, n_subsets, n_models)).argsort(axis=2).argsort(axis=2)
    return np.asarray(ranks < members.sum(axis=1)[:, None, None])


def _compare(
    score: str, grouping: str, tasks: Sequence[_Task], book: ScoreBook, n_probe: int
) -> Iterator[GroupComparison]:
    values, resampled = [], []
    for task in tasks:
        found = book.values(score, task.cell, n_probe).values
        values.append(_means(found, task))
        resampled.append(_resampled_means(found, task))
    value, drawn = np.array(values), np.array(resampled)  # (n_cells, 2), (n_cells, 2, n_resamples)
    spreads = np.array([_spreads(task) for task in tasks])
    for scope, chosen in scopes([task.cell for task in tasks]).items():
        if scope not in ("all", "head", "finetune"):
            continue
        (within, across), resamples = value[chosen].mean(axis=0), drawn[chosen].mean(axis=0)
        yield GroupComparison(
            score=score,
            grouping=grouping,
            scope=scope,
            n_groups=sum(len(task.members) for task, is_in in zip(tasks, chosen, strict=True) if is_in),
            within=estimate(float(within), resamples[0]),
            across=estimate(float(across), resamples[1]),
            drop=estimate(float(within - across), resamples[0] - resamples[1]),
            spread_within=float(spreads[chosen, 0].mean()),
            spread_across=float(spreads[chosen, 1].mean()),
        )


def _means(values: Floats, task: _Task) -> tuple[float, float]:
    """Return the mean τ within groups and in subsets, over draws."""
    subsets = task.subsets.reshape(-1, task.subsets.shape[-1])
    accuracy = task.cell.accuracy
    return (
        float(taus(values, accuracy, task.members.astype(np.int64)).mean()),
        float(taus(values, accuracy, subsets.astype(np.int64)).mean()),
    )


def _resampled_means(values: Floats, task: _Task) -> Floats:
    """Return the same of each resample, shape (2, n_resamples)."""
    n_draws, n_resamples = len(values), task.resampled_within.shape[1]
    found = np.empty((2, n_resamples))
    for draw in range(min(n_draws, n_resamples)):
        mine = slice(draw, None, n_draws)
        for row, counts in enumerate((task.resampled_within[:, None, mine], task.resampled_across[:, mine])):
            flat = taus(values[draw], task.cell.accuracy, counts.reshape(-1, counts.shape[-1]))
            # axes: groups; then a resample and its subsets, one of which may be alone
            by_group = flat.reshape(counts.shape[:-1])
            found[row, mine] = by_group.mean(axis=(0, 1) if row == 0 else (0, 2))
    return found


def _spreads(task: _Task) -> tuple[float, float]:
    accuracy = task.cell.accuracy
    return float(np.mean([accuracy[members].std(ddof=1) for members in task.members])), float(accuracy.std(ddof=1))
