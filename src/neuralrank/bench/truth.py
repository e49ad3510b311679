"""Measure what every network of the repository is worth on every target: `neuralrank bench truth`.

Two ways to use a network, each at two numbers of samples: a head on frozen features, and full fine-tuning. What is
finished lies in `truth/` of the repository, a file for each network, target and kind, and is not measured again.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench import _training as training
from neuralrank.bench._data import Images, check_data
from neuralrank.bench._grid import Grid, NetworkSpec, make_grid
from neuralrank.bench._heads import VALIDATION_SHARE, train_head
from neuralrank.bench._jobs import Progress, run_jobs
from neuralrank.bench._networks import Network
from neuralrank.bench.build import Repository, load_network, write_text

HEAD_SIZES, HEAD_SEEDS = (500, 5_000), (0, 1, 2)
FINE_TUNE_STEPS = {500: 80, 2_000: 160}
"""Training steps by number of samples."""
RATES = (5e-4, 2e-3, 8e-3)
FURTHER_SEEDS = (1, 2)
"""Of fine-tuning, for a random third of the networks of each target."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One piece of work: a network, a target, and how it is used."""

    spec: NetworkSpec
    target: str
    kind: str
    """'head' or 'finetune'."""
    seeds: tuple[int, ...]
    steps_factor: float
    repository: Repository

    @property
    def name(self) -> str:
        """What the progress shows."""
        seeds = "" if self.seeds[0] == 0 else f", seeds {self.seeds[0]} to {self.seeds[-1]}"
        return f"{self.kind} {self.target} {self.spec.name}{seeds}"

    @property
    def file(self) -> Path:
        """Where its rows are kept."""
        kind = self.kind if self.seeds[0] == 0 else f"{self.kind}-further"
        return self.repository.folder / "truth" / kind / self.target / f"{self.spec.name}.json"


def measure_truth(grid: Grid, repository: Repository, *, jobs: int, progress: Progress) -> None:
    """Measure all that is not measured yet; what tells most comes first."""
    check_data(repository.data, grid.targets)
    for target in grid.targets:
        for part in ("head", "probe", "test"):
            repository.read(target, part)
    left = [piece for piece in measurements(grid, repository) if not piece.file.exists()]
    run_jobs(_measure, left, name=lambda piece: piece.name, jobs=jobs, progress=progress)


def measurements(grid: Grid, repository: Repository) -> list[Measurement]:
    """Return every piece of the truth: heads, then fine-tuning with one seed, then with more."""
    specs = [spec for spec in make_grid(grid) if repository.facts(spec.name).exists()]
    plan = [("head", HEAD_SEEDS, False), ("finetune", (0,), False), ("finetune", FURTHER_SEEDS, True)]
    return [
        Measurement(
            spec=spec, target=target, kind=kind, seeds=seeds, steps_factor=grid.steps_factor, repository=repository
        )
        for kind, seeds, further in plan
        for spec in specs
        for target in grid.targets
        if not further or (grid.repeats and _has_further_seeds(spec, target, grid))
    ]


def read_rows(grid: Grid, repository: Repository) -> list[dict[str, Any]]:
    """Return all rows measured so far, see `tables.py` for their fields."""
    return [
        row
        for piece in measurements(grid, repository)
        if piece.file.exists()
        for row in json.loads(piece.file.read_text(encoding="utf-8"))
    ]


def _has_further_seeds(spec: NetworkSpec, target: str, grid: Grid) -> bool:
    """Draw a third, of each target another one."""
    place = int(spec.name.partition("-")[0])
    draw = np.random.default_rng([grid.seed, grid.targets.index(target)]).permutation(1_000)
    return bool(draw[place % 1_000] % 3 == 0)


def _measure(piece: Measurement) -> None:
    rows = _heads(piece) if piece.kind == "head" else _fine_tunings(piece)
    write_text(piece.file, json.dumps(rows))


# --- heads -------------------------------------------------------------------------------------------------------


