"""What all tests share: where the development data may lie, and arrays of known difficulty."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuralrank.types import ModelFacts, ModelRecord

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Take Ctrl-C as usual: a shell starts background jobs with the signal ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the repository; tests that need it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the development data are not beside this repository")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature cache of its own for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NEURALRANK_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def own_catalogue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of its own for every test: none is ever written to the home folder."""
    folder = tmp_path_factory.mktemp("catalogue")
    monkeypatch.setenv("NEURALRANK_CATALOGUE", str(folder))
    return folder


@pytest.fixture
def blobs() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three overlapping Gaussian classes in six dimensions, 150 samples."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 50)
    centres = np.zeros((3, 6))
    centres[[0, 1, 2], [0, 1, 2]] = 2.0
    return centres[labels] + rng.normal(size=(150, 6)), labels


@pytest.fixture(scope="session")
def record() -> Callable[..., ModelRecord]:
    """Return the record of a model with the given facts."""

    def make(*, size_bytes: int = 1, **facts: Any) -> ModelRecord:
        return ModelRecord(
            model_id="folder:net@0",
            name="net",
            path=Path("net"),
            content_hash="0",
            size_bytes=size_bytes,
            facts=ModelFacts(format="onnx", files=(), **facts),
        )

    return make
