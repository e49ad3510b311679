"""A repository of tiny real models, a tiny real data set, and the way to run the command over them."""

import contextlib
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from neuralrank.cli import main

sys.path.insert(0, str(Path(__file__).parent))

from tiny_zoo import (
    CARD,
    Outcome,
    Run,
    convolution,
    crafted_filters,
    draw_images,
    random_filters,
    save,
    write_class_folders,
)

PLUGIN = """
import os
from pathlib import Path
from neuralrank.formats import checkpoint_format
from neuralrank.types import ModelFacts

def describe(path):
    if path.suffix != ".toy":
        return None
    return ModelFacts(format="toy", files=(path,), modality="image")

@checkpoint_format(describe)
def toy(path, facts, *, n_threads=0):
    exec(path.read_text())
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process; a bug ends the test, as it would end the process with a traceback."""

    def call(*arguments: object) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["neuralrank", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
        assert "Traceback" not in err.getvalue()
        assert isinstance(end.value.code, int)
        return Outcome(code=end.value.code, out=out.getvalue(), err=err.getvalue())

    return call


# --- data --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images in four class folders; not to be changed: `own_photos` is."""
    return write_class_folders(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def own_photos(photos: Path, tmp_path: Path) -> Path:
    """A copy of the images for one test to spoil."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.fixture
def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The same pixels and labels as arrays, in the order of the folders."""
    return draw_images()


# --- models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks: one that sees the classes, a random one, and a poor one without a card."""
    folder = tmp_path_factory.mktemp("models") / "models"
    save(
        convolution(crafted_filters()), folder / "crafted.onnx", {**CARD, "licence": "MIT", "pretraining_data": "none"}
    )
    save(convolution(random_filters(6, seed=1)), folder / "deep" / "random.onnx", CARD)
    save(convolution(random_filters(1, seed=2)), folder / "plain.onnx")
    return folder


@pytest.fixture
def own_models(models: Path, tmp_path: Path) -> Path:
    """A copy of the three models, beside which a test may put a fourth."""
    return Path(shutil.copytree(models, tmp_path / "models"))


@pytest.fixture(scope="session")
def warm_cache(models: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that knows the features of the three models on the photos."""
    from neuralrank import rank

    cache = tmp_path_factory.mktemp("warm")
    rank(models, photos, also=(), cache_dir=cache)
    return cache


@pytest.fixture
def toy_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with a format of its own, `.toy`, whose models are programs."""
    site = tmp_path / "site"
    information = site / "toy_format-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "toy_format.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-format\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[neuralrank.formats]\ntoy = toy_format:toy\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("toy_format", None)
