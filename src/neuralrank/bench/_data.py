"""The images of the evidence: every data set read once, as 32×32 pixels, and cut into parts that never mix.

The train split of a data set is cut in three, by a fixed seed: `pretraining` trains the networks, `probe` is what
scores see, `head` trains the transfer accuracy; the test split judges it. So no network has met a sample of the probe
or of the truth, and no score has met a sample of the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, UsageError
from neuralrank.modalities import _resize
from neuralrank.modalities._decode import decode_image
from neuralrank.readers._open import open_target
from neuralrank.types import ImagePreprocessing, RawSample

DATA_SETS = ("mnist", "fashion_mnist", "cifar10_jpeg", "kmnist_10k", "sign_digits")
Part = Literal["pretraining", "probe", "head", "test"]
N_PROBE, N_HEAD, N_TEST = 5_000, 10_000, 2_000
"""Samples at most; a small data set is shared out by `_SHARES` instead."""
_SHARES = {"probe": 0.31, "head": 0.4}
_SEED = 20_20
_SIDE = 32
_RESIZED = ImagePreprocessing(size=(_SIDE, _SIDE))


@dataclass(frozen=True, kw_only=True)
class Images:
    """One part of one data set."""

    pixels: NDArray[np.uint8]
    """Shape (n, 1 or 3, 32, 32); one channel where all three are equal."""
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Images:
        """Return the samples at `rows`."""
        return Images(pixels=self.pixels[rows], labels=self.labels[rows])


def read_images(data: Path, name: str, part: Part, *, cache: Path) -> Images:
    """Return one part of one data set.

    Args:
        data: the folder that holds the folder `name`, with a train and a test split in any layout that can be ranked.
        name: of the data set.
        part: see the module.
        cache: where the decoded images are kept.
    """
    train = part != "test"
    whole = _decoded(data, name, "train" if train else "test", cache=cache)
    rows = _parts(len(whole))[part] if train else _order(len(whole))[:N_TEST]
    return whole.take(rows)


def check_data(data: Path, names: tuple[str, ...]) -> None:
    """Check that every data set is there.

    Raises:
        UsageError: a folder is missing.
    """
    missing = [name for name in names if not (data / name).is_dir()]
    if missing:
        raise UsageError(
            f"--data needs a folder with one folder per data set: {', '.join(names)}. Got {str(data)!r} "
            f"without {', '.join(missing)}. Each holds train.parquet and test.parquet as on the Hugging Face Hub."
        )


def _parts(n_samples: int) -> dict[Part, NDArray[np.int64]]:
    order = _order(n_samples)
    n_probe = min(N_PROBE, int(_SHARES["probe"] * n_samples))
    n_head = min(N_HEAD, int(_SHARES["head"] * n_samples))
    probe, head, rest = np.split(order, [n_probe, n_probe + n_head])
    return {"probe": probe, "head": head, "pretraining": rest}


def _order(n_samples: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).permutation(n_samples)


def _decoded(data: Path, name: str, split: str, *, cache: Path) -> Images:
    """Return a whole split, from the cache where it was read before."""
    file = cache / f"{name}-{split}.npz"
    if file.exists():
        with np.load(file) as stored:
            return Images(pixels=stored["pixels"], labels=stored["labels"])
    target = open_target(str(data / name), split=split)
    if target.task != "classification" or target.modality != "image":
        raise DataError(f"The evidence needs images with classes in {name}. Got {target.modality} and {target.task}.")
    pixels = np.stack(list(_resized(target.samples.read(np.arange(len(target.labels))))))
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    images = Images(pixels=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels=target.labels)
    cache.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(part, pixels=images.pixels, labels=images.labels)
    part.replace(file)
    return images


def _resized(samples: Iterator[RawSample]) -> Iterator[NDArray[np.uint8]]:
    for sample in samples:
        yield _resize.resize_to(decode_image(sample), _RESIZED)