def _heads(piece: Measurement) -> list[dict[str, Any]]:
    network = load_network(piece.spec, piece.repository)
    pool, test = (piece.repository.read(piece.target, part) for part in ("head", "test"))
    start = time.perf_counter()
    pool_features, test_features = (_features(network, images) for images in (pool, test))
    extract_seconds = (time.perf_counter() - start) / (len(pool) + len(test))
    rows = []
    for n_train in HEAD_SIZES:
        for seed in piece.seeds:
            start = time.perf_counter()
            chosen = draw_training(len(pool), n_train, seed)
            head = train_head(pool_features[chosen], pool.labels[chosen], int(pool.labels.max()) + 1)
            correct = head.predict(test_features) == test.labels
            seconds = time.perf_counter() - start + extract_seconds * len(chosen)
            rows.append(_row(piece, "head", n_train, len(chosen), seed, None, correct, seconds))
    return rows


def _features(network: Network, images: Images) -> NDArray[np.float32]:
    return training.run_batches(network, images, lambda batch: network(batch)["features"])


def _logits(network: Network, images: Images) -> NDArray[np.float32]:
    return training.run_batches(network, images, lambda batch: network(batch)["logits"])


# --- fine-tuning -------------------------------------------------------------------------------------------------


def _fine_tunings(piece: Measurement) -> list[dict[str, Any]]:
    network = load_network(piece.spec, piece.repository)
    pool, test = (piece.repository.read(piece.target, part) for part in ("head", "test"))
    rows = []
    for n_train in FINE_TUNE_STEPS:
        for seed in piece.seeds:
            start = time.perf_counter()
            chosen = draw_training(len(pool), n_train, seed)
            n_steps = round(piece.steps_factor * FINE_TUNE_STEPS[n_train])
            rate, best = fine_tuned(network, pool.take(chosen), n_steps=n_steps, seed=seed)
            logits = _logits(best, test)
            correct = logits.argmax(axis=1) == test.labels
            seconds = time.perf_counter() - start
            rows.append(_row(piece, "finetune", n_train, len(chosen), seed, rate, correct, seconds))
    return rows


def fine_tuned(network: Network, images: Images, *, n_steps: int, seed: int) -> tuple[float, Network]:
    """Train copies of a network at each rate; return the best rate and its copy.

    Fine-tuning starts from a head that was trained on the frozen features (Kumar et al. 2022, "Fine-Tuning can Distort
    Pretrained Features", ICLR): from fresh weights, networks with small features would be judged by their scale.

    Args:
        network: stays as it is.
        images: in random order; the last fifth chooses the rate, the others train.
        n_steps: batches at each rate.
        seed: of the batches.
    """
    n_fit = len(images) - int(VALIDATION_SHARE * len(images))
    fit, held_out = images.take(np.arange(n_fit)), images.take(np.arange(n_fit, len(images)))
    head = train_head(_features(network, fit), fit.labels, int(images.labels.max()) + 1)
    found: list[tuple[float, float, Network]] = []
    for rate in RATES:
        tuned = copy.deepcopy(network)
        tuned.classifier = head.layer().to(training.device_of(network))
        loss = training.supervised(tuned, fit, "shift")
        training.optimise(tuned, loss, len(fit), n_steps=n_steps, rate=rate, decay=1e-4, seed=seed)
        accuracy = np.mean(_logits(tuned, held_out).argmax(axis=1) == held_out.labels)
        found.append((float(accuracy), rate, tuned))
    _, rate, best = max(found, key=lambda item: item[0])
    return rate, best


# --- rows --------------------------------------------------------------------------------------------------------


def draw_training(n_pool: int, n_train: int, seed: int) -> NDArray[np.int64]:
    """Draw training samples; seeds 0 and 1 draw from the two ends of one order, so they share none if they need not."""
    order = np.random.default_rng(7).permutation(n_pool)
    if seed == 1:
        order = order[::-1]
    elif seed > 1:
        order = np.random.default_rng(7 + seed).permutation(n_pool)
    return order[:n_train]


def _row(
    piece: Measurement, regime: str, n_train: int, n_used: int, seed: int, rate: float | None,
    correct: NDArray[np.bool_], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    half = len(correct) // 2
    return {
        "target": piece.target,
        "model": piece.spec.name,
        "regime": regime,
        "n_train": n_train,
        "n_used": n_used,
        "seed": seed,
        "learning_rate": rate,
        "accuracy": round(float(correct.mean()), 5),
        "n_correct_a": int(correct[:half].sum()),
        "n_test_a": half,
        "n_correct_b": int(correct[half:].sum()),
        "n_test_b": len(correct) - half,
        "seconds": round(seconds, 3),
    }
