"""Turn an image a user holds in memory into a raw sample: uint8 rows of pixels, or an encoded file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.types import RawSample

N_CHANNELS = (1, 3, 4)


def raw_image(value: Any) -> RawSample:
    """Return a Pillow image, array or tensor as a raw sample; paths and encoded files pass unchanged.

    Raises:
        DataError: the value is no image, or its numbers are no pixels.
    """
    from PIL import Image

    if isinstance(value, str):
        return Path(value)
    if isinstance(value, bytes | Path):
        return value
    if isinstance(value, Image.Image):
        return _from_pillow(value)
    array = as_array(value)
    if array.ndim not in (2, 3):
        raise DataError(
            f"An image needs 2 or 3 axes: height, width and perhaps channels. Got an array of shape {array.shape}. "
            "Reshape it."
        )
    return as_uint8(channels_last(array, prefer_first=is_tensor(value)))


def is_tensor(value: Any) -> bool:
    """Return whether a value is a torch tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def as_array(value: Any) -> NDArray[Any]:
    """Return an array of what may be a tensor, a list or an array."""
    return np.asarray(value.detach().cpu().numpy() if is_tensor(value) else value)


def channels_last(image: NDArray[Any], *, prefer_first: bool = False) -> NDArray[Any]:
    """Return one image with its channels on the last axis, shape (height, width) or (height, width, 3 or 4).

    Args:
        image: shape (height, width), (height, width, channels) or (channels, height, width).
        prefer_first: which end holds the channels when both could; tensors have them first.

    Raises:
        DataError: neither end has 1, 3 or 4 entries.
    """
    if image.ndim == 2:
        return image
    first, last = image.shape[0] in N_CHANNELS, image.shape[-1] in N_CHANNELS
    if not first and not last:
        raise DataError(
            f"An image needs 1, 3 or 4 channels on its first or last axis. Got an array of shape {image.shape}. "
            "Reshape it to (height, width, channels)."
        )
    if first and (prefer_first or not last):
        image = np.moveaxis(image, 0, -1)
    return image[..., 0] if image.shape[-1] == 1 else image


def is_unit_float(array: NDArray[Any]) -> bool:
    """Return whether an array holds floats, which are taken as values from 0 to 1."""
    return bool(array.dtype.kind == "f")


def as_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels as uint8; floats from 0 to 1 are multiplied by 255 and rounded.

    Raises:
        DataError: the values are outside their range.
    """
    if array.dtype == np.uint8:
        return array
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if is_unit_float(array) and low >= 0 and high <= 1:
        return np.rint(array * 255.0).astype(np.uint8)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    raise DataError(
        f"Image arrays need uint8 values, or floats from 0 to 1. Got {array.dtype} from {low} to {high}. "
        "Pass the pixels before any normalisation: every model brings its own."
    )


def _from_pillow(image: Any) -> RawSample:
    if image.mode in ("L", "RGB"):
        return np.asarray(image, dtype=np.uint8)
    # Palettes, transparency and 16 bits are decoded as if they came from a file: one set of rules for both.
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if image.mode in ("1", "P", "LA", "RGBA", "I;16") else "TIFF")
    return buffer.getvalue()
