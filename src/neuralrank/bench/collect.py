"""Collect what a repository holds into the tables that are published: networks, truth, scores, and probe features.

The features are those of one draw of 500 samples a target, eight bits a value, so that a new score can be tried on the
whole repository in seconds and without it; see `published_features.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench import score_probes, truth
from neuralrank.bench._features import probe_features
from neuralrank.bench._grid import Grid, make_grid
from neuralrank.bench.build import Repository, write_whole
from neuralrank.bench.published_features import LEVELS, N_SAMPLES
from neuralrank.bench.tables import write_table


def write_networks(grid: Grid, repository: Repository, tables: Path) -> None:
    """Write `networks.parquet` of all networks that are built."""
    files = [repository.facts(spec.name) for spec in make_grid(grid)]
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    write_table(tables / "networks.parquet", "networks", [{"model": row["name"], **row} for row in rows])


def write_truth(grid: Grid, repository: Repository, tables: Path) -> None:
    """Write `truth.parquet` of all that is measured."""
    write_table(tables / "truth.parquet", "truth", truth.read_rows(grid, repository))


def write_scores(grid: Grid, repository: Repository, tables: Path) -> None:
    """Write `scores.parquet` of all that is scored."""
    write_table(tables / "scores.parquet", "scores", score_probes.read_scores(grid, repository))


def write_features(grid: Grid, repository: Repository, tables: Path) -> None:
    """Write `features-TARGET.npz` for each target, with the draw 0 of 500 samples, or all where there are fewer."""
    for target in grid.targets:
        arrays: dict[str, NDArray[Any]] = {}
        for spec in make_grid(grid):
            if not repository.facts(spec.name).exists():
                continue
            stored = probe_features(spec, target, repository)
            rows = np.arange(len(stored.labels))
            for n_probe, draw, indices in score_probes.draw_probes(stored.labels, target):
                if n_probe == N_SAMPLES and draw == 0:
                    rows = indices
            arrays["labels"] = stored.labels[rows].astype(np.uint8)
            for name, values in (("features", stored.features), ("logits", stored.logits)):
                if values is not None:
                    codes, ranges = coded(values[rows])
                    arrays[f"{spec.name}/{name}"], arrays[f"{spec.name}/{name} range"] = codes, ranges
        with write_whole(tables / f"features-{target}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def coded(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return each column in 256 levels between its smallest and its largest value, and these two, shape (2, d)."""
    ranges = np.stack([values.min(axis=0), values.max(axis=0)])
    spread = np.where(ranges[1] > ranges[0], ranges[1] - ranges[0], 1)
    return np.rint((values - ranges[0]) / spread * LEVELS).astype(np.uint8), ranges
