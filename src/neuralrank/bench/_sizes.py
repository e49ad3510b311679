"""How many samples suffice: every score at every size of the probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench._cells import Cell, ScoreBook, scopes
from neuralrank.bench._resamples import Resamples, taus
from neuralrank.evaluation import Estimate, estimate


@dataclass(frozen=True, kw_only=True)
class AtSize:
    """One score at one size of the probe, over the targets that have so many samples."""

    score: str
    n_probe: int
    scope: str
    """'all', 'head' or 'finetune'."""
    targets: tuple[str, ...]
    weighted_tau: Estimate
    share_of_ceiling: Estimate
    """Of the ceiling of the same targets."""
    draw_std: float
    """Mean over cells of the standard deviation over draws; nan where there is one draw."""


def at_sizes(
    scores: Sequence[str], cells: Sequence[Cell], book: ScoreBook, resamples: Resamples, ceilings: NDArray[np.float64]
) -> tuple[AtSize, ...]:
    """Judge scores at each size of the probe for which there are values."""
    return tuple(
        row
        for score in scores
        for n_probe in sorted({size for cell in cells for size in book.sizes(score, cell.target)})
        for row in _at_size(score, n_probe, cells, book, resamples, ceilings)
    )


def _at_size(
    score: str, n_probe: int, cells: Sequence[Cell], book: ScoreBook, resamples: Resamples,
    ceilings: NDArray[np.float64],
) -> Iterator[AtSize]:  # fmt: skip
    there = [place for place, cell in enumerate(cells) if n_probe in book.sizes(score, cell.target)]
    some, values, resampled, stds = [cells[place] for place in there], [], [], []
    for cell in some:
        found = book.values(score, cell, n_probe).values
        by_draw = taus(found, cell.accuracy)[:, 0]
        values.append(by_draw.mean())
        stds.append(by_draw.std(ddof=1) if len(by_draw) > 1 else np.nan)
        resampled.append(resamples.over_draws(cell.target, taus(found, cell.accuracy, resamples.of(cell))))
    for scope, chosen in scopes(some).items():
        if scope not in ("all", "head", "finetune"):
            continue
        tau = estimate(float(np.mean(np.array(values)[chosen])), np.stack(resampled)[chosen].mean(axis=0))
        yield AtSize(
            score=score,
            n_probe=n_probe,
            scope=scope,
            targets=tuple(dict.fromkeys(cell.target for cell, is_in in zip(some, chosen, strict=True) if is_in)),
            weighted_tau=tau,
            share_of_ceiling=tau / float(ceilings[there][chosen].mean()),
            draw_std=float(np.mean(np.array(stds)[chosen])),
        )
