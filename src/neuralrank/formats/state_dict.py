"""Weights alone (`.pt`, `.pth`, `.bin`, `.ckpt`, `.safetensors`) with a card beside them that names their architecture.

The network is built by the installed timm or torchvision, never by the file. A pickle is read as data first, and torch
reads it, with `weights_only=True`, only if it makes tensors and containers alone. See docs/model-card.md for the card.
"""

from dataclasses import replace
from pathlib import Path

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._architectures import EXAMPLE, build, named_architecture
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import Card, facts_from_card, read_card
from neuralrank.formats._module_encoder import ModuleEncoder
from neuralrank.formats._safetensors import read_header
from neuralrank.formats._stored_state import StateFile, describe_state, load_state, without_prefix
from neuralrank.formats._timm_network import TimmEncoder
from neuralrank.formats._torch_module import prepare_torch
from neuralrank.formats._torch_pickle import find_module, read_torch_pickle
from neuralrank.types import Encoder, ImagePreprocessing, ModelFacts

FOLDER_FILES = ("config.json", "model.safetensors.index.json")


def describe(path: Path) -> ModelFacts | None:
    """Return what weights and their card say; None for any other file.

    Raises:
        ModelError: the file or its card is damaged, the pickle does more than make tensors, or there is no card.
    """
    state = _state(path)
    if state is None:
        return None
    card = read_card(path)
    if card is None:
        name = path.with_suffix(".json").name
        raise ModelError(
            f"{path.name} needs a card {name!r} that names its architecture. Got weights alone. "
            f"Write, for example: {EXAMPLE}"
        )
    library, _ = named_architecture(card.path.name, card.architecture)
    _, prefix = without_prefix(state.shapes)
    preprocessing, assumed = _stated(path, card)
    facts = facts_from_card(
        card,
        format_name="state_dict",
        files=(path,),
        modality="image",
        n_params=state.n_params,
        preprocessing=preprocessing,
        assumptions=(*state.notes, *prefix, *assumed),
    )
    written = facts.description
    return replace(facts, modality="image", description=replace(written, library=written.library or library))


@checkpoint_format(describe)
def state_dict(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Build the network that the card names and load the weights.

    Args:
        path: the file of weights.
        facts: what `describe` said of it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Raises:
        MissingExtraError: timm or torchvision is not installed.
        ModelError: it does not know the architecture, or the weights do not fit it.
    """
    card = read_card(path)
    if card is None:
        raise ModelError(f"{path.name} needs its card. Got none. List the folder again.")
    architecture = named_architecture(card.path.name, card.architecture)
    state, _ = without_prefix(load_state(path))
    built = build(path.name, architecture, card.model_args, state)
    device = prepare_torch(n_threads)
    preprocessing = facts.preprocessing or built.preprocessing
    warnings = () if facts.preprocessing else built.assumptions
    n_classes = card.n_classes or 0
    if architecture[0] == "timm" and facts.feature_layer is None:
        model = built.model.eval().to(device)
        return TimmEncoder(model, device, preprocessing, n_labels=n_classes, warnings=warnings)
    channels = 1 if preprocessing.channels == "grey" else 3
    return ModuleEncoder(
        built.model,
        device,
        preprocessing,
        shape=(channels, *preprocessing.size),
        n_classes=n_classes,
        feature_layer=facts.feature_layer,
        warnings=warnings,
    )


def _state(path: Path) -> StateFile | None:
    """Read what weights the file holds, None if it is none of weights alone."""
    if path.suffix.lower() == ".safetensors":
        if not path.is_file() or any((path.parent / name).is_file() for name in FOLDER_FILES):
            return None
        if not path.with_suffix(".json").is_file():
            return None
        shapes, n_params = read_header(path)
        return StateFile(shapes=shapes, n_params=n_params, notes=())
    pickle_file = read_torch_pickle(path)
    if pickle_file is None or find_module(pickle_file) is not None:
        return None
    return describe_state(pickle_file)


def _stated(path: Path, card: Card) -> tuple[ImagePreprocessing | None, tuple[str, ...]]:
    """Return the preprocessing that the card gives, and a sentence for what of it the card leaves out.

    None if it gives nothing of it: then the architecture's own is used, which is said when the network is built.
    """
    if not any((card.input_size, card.mean, card.scale, card.resize, card.channels, card.layout)):
        return None, ()
    # networks that are built by name read channels first
    return image_preprocessing(replace(card, layout=card.layout or "NCHW"), path, (None, None, None, None))
