"""A tiny repository of the evidence, made once: networks trained for seconds on scikit-learn's digits."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from neuralrank.bench._grid import Grid

SMALL_GRID = Grid(
    name="small", data_sets=("digits", "flipped"), targets=("digits", "flipped"), n_base=3, n_untrained=1,
    n_fine_tuned=1, n_distilled=1, n_damaged=1, n_duplicates=1, max_probe=100, steps_factor=0.05, seed=3,
)  # fmt: skip


def write_digits(folder: Path, *, flipped: bool) -> None:
    """Write scikit-learn's digits in the layout of the Hugging Face Hub, 1,297 for training and 500 for testing."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)
    pixels = pixels[:, ::-1] if flipped else pixels
    folder.mkdir(parents=True)
    for split, rows in (("train", slice(0, 1_297)), ("test", slice(1_297, None))):
        images = [{"bytes": encoded(image), "path": None} for image in pixels[rows]]
        pq.write_table(pa.table({"image": images, "label": data.target[rows]}), folder / f"{split}.parquet")


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def small_grid() -> Grid:
    return SMALL_GRID


@pytest.fixture(scope="session")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_digits(folder / "digits", flipped=False)
    write_digits(folder / "flipped", flipped=True)
    return folder


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, digits_data: Path):
    """The built, measured and scored repository of `SMALL_GRID`."""
    from neuralrank.bench.build import Repository, build
    from neuralrank.bench.score_probes import score_probes
    from neuralrank.bench.truth import measure_truth

    found = Repository(folder=tmp_path_factory.mktemp("repository"), data=digits_data)
    told: list[tuple[str, int, int]] = []

    def progress(*event) -> None:
        told.append(event)

    build(SMALL_GRID, found, jobs=1, progress=progress)
    measure_truth(SMALL_GRID, found, jobs=1, progress=progress)
    score_probes(SMALL_GRID, found, names=("neuralrank", "knn", "leep"), jobs=1, progress=progress)
    assert all(n_done <= n_all for _, n_done, n_all in told)
    return found
