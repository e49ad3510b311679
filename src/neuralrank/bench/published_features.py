"""The published probe features: one draw of 500 samples a target, eight bits a value, see `collect.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError

N_SAMPLES = 500
"""Of each target."""
LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class ProbeFeatures:
    """What one network made of one draw of the probe of one target."""

    target: str
    model: str
    features: NDArray[np.float32]
    """Shape (n_samples, d)."""
    labels: NDArray[np.int64]
    logits: NDArray[np.float32] | None
    """Shape (n_samples, n_source_classes); None where the network has no classifier."""


def read_features(tables: Path) -> Iterator[ProbeFeatures]:
    """Yield the published features of every network on every target.

    Raises:
        DataError: there are none.
    """
    files = sorted(tables.glob("features-*.npz"))
    if not files:
        raise DataError(
            f"A new score needs the tables features-TARGET.npz. Got none in {str(tables)!r}. "
            "Make them with: neuralrank bench score"
        )
    for file in files:
        with np.load(file) as stored:
            labels = stored["labels"].astype(np.int64)
            for name in stored.files:
                model, _, what = name.partition("/")
                if what == "features":
                    logits = f"{model}/logits"
                    yield ProbeFeatures(
                        target=file.stem.removeprefix("features-"),
                        model=model,
                        features=_decoded(stored, name),
                        labels=labels,
                        logits=_decoded(stored, logits) if logits in stored.files else None,
                    )


def _decoded(stored: Any, name: str) -> NDArray[np.float32]:
    low, high = stored[f"{name} range"]
    return np.asarray(low + stored[name].astype(np.float32) * ((high - low) / LEVELS), dtype=np.float32)
