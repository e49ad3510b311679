"""The resamples that all lists of an evaluation share, so that lists are compared in pairs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench._cells import Cell
from neuralrank.bench.tables import Networks
from neuralrank.evaluation import draw_resamples, weighted_taus

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Networks and draws of the probe, drawn with replacement."""

    counts: Integers
    """Shape (n_resamples, n_networks): how often each network is in each resample."""
    seed: int

    @classmethod
    def draw(cls, networks: Networks, cells: Sequence[Cell], *, n_resamples: int, seed: int) -> Resamples:
        """Draw whole lineages among the networks of the cells: relatives are no independent evidence."""
        chosen = np.unique(np.concatenate([cell.networks for cell in cells]))
        counts = np.zeros((n_resamples, len(networks.model)), dtype=np.int64)
        groups = [networks.lineage[place] for place in chosen]
        counts[:, chosen] = draw_resamples(len(chosen), n_resamples=n_resamples, seed=seed, groups=groups)
        return cls(counts=counts, seed=seed)

    def first(self, n_resamples: int) -> Resamples:
        """Return fewer of them."""
        return replace(self, counts=self.counts[:n_resamples])

    def of(self, cell: Cell) -> Integers:
        """Return the counts of the networks of a cell, shape (n_resamples, n_models)."""
        return self.counts[:, cell.networks]

    def over_draws(self, target: str, values: Floats) -> Floats:
        """Return the mean of each resample over draws of the probe that are drawn with replacement.

        The draws of one target are the same for every list that has as many, and other ones for each target.

        Args:
            target: whose probe it is.
            values: shape (n_draws, n_resamples).
        """
        n_draws = len(values)
        generator = np.random.default_rng([self.seed, zlib.crc32(target.encode()), n_draws])
        weights = generator.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=len(self.counts)) / n_draws
        return np.asarray(np.einsum("rd,dr->r", weights, values))


def taus(values: Floats, accuracy: Floats, counts: Integers | None = None) -> Floats:
    """Return `weighted_taus`, 0 where it is not defined: where nothing is ordered."""
    return np.asarray(np.nan_to_num(weighted_taus(values, accuracy, counts)))
