"""Complete an image model's preprocessing from its card and its input shape; each guess becomes a sentence."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from neuralrank.errors import ModelError
from neuralrank.formats._card import MAX_SIDE, Card, Layout
from neuralrank.types import ImagePreprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_SIDE = 224


def image_preprocessing(
    card: Card | None, model_file: Path, shape: Sequence[int | None], *, integer_pixels: bool = False
) -> tuple[ImagePreprocessing, tuple[str, ...]]:
    """Say what an image model wants, and what of that had to be assumed.

    Args:
        card: what its author states, None if nothing.
        model_file: named in messages.
        shape: the four axes of its input, None where an axis is open.
        integer_pixels: the input takes uint8, so pixels are neither scaled nor normalised.

    Raises:
        ModelError: the card contradicts the input shape, or the input takes neither 1 nor 3 channels.
    """
    said = card or Card(path=model_file)
    layout = said.layout or _layout(shape, said)
    axes = (shape[1], shape[2], shape[3]) if layout == "NCHW" else (shape[3], shape[1], shape[2])
    n_channels, height, width = _fitted(axes, said, model_file)
    assumed = []
    if said.layout is None and layout == "NCHW" and (shape[1] in (1, 3)) == (shape[3] in (1, 3)):
        assumed.append("The order of the axes was assumed: channels, height, width (NCHW).")
    if height is None or width is None:
        height = width = height or width or USUAL_SIDE
        assumed.append(f"The input size was assumed: {height} × {width} pixels.")
    channels = said.channels or ("grey" if n_channels == 1 else "RGB")
    if said.channels is None and n_channels != 1:
        assumed.append("The colour order was assumed: RGB.")
    scale, mean, std, sentence = _normalisation(said, n_channels, model_file, integer_pixels)
    assumed += _resize_assumed(said)
    preprocessing = ImagePreprocessing(
        size=(height, width),
        channels=channels,
        mean=mean,
        std=std,
        scale=scale,
        resize=said.resize or "stretch",
        crop_fraction=1.0 if said.crop_fraction is None else said.crop_fraction,
        interpolation=said.interpolation or "bilinear",
        layout=layout,
    )
    return preprocessing, (*assumed, *sentence)


def _resize_assumed(card: Card) -> Iterator[str]:
    """Yield a sentence for each part of the resize that the card leaves out."""
    if card.resize is None:
        yield "The resize was assumed: stretched to the input size, bilinear."
        return
    if card.resize == "crop" and card.crop_fraction is None:
        yield "The share of the image kept by the crop was assumed: all of its shorter side."
    if card.interpolation is None:
        yield "The interpolation was assumed: bilinear."


def _layout(shape: Sequence[int | None], card: Card) -> Layout:
    if shape[1] in (1, 3):
        return "NCHW"
    if shape[3] in (1, 3):
        return "NHWC"
    if card.input_size and shape[1] is not None and shape[1] == card.input_size[1]:
        return "NHWC"
    return "NCHW"


def _fitted(axes: Sequence[int | None], card: Card, model_file: Path) -> tuple[int, int | None, int | None]:
    """Return channels, height and width from the graph, completed by the card, which must not contradict it."""
    stated: Sequence[int | None] = card.input_size or (None, None, None)
    if any(own is not None and other is not None and own != other for own, other in zip(axes, stated, strict=True)):
        raise ModelError(
            f"{card.path.name} needs the input_size of {model_file.name}, {_axes(axes)}. Got {_axes(stated)}. "
            "Correct the card."
        )
    n_channels, height, width = (own if own is not None else other for own, other in zip(axes, stated, strict=True))
    if n_channels is None:
        n_channels = 1 if card.channels == "grey" else 3
    if n_channels not in (1, 3):
        raise ModelError(
            f"{model_file.name} needs an input of 1 or 3 channels for images. Got {n_channels}. "
            "Export it for grey or colour images."
        )
    if card.channels is not None and (card.channels == "grey") != (n_channels == 1):
        raise ModelError(
            f"{card.path.name} needs a colour_order for {n_channels} channels. Got {card.channels!r}. Correct the card."
        )
    if any(side is not None and not 1 <= side <= MAX_SIDE for side in (height, width)):
        raise ModelError(
            f"{model_file.name} needs an input of at most {MAX_SIDE} pixels a side. Got {height} × {width}. "
            "Export it for smaller images."
        )
    return n_channels, height, width


def _normalisation(
    card: Card, n_channels: int, model_file: Path, integer_pixels: bool
) -> tuple[float, tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return scale, mean, std and the sentences for what of them was assumed."""
    zeros, ones = (0.0,) * n_channels, (1.0,) * n_channels
    if integer_pixels:
        if any(given not in (None, none) for given, none in ((card.mean, zeros), (card.std, ones), (card.scale, 1.0))):
            raise ModelError(
                f"{card.path.name} needs no mean, std or scale, as {model_file.name} takes whole pixel values (uint8). "
                "Got some. Remove them from the card."
            )
        return (
            1.0,
            zeros,
            ones,
            ("The normalisation was assumed: none, as the input takes whole pixel values (uint8).",),
        )
    scale = 1 / 255 if card.scale is None else card.scale
    if card.mean is not None and card.std is not None:
        if len(card.mean) != n_channels:
            raise ModelError(
                f"{card.path.name} needs {n_channels} numbers in 'mean' and 'std'. Got {len(card.mean)}. "
                "Correct the card."
            )
        said = () if card.scale is not None else ("The scale of the pixels was assumed: 1 / 255.",)
        return scale, card.mean, card.std, said
    if card.scale is not None:
        return scale, zeros, ones, ("The normalisation was assumed: none beyond the scale of the card.",)
    if n_channels == 1:
        return scale, zeros, ones, ("The normalisation was assumed: pixels / 255.",)
    sentence = "The normalisation was assumed: pixels / 255, then the mean and standard deviation of ImageNet."
    return scale, IMAGENET_MEAN, IMAGENET_STD, (sentence,)


def _axes(axes: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if axis is None else str(axis) for axis in axes) + "]"
