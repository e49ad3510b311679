"""From tables to arrays: for each target and way of training, the networks, their truth, and their scores.

Nothing is judged here. A question says which networks, targets, scores and ways of training are asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.bench.tables import HALVES, KINDS, Networks, Scores, Tables, Truth
from neuralrank.combinations.mean_rank import mean_rank
from neuralrank.errors import DataError, UsageError
from neuralrank.order import Order

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Regime:
    """One way of training a network on the target."""

    kind: str
    """'head' or 'finetune'."""
    n_train: int

    def __str__(self) -> str:
        """Return what it is called in tables, for example 'head 500'."""
        return f"{self.kind} {self.n_train}"


REGIMES = (
    Regime(kind="head", n_train=500),
    Regime(kind="head", n_train=5_000),
    Regime(kind="finetune", n_train=500),
    Regime(kind="finetune", n_train=2_000),
)
COMPUTED_LISTS = ("log_params", "source_accuracy", "mean_accuracy_elsewhere", "mean_rank_elsewhere")
"""Static lists made from the tables of networks and of truth. `…_elsewhere` is over the other targets, same regime."""
SCORED_LISTS = ("size", "reported_accuracy")
"""Static lists that are scores of records, and stand in the table of scores if anywhere."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of the tables."""

    n_probe: int = 500
    scores: tuple[str, ...] | None = None
    """Names of scores, or combinations such as 'mean_rank:neuralrank,knn'; None asks about every score there is."""
    default: str = "neuralrank"
    """The score that others are compared with."""
    half: str | None = None
    """'development' or 'confirmation'; None takes both."""
    unrelated: bool = False
    """Leave out networks of which any ancestor was pretrained on the target."""
    targets: tuple[str, ...] | None = None
    regimes: tuple[Regime, ...] = REGIMES
    n_resamples: int = 1_000
    seed: int = 0
    details: bool = True
    """Also ask about other sizes of the probe, and within and across groups of networks."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One target and one regime: the networks asked about that have a truth there, and that truth."""

    target: str
    regime: Regime
    networks: Integers
    """Shape (n_models,): places in the table of networks."""
    by_seed: Floats
    """Shape (n_models, n_seeds, 2): accuracy on the halves of the test set; nan where a seed was not measured."""

    @cached_property
    def accuracy(self) -> Floats:
        """Shape (n_models,): the truth, mean over seeds and halves."""
        return np.asarray(np.nanmean(self.by_seed, axis=(1, 2)))


def make_cells(tables: Tables, question: Question) -> list[Cell]:
    """Return every target × regime asked about in which at least two networks have a truth.

    Raises:
        DataError: there is none.
        UsageError: the question names a half or a target that is not there.
    """
    networks, targets = tables.networks, tables.truth.target.names
    if question.half not in (None, *HALVES):
        raise UsageError(f"The half needs to be {' or '.join(HALVES)}. Got {question.half!r}. Leave it out for both.")
    unknown = set(question.targets or ()) - set(targets)
    if unknown:
        raise UsageError(f"Unknown target {min(unknown)!r}. Available: {', '.join(sorted(targets))}.")
    of_half = np.array([question.half in (None, half) for half in networks.half])
    cells = []
    for target in question.targets or sorted(targets):
        chosen = of_half & ~_related(networks, target) if question.unrelated else of_half
        for regime in question.regimes:
            by_seed = _accuracies(tables, target, regime)
            places = np.flatnonzero(chosen & ~np.isnan(by_seed).all(axis=(1, 2)))
            if len(places) >= 2:
                cells.append(Cell(target=target, regime=regime, networks=places, by_seed=by_seed[places]))
    if not cells:
        raise DataError(
            "The evaluation needs at least 2 networks with a truth. Got none for any target and regime asked about. "
            "Ask about more, or measure more with: neuralrank bench truth"
        )
    return cells


def scopes(cells: Sequence[Cell]) -> dict[str, NDArray[np.bool_]]:
    """Return which cells belong to 'all', 'head', 'finetune', each regime and each target; none that is empty."""
    names = [("all", cell.regime.kind, str(cell.regime), cell.target) for cell in cells]
    order = dict.fromkeys(["all", *KINDS, *(own[2] for own in names), *(own[3] for own in names)])
    masks = {scope: np.array([scope in own for own in names]) for scope in order}
    return {scope: mask for scope, mask in masks.items() if mask.any()}


