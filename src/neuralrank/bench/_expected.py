"""How the expected accuracy of a ranking goes with the measured accuracy of heads trained on as many samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from neuralrank.bench._cells import REGIMES, Question, make_cells
from neuralrank.bench.tables import Tables
from neuralrank.expectation import expected_head_accuracy, log_odds
from neuralrank.verdict import EXPECTS_ACCURACY

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Held-out accuracies on probes of one target, and accuracies of heads trained on as many samples."""

    target: str
    n_samples: int
    held_out: Floats
    """Shape (n_pairs,): one for each network and draw of the probe."""
    reached: Floats
    """Shape (n_pairs,): mean over seeds, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the interval of the expected accuracy held what was reached."""

    target: str
    n_samples: int
    n_pairs: int
    held: float
    """Share of the pairs."""
    mean_error: float
    """Expected less reached."""
    mean_half: float
    """Half the length of the interval."""


def pairs(tables: Tables) -> list[Pairs]:
    """Return all pairs of a probe and a training set of the same size, by target and size."""
    regimes = tuple(regime for regime in REGIMES if regime.kind == "head")
    return list(_pairs(tables, Question(regimes=regimes, details=False)))


def coverages(found: Collection[Pairs]) -> list[Coverage]:
    """Hold the intervals of each target against what was reached there, fitted on the other targets alone."""
    return [coverage(one, *fitted([other for other in found if other.target != one.target])) for one in found]


def coverage(found: Pairs, shift: float, spread: float) -> Coverage:
    """Hold the intervals of a shift and a spread against what was reached."""
    expected = [expected_head_accuracy(share, found.n_samples, shift=shift, spread=spread) for share in found.held_out]
    values, low, high = (np.array([getattr(one, name) for one in expected]) for name in ("value", "low", "high"))
    return Coverage(
        target=found.target,
        n_samples=found.n_samples,
        n_pairs=len(values),
        held=float(np.mean((low <= found.reached) & (found.reached <= high))),
        mean_error=float(np.mean(values - found.reached)),
        mean_half=float(np.mean(high - low) / 2),
    )


def fitted(found: Collection[Pairs]) -> tuple[float, float]:
    """Return the shift and the spread, in log-odds, that these pairs ask for; each target and size counts the same."""
    shifts, squares, drawn = [], [], []
    for one in found:
        shown, variance = log_odds(one.held_out, one.n_samples)
        away = logit(one.reached) - shown
        shifts.append(away.mean())
        squares.append(np.mean(away**2))
        drawn.append(np.mean(variance))
    shift = float(np.mean(shifts))
    return shift, float(np.sqrt(max(0.0, np.mean(squares) - shift**2 - np.mean(drawn))))


def _pairs(tables: Tables, question: Question) -> Iterator[Pairs]:
    scores = tables.scores
    if EXPECTS_ACCURACY not in scores.score.names:
        return
    own = scores.score.codes == scores.score.names.index(EXPECTS_ACCURACY)
    for cell in make_cells(tables, question):
        if cell.target not in scores.target.names:
            continue
        rows = np.flatnonzero(
            own
            & (scores.target.codes == scores.target.names.index(cell.target))
            & (scores.n_probe == cell.regime.n_train)
            & ~np.isnan(scores.accuracy)
        )
        names = [tables.networks.model[place] for place in cell.networks]
        reached = dict(zip(names, cell.accuracy, strict=True))
        models = [scores.model.names[code] for code in scores.model.codes[rows]]
        kept = [place for place, model in enumerate(models) if model in reached]
        if kept:
            yield Pairs(
                target=cell.target,
                n_samples=cell.regime.n_train,
                held_out=scores.accuracy[rows][kept],
                reached=np.array([reached[models[place]] for place in kept]),
            )
