"""A small synthetic world: networks of known accuracy, and scores that see it through as much noise as is wanted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuralrank.bench.tables import Tables, read_tables, write_table

N_MODELS = 40
TARGETS = ("cifar10_jpeg", "fashion_mnist", "mnist")
"""The second one is a development target."""
JUDGED = ("cifar10_jpeg", "mnist")
REGIMES = (("head", 500), ("head", 5_000), ("finetune", 500), ("finetune", 2_000))
MODELS = [f"m{place:02d}" for place in range(N_MODELS)]
NOISE = {"neuralrank": 0.01, "knn": 0.15, "parc": 0.6}


def expected(target: str) -> np.ndarray:
    """Expected accuracies, the same in every regime; no target says anything about another."""
    order = np.random.default_rng([1, TARGETS.index(target)]).permutation(N_MODELS)
    return 0.2 + 0.75 * order / (N_MODELS - 1)


def network_rows() -> list[dict[str, Any]]:
    generator = np.random.default_rng(5)
    return [
        {
            "model": model, "lineage": model, "parent": None, "damage": "none",
            "half": ("development", "confirmation")[place % 2], "pretraining_data": ("mnist", "none")[place // 4 % 2],
            "n_classes": 10, "n_samples": 500, "label_noise": 0.0, "corruption": "none",
            "algorithm": ("sgd", "adam")[place // 8 % 2], "architecture": ("vgg", "mlp")[place // 2 % 2], "width": 8,
            "depth": 1, "n_params": int(generator.integers(1_000, 9_000)), "learning_rate": 0.1, "weight_decay": 0.0,
            "n_steps": 200, "augmentation": "none", "source_accuracy": float(generator.random()), "seed": place,
            "build_seconds": 900.0,
        }
        for place, model in enumerate(MODELS)
    ]  # fmt: skip


def truth_rows() -> list[dict[str, Any]]:
    generator, rows = np.random.default_rng(2), []
    for target in TARGETS:
        for regime, n_train in REGIMES:
            for place, accuracy in enumerate(expected(target)):
                for seed in range(2 if regime == "head" or place % 4 < 2 else 1):
                    a, b = (int(n) for n in generator.binomial(1_000, accuracy, size=2))
                    rows.append({
                        "target": target, "model": MODELS[place], "regime": regime, "n_train": n_train,
                        "n_used": 500, "seed": seed, "learning_rate": None, "accuracy": (a + b) / 2_000,
                        "n_correct_a": a, "n_test_a": 1_000, "n_correct_b": b, "n_test_b": 1_000, "seconds": 36.0,
                    })  # fmt: skip
    return rows


def score_rows(noise: Mapping[str, float], bias: float) -> list[dict[str, Any]]:
    """Rows of every score; that of `neuralrank` is wrong across architectures by `bias`."""
    rows = []
    architecture = np.arange(N_MODELS) // 2 % 2
    for name, std in noise.items():
        for target in TARGETS:
            for n_probe in (100, 500) if target == "mnist" else (100, 500, 1_000):
                for draw in range(2):
                    generator = np.random.default_rng([3, len(name), TARGETS.index(target), n_probe, draw])
                    own = np.sqrt(500 / n_probe) * std * generator.normal(size=N_MODELS)
                    values = expected(target) + own + (bias * architecture if name == "neuralrank" else 0)
                    rows += [
                        {
                            "target": target, "model": model, "score": name, "n_probe": n_probe, "draw": draw,
                            "value": float(value), "seconds": 0.002 * len(name), "extract_seconds": 0.5,
                        }
                        for model, value in zip(MODELS, values, strict=True)
                    ]  # fmt: skip
    return rows


def write_world(folder: Path, *, noise: Mapping[str, float] = NOISE, bias: float = 0.0) -> Tables:
    """Write the three tables and return them."""
    write_table(folder / "networks.parquet", "networks", network_rows())
    write_table(folder / "truth.parquet", "truth", truth_rows())
    write_table(folder / "scores.parquet", "scores", score_rows(noise, bias))
    return read_tables(folder)
