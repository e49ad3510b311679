"""A timm model as on the Hugging Face Hub: `config.json` with "architecture", and `model.safetensors`.

The architecture is built by the installed timm, never by a file of the folder; its keyword arguments are limited to
those of the network itself, so that none of them can name another file or download anything.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._model_folder import first_text, read_json, readme_description, readme_facts, refuse_pickles
from neuralrank.formats._stored_state import folder_weights, load_states
from neuralrank.formats._timm_network import TimmEncoder, build_network, fit_weights
from neuralrank.formats._timm_preprocessing import timm_preprocessing
from neuralrank.formats._torch_module import import_for, prepare_torch
from neuralrank.types import Encoder, ModelFacts

if TYPE_CHECKING:
    import torch

ARCHITECTURE = re.compile(r"[a-z0-9_]{1,100}(\.[A-Za-z0-9_\-]{1,100})?")


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
    weights = folder_weights(path)
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
    _load_weights(model, facts)
    model = model.eval().to(device)
    if facts.preprocessing is None:
        raise ModelError(f"{path.name} needs preprocessing facts. Got none. Describe the folder again.")
    return TimmEncoder(model, device, facts.preprocessing, n_labels=len(facts.label_names or ()))


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
    arguments = config.get("model_args") or {}
    for key in ("num_classes", "global_pool"):
        value = config.get(key, _settings(config).get(key))
        if isinstance(value, int if key == "num_classes" else str):
            arguments = {key: value, **arguments} if isinstance(arguments, dict) else arguments
    return build_network(timm, str(config["architecture"]), arguments)


def _load_weights(model: "torch.nn.Module", facts: ModelFacts) -> None:
    state = load_states(facts.files)
    differences = fit_weights(model, state)
    if differences:
        raise ModelError(
            f"{facts.files[-1].name} needs the weights of {facts.architecture!r} as config.json describes it. "
            f"Got tensors that differ: {differences}. Correct config.json, or update timm."
        )
