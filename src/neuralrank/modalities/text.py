"""Text: a string in, tokens by the model's own tokenizer, the mean over tokens out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, ModelError
from neuralrank.modalities import Modality
from neuralrank.modalities._pool import pool_hidden
from neuralrank.types import Batch, Hidden, ImagePreprocessing, Processor, RawSample, Sample


def text() -> Modality:
    """Return how texts are read, tokenised and pooled."""
    return _Text()


@dataclass(frozen=True)
class _Text:
    def read_sample(self, raw: RawSample) -> str:
        """Return the text; an empty one is allowed.

        Half characters (lone surrogates, which JSON can hold and no tokenizer takes) become U+FFFD.

        Raises:
            DataError: the sample is missing, no text, or not UTF-8.
        """
        if isinstance(raw, bytes):
            try:
                return raw.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"A text needs to be UTF-8. Got byte {raw[error.start]:#04x} at position {error.start}. Convert it."
                ) from error
        if not isinstance(raw, str):
            shown = repr(raw) if raw is None or isinstance(raw, float) else f"a {type(raw).__name__}"
            raise DataError(f"A sample needs to be a text. Got {shown}. Remove it, or choose another column.")
        return raw if raw.isascii() else raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def make_batch(self, samples: Sequence[Sample], preprocessing: ImagePreprocessing | Processor | None) -> Batch:
        """Tokenise with the model's own processor.

        Raises:
            ModelError: the model brings none.
        """
        if not callable(preprocessing):
            raise ModelError(
                "A model needs its own tokenizer to read text. Got none. Put the tokenizer's files beside it."
            )
        return preprocessing(samples)

    def pool(self, hidden: Hidden) -> NDArray[np.float32]:
        """Return the mean over the tokens that count, shape (n_samples, n_features)."""
        return pool_hidden(hidden)
