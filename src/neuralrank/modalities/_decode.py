"""Decode one image to uint8 RGB, whatever it is: a file, bytes, a Pillow image or an array."""

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError

LARGE_SIDE = 1024
REDUCED_SIDE = 512

_FORMATS = {
    "JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO", "TGA", "PCX", "SGI",
    "QOI",
}  # fmt: skip
_DAMAGED = (
    OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError, TypeError, OverflowError,
    AttributeError, RuntimeError, MemoryError, zlib.error,
)  # fmt: skip


def decode_image(raw: Any) -> NDArray[np.uint8]:
    """Return shape (height, width, 3), RGB.

    Raises:
        DataError: it cannot be read, with the reason.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(raw, np.ndarray):
        return _from_array(raw)
    if not isinstance(raw, bytes | bytearray | memoryview | str | Path | Image.Image):
        raise DataError(f"An image needs encoded bytes, a path or an array. Got a {type(raw).__name__}. Remove it.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata that does not touch the pixels
        try:
            return _from_pillow(_opened(raw))
        except Image.DecompressionBombError as error:
            raise _unreadable(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from error
        except UnidentifiedImageError as error:
            raise _unreadable("no image format that is known") from error
        except _DAMAGED as error:
            raise _unreadable(_reason(error)) from error


def _opened(raw: Any) -> Any:
    from PIL import Image

    if isinstance(raw, Image.Image):
        return raw
    if isinstance(raw, str | Path):
        path = Path(raw)
        if not path.is_file():
            raise _unreadable("no such file" if not path.exists() else "no regular file")
        return Image.open(path, formats=_formats())
    return Image.open(io.BytesIO(raw), formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name in _FORMATS)


def _from_pillow(picture: Any) -> NDArray[np.uint8]:
    from PIL import Image

    factor = min(picture.size) // REDUCED_SIDE if min(picture.size) >= LARGE_SIDE else 1
    width = picture.width
    step = next(step for step in (8, 4, 2, 1) if factor % step == 0)
    if step > 1 and picture.format == "JPEG":
        picture.draft(None, (width // step, picture.height // step))
    picture.load()
    turn = _orientation(picture)
    wide = _wide_values(picture)
    if wide is not None:
        picture = Image.fromarray(_from_array(wide))  # reduced there
    elif picture.mode != "RGB":
        # A palette with a table of transparencies is read wrongly by a direct conversion.
        picture = (picture.convert("RGBA") if picture.mode == "P" else picture).convert("RGB")
    left_over = factor // max(1, round(width / picture.width))
    if left_over > 1:
        picture = picture.reduce(left_over)
    return np.array(picture if turn is None else picture.transpose(turn), dtype=np.uint8)


def _orientation(picture: Any) -> Any:
    """Return how the camera was held, as the Pillow operation that undoes it; None if upright or unreadable."""
    from PIL import Image

    turn = Image.Transpose
    undo = (turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.ROTATE_270,
            turn.TRANSVERSE, turn.ROTATE_90)  # fmt: skip
    try:
        return dict(enumerate(undo, start=2)).get(picture.getexif().get(0x0112, 1))
    except _DAMAGED:  # damaged EXIF data does not spoil the pixels
        return None


def _wide_values(picture: Any) -> NDArray[Any] | None:
    """Return the values of a 16-bit, 32-bit or float grey image, which Pillow would clip, as uint16 or float."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode == "I":
        return np.asarray(np.clip(np.asarray(picture), 0, 65_535), dtype=np.uint16)
    return np.asarray(picture) if picture.mode == "F" else None


def _from_array(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return RGB from (h, w), (h, w, c) or (c, h, w) with 1, 3 or 4 channels, of any common element type."""
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise DataError(
            f"An image needs an array of shape (height, width) or (height, width, 3). Got {values.shape}. Reshape it."
        )
    pixels = _as_bytes(values)[:, :, :3]
    short = min(pixels.shape[:2])
    if short >= LARGE_SIDE:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
        pixels = np.atleast_3d(np.asarray(picture.reduce(short // REDUCED_SIDE)))
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return np.asarray(np.rint(values / np.float32(257)), dtype=np.uint8)
    if values.dtype.kind in "fiu":
        low, high = values.min(), values.max()
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            return np.asarray(np.rint(values.astype(np.float32) * 255), dtype=np.uint8)
        if low >= 0 and high <= 255:
            return np.asarray(np.rint(values), dtype=np.uint8)
        raise DataError(
            f"An image needs values from 0 to 255, or floats from 0 to 1. Got {low:g} to {high:g}. Rescale it."
        )
    raise DataError(f"An image needs an array of numbers. Got {values.dtype}. Convert it to uint8.")


def _unreadable(got: str) -> DataError:
    return DataError(f"An image needs to be readable. Got {got}. Replace or remove it.")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    text = " ".join(str(error).split())[:160].rstrip(".")
    return text or type(error).__name__