def _related(networks: Networks, target: str) -> NDArray[np.bool_]:
    """Return which networks were pretrained on the target, or come from one that was."""
    place = {model: index for index, model in enumerate(networks.model)}
    found = []
    for model in networks.model:
        seen: set[str] = set()
        ancestors = [model, networks.lineage[place[model]]]
        while ancestors:
            name = ancestors.pop()
            if name in place and name not in seen:
                seen.add(name)
                ancestors += [parent for parent in (networks.parent[place[name]],) if parent]
        found.append(any(networks.pretraining_data[place[name]] == target for name in seen))
    return np.array(found)


def _accuracies(tables: Tables, target: str, regime: Regime) -> Floats:
    """Return accuracies of all networks, shape (n_networks, n_seeds, 2)."""
    truth, place = tables.truth, _places_of(tables.truth, tables.networks)
    rows = np.flatnonzero(
        _is(truth.target, target) & _is(truth.regime, regime.kind) & (truth.n_train == regime.n_train) & (place >= 0)
    )
    seeds, columns = np.unique(truth.seed[rows], return_inverse=True)
    found = np.full((len(tables.networks.model), max(1, len(seeds)), 2), np.nan)
    found[place[rows], columns, 0], found[place[rows], columns, 1] = truth.accuracy_a[rows], truth.accuracy_b[rows]
    return found


def _is(words: Any, word: str) -> NDArray[np.bool_]:
    return np.asarray(words.codes == (words.names.index(word) if word in words.names else -1))


def _places_of(table: Truth | Scores, networks: Networks) -> Integers:
    """Return the place of each row's network in the table of networks, -1 where it is not there."""
    place = {model: index for index, model in enumerate(networks.model)}
    return np.array([place.get(model, -1) for model in table.model.names], dtype=np.int64)[table.model.codes]


# --- scores ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Values:
    """One score of the networks of a cell."""

    values: Floats
    """Shape (n_draws, n_models); nan where a network cannot get the score."""
    seconds: float
    """Mean over networks; nan where it was not timed."""
    extract_seconds: float


