"""Images: an encoded file or an array in, resized and normalised as the model wants, one vector a sample out.

Decoding uses Pillow with formats that need no other program; PostScript, which Pillow would hand to one, is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.modalities import Modality
from neuralrank.modalities._decode import decode_image
from neuralrank.modalities._pool import pool_hidden
from neuralrank.modalities._resize import resize_to
from neuralrank.types import Batch, Hidden, ImagePreprocessing, Processor, RawSample, Sample

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def image() -> Modality:
    """Return how images are decoded, prepared and pooled."""
    return _Image()


@dataclass(frozen=True)
class _Image:
    def read_sample(self, raw: RawSample) -> NDArray[np.uint8]:
        """Decode to uint8 RGB, shape (height, width, 3).

        A path, encoded bytes, a Pillow image or an array. The orientation of the camera is applied, transparency
        dropped, the first frame of an animation taken. A photograph whose shorter side is 1,024 pixels or more is
        reduced by the whole factor shorter // 512 while it is decoded: a probe of large photographs stays small.

        Raises:
            DataError: it is truncated, damaged, too large or no image.
        """
        return decode_image(raw)

    def make_batch(self, samples: Sequence[Sample], preprocessing: ImagePreprocessing | Processor | None) -> Batch:
        """Resize, reorder and normalise; a model's own processor is called instead where it has one.

        Returns:
            `image`: float32, shape (n, channels, height, width) or (n, height, width, channels) as the layout says.

        Raises:
            ModelError: the model does not say what it wants.
        """
        if callable(preprocessing):
            return preprocessing(samples)
        if preprocessing is None:
            raise ModelError(
                "A model needs to say how images are prepared. Got nothing. Add a card, see docs/model-card.md."
            )
        return {"image": _normalised(samples, preprocessing)}

    def pool(self, hidden: Hidden) -> NDArray[np.float32]:
        """Return the mean over height and width, or over tokens, shape (n_samples, n_features)."""
        return pool_hidden(hidden)


def _without_copies(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one plane, shape (height, width), of an image whose three channels are equal, else the image itself.

    Grey images are common, and resizing one plane costs a quarter of resizing three; the pixels are the same.
    """
    first, rest = pixels[..., :1], pixels[..., 1:]
    if (first[0] == rest[0]).all() and (first == rest).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def _normalised(samples: Sequence[Sample], wanted: ImagePreprocessing) -> NDArray[np.float32]:
    """Fill one float32 array with (pixel · scale − mean) / std = pixel · gain + shift, in the wanted layout."""
    gain = (wanted.scale / np.asarray(wanted.std)).astype(np.float32)
    shift = (-np.asarray(wanted.mean) / np.asarray(wanted.std)).astype(np.float32)
    (height, width), n_channels = wanted.size, len(gain)
    # Channels last: one image row is multiplied by the gains of its pixels side by side, which numpy does fastest.
    channels_last = wanted.layout == "NHWC" and n_channels > 1
    shape = (height, width * n_channels) if channels_last else (n_channels, height, width)
    rows = (np.tile(gain, width), np.tile(shift, width))
    out = np.empty((len(samples), *shape), dtype=np.float32)
    for target, sample in zip(out, samples, strict=True):
        pixels = resize_to(_without_copies(cast("NDArray[np.uint8]", sample)), wanted)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
            planes = target.reshape(height, width, n_channels) if channels_last else target.transpose(1, 2, 0)
            np.multiply(pixels, gain, out=planes)
            planes += shift
            continue
        ordered = pixels[..., ::-1] if wanted.channels == "BGR" else pixels
        if wanted.channels == "grey":
            np.matmul(pixels, _GREY * gain[0], out=target[0])
            target += shift[0]
        elif channels_last:
            np.multiply(ordered.reshape(shape), rows[0], out=target)
            target += rows[1]
        else:
            for channel in range(3):
                np.multiply(ordered[..., channel], gain[channel], out=target[channel])
                target[channel] += shift[channel]
    layout = (height, width, n_channels) if wanted.layout == "NHWC" else (n_channels, height, width)
    return out.reshape(len(samples), *layout)
