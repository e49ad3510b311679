"""Samples of a target, read only when asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.readers._pixels import as_uint8, channels_last, raw_image
from neuralrank.types import RawSample, Samples


def row_name(index: int) -> str:
    """Return what a sample without a name of its own is called; rows count from 0."""
    return f"row {index}"


@dataclass(frozen=True)
class FileSamples:
    """Images as paths; a path that is None could not be known and reads as an empty file."""

    paths: Sequence[Path | None]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield the paths at `indices`."""
        return (self.paths[int(index)] or b"" for index in indices)

    def name(self, index: int) -> str:
        """Return the path below the root of the data."""
        return self.names[index]


@dataclass(frozen=True)
class ArraySamples:
    """Rows of one array: vectors, images (n, height, width[, channels]) or texts."""

    array: NDArray[Any]
    channels_first: bool = False

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield float32 vectors, uint8 images or texts."""
        for index in indices:
            row = self.array[int(index)]
            if self.array.ndim == 1:
                yield str(row)
            elif self.array.ndim == 2:
                yield row.astype(np.float32)
            else:
                yield as_uint8(channels_last(row, prefer_first=self.channels_first))

    def name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)


@dataclass(frozen=True)
class TextSamples:
    """Texts held in memory."""

    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield the texts at `indices`."""
        return (self.texts[int(index)] for index in indices)

    def name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)


@dataclass(frozen=True)
class ImageSamples:
    """Images of any kind held in memory: Pillow images, arrays, tensors, paths, encoded files."""

    images: Sequence[Any]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield the images at `indices`, pixels as uint8."""
        return (raw_image(self.images[int(index)]) for index in indices)

    def name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)


@dataclass(frozen=True)
class KeptSamples:
    """The samples of another value at ascending indices: those whose label is known."""

    samples: Samples
    kept: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kept)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield the samples at `indices`, which count the kept ones."""
        return self.samples.read(self.kept[indices])

    def name(self, index: int) -> str:
        """Return the name the sample has among all."""
        return self.samples.name(int(self.kept[index]))
