"""Vectors: rows of numbers in, stacked as they are, one vector a sample out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, ModelError
from neuralrank.modalities import Modality
from neuralrank.modalities._pool import pool_hidden
from neuralrank.types import Batch, Hidden, ImagePreprocessing, Processor, RawSample, Sample


def tabular() -> Modality:
    """Return how vectors are read, stacked and pooled."""
    return _Tabular()


@dataclass(frozen=True)
class _Tabular:
    def read_sample(self, raw: RawSample) -> NDArray[np.float32]:
        """Return a float32 vector.

        Raises:
            DataError: the sample is no vector of finite numbers.
        """
        if not isinstance(raw, np.ndarray) or raw.ndim != 1 or raw.dtype.kind not in "fiub":
            got = f"{raw.dtype} of shape {raw.shape}" if isinstance(raw, np.ndarray) else f"a {type(raw).__name__}"
            raise DataError(f"A sample needs to be a vector of numbers. Got {got}. Give one row per sample.")
        with np.errstate(over="ignore"):
            vector = raw.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(vector))
        if len(bad):
            raise DataError(
                f"A sample needs finite numbers. Got {raw[bad[0]]} at position {bad[0]}. Fill or remove the value."
            )
        return vector

    def make_batch(self, samples: Sequence[Sample], preprocessing: ImagePreprocessing | Processor | None) -> Batch:
        """Stack the vectors, or leave it to the model's own processor.

        Returns:
            `x`: float32, shape (n_samples, n_columns), unless the processor names its arrays otherwise.

        Raises:
            DataError: the vectors differ in length.
            ModelError: the model wants images.
        """
        if callable(preprocessing):
            return preprocessing(samples)
        if preprocessing is not None:
            raise ModelError(
                "A model needs to take vectors for this data. Got one that takes images. Choose another model."
            )
        lengths = sorted({len(sample) for sample in samples})
        if len(lengths) > 1:
            raise DataError(
                f"Samples need one length. Got vectors of {lengths[0]} and {lengths[-1]} numbers. Pad or cut them."
            )
        return {"x": np.stack([np.asarray(sample, dtype=np.float32) for sample in samples])}

    def pool(self, hidden: Hidden) -> NDArray[np.float32]:
        """Return one vector a sample, shape (n_samples, n_features)."""
        return pool_hidden(hidden)
