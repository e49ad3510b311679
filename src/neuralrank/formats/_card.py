"""The JSON card beside an ONNX, `.pt2` or `.keras` file: our own format, described in docs/model-card.md.

A card comes from a stranger like the weights do: every field is checked for type, length and range before use.
What a card leaves out is assumed elsewhere, in `_assumed.py`, and said.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from neuralrank.errors import ModelError
from neuralrank.types import Description, ImagePreprocessing, Modality, ModelFacts

MAX_CARD_BYTES = 16 * 2**20
MAX_SIDE = 4096
MAX_PARAMS = 10**13
MAX_TEXT = 2_000
MAX_TAGS = 200
_SEARCHED_LISTS = ("languages", "tags", "base_model")

Channels = Literal["RGB", "BGR", "grey"]
Layout = Literal["NCHW", "NHWC"]
Resize = Literal["stretch", "crop"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says, checked; None where it says nothing."""

    path: Path
    modality: Modality | None = None
    architecture: str | None = None
    n_params: int | None = None
    licence: str | None = None
    label_names: tuple[str, ...] | None = None
    n_classes: int | None = None
    pretraining_data: str | None = None
    reported_accuracy: float | None = None
    outputs: tuple[str, ...] = ()
    feature_layer: str | None = None
    feature_dim: int | None = None
    input_size: tuple[int, int, int] | None = None
    """(channels, height, width)."""
    channels: Channels | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    resize: Resize | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    layout: Layout | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Plain arguments of the architecture, where it is built by name."""
    description: Description = field(default_factory=Description)
    notes: tuple[str, ...] = ()
    """What the card asks for and we do otherwise, one sentence each."""


def read_card(model_file: Path) -> Card | None:
    """Read and check `NAME.json` beside `NAME.onnx` or `NAME.pt2`.

    Returns:
        None if there is no such file.

    Raises:
        ModelError: the card is no file or not JSON, or a field is of the wrong type, out of range, or contradicts
            another.
    """
    path = model_file.with_suffix(".json")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ModelError(f"{path.name} needs to be a regular file. Got a pipe, socket or device. Remove it.")
    if not path.is_file():
        return None
    if path.is_symlink() and path.resolve().parent not in (model_file.parent.resolve(), model_file.resolve().parent):
        raise ModelError(
            f"{path.name} needs to lie beside {model_file.name}. Got a link to elsewhere. Copy the card here."
        )
    return _checked(path, _load(path))


def facts_from_card(
    card: Card | None,
    *,
    format_name: str,
    files: tuple[Path, ...],
    modality: Modality | None = None,
    n_params: int | None = None,
    preprocessing: ImagePreprocessing | None = None,
    feature_layer: str | None = None,
    assumptions: tuple[str, ...] = (),
) -> ModelFacts:
    """Join what the model file says with its card; the card wins, and is one of the hashed files."""
    if card is None:
        card, names = Card(path=files[0]), files
    else:
        names = (*files, card.path)
    return ModelFacts(
        format=format_name,
        files=names,
        modality=card.modality or modality,
        architecture=card.architecture,
        n_params=card.n_params if card.n_params is not None else n_params,
        licence=card.licence,
        label_names=card.label_names,
        pretraining_data=card.pretraining_data,
        reported_accuracy=card.reported_accuracy,
        preprocessing=preprocessing,
        feature_layer=card.feature_layer or feature_layer,
        assumptions=(*card.notes, *assumptions),
        description=card.description,
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= MAX_CARD_BYTES else ""
        content = json.loads(text) if text else None
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} needs to be a JSON card. Got something that is not JSON. "
            "Correct it, or remove it to have the preprocessing assumed."
        ) from error
    if size > MAX_CARD_BYTES:
        raise ModelError(f"{path.name} needs at most 16 MiB as a card. Got {size} bytes. Shorten it.")
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} needs to hold one JSON object. Got {_shown(content)}. See docs/model-card.md.")
    return content


def _checked(path: Path, content: Mapping[str, Any]) -> Card:
    read = _Fields(path.name, content)
    modality = read.choice("modality", get_args(Modality))
    accuracy = read.number("reported_accuracy", low=-1e9, high=1e9)
    names = read.texts("class_names")
    n_classes = read.whole("num_classes", high=10**7)
    if names is not None and n_classes is not None and len(names) != n_classes:
        raise read.error("one name per class in 'class_names'", f"{len(names)} names and num_classes {n_classes}")
    return Card(
        path=path,
        modality=modality,
        architecture=read.text("architecture"),
        n_params=read.whole("parameters", high=MAX_PARAMS),
        licence=read.text("licence") or read.text("license"),
        label_names=names or None,
        n_classes=len(names) if names else n_classes,
        pretraining_data=read.text("pretraining_data"),
        reported_accuracy=accuracy,
        outputs=read.texts("outputs") or (),
        feature_layer=read.text("feature_layer"),
        feature_dim=read.whole("feature_dim", high=10**7),
        model_args=read.plain_values("model_args"),
        description=read.description(),
        **(_image_fields(read) if modality in (None, "image") else {}),
    )


def _image_fields(read: "_Fields") -> dict[str, Any]:
    size = read.input_size()
    channels = read.choice("colour_order", get_args(Channels), aliases={"gray": "grey"})
    n_channels = size[0] if size else None if channels is None else 1 if channels == "grey" else 3
    if size and channels and (size[0] == 1) != (channels == "grey"):
        raise read.error("a colour_order that fits input_size", f"{channels!r} and {size[0]} channels")
    mean, std = read.numbers("mean", n_channels), read.numbers("std", n_channels, positive=True)
    if (mean is None) != (std is None) or (mean and std and len(mean) != len(std)):
        raise read.error("'mean' and 'std' of one length", f"mean {mean!r} and std {std!r}")
    scale = read.number("scale", low=1e-9, high=1e9)
    if read.is_range_of(mean, std, 1 / 255 if scale is None else scale) and scale is None:
        scale = 1 / 255  # the range of values states it
    fields = {"input_size": size, "channels": channels, "mean": mean, "std": std, "scale": scale}
    return {**fields, "layout": read.choice("layout", get_args(Layout)), **read.resize()}


class _Fields:
    """Typed access to the fields of one card; a field that is absent or null is None."""

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        self.name = name
        self.content = content

    def error(self, need: str, got: str) -> ModelError:
        return ModelError(f"{self.name} needs {need}. Got {got}. Correct the card.")

    def text(self, key: str) -> str | None:
        value = self.content.get(key)
        if value is None or (isinstance(value, str) and len(value) <= MAX_TEXT):
            return value or None
        raise self.error(f"a text of at most {MAX_TEXT} characters in {key!r}", _shown(value))

    def plain_values(self, key: str) -> Mapping[str, Any]:
        value = self.content.get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and len(value) <= MAX_TAGS and all(map(_is_plain, value.values())):
            return value
        raise self.error(f"an object of plain values in {key!r}", _shown(value))

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) and len(item) <= MAX_TEXT for item in value):
            return tuple(value)
        raise self.error(f"a list of texts in {key!r}", _shown(value))

    def description(self) -> Description:
        """Read what only search needs: a value of another kind is left out rather than refused."""
        texts = {key: value[:MAX_TEXT] for key, value in self.content.items() if isinstance(value, str)}
        lists = {
            key: tuple(item[:MAX_TEXT] for item in value if isinstance(item, str))[:MAX_TAGS]
            for key, value in self.content.items()
            if isinstance(value, list)
        }
        many = {key: lists.get(key) or tuple(filter(None, [texts.get(key)])) for key in _SEARCHED_LISTS}
        return Description(
            task=texts.get("task"), library=texts.get("library"), text=texts.get("description", ""), **many
        )

    def choice(self, key: str, choices: tuple[str, ...], aliases: Mapping[str, str] | None = None) -> Any:
        value = self.content.get(key)
        value = (aliases or {}).get(value, value) if isinstance(value, str) else value
        if value is None or value in choices:
            return value
        raise self.error(f"one of {', '.join(map(repr, choices))} in {key!r}", _shown(value))

    def number(self, key: str, *, low: float, high: float) -> float | None:
        value = self.content.get(key)
        if value is None:
            return None
        if _is_number(value) and low <= value <= high:
            return float(value)
        raise self.error(f"a number from {low:g} to {high:g} in {key!r}", _shown(value))

    def whole(self, key: str, *, high: int) -> int | None:
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= high:
            return value
        raise self.error(f"a whole number from 0 to {high} in {key!r}", _shown(value))

    def numbers(self, key: str, n: int | None, *, positive: bool = False) -> tuple[float, ...] | None:
        value = self.content.get(key)
        if value is None:
            return None
        lengths = (1, 3) if n is None else (n,)
        kind = "positive numbers" if positive else "numbers"
        if not (isinstance(value, list) and len(value) in lengths):
            raise self.error(f"{' or '.join(map(str, lengths))} {kind} in {key!r}, one per channel", _shown(value))
        if not all(_is_number(item) and abs(item) <= 1e6 and (not positive or item >= 1e-9) for item in value):
            raise self.error(f"{kind} in {key!r}", _shown(value))
        return tuple(float(item) for item in value)

    def input_size(self) -> tuple[int, int, int] | None:
        value = self.content.get("input_size")
        if value is None:
            return None
        whole = isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
        if (
            not whole
            or len(value) != 3
            or value[0] not in (1, 3)
            or not all(1 <= side <= MAX_SIDE for side in value[1:])
        ):
            need = f"'input_size' as [1 or 3 channels, height, width] with sides up to {MAX_SIDE} pixels"
            raise self.error(need, _shown(value))
        return value[0], value[1], value[2]

    def is_range_of(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, scale: float) -> bool:
        """Say whether the card gives the range of values that mean, std and scale make; of another one, raise."""
        value = self.content.get("value_range")
        if value is None or mean is None or std is None:
            return False
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
            raise self.error("two numbers in 'value_range'", _shown(value))
        low = min(-m / s for m, s in zip(mean, std, strict=True))
        high = max((255 * scale - m) / s for m, s in zip(mean, std, strict=True))
        if max(abs(value[0] - low), abs(value[1] - high)) > 0.02 * (high - low):
            got = f"{value!r}, while they give [{low:.4g}, {high:.4g}]"
            raise self.error("a 'value_range' that follows from mean, std and scale", got)
        return True

    def resize(self) -> dict[str, Any]:
        value = self.content.get("resize")
        if value is None:
            return {}
        if isinstance(value, str):
            value = {"rule": value}
        rule = value.get("rule") if isinstance(value, dict) else None
        kind = rule.split(" ")[0].rstrip(":,;") if isinstance(rule, str) else None
        if kind not in get_args(Resize):
            raise self.error("a resize rule that begins with 'stretch' or 'crop'", _shown(rule))
        inner = _Fields(self.name, value)
        if value.get("align_corners") not in (None, False):
            raise self.error("a resize without align_corners, which is not offered", "align_corners true")
        note = f"{self.name} asks for a resize without antialiasing; images are resized with it."
        fraction = inner.number("crop_fraction", low=0.05, high=1.0)
        return {
            "resize": kind,
            "crop_fraction": None if kind == "stretch" else fraction,
            "interpolation": inner.choice("interpolation", get_args(Interpolation)),
            "notes": (note,) if value.get("antialias") is False else (),
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_TAGS and all(isinstance(item, bool | int | float | str) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
