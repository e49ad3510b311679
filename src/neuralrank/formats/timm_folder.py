"""A timm model as on the Hugging Face Hub: `config.json` with "architecture", and `model.safetensors`.

The architecture is built by the installed timm, never by a file of the folder; its keyword arguments are limited to
those of the network itself, so that none of them can name another file or download anything.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._model_folder import first_text, read_json, readme_description, readme_facts, refuse_pickles
from neuralrank.formats._safetensors import stored_weights
from neuralrank.formats._timm_preprocessing import timm_preprocessing
from neuralrank.formats._torch_module import (
    check_layers,
    has_convolutions,
    import_for,
    in_channels_last,
    one_line,
    only_array,
    prepare_torch,
    state_mismatch,
    to_array,
    to_tensors,
    watched,
)
from neuralrank.types import Batch, Encoder, Hidden, ImagePreprocessing, ModelFacts

if TYPE_CHECKING:
    import torch

ARCHITECTURE = re.compile(r"[a-z0-9_]{1,100}(\.[A-Za-z0-9_\-]{1,100})?")
NOT_OF_THE_NETWORK = frozenset(
    """
    pretrained pretrained_cfg pretrained_cfg_overlay pretrained_model_args pretrained_strict pretrained_filter_fn
    pretrained_custom_load checkpoint_path cache_dir scriptable exportable no_jit features_only out_indices
    feature_cfg feature_cls kwargs_filter model_cfg device dtype
    """.split()  # noqa: SIM905
)


def describe(path: Path) -> ModelFacts | None:
    """Say what the folder holds, None if it is not a timm folder.

    Raises:
        ModelError: it is one and is damaged, or its weights are pickles.
    """
    config = read_json(path / "config.json") if path.is_dir() else None
    if config is None or not isinstance(config.get("architecture"), str):
        return None
    if "pretrained_cfg" not in config and "model_type" in config:
        return None
    architecture = config["architecture"]
    if ARCHITECTURE.fullmatch(architecture) is None:
        raise ModelError(
            f"config.json needs the plain name of a timm architecture. Got {architecture[:100]!r}. Correct the file."
        )
    weights = stored_weights(path)
    if weights is None:
        refuse_pickles(path)
        return None
    settings = _settings(config)
    preprocessing, assumptions = timm_preprocessing(settings)
    readme = readme_facts(path)
    return ModelFacts(
        format="timm_folder",
        files=(path / "config.json", *weights.files),
        modality="image",
        architecture=architecture,
        n_params=weights.n_params,
        licence=first_text(settings.get("license"), config.get("license"), readme.get("licence")),
        label_names=_label_names(config),
        pretraining_data=first_text(settings.get("dataset"), readme.get("pretraining_data")),
        preprocessing=preprocessing,
        assumptions=assumptions,
        description=readme_description(path, library="timm"),
    )


@checkpoint_format(describe)
def timm_folder(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Build the network with timm and load its weights.

    Args:
        path: the folder.
        facts: what `describe` returned for it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Raises:
        MissingExtraError: timm is not installed.
        ModelError: timm does not know the architecture, or the weights do not fit it.
    """
    timm = import_for("timm_folder", "timm", "timm")
    device = prepare_torch(n_threads)
    config = read_json(path / "config.json") or {}
    model = _build(timm, config)
    _load_weights(model, path, facts)
    model = model.eval().to(device)
    if facts.preprocessing is None:
        raise ModelError(f"{path.name} needs preprocessing facts. Got none. Describe the folder again.")
    return _TimmEncoder(model, device, facts.preprocessing, n_labels=len(facts.label_names or ()))


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("pretrained_cfg")
    return nested if isinstance(nested, dict) else config


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    for holder in (config, _settings(config)):
        names = holder.get("label_names")
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def _build(timm: Any, config: Mapping[str, Any]) -> "torch.nn.Module":
    architecture, arguments = str(config["architecture"]), config.get("model_args") or {}
    if not timm.is_model(architecture.split(".")[0]):
        raise ModelError(
            f"The installed timm {timm.__version__} does not know the architecture {architecture!r}. Update timm: "
            "pip install -U timm"
        )
    if not isinstance(arguments, dict) or not all(map(_is_plain, arguments.values())):
        raise ModelError("config.json needs 'model_args' with plain values. Got something else. Correct the file.")
    if forbidden := sorted(NOT_OF_THE_NETWORK.intersection(arguments)):
        raise ModelError(
            f"config.json needs 'model_args' of the network alone. Got {forbidden[0]!r}, which is set elsewhere or "
            "names other files. Remove it."
        )
    for key in ("num_classes", "global_pool"):
        value = config.get(key, _settings(config).get(key))
        if isinstance(value, int if key == "num_classes" else str):
            arguments = {key: value, **arguments}
    try:
        model: torch.nn.Module = timm.create_model(architecture.split(".")[0], pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, AttributeError, IndexError) as error:
        raise ModelError(
            f"timm could not build {architecture!r} with model_args {arguments!r}. Got {one_line(error)!r}. "
            "Correct config.json or update timm."
        ) from error
    return model


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _load_weights(model: "torch.nn.Module", path: Path, facts: ModelFacts) -> None:
    """Load every tensor; timm's own renaming for older files is tried where the names do not fit.

    Strictness is `_differences`, which names what does not fit; only batch counters may be missing.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    try:
        for file in facts.files:
            if file.suffix == ".safetensors":
                state.update(load_file(file))
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} needs readable safetensors. Got {one_line(error)!r}. Download it again."
        ) from error
    if all(name.startswith("timm_model.") for name in state):
        state = {name.removeprefix("timm_model."): tensor for name, tensor in state.items()}
    differences = _differences(model, state)
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if differences and rename is not None:
        try:
            state = dict(rename(state, model))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            pass  # the differences of the file as it is say more than a failed renaming
        else:
            differences = _differences(model, state)
    if differences:
        raise ModelError(
            f"model.safetensors needs the weights of {facts.architecture!r} as config.json describes it. "
            f"Got tensors that differ: {differences}. Correct config.json, or update timm."
        )
    model.load_state_dict(state, strict=False)


def _differences(model: "torch.nn.Module", state: Mapping[str, "torch.Tensor"]) -> str:
    own = model.state_dict()
    # batch counters play no part in inference, and files written by other programs leave them out
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    return state_mismatch(missing, unexpected, wrong)


class _TimmEncoder:
    """One timm network; 'features' is the pooled input of its classifier, other layers are its feature stages.

    Its classifier, whose weights are all stored, gives the layer 'logits'.
    """

    feature_layer = "features"
    warnings: tuple[str, ...] = ()

    def __init__(
        self, model: "torch.nn.Module", device: "torch.device", preprocessing: ImagePreprocessing, *, n_labels: int
    ) -> None:
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