class ScoreBook:
    """Finds the values of any score, combination or static list; made once, since tables are long."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        scores = tables.scores
        self._place = _places_of(scores, tables.networks)
        sizes, size_codes = np.unique(scores.n_probe, return_inverse=True)
        key = (scores.score.codes * len(scores.target.names) + scores.target.codes) * len(sizes) + size_codes
        order = np.argsort(key, kind="stable")  # later rows stay later, and replace earlier ones
        order = order[self._place[order] >= 0]
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        blocks = np.split(order, starts[1:])
        self._rows: Mapping[tuple[str, str, int], Integers] = {
            (
                scores.score.names[scores.score.codes[block[0]]],
                scores.target.names[scores.target.codes[block[0]]],
                int(scores.n_probe[block[0]]),
            ): block
            for block in blocks
            if len(block)
        }

    def names(self) -> tuple[str, ...]:
        """Return the scores of the table that are no static lists, sorted."""
        return tuple(sorted({name for name, _, _ in self._rows} - {*COMPUTED_LISTS, *SCORED_LISTS}))

    def lists(self) -> tuple[str, ...]:
        """Return the static lists that can be had."""
        return (*COMPUTED_LISTS, *(name for name in SCORED_LISTS if any(key[0] == name for key in self._rows)))

    def sizes(self, score: str, target: str) -> list[int]:
        """Return at which numbers of probe samples there are values of a score and of all members of a combination."""
        members = [name for name in parse(score).members if name not in COMPUTED_LISTS]
        found = [{size for name, where, size in self._rows if (name, where) == (each, target)} for each in members]
        return sorted(set.intersection(*found)) if found else []

    def values(self, score: str, cell: Cell, n_probe: int) -> Values:
        """Return the values of a score, a combination or a static list.

        Raises:
            DataError: the table lacks the score there, or a row for one of the networks.
        """
        order = parse(score)
        members = [self._single(name, cell, n_probe) for name in order.members]
        n_draws = min({len(member.values) for member in members} - {1}, default=1)
        shape = (n_draws, len(cell.networks))
        stacked = np.stack([np.broadcast_to(member.values[:n_draws], shape) for member in members], axis=-1)
        return Values(
            values=_combined(order, stacked),
            seconds=sum(member.seconds for member in members),
            extract_seconds=max(member.extract_seconds for member in members),
        )

    def _single(self, score: str, cell: Cell, n_probe: int) -> Values:
        if score in COMPUTED_LISTS:
            return Values(values=self._static(score, cell)[None], seconds=0.0, extract_seconds=0.0)
        sizes = self.sizes(score, cell.target)
        if score in SCORED_LISTS and sizes:
            n_probe = sizes[-1]
        scores, rows = self._tables.scores, self._rows.get((score, cell.target, n_probe))
        if rows is None:
            raise DataError(
                f"The evaluation needs {score!r} on {n_probe} samples of {cell.target!r}. "
                f"Got values on {sizes} samples. "
                "Ask about one of these, or compute more with: neuralrank bench score"
            )
        draws, draw_codes = np.unique(scores.draw[rows], return_inverse=True)
        values = np.full((len(draws), len(self._tables.networks.model)), np.nan)
        there = np.zeros(values.shape, dtype=bool)
        values[draw_codes, self._place[rows]], there[draw_codes, self._place[rows]] = scores.value[rows], True
        lacking = cell.networks[~there[:, cell.networks].all(axis=0)]
        if len(lacking):
            raise DataError(
                f"The evaluation needs {score!r} of every network on {n_probe} samples of {cell.target!r}, or null. "
                f"Got none for {self._tables.networks.model[lacking[0]]!r} and {len(lacking) - 1} more. "
                "Compute it with: neuralrank bench score"
            )
        rows = rows[np.isin(self._place[rows], cell.networks)]
        return Values(
            values=values[:, cell.networks],
            seconds=mean_of(scores.seconds[rows]),
            extract_seconds=0.0 if score in SCORED_LISTS else mean_of(scores.extract_seconds[rows]),
        )

    def _static(self, name: str, cell: Cell) -> Floats:
        networks = self._tables.networks
        if name == "log_params":
            return np.asarray(np.log(np.maximum(networks.n_params[cell.networks], 1)))
        if name == "source_accuracy":
            return networks.source_accuracy[cell.networks]
        others = [target for target in self._tables.truth.target.names if target != cell.target]
        means = [_mean_accuracy(self._tables, target, cell.regime)[cell.networks] for target in others]
        table = np.stack(means, axis=1) if means else np.full((len(cell.networks), 1), np.nan)
        if name == "mean_rank_elsewhere":
            return np.asarray(_combined(Order(text=name, members=tuple(others), combine=mean_rank), table[None])[0])
        return _row_means(table)


def parse(name: str) -> Order:
    """Read the name of a score or of a combination; scores need not be known, only to be in the table."""
    combination, colon, rest = name.partition(":")
    if not colon:
        return Order(text=name, members=(name,), combine=None)
    members = tuple(member.strip() for member in rest.split(",") if member.strip())
    if len(set(members)) < 2:
        raise UsageError(
            f"{combination} needs at least 2 different scores. Got {rest!r}. Write {combination}:neuralrank,log_me."
        )
    return Order(text=name, members=members, combine=registry.get("combinations", combination))


def _combined(order: Order, values: Floats) -> Floats:
    """Combine values, shape (n_draws, n_models, n_members); nan for models that have none of them."""
    found = np.full(values.shape[:2], np.nan)
    for draw, of_draw in enumerate(values):
        there = ~np.isnan(of_draw).all(axis=1)
        if there.any():
            found[draw, there] = order.values(of_draw[there])
    return found


def _mean_accuracy(tables: Tables, target: str, regime: Regime) -> Floats:
    accuracies = _accuracies(tables, target, regime)
    return _row_means(accuracies.reshape(len(accuracies), -1))


def _row_means(values: Floats) -> Floats:
    """Return the mean of each row without its nan; nan where there is nothing else."""
    there = ~np.isnan(values)
    sums, numbers = np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1)
    return np.asarray(np.divide(sums, numbers, out=np.full(len(values), np.nan), where=numbers > 0))


def mean_of(values: Sequence[float] | Floats) -> float:
    """Return the mean of what is a number; nan where nothing is."""
    return float(_row_means(np.asarray(values)[None])[0])
