"""Reference values of the public code with the inputs they belong to, and features that are not scaled first."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuralrank.scorers._prepared import Prepared

sys.path.insert(0, str(Path(__file__).parent))

from golden_problems import build

VALUES = json.loads((Path(__file__).parent / "golden.json").read_text())["values"]

Golden = Callable[[str, str], tuple[NDArray[Any], NDArray[Any], float]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Leave the linear algebra one thread: the arrays here are small."""
    with threadpool_limits(1):
        yield


@functools.cache
def _built(problem: str) -> tuple[Any, Any, Any]:
    arrays = build(problem)
    for array in arrays:
        if array is not None:
            array.flags.writeable = False
    return arrays


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Return features, labels and the value of the public code for a (problem, implementation)."""

    def get(problem: str, implementation: str) -> tuple[NDArray[Any], NDArray[Any], float]:
        features, labels, _ = _built(problem)
        return features, labels, float(VALUES[problem][implementation])

    return get


@pytest.fixture(scope="session")
def golden_head() -> Golden:
    """Return head probabilities, labels and the value of the public code for a (problem, implementation)."""

    def get(problem: str, implementation: str) -> tuple[NDArray[Any], NDArray[Any], float]:
        _, labels, probabilities = _built(problem)
        return probabilities, labels, float(VALUES[problem][implementation])

    return get


@pytest.fixture(scope="session")
def unscaled() -> Callable[..., Prepared]:
    """Return features as the public code takes them: not scaled, and centred only where asked for."""

    def take(features: NDArray[Any], labels: NDArray[Any], *, centred: bool = True) -> Prepared:
        matrix = features.astype(np.float64)
        return Prepared(
            features=matrix - matrix.mean(axis=0) if centred else matrix,
            labels=labels,
            task="classification",
            n_classes=int(labels.max()) + 1,
        )

    return take
