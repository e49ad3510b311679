"""Networks that an installed package builds by name, for weights that come without one: `timm:…` and `torchvision:…`.

The classifier is made as wide as the weights say. What the package states of the preprocessing is handed on.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._timm_network import build_network, fit_weights, weight_differences
from neuralrank.formats._timm_preprocessing import timm_preprocessing
from neuralrank.formats._torch_module import import_for, one_line
from neuralrank.types import ImagePreprocessing

if TYPE_CHECKING:
    import torch

LIBRARIES = ("timm", "torchvision")
NAME = re.compile(r"(timm|torchvision):([A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_\-]{1,100})?)")
EXAMPLE = '{"architecture": "timm:resnet18"}'
AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network with its weights, and what its library says of its input."""

    model: "torch.nn.Module"
    preprocessing: ImagePreprocessing
    assumptions: tuple[str, ...]


def named_architecture(card: str, text: str | None) -> tuple[str, str]:
    """Split `timm:resnet18` into library and name.

    Raises:
        ModelError: it names no library.
    """
    match = NAME.fullmatch(text or "")
    if match is None:
        got = "none" if text is None else repr(text[:100])
        raise ModelError(
            f"{card} needs an 'architecture' as timm:NAME or torchvision:NAME. Got {got}. Write, for example: {EXAMPLE}"
        )
    return match[1], match[2]


def build(
    file: str,
    architecture: tuple[str, str],
    arguments: Mapping[str, Any],
    state: "Mapping[str, torch.Tensor]",
) -> Built:
    """Build the network and load its weights, every one of which must be there and fit.

    Args:
        file: that holds the weights, for messages.
        architecture: library and name.
        arguments: plain arguments of the network, from the card.
        state: the weights by name.

    Raises:
        MissingExtraError: the library is not installed.
        ModelError: it does not know the name, or the weights do not fit.
    """
    library, name = architecture
    package = import_for("state_dict", library, "timm")
    make = _timm_network if library == "timm" else _torchvision_network
    model = make(package, name, arguments, state)
    differences = _fit(library, model, state)
    if differences and "num_classes" not in arguments:
        width = _other_width(model, state)
        if width is not None:
            model = make(package, name, {**arguments, "num_classes": width}, state)
            differences = _fit(library, model, state)
    if differences:
        raise ModelError(
            f"{file} needs the weights of {library}:{name}. Got tensors that differ: {differences}. "
            "Correct the 'architecture' or the 'model_args' of its card."
        )
    preprocessing, assumed = _preprocessing(library, package, name, model)
    source = f"The preprocessing was assumed: that which {library} states for {name}."
    return Built(model=model, preprocessing=preprocessing, assumptions=(source, *assumed))


def _fit(library: str, model: "torch.nn.Module", state: "Mapping[str, torch.Tensor]") -> str:
    if library == "timm":
        return fit_weights(model, state)
    differences = weight_differences(model, state)
    if not differences:
        model.load_state_dict(dict(state), strict=False)
    return differences


def _other_width(model: "torch.nn.Module", state: "Mapping[str, torch.Tensor]") -> int | None:
    """Return how many classes the weights tell apart, if only the classifier is of another shape."""
    own = model.state_dict()
    wrong = {name for name in own if name in state and own[name].shape != state[name].shape}
    heads = {name.rpartition(".")[0] for name in wrong}
    widths = {int(state[name].shape[0]) for name in wrong if state[name].ndim}
    same_inputs = all(own[name].shape[1:] == state[name].shape[1:] for name in wrong)
    return widths.pop() if 1 <= len(heads) <= 3 and len(widths) == 1 and same_inputs else None


def _timm_network(
    timm: Any, name: str, arguments: Mapping[str, Any], _: "Mapping[str, torch.Tensor]"
) -> "torch.nn.Module":
    if not timm.is_model(name.split(".")[0]):
        raise _unknown("timm", timm.__version__, name, timm.list_models())
    return build_network(timm, name, dict(arguments), file="The card")


def _torchvision_network(
    torchvision: Any, name: str, arguments: Mapping[str, Any], state: "Mapping[str, torch.Tensor]"
) -> "torch.nn.Module":
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise _unknown("torchvision", torchvision.__version__, name, known)
    if strange := sorted(set(arguments) - {"num_classes"}):
        raise ModelError(
            f"The card needs 'model_args' with 'num_classes' alone for torchvision. Got {strange[0]!r}. Remove it."
        )
    extra: dict[str, Any] = {}
    if name in AUXILIARY:
        has_auxiliary = any(key.startswith(AUXILIARY[name]) for key in state)
        extra = {"init_weights": False, "aux_logits": has_auxiliary}
    try:
        model: torch.nn.Module = torchvision.models.get_model(name, weights=None, **extra, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"torchvision could not build {name!r} with {dict(arguments)!r}. Got {one_line(error)!r}. Correct the card."
        ) from error
    return model


def _unknown(library: str, version: str, name: str, known: list[str]) -> ModelError:
    near = difflib.get_close_matches(name, known, n=3)
    suggestion = f"Did you mean {', '.join(map(repr, near))}?" if near else f"Update {library}, or correct the card."
    return ModelError(f"The installed {library} {version} does not know the architecture {name!r}. {suggestion}")


def _preprocessing(
    library: str, package: Any, name: str, model: "torch.nn.Module"
) -> tuple[ImagePreprocessing, tuple[str, ...]]:
    if library == "timm":
        settings = {key: _plain(value) for key, value in package.data.resolve_model_data_config(model).items()}
        preprocessing, assumed = timm_preprocessing(settings)
        return replace(preprocessing, channels=preprocessing.channels), assumed
    weights = package.models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    side = int(preset.crop_size[0])
    return (
        ImagePreprocessing(
            size=(side, side),
            mean=tuple(map(float, preset.mean)),
            std=tuple(map(float, preset.std)),
            resize="crop",
            crop_fraction=min(1.0, side / int(preset.resize_size[0])),
            interpolation=_interpolation(str(preset.interpolation.value)),
        ),
        (),
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _interpolation(name: str) -> Any:
    return name if name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming") else "bilinear"
