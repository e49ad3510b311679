"""Real data sets in the layout of the Hugging Face Hub, where they are beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from neuralrank.readers._open import open_target
from neuralrank.types import Target

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def read_shared(name: str) -> Target:
    if not (DATA / name).is_dir():
        pytest.skip(f"the data set {name!r} is not beside the repository")
    return open_target(DATA / name, split="test")


@pytest.mark.parametrize(
    ("name", "modality", "n_samples", "n_classes"),
    [
        ("mnist", "image", 10_000, 10),
        ("trec", "text", 500, 6),
        ("banking77", "text", 3_080, 77),
        ("spoken_digits", "audio", 300, 10),
    ],
)
def test_shared_data_sets_are_read(name: str, modality: str, n_samples: int, n_classes: int) -> None:
    target = read_shared(name)
    assert (target.modality, target.task) == (modality, "classification")
    assert len(target.samples) == len(target.labels) == n_samples
    assert len(target.class_names) == n_classes
    assert len(list(target.samples.read(np.array([0, 1, n_samples - 1])))) == 3


def test_the_default_split_is_train() -> None:
    read_shared("trec")
    target = open_target(DATA / "trec")
    assert len(target.samples) == 5_452
    assert target.class_names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def test_mnist_digits_are_encoded_images() -> None:
    raw = next(read_shared("mnist").samples.read(np.array([9_999])))
    assert isinstance(raw, bytes)
    assert raw.startswith(b"\x89PNG")


def test_spoken_digits_are_encoded_sounds() -> None:
    raw = next(read_shared("spoken_digits").samples.read(np.array([7])))
    assert isinstance(raw, bytes)
    assert raw[8:12] == b"WAVE"
