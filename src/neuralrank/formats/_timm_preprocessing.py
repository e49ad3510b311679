"""timm's `pretrained_cfg` → what an image model wants; what the file leaves out is timm's default, and is said."""

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from neuralrank.errors import ModelError
from neuralrank.formats._assumed import IMAGENET_MEAN, IMAGENET_STD
from neuralrank.formats._card import MAX_SIDE, Interpolation, Resize
from neuralrank.types import ImagePreprocessing

DEFAULT_SIDE = 224
DEFAULT_CROP_FRACTION = 0.875


def timm_preprocessing(settings: Mapping[str, Any]) -> tuple[ImagePreprocessing, tuple[str, ...]]:
    """Read input size, normalisation and resize.

    Args:
        settings: the `pretrained_cfg` of a timm config.json.

    Returns:
        The preprocessing, and one sentence for each value that had to be assumed.

    Raises:
        ModelError: a value is of the wrong type or out of range.
    """
    assumed: list[str] = []
    size = _input_size(settings, assumed)
    n_channels = size[0]
    mean = _per_channel(settings, "mean", n_channels, IMAGENET_MEAN, assumed)
    std = _per_channel(settings, "std", n_channels, IMAGENET_STD, assumed)
    if min(std) <= 0:
        raise _wrong("std", "positive numbers", std)
    crop_fraction, resize = _crop(settings, assumed)
    preprocessing = ImagePreprocessing(
        size=(size[1], size[2]),
        channels="grey" if n_channels == 1 else "RGB",
        mean=mean,
        std=std,
        resize=resize,
        crop_fraction=crop_fraction,
        interpolation=_interpolation(settings, assumed),
    )
    return preprocessing, tuple(assumed)


def _input_size(settings: Mapping[str, Any], assumed: list[str]) -> tuple[int, int, int]:
    value = settings.get("input_size")
    if value is None:
        assumed.append(f"The input size was assumed: {DEFAULT_SIDE} × {DEFAULT_SIDE} pixels, the default of timm.")
        return 3, DEFAULT_SIDE, DEFAULT_SIDE
    whole = isinstance(value, list) and len(value) == 3 and all(type(item) is int for item in value)
    if not whole or value[0] not in (1, 3) or not all(1 <= side <= MAX_SIDE for side in value[1:]):
        raise _wrong("input_size", f"[1 or 3 channels, height, width] with sides up to {MAX_SIDE} pixels", value)
    return value[0], value[1], value[2]


def _per_channel(
    settings: Mapping[str, Any], key: str, n_channels: int, default: tuple[float, ...], assumed: list[str]
) -> tuple[float, ...]:
    value = settings.get(key)
    if value is None:
        chosen = default if n_channels == 3 else (sum(default) / 3,)
        word = {"mean": "mean", "std": "standard deviation"}[key]
        assumed.append(f"The {word} of the normalisation was assumed: that of ImageNet, the default of timm.")
        return chosen
    numbers = value if isinstance(value, list) else [value]
    good = all(isinstance(item, int | float) and not isinstance(item, bool) for item in numbers)
    if not good or not all(math.isfinite(item) for item in numbers) or len(numbers) not in (1, n_channels):
        raise _wrong(key, f"{n_channels} numbers", value)
    return tuple(float(item) for item in (numbers * n_channels if len(numbers) == 1 else numbers))


def _crop(settings: Mapping[str, Any], assumed: list[str]) -> tuple[float, Resize]:
    fraction = settings.get("crop_pct")
    if fraction is None:
        fraction = DEFAULT_CROP_FRACTION
        assumed.append(f"The share of the image kept by the crop was assumed: {fraction}, the default of timm.")
    if not isinstance(fraction, int | float) or not 0.05 <= fraction <= 1:
        raise _wrong("crop_pct", "a number from 0.05 to 1", fraction)
    mode = settings.get("crop_mode") or "center"
    if mode == "squash":
        if fraction < 1:
            assumed.append("The image is stretched whole to the input size, where timm would cut its edges afterwards.")
        return 1.0, "stretch"
    if mode == "border":
        assumed.append("The image is cropped to the input size, where timm would add borders.")
    elif mode != "center":
        raise _wrong("crop_mode", "'center', 'squash' or 'border'", mode)
    return float(fraction), "crop"


def _interpolation(settings: Mapping[str, Any], assumed: list[str]) -> Interpolation:
    value = settings.get("interpolation")
    if value == "random":
        value = "bilinear"
        assumed.append("The interpolation was assumed: bilinear, as the file leaves it to chance.")
    if value is None:
        value = "bicubic"
        assumed.append("The interpolation was assumed: bicubic, the default of timm.")
    if value not in get_args(Interpolation):
        raise _wrong("interpolation", ", ".join(get_args(Interpolation)), value)
    return cast(Interpolation, value)


def _wrong(key: str, need: str, got: Any) -> ModelError:
    return ModelError(f"config.json needs {need} in {key!r}. Got {repr(got)[:80]}. Correct the file.")
