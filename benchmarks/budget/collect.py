"""Keep what a race can see: terms of the score and right answers of every model on every rung of seeded probes.

    python benchmarks/budget/collect.py --features bench-out/evidence/features --out bench-out/budget/evidence

A trial is a target and a seed: the seed draws the probe from the pool of the target and orders its samples, as
`neuralrank rank --seed` does; rungs are the nested parts that the strategies ask for. What is kept is not computed
again unless models were added. Several shards may run at once: `--shard 0/2` and `--shard 1/2`.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuralrank import registry
from neuralrank.probe import draw_indices
from neuralrank.readers._samples import ArraySamples
from neuralrank.scorers._prepared import prepare
from neuralrank.strategies import Look, Strategy
from neuralrank.types import Target

STRATEGIES = ("racing", "successive_halving")
N_SAMPLES = 2_000
PROBE_SHARE = 0.8
"""Of a pool that is too small for `N_SAMPLES`, this share is the probe: seeds still draw different ones."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One trial as it was recorded; models in the order of their names."""

    target: str
    seed: int
    models: tuple[str, ...]
    seconds_per_sample: np.ndarray
    """Shape (n_models,), of forward passes."""
    start_seconds: np.ndarray
    """Shape (n_models,); nan where loading was not measured."""
    rungs: tuple[int, ...]
    terms: Mapping[int, np.ndarray]
    """By rung, shape (n_models, n_samples)."""
    correct: Mapping[int, np.ndarray]

    def look(self, model: int, size: int) -> Look:
        """Return what a model shows on a rung."""
        terms = self.terms[size][model].astype(np.float64)
        return Look(value=float(terms.mean()), terms=terms, correct=self.correct[size][model].astype(np.float64))

    def values(self, size: int) -> np.ndarray:
        """Return the score of every model on a rung."""
        return self.terms[size].astype(np.float64).mean(axis=1)


def collect(features: Path, target: str, seed: int, rungs: Sequence[int] | None, n_samples: int) -> dict[str, Any]:
    """Score every model of a target on every rung of one probe."""
    score = registry.get("scorers", "neuralrank")
    found: dict[str, Any] = {"seconds_per_sample": [], "start_seconds": []}
    files = feature_files(features / target)
    drawn: dict[int, np.ndarray] = {}
    for file in files:
        with np.load(file) as stored:
            rows, labels = stored["features"], stored["labels"]
            found["seconds_per_sample"].append(float(stored["seconds"]) / len(labels))
            found["start_seconds"].append(float(stored.get("start_seconds", np.nan)))
        if not drawn:
            n_samples = min(n_samples, len(labels) if n_samples > N_SAMPLES else int(PROBE_SHARE * len(labels)))
            sizes = rungs or sorted({size for name in STRATEGIES for size in strategy(name).rungs(n_samples)})
            whole = Target(
                name=target, modality="tabular", task="classification", labels=labels,
                samples=ArraySamples(np.zeros((len(labels), 1), dtype=np.float32)),
            )  # fmt: skip
            drawn = {size: draw_indices(whole, size, seed) for size in sizes}
        for size, indices in drawn.items():
            looked = score.of(prepare(rows[indices], labels[indices], None, seed=0))
            found.setdefault(f"terms/{size}", []).append(looked.terms.astype(np.float32))
            found.setdefault(f"correct/{size}", []).append(looked.correct.astype(np.bool_))
    return {name: np.array(value) for name, value in found.items()} | {"models": np.array(names_of(files))}


def feature_files(folder: Path) -> list[Path]:
    """Return the files of features of one target."""
    return sorted(folder.glob("[!.]*.npz"))


def names_of(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the models."""
    return tuple(file.name.removesuffix(".npz").removesuffix(".onnx") for file in files)


def strategy(name: str, **options: Any) -> Strategy:
    """Return a strategy by its name."""
    return registry.get("strategies", name)(**options)


def recorded(file: Path) -> Recorded:
    """Return a trial that was kept."""
    target, seed = file.stem.rsplit("-", 1)
    with np.load(file) as stored:
        sizes = sorted(int(name.split("/")[1]) for name in stored.files if name.startswith("terms/"))
        return Recorded(
            target=target,
            seed=int(seed),
            models=tuple(stored["models"].tolist()),
            seconds_per_sample=stored["seconds_per_sample"],
            start_seconds=stored["start_seconds"],
            rungs=tuple(sizes),
            terms={size: stored[f"terms/{size}"] for size in sizes},
            correct={size: stored[f"correct/{size}"] for size in sizes},
        )


def main() -> None:
    """Collect trials, all targets of a seed before the next seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=Path("bench-out/evidence/features"))
    parser.add_argument("--out", type=Path, default=Path("bench-out/budget/evidence"))
    parser.add_argument("--targets", nargs="*", help="all that there are, if none is given")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 40), metavar=("FIRST", "END"))
    parser.add_argument("--n-samples", type=int, default=N_SAMPLES)
    parser.add_argument("--rungs", type=int, nargs="*", help="in place of those of racing")
    parser.add_argument("--shard", default="0/1", help="I/N: every Nth trial from the Ith on, to share the work")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    targets = options.targets or sorted(folder.name for folder in options.features.iterdir())
    first, step = (int(part) for part in options.shard.split("/"))
    trials = [(seed, target) for seed in range(*options.seeds) for target in targets]
    for seed, target in trials[first::step]:
        file = options.out / f"{target}-{seed}.npz"
        if file.exists() and recorded(file).models == names_of(feature_files(options.features / target)):
            continue
        start = time.perf_counter()
        found = collect(options.features, target, seed, options.rungs, options.n_samples)
        part = file.with_name(f".{file.name}")
        np.savez(part, **found)
        part.replace(file)
        print(target, seed, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
