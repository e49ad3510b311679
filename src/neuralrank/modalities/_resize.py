"""Bring one image to a model's input size, exactly as torchvision and timm do it on Pillow images."""

from math import floor

import numpy as np
from numpy.typing import NDArray

from neuralrank.types import ImagePreprocessing

_MAX_WASTE = 16
"""Pixels resized for one that is kept, at most."""


def resize_to(pixels: NDArray[np.uint8], wanted: ImagePreprocessing) -> NDArray[np.uint8]:
    """Stretch, or resize the shorter side and cut the centre.

    Args:
        pixels: shape (height, width, 3), or (height, width) for one plane.
        wanted: its size, resize rule, crop_fraction and interpolation are used.

    Returns:
        Shape (*wanted.size, 3) or wanted.size; `pixels` itself if nothing is to be done.
    """
    height, width = wanted.size
    if pixels.shape[:2] == wanted.size and (wanted.resize == "stretch" or wanted.crop_fraction == 1):
        return pixels
    if wanted.resize == "stretch":
        return _resized(pixels, wanted, (height, width), (0, 0, height, width))
    grown = _size_before_crop(pixels.shape[0], pixels.shape[1], wanted)
    # torchvision rounds half to even, as Python does
    top, left = round((grown[0] - height) / 2), round((grown[1] - width) / 2)
    return _resized(pixels, wanted, grown, (top, left, height, width))


def _size_before_crop(height: int, width: int, wanted: ImagePreprocessing) -> tuple[int, int]:
    """Return (height, width) after the resize: shorter side to size / crop_fraction, aspect ratio kept."""
    target_height, target_width = (floor(side / wanted.crop_fraction) for side in wanted.size)
    if target_height == target_width:
        short, long = min(height, width), max(height, width)
        grown = int(target_height * long / short)
        return (target_height, grown) if height <= width else (grown, target_width)
    ratio = min(height / target_height, width / target_width)
    return round(height / ratio), round(width / ratio)


def _resized(
    pixels: NDArray[np.uint8], wanted: ImagePreprocessing, size: tuple[int, int], window: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Resize to `size` and return the `window` (top, left, height, width) of it."""
    from PIL import Image

    top, left, height, width = window
    chosen = Image.Resampling[wanted.interpolation.upper()]
    if size[0] * size[1] <= _MAX_WASTE * height * width:
        whole = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), chosen))
        return whole[top : top + height, left : left + width]
    # A long thin image would grow to gigabytes before the crop, so only what the window shows is computed; Pillow
    # rounds the coordinates of such a box, and pixels may differ by a grey level or two from the way above.
    y0, y1 = _seen(top, height, size[0], pixels.shape[0])
    x0, x1 = _seen(left, width, size[1], pixels.shape[1])
    scale_y, scale_x = pixels.shape[0] / size[0], pixels.shape[1] / size[1]
    box = (left * scale_x - x0, top * scale_y - y0, (left + width) * scale_x - x0, (top + height) * scale_y - y0)
    return np.asarray(Image.fromarray(pixels[y0:y1, x0:x1]).resize((width, height), chosen, box=box))


def _seen(start: int, length: int, total: int, available: int) -> tuple[int, int]:
    """Return the source rows that can reach target rows [start, start + length), filter support included."""
    scale = available / total
    margin = 4 * max(scale, 1) + 2
    return max(0, floor(start * scale - margin)), min(available, floor((start + length) * scale + margin) + 1)
