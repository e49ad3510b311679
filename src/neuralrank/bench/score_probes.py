"""Compute every score of every network on probes of several sizes: `neuralrank bench score`.

A probe is drawn as `neuralrank rank` draws one, by class, several times for each size. What is finished lies in
`scores/` of the repository, a file for each network and target; features are kept in `features/`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.bench._features import Features, probe_features
from neuralrank.bench._grid import Grid, NetworkSpec, make_grid
from neuralrank.bench._jobs import Progress, run_jobs
from neuralrank.bench.build import Repository, write_whole
from neuralrank.bench.tables import SCHEMAS
from neuralrank.errors import DataError
from neuralrank.probe import draw_indices
from neuralrank.readers._samples import ArraySamples
from neuralrank.scorers import Scorer
from neuralrank.scorers._prepared import prepare
from neuralrank.types import Target

DRAWS = {50: 5, 100: 5, 200: 5, 500: 5, 1_000: 3, 2_000: 2, 5_000: 1}
"""Probe sizes, and how many probes of each are drawn."""
SLOW, SLOW_SIZES = ("linear_probe", "nleep", "pactran_gauss"), (100, 500)
"""Scores that are fitted by iteration, and the sizes of which they see the first draw alone: they would take five times
as long as all others together."""
TIMED = 500
"""Probe size at which scores are timed, each alone."""


def score_probes(
    grid: Grid, repository: Repository, *, names: Sequence[str] = (), jobs: int, progress: Progress
) -> None:
    """Compute all scores that are not there yet.

    Args:
        grid: its networks and targets.
        repository: with the networks that are built.
        names: scorers; all that features, labels or a classifier are enough for, if none is given.
        jobs: processes at once.
        progress: see `run_jobs`.
    """
    wanted = tuple(names) or array_scorers()
    pieces = [
        _Piece(spec=spec, target=target, names=wanted, grid=grid, repository=repository)
        for spec in make_grid(grid)
        for target in grid.targets
        if repository.facts(spec.name).exists()
    ]
    left = [piece for piece in pieces if not piece.file.exists()]
    for target in {piece.target for piece in left}:
        repository.read(target, "probe")
    run_jobs(_score, left, name=lambda piece: f"{piece.target} {piece.spec.name}", jobs=jobs, progress=progress)


def read_scores(grid: Grid, repository: Repository) -> pa.Table:
    """Return all rows computed so far, see `tables.py` for their columns."""
    pieces = [
        _Piece(spec=spec, target=target, names=(), grid=grid, repository=repository)
        for spec in make_grid(grid)
        for target in grid.targets
    ]
    return pa.concat_tables([pq.read_table(piece.file) for piece in pieces if piece.file.exists()])


def array_scorers() -> tuple[str, ...]:
    """Return the names of all scorers of arrays with classes."""
    found = {name: registry.get("scorers", name) for name in registry.names("scorers")}
    return tuple(name for name, each in found.items() if isinstance(each, Scorer) and "classification" in each.tasks)


def draw_probes(labels: NDArray[np.int64], target: str) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield (n_probe, draw, indices); the same for every network. The largest size takes all there are."""
    whole = Target(
        name=target, modality="tabular", task="classification", labels=labels,
        samples=ArraySamples(np.zeros((len(labels), 1), dtype=np.float32)),
    )  # fmt: skip
    for n_probe, n_draws in DRAWS.items():
        if n_probe > len(labels):
            return
        for draw in range(n_draws if n_probe < len(labels) else 1):
            yield n_probe, draw, draw_indices(whole, n_probe, seed=1_000 * n_probe + draw)


def names_for(names: Sequence[str], n_probe: int, draw: int) -> list[str]:
    """Return which scores see a draw."""
    return [name for name in names if name not in SLOW or (draw == 0 and n_probe in SLOW_SIZES)]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    spec: NetworkSpec
    target: str
    names: tuple[str, ...]
    grid: Grid
    repository: Repository

    @property
    def file(self) -> Path:
        return self.repository.folder / "scores" / self.target / f"{self.spec.name}.parquet"


def _score(piece: _Piece) -> None:
    stored = probe_features(piece.spec, piece.target, piece.repository)
    rows: list[dict[str, Any]] = []
    for n_probe, draw, indices in draw_probes(stored.labels, piece.target):
        if n_probe > piece.grid.max_probe or draw >= piece.grid.max_draws:
            continue
        names = names_for(piece.names, n_probe, draw)
        found = score_values(stored, indices, names, timed=n_probe == TIMED and draw == 0)
        common = {"target": piece.target, "model": piece.spec.name, "n_probe": n_probe, "draw": draw}
        extract_seconds = stored.seconds * len(indices) / len(stored.labels)
        rows += [{**common, "score": name, **row, "extract_seconds": extract_seconds} for name, row in found.items()]
    with write_whole(piece.file) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS["scores"]), part)


def score_values(
    stored: Features, indices: NDArray[np.int64], names: Sequence[str], *, timed: bool
) -> dict[str, dict[str, float | None]]:
    """Return value, standard error and, where it is asked for, seconds by score; None where a score is not defined."""
    logits = None if stored.logits is None else stored.logits[indices]

    def prepared() -> Any:
        return prepare(stored.features[indices], stored.labels[indices], None, logits=logits, seed=0)

    found: dict[str, dict[str, float | None]] = {}
    shared = None
    for name in names:
        try:
            shared = prepared() if shared is None else shared
            start = time.perf_counter()
            score = registry.get("scorers", name).of(prepared() if timed else shared)
            seconds = time.perf_counter() - start if timed else None
            accuracy = score.details.get("accuracy")
            found[name] = {"value": score.value, "stderr": score.stderr, "accuracy": accuracy, "seconds": seconds}
        except DataError:
            found[name] = dict.fromkeys(("value", "stderr", "accuracy", "seconds"))
    return found
