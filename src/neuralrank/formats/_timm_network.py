"""A network that the installed timm builds by name: its weights fitted to it, and its stages as layers."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._torch_module import (
    check_layers,
    has_convolutions,
    in_channels_last,
    one_line,
    only_array,
    state_mismatch,
    to_array,
    to_tensors,
    watched,
)
from neuralrank.types import Batch, Hidden, ImagePreprocessing

if TYPE_CHECKING:
    import torch

NOT_OF_THE_NETWORK = frozenset(
    """
    pretrained pretrained_cfg pretrained_cfg_overlay pretrained_model_args pretrained_strict pretrained_filter_fn
    pretrained_custom_load checkpoint_path cache_dir scriptable exportable no_jit features_only out_indices
    feature_cfg feature_cls kwargs_filter model_cfg device dtype
    """.split()  # noqa: SIM905
)
"""Arguments of `timm.create_model` that name other files, a download, or another form of the network."""


def build_network(timm: Any, architecture: str, arguments: Any, *, file: str = "config.json") -> "torch.nn.Module":
    """Build the network of that name.

    Args:
        timm: the imported package.
        architecture: name, with or without a tag.
        arguments: keyword arguments of the network, from a stranger.
        file: that gives them, for messages.

    Raises:
        ModelError: timm does not know the name, or the arguments are not those of a network.
    """
    if not timm.is_model(architecture.split(".")[0]):
        raise ModelError(
            f"The installed timm {timm.__version__} does not know the architecture {architecture!r}. Update timm: "
            "pip install -U timm"
        )
    if not isinstance(arguments, dict) or not all(map(_is_plain, arguments.values())):
        raise ModelError(f"{file} needs 'model_args' with plain values. Got something else. Correct the file.")
    if forbidden := sorted(NOT_OF_THE_NETWORK.intersection(arguments)):
        raise ModelError(
            f"{file} needs 'model_args' of the network alone. Got {forbidden[0]!r}, which is set elsewhere or "
            "names other files. Remove it."
        )
    try:
        model: torch.nn.Module = timm.create_model(architecture.split(".")[0], pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError, IndexError) as error:
        raise ModelError(
            f"timm could not build {architecture!r} with model_args {arguments!r}. Got {one_line(error)!r}. "
            f"Correct {file} or update timm."
        ) from error
    return model


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def fit_weights(model: "torch.nn.Module", state: "Mapping[str, torch.Tensor]") -> str:
    """Load every tensor; timm's own renaming for older files is tried where the names do not fit.

    Returns:
        How the two differ, empty where they fit and the weights are loaded. Only batch counters may be missing.
    """
    state = dict(state)
    if all(name.startswith("timm_model.") for name in state):
        state = {name.removeprefix("timm_model."): tensor for name, tensor in state.items()}
    differences = weight_differences(model, state)
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if differences and rename is not None:
        try:
            state = dict(rename(state, model))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            pass  # the differences of the file as it is say more than a failed renaming
        else:
            differences = weight_differences(model, state)
    if not differences:
        model.load_state_dict(state, strict=False)
    return differences


def weight_differences(model: "torch.nn.Module", state: "Mapping[str, torch.Tensor]") -> str:
    """Say how weights differ from those that a network has, empty where they fit."""
    own = model.state_dict()
    # batch counters play no part in inference, and files written by other programs leave them out
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    return state_mismatch(missing, unexpected, wrong)


class TimmEncoder:
    """One timm network; 'features' is the pooled input of its classifier, other layers are its feature stages.

    Its classifier, whose weights are all stored, gives the layer 'logits'.
    """

    feature_layer = "features"

    def __init__(
        self,
        model: "torch.nn.Module",
        device: "torch.device",
        preprocessing: ImagePreprocessing,
        *,
        n_labels: int,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.warnings = warnings
        self._channels_last = has_convolutions(model)
        if self._channels_last:
            model = in_channels_last(model)
        self._model: Any = model
        self._device = device
        self._stages = _stages(model)
        self.preprocessing = preprocessing
        self.head_layer = "logits" if _is_classifier(model, n_labels) else None
        self.layers = (*self._stages, "features", *filter(None, [self.head_layer]))

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch and return the hidden states of `layers`."""
        import torch

        check_layers(layers, self.layers)
        images = to_tensors({"image": only_array(batch)}, self._device, channels_last=self._channels_last)["image"]
        try:
            with torch.inference_mode(), ExitStack() as stack:
                stages = [layer for layer in layers if layer in self._stages]
                seen = {layer: stack.enter_context(watched(self._model.get_submodule(layer))) for layer in stages}
                last = self._model.forward_features(images)
                hidden = {layer: self._stage_output(seen[layer], layer) for layer in stages}
                if "features" in layers:
                    hidden["features"] = self._model.forward_head(last, pre_logits=True)
                if "logits" in layers:
                    hidden["logits"] = self._model.forward_head(last)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ModelError(f"The network could not run a batch. Got {one_line(error)!r}.") from error
        return {layer: Hidden(values=to_array(hidden[layer])) for layer in layers}

    def _stage_output(self, seen: list[Any], layer: str) -> "torch.Tensor":
        output: Any = seen[-1] if seen else None
        if isinstance(output, tuple | list) and output:
            output = output[0]
        if getattr(output, "ndim", 0) not in (2, 3, 4):
            raise ModelError(f"The layer {layer!r} gives no array of features. Available: {', '.join(self.layers)}.")
        tensor: torch.Tensor = output
        if tensor.ndim == 4 and getattr(self._model, "output_fmt", "NCHW") == "NHWC":
            tensor = tensor.permute(0, 3, 1, 2)
        return tensor


def _is_classifier(model: "torch.nn.Module", n_labels: int) -> bool:
    """Tell whether the network ends in a linear layer with one output per class, as many as there are label names."""
    import torch

    network: Any = model
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    n_classes = getattr(model, "num_classes", 0)
    parts = classifier if isinstance(classifier, tuple | list) else (classifier,)
    learned = all(isinstance(part, torch.nn.Module) and not isinstance(part, torch.nn.Identity) for part in parts)
    return learned and n_classes >= 2 and n_labels in (0, n_classes)


def _stages(model: "torch.nn.Module") -> tuple[str, ...]:
    modules = dict(model.named_modules())
    stages = getattr(model, "feature_info", None) or ()
    names = [str(stage.get("module")) for stage in stages if isinstance(stage, dict)]
    return tuple(dict.fromkeys(name for name in names if name in modules and name not in ("features", "logits")))
