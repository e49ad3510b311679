"""The data sets demo models are trained on: which there are, and how a subset of one becomes tensors.

They are read from Parquet files in the layout of the Hugging Face Hub. The target of the demo, the handwritten
digits of scikit-learn, is deliberately not among them.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

N_TRAIN = 12_000
N_TEST = 2_000
"""At most so many images of each split are decoded, drawn once for all models."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What a card has to say about a data set, and how its pixels are normalised."""

    title: str
    licence: str | None
    folder: str | None
    """None: no data, only the input geometry of an untrained model."""
    size: tuple[int, int, int]
    """(channels, height, width)"""
    mean: tuple[float, ...]
    std: tuple[float, ...]


DATA_SETS = {
    "mnist": DataSet(
        title="MNIST",
        licence="CC BY-SA 3.0 (commonly cited)",
        folder="mnist",
        size=(1, 28, 28),
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion": DataSet(
        title="Fashion-MNIST",
        licence="MIT",
        folder="fashion_mnist",
        size=(1, 28, 28),
        mean=(0.286,),
        std=(0.353,),
    ),
    "kmnist": DataSet(
        title="KMNIST (10k)",
        licence="CC BY-SA 4.0",
        folder="kmnist_10k",
        size=(1, 28, 28),
        mean=(0.1918,),
        std=(0.3483,),
    ),
    "cifar10": DataSet(
        title="CIFAR-10 (JPEG copy)",
        licence="none stated (Krizhevsky 2009)",
        folder="cifar10_jpeg",
        size=(3, 32, 32),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.247, 0.2435, 0.2616),
    ),
    "grey28": DataSet(title="none", licence=None, folder=None, size=(1, 28, 28), mean=(0.5,), std=(0.5,)),
    "rgb32": DataSet(title="none", licence=None, folder=None, size=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3),
}


def load_split(
    root: Path, name: str, split: str, classes: tuple[int, int] | None
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return the normalised images, the class indices from 0, and the class names of one split.

    Args:
        root: folder that holds one folder per data set.
        name: a name of `DATA_SETS` that has data.
        split: `train` or `test`.
        classes: first and last class to keep; None keeps all.

    Returns:
        float32 images of shape (n_samples, channels, height, width), int64 labels of shape (n_samples,), names.
    """
    facts = DATA_SETS[name]
    assert facts.folder is not None
    pixels, labels, names = _decode(root / facts.folder / f"{split}.parquet", facts.size[0])
    first, last = classes or (0, len(names) - 1)
    kept = (labels >= first) & (labels <= last)
    mean, std = (np.asarray(values, dtype=np.float32)[:, None, None] for values in (facts.mean, facts.std))
    images = (pixels[kept].astype(np.float32) / 255 - mean) / std
    return torch.from_numpy(images), torch.from_numpy(labels[kept] - first), names[first : last + 1]


@cache
def _decode(path: Path, n_channels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    table = pq.read_table(path, columns=["image", "label"])
    limit = N_TRAIN if path.stem == "train" else N_TEST
    table = table.take(np.random.default_rng(0).permutation(len(table))[:limit])
    mode = "L" if n_channels == 1 else "RGB"
    images = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert(mode)) for cell in table["image"].to_pylist()]
    pixels = np.stack(images)
    pixels = pixels[:, None] if n_channels == 1 else pixels.transpose(0, 3, 1, 2)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    return pixels, table["label"].to_numpy().astype(np.int64), list(features["label"]["names"])
