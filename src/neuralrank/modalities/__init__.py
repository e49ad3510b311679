"""Sample → batch → pooled feature, one file each."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neuralrank.types import Batch, Hidden, ImagePreprocessing, Processor, RawSample, Sample


class Modality(Protocol):
    """How samples of one kind reach a model, and how its hidden states become one row a sample."""

    def read_sample(self, raw: RawSample) -> Sample:
        """Decode one sample; raise DataError with the reason if it cannot be read."""
        ...

    def make_batch(self, samples: Sequence[Sample], preprocessing: ImagePreprocessing | Processor | None) -> Batch:
        """Prepare decoded samples as the model wants them; rows keep their order."""
        ...

    def pool(self, hidden: Hidden) -> NDArray[np.float32]:
        """Return one row a sample, shape (n_samples, n_features)."""
        ...
