"""What the built networks make of the probes of the targets: one forward pass of all samples of a probe, kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuralrank.bench import _training as training
from neuralrank.bench._grid import NetworkSpec
from neuralrank.bench.build import WITHOUT_CLASSIFIER, Repository, load_network, write_whole


@dataclass(frozen=True, kw_only=True)
class Features:
    """What one network made of the whole probe of one target."""

    features: NDArray[np.float32]
    """Shape (n_samples, d)."""
    labels: NDArray[np.int64]
    logits: NDArray[np.float32] | None
    """Shape (n_samples, n_source_classes); None where the network has no classifier that was trained."""
    stages: NDArray[np.float32]
    """Pooled outputs of all its stages side by side, the features last."""
    seconds: float
    """Of the forward passes."""


def probe_features(spec: NetworkSpec, target: str, repository: Repository) -> Features:
    """Return the features of a network on the probe of a target; they are computed and kept when asked for first."""
    file = repository.folder / "features" / target / f"{spec.name}.npz"
    if not file.exists():
        _keep(spec, target, repository, file)
    with np.load(file) as stored:
        return Features(
            features=stored["features"],
            labels=stored["labels"],
            logits=stored.get("logits"),
            stages=stored["stages"],
            seconds=float(stored["seconds"]),
        )


def _keep(spec: NetworkSpec, target: str, repository: Repository, file: Path) -> None:
    network, probe = load_network(spec, repository), repository.read(target, "probe")
    start = time.perf_counter()
    arrays: dict[str, Any] = {
        "features": training.run_batches(network, probe, lambda batch: network(batch)["features"])
    }
    arrays["seconds"] = np.float64(time.perf_counter() - start)
    arrays["stages"] = training.run_batches(network, probe, lambda batch: torch.cat(network.stage_features(batch), 1))
    arrays["labels"] = probe.labels
    if spec.algorithm not in (*WITHOUT_CLASSIFIER, "untrained"):
        arrays["logits"] = training.run_batches(network, probe, lambda batch: network(batch)["logits"])
    with write_whole(file) as part, part.open("wb") as opened:
        np.savez(opened, **arrays)
