"""The demo: rank a small repository of real networks for data none of them saw, then check the ranking.

The networks are in the package (`demo_models/`); the data are scikit-learn's handwritten digits. Half of the digits
are the probe; on the other half a head is trained for every model, and its accuracy is held against the ranking.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from neuralrank.evaluation import head_accuracy, regret_at_k, weighted_tau
from neuralrank.features import Extraction
from neuralrank.probe import read_probe
from neuralrank.ranking import Progress, default_limits, list_models, open_cache, rank
from neuralrank.readers._open import open_target
from neuralrank.types import Failure, ModelRecord, Ranking, Target

N_HALF = 898


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The ranking on one half, and what heads trained on the other half reach."""

    ranking: Ranking
    accuracies: dict[str, float]
    """Accuracy of a head by model id; a model that failed on the other half has none."""


def run(*, cache_dir: str | Path | None = None, progress: Callable[[Progress], None] | None = None) -> DemoResult:
    """Rank the demo repository and measure the accuracy of a head for every ranked model."""
    first, second = digits()
    with as_file(files("neuralrank") / "demo_models") as folder:
        ranking = rank(folder, first, cache_dir=cache_dir, progress=progress)
        records = {item.model_id: item for item in list_models(folder) if isinstance(item, ModelRecord)}
        ranked = [records[model.model_id] for model in ranking.models]
        return DemoResult(ranking=ranking, accuracies=_head_accuracies(ranked, second, cache_dir, progress))


def digits() -> tuple[Target, Target]:
    """Return the two halves of the digits as targets: 8×8 grey images, ten classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    halves = (order[:N_HALF], order[N_HALF:])
    first, second = (open_target((images[half], data.target[half])) for half in halves)
    return _named(first, "scikit-learn digits, one half"), _named(second, "scikit-learn digits, other half")


def verdict(result: DemoResult) -> str:
    """Say how the ranking compares with the accuracies, as text for a terminal."""
    models = [model for model in result.ranking.models if model.model_id in result.accuracies]
    if len(models) < 2:
        return "The ranking cannot be checked: fewer than two models were ranked."
    scores = [model.score for model in models]
    truth = [result.accuracies[model.model_id] for model in models]
    sizes = [float(model.params or 0) for model in models]
    places = np.argsort(np.argsort([-accuracy for accuracy in truth], kind="stable"), kind="stable") + 1
    width = max(len(model.name) for model in models)
    lines = ["Check: a head trained on each model's features, on the half of the digits the ranking did not see.", ""]
    lines.append(f"  {'rank':>4}  {'model':<{width}}  {'head accuracy':>13}  {'true place':>10}")
    lines += [
        f"  {model.rank:>4}  {model.name:<{width}}  {accuracy:>13.1%}  {place:>10}"
        for model, accuracy, place in zip(models, truth, places, strict=True)
    ]
    best = models[int(np.argmax(truth))].name
    lines += [
        "",
        f"Weighted Kendall tau of the ranking with the accuracies: {weighted_tau(scores, truth):.3f} "
        f"(by parameter count: {weighted_tau(sizes, truth):.3f}).",
        f"Regret of following the ranking: {100 * regret_at_k(scores, truth):.1f} points of accuracy "
        f"(chosen: {models[0].name}, {truth[0]:.1%}; best: {best}, {max(truth):.1%}; "
        f"by parameter count: {100 * regret_at_k(sizes, truth):.1f} points).",
    ]
    return "\n".join(lines)


def _head_accuracies(
    records: list[ModelRecord],
    target: Target,
    cache_dir: str | Path | None,
    progress: Callable[[Progress], None] | None,
) -> dict[str, float]:
    cache = open_cache(cache_dir)
    probe = read_probe(target, n_samples=len(target.labels), seed=0, max_unreadable=0.0, cache=cache)
    limits = default_limits()
    with Extraction(probe=probe, cache=cache, limits=limits) as extraction:

        def check(record: ModelRecord) -> float | None:
            features = extraction.features(record)
            return None if isinstance(features, Failure) else head_accuracy(features.values, probe.labels)

        accuracies: dict[str, float] = {}
        with threadpool_limits(limits.threads_each), ThreadPoolExecutor(limits.jobs) as pool:
            for n_done, (record, accuracy) in enumerate(zip(records, pool.map(check, records), strict=True), start=1):
                if accuracy is not None:
                    accuracies[record.model_id] = accuracy
                if progress is not None:
                    progress(_checked(record, n_done, len(records), len(probe)))
    return accuracies


def _checked(record: ModelRecord, n_done: int, n_models: int, n_samples: int) -> Progress:
    return Progress(
        model=f"head for {record.name}",
        n_models_done=n_done,
        n_models=n_models,
        n_samples_done=n_samples,
        n_samples=n_samples,
    )


def _named(target: Target, name: str) -> Target:
    return replace(target, name=name)
