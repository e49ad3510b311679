"""What the write-up is made of: the same tables asked several questions, and what it cost to make them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from neuralrank.bench._cells import Cell, Question, ScoreBook, make_cells
from neuralrank.bench.evaluate import Difference, Evaluation, Standing, evaluate
from neuralrank.bench.tables import KINDS, Tables
from neuralrank.errors import DataError
from neuralrank.evaluation import Estimate

N_PROBE = 500
"""Samples of the probe, where nothing else is said."""
N_RIVALS = 3
"""Published scores that stand beside the default in every figure; the best for heads and for fine-tuning join them."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Hours that the tables took, summed over processes."""

    build_hours: float
    truth_hours: float


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that the sentences, tables and figures say."""

    default: str
    tables: Tables
    costs: Costs
    development_targets: tuple[str, ...]
    targets: tuple[str, ...]
    """On which scores are judged: all others."""
    judged: Evaluation
    """Every score, on the confirmation half of the networks × the targets that had no part in the choice."""
    detailed: Evaluation
    """The same of the default, its rivals and the best static list, with other sizes of the probe and with groups."""
    chosen: Evaluation
    """Every score, on the development half × the development targets."""
    unrelated: Evaluation
    """Like `judged`, without networks that have met the target."""
    whole: Evaluation
    """The default and the static lists, on all networks and all targets."""

    @property
    def ours(self) -> Standing:
        """The default, as judged."""
        return self.judged.standing(self.default)

    @property
    def rivals(self) -> tuple[str, ...]:
        """Published scores that stand beside the default, best first."""
        return rivals(self.judged)

    @property
    def static(self) -> str:
        """The best static list, over all."""
        return best(self.judged, "static", "all")

    @property
    def notable(self) -> tuple[str, ...]:
        """What the figures show: the default, its rivals, and the best static list."""
        return (self.default, *self.rivals, self.static)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every target × regime, with the networks of the confirmation half."""
        return make_cells(self.tables, Question(half="confirmation"))

    @cached_property
    def book(self) -> ScoreBook:
        """The values of every score."""
        return ScoreBook(self.tables)

    @property
    def random_regret(self) -> float:
        """What a network taken at random loses against the best, on average over what is judged."""
        lost = [cell.accuracy.max() - cell.accuracy.mean() for cell in self.cells if cell.target in self.targets]
        return float(np.mean(lost))

    def against(self, kind: str, scope: str, *, evaluation: Evaluation | None = None) -> Difference:
        """Return how far the default is above the best 'static list' or 'published score' of a scope."""
        ours = (evaluation or self.judged).standing(self.default)
        return next(one for one in ours.differences if (one.against, one.scope) == (kind, scope))


def read_costs(folder: Path) -> Costs:
    """Read what the networks and the truth took from the columns of seconds.

    Raises:
        DataError: a table is not there or has no such column.
    """

    def hours(name: str, column: str) -> float:
        path = folder / f"{name}.parquet"
        try:
            return float(pc.sum(pq.read_table(path, columns=[column])[column]).as_py() or 0.0) / 3_600
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise DataError(
                f"The report needs the column {column!r} of {str(path)!r}. Got: {str(error).splitlines()[0]}. "
                "Make the table with: neuralrank bench build and neuralrank bench truth"
            ) from error

    return Costs(build_hours=hours("networks", "build_seconds"), truth_hours=hours("truth", "seconds"))


def gather(
    tables: Tables, costs: Costs, *, development_targets: Sequence[str], default: str = "neuralrank",
    n_resamples: int = 1_000,
) -> Material:  # fmt: skip
    """Ask the tables everything that the write-up tells.

    Raises:
        DataError: the tables lack a half of the networks or of the targets, a way of training, or a kind of score.
    """
    there = sorted(tables.truth.target.names)
    choosing = tuple(target for target in there if target in development_targets)
    targets = tuple(target for target in there if target not in development_targets)
    _check(tables, choosing, targets)
    common: Any = {"n_probe": N_PROBE, "default": default, "n_resamples": n_resamples}
    held_out = Question(**common, half="confirmation", targets=targets, details=False)
    judged = evaluate(tables, held_out)
    _check_kinds(judged, default)
    few = (default, *rivals(judged), best(judged, "static", "all"))

    def ask(**changes: Any) -> Evaluation:
        return evaluate(tables, replace(held_out, **changes))

    return Material(
        default=default,
        tables=tables,
        costs=costs,
        development_targets=choosing,
        targets=targets,
        judged=judged,
        detailed=ask(scores=few, details=True),
        chosen=ask(half="development", targets=choosing),
        unrelated=ask(unrelated=True),
        whole=ask(half=None, targets=None, scores=(default,)),
    )


def best(evaluation: Evaluation, kind: str, scope: str) -> str:
    """Return the best score of a kind over some cells."""
    candidates = [one for one in evaluation.standings if one.kind == kind]
    return max(candidates, key=lambda one: one.summaries[scope].weighted_tau.value).score


def rivals(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the published scores that are best over all, and those best for heads and for fine-tuning; best first."""
    candidates = [one for one in evaluation.standings if one.kind == "published"]
    ordered = [one.score for one in candidates]
    kinds = [kind for kind in KINDS if all(kind in one.summaries for one in candidates)] if candidates else []
    chosen = {*ordered[:N_RIVALS], *(best(evaluation, "published", kind) for kind in kinds)}
    return tuple(name for name in ordered if name in chosen)


def ceiling(evaluation: Evaluation, scope: str) -> float:
    """Return the mean ceiling of a scope."""
    parts = [
        truth.ceiling
        for truth in evaluation.truths
        if scope in ("all", truth.regime, truth.target, truth.regime.partition(" ")[0])
    ]
    return float(np.mean(parts))


def n_models(evaluation: Evaluation) -> str:
    """Write on how many networks a target and regime is judged: '64', or '50 to 64' where that differs."""
    sizes = [truth.n_models for truth in evaluation.truths]
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def share_at(material: Material, score: str, n_probe: int, scope: str) -> Estimate | None:
    """Return the share of the ceiling at one size of the probe; None where it was not computed or is not known."""
    if n_probe == N_PROBE:
        found = [material.judged.standing(score).summaries[scope].share_of_ceiling]
    else:
        asked = (score, n_probe, scope)
        rows = (one for one in material.detailed.sizes if (one.score, one.n_probe, one.scope) == asked)
        found = [one.share_of_ceiling for one in rows]
    return next((share for share in found if math.isfinite(share.value)), None)


def _check(tables: Tables, choosing: Sequence[str], targets: Sequence[str]) -> None:
    lacking = [
        what
        for what, there in (
            ("targets on which the default was chosen", choosing),
            ("targets on which it was not", targets),
            ("networks of the development half", "development" in tables.networks.half),
            ("networks of the confirmation half", "confirmation" in tables.networks.half),
            *((f"accuracies of the kind {kind!r}", kind in tables.truth.regime.names) for kind in KINDS),
        )
        if not there
    ]
    if lacking:
        raise DataError(
            f"The report needs {lacking[0]}. Got none in the tables. Make them with: neuralrank bench build and "
            "neuralrank bench truth"
        )


def _check_kinds(evaluation: Evaluation, default: str) -> None:
    kinds = {one.kind for one in evaluation.standings}
    scores = {one.score for one in evaluation.standings}
    if default not in scores or "published" not in kinds:
        raise DataError(
            f"The report needs the score {default!r} and published scores on {N_PROBE} samples. "
            f"Got {', '.join(sorted(scores))}. Compute them with: neuralrank bench score"
        )
