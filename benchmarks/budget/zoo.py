"""Keep the features of published networks for the budget benchmark: one forward pass of a part of each train split.

    python benchmarks/budget/zoo.py --models ../shared/zoo --data ../shared/data --out bench-out/budget/zoo_features

Models are run as a ranking runs them, one thread each, the cheapest first; what is finished is not run again, so a
stopped run goes on where it was. Several shards may run at once: `--shard 0/2` and `--shard 1/2`.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuralrank import registry
from neuralrank.encoding import _batch_rows
from neuralrank.errors import ModelError
from neuralrank.probe import draw_indices
from neuralrank.readers._open import open_target
from neuralrank.sources.folder import folder
from neuralrank.types import Failure, ModelRecord, Sample

TARGETS = ("mnist", "fashion_mnist", "cifar10_jpeg", "kmnist_10k", "sign_digits")
N_POOL, SEED = 2_500, 20_26
PIECE = 32
"""Samples whose passes are timed before all are, to run the cheapest models first."""


def read_pool(path: Path) -> tuple[list[Sample], np.ndarray]:
    """Return decoded samples of the train split and their labels; the same for every model."""
    target = open_target(str(path), split="train")
    rows = draw_indices(target, N_POOL, SEED)
    image = registry.get("modalities", target.modality)()
    return [image.read_sample(raw) for raw in target.samples.read(rows)], target.labels[rows]


def run_model(record: ModelRecord, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Return the features of all samples, the seconds of their passes, and what it took to load the model."""
    start = time.perf_counter()
    encoder = registry.get("formats", record.facts.format)(record.path, record.facts, n_threads=1)
    image = registry.get("modalities", "image")()
    layer, parts = encoder.feature_layer, []
    loaded = time.perf_counter()
    for rows in _batch_rows(samples, encoder.preprocessing):
        batch = image.make_batch([samples[row] for row in rows], encoder.preprocessing)
        parts.append(image.pool(encoder.encode(batch, (layer,))[layer]))
    return {
        "features": np.concatenate(parts).astype(np.float32),
        "seconds": np.float64(time.perf_counter() - loaded),
        "start_seconds": np.float64(loaded - start),
    }


def main() -> None:
    """Run every model on every target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-out/budget/zoo_features"))
    parser.add_argument("--shard", default="0/1", help="I/N: every Nth model from the Ith on, to share the work")
    options = parser.parse_args()
    records = [item for item in folder(options.models).list_models() if not isinstance(item, Failure)]
    pools = {name: read_pool(options.data / name) for name in TARGETS}
    few = pools[TARGETS[0]][0][:PIECE]
    costs = {record.path: float(run_model(record, few)["seconds"]) for record in records}
    records.sort(key=lambda record: costs[record.path])
    first, step = (int(part) for part in options.shard.split("/"))
    for record in records[first::step]:
        for name, (samples, labels) in pools.items():
            file = options.out / name / f"{record.path.name}.npz"
            if file.exists():
                continue
            try:
                found = run_model(record, samples)
            except ModelError as error:
                print(name, record.path.name, error, flush=True)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}")
            np.savez(part, labels=labels, **found)
            part.replace(file)
            print(name, record.path.name, found["features"].shape, f"{found['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
