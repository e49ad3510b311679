"""A `.keras` file: a zip of a configuration and of weights, both read as data and built anew with Keras on torch.

`keras.saving.load_model` is not used: what it imports is named by the file (docs/formats.md says more). `.h5` files of
older versions are not read, as their safe mode was none. See docs/model-card.md for the card.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import Card, facts_from_card, read_card
from neuralrank.formats._hdf5_tree import Read, StoredArray, read_tree
from neuralrank.formats._keras_build import build_model, import_keras, is_of_the_model
from neuralrank.formats._keras_config import CheckedConfig, check_config
from neuralrank.formats._keras_encoder import KerasEncoder, LayerGraph
from neuralrank.formats._plain_zip import PlainZip, open_zip
from neuralrank.formats._torch_module import prepare_torch
from neuralrank.types import Encoder, ImagePreprocessing, Modality, ModelFacts

MAX_CONFIG_BYTES = 64 * 2**20
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_WHOLE_SCALE = 1 / 50
"""A model that first multiplies by less than this takes pixels of 0 to 255; one that multiplies by more, of 0 to 1."""
_NORMALISES = {"Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Add", "GetItem", "Stack"}
_PASSES = {"InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Cast"}


@dataclass(frozen=True, kw_only=True)
class _Parts:
    config: CheckedConfig
    arrays: Mapping[str, StoredArray]


def describe(path: Path) -> ModelFacts | None:
    """Return what a `.keras` file and its card say; None for any other file. Needs no Keras.

    Raises:
        ModelError: the file or its card is damaged, they contradict each other, or the model names something that is
            not a layer of Keras.
    """
    if path.suffix.lower() != ".keras" or not path.is_file():
        return None
    with path.open("rb") as stream, open_zip(path, stream, kind="Keras archive") as opened:
        parts = _parts(path, opened, *_stored(path, stream, opened))
    card = read_card(path)
    modality = _modality(parts.config, card)
    preprocessing, assumptions = _preprocessing(path, parts.config, card) if modality == "image" else (None, ())
    facts = facts_from_card(
        card,
        format_name="keras_archive",
        files=(path,),
        modality=modality,
        n_params=_n_params(parts.arrays),
        preprocessing=preprocessing,
        assumptions=assumptions,
    )
    return replace(facts, needs_trust=_needs_trust(path, parts.config))


@checkpoint_format(describe)
def keras_archive(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Build the model with Keras and load its weights.

    Args:
        path: the `.keras` file.
        facts: what `describe` said of it; where it says that trust is needed, the caller has it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Returns:
        An encoder whose layers are those of the model, in order; the default is what the final Dense reads.

    Raises:
        MissingExtraError: keras is not installed.
        ModelError: the file is damaged, takes no image and no vector, or the layer its card names is not in it.
    """
    data = path.read_bytes()
    with open_zip(path, io.BytesIO(data), kind="Keras archive") as opened:
        weights = opened.read(WEIGHTS)
        read = _reader(io.BytesIO(weights), 0)
        parts = _parts(path, opened, read, len(weights))
    del data
    _check_entry(path, parts.config, facts)
    keras = import_keras()
    prepare_torch(n_threads)
    model = build_model(keras, path.name, parts.config, parts.arrays, read, runs_code=facts.needs_trust is not None)
    graph = LayerGraph(model)
    head = graph.head()
    feature_layer, warnings = _feature_layer(path, model, graph, facts)
    card = read_card(path)
    n_classes = card.n_classes if card else None
    if head is not None and (head.n_classes < 2 or n_classes not in (None, head.n_classes)):
        head = None
    if head is not None and feature_layer in (head.linear, head.logits):
        head = None
    return KerasEncoder(
        keras=keras,
        model=model,
        graph=graph,
        head=head,
        feature_layer=feature_layer,
        preprocessing=facts.preprocessing,
        is_channels_first=parts.config.is_channels_first,
        warnings=warnings,
    )


def _parts(path: Path, opened: PlainZip, read: Read, n_bytes: int) -> _Parts:
    other = set(opened.entries) - {CONFIG, METADATA, WEIGHTS}
    if other:
        raise ModelError(
            f"{path.name} needs a configuration and weights, and nothing else. Got the entry {min(other)[:80]!r}. "
            "Save the model without assets."
        )
    config = check_config(path.name, opened.read_json(CONFIG, max_bytes=MAX_CONFIG_BYTES))
    return _Parts(config=config, arrays=read_tree(path.name, read, n_bytes))


def _stored(path: Path, stream: Any, opened: PlainZip) -> tuple[Read, int]:
    """Return how to read the weights where they lie in the archive, and their length."""
    info = opened.entries.get(WEIGHTS)
    if info is None:
        raise ModelError(f"{path.name} needs the entry {WEIGHTS!r}. Got none. Save the model with Keras 3.")
    stream.seek(info.header_offset)
    header = stream.read(30)
    if len(header) != 30 or header[:4] != b"PK\3\4":
        raise ModelError(f"{path.name} needs to be a whole Keras archive. Got a damaged one. Download it again.")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return _reader(stream, info.header_offset + 30 + lengths), info.file_size


def _reader(stream: Any, start: int) -> Read:
    def read(place: int, n_bytes: int) -> bytes:
        stream.seek(start + place)
        return bytes(stream.read(n_bytes))

    return read


def _n_params(arrays: Mapping[str, StoredArray]) -> int:
    """Count the floating numbers of the layers, running statistics included, as Keras does."""
    return sum(array.size for path, array in arrays.items() if array.dtype.kind == "f" and is_of_the_model(path))


def _needs_trust(path: Path, config: CheckedConfig) -> str | None:
    if not config.has_lambda:
        return None
    return (
        f"{path.name} needs a model of plain layers. Got a Lambda layer, which brings code of its own that would run. "
        "Replace it with a layer of Keras, or export the model to ONNX."
    )


def _modality(config: CheckedConfig, card: Card | None) -> Modality | None:
    shape, dtype = config.inputs[0] if len(config.inputs) == 1 else ((), "")
    if shape and (config.reads_tokens or dtype.startswith(("int", "uint", "string"))) and len(shape) == 2:
        return "text"
    if card and card.modality:
        return card.modality
    return {4: "image", 2: "tabular"}.get(len(shape)) if len(config.inputs) == 1 else None  # type: ignore[return-value]


def _preprocessing(
    path: Path, config: CheckedConfig, card: Card | None
) -> tuple[ImagePreprocessing | None, tuple[str, ...]]:
    shape = config.inputs[0][0] if len(config.inputs) == 1 else ()
    if len(shape) != 4:
        return None, ()
    scale = _pixel_scale(config.model)
    said = card or Card(path=path)
    if scale is None or said.mean is not None or said.std is not None or said.scale is not None:
        return image_preprocessing(card, path, shape)
    n_channels = shape[1] if said.layout == "NCHW" or (shape[1] in (1, 3) and said.layout is None) else shape[3]
    plain = (0.0,) * (n_channels or 3), (1.0,) * (n_channels or 3)
    found, assumed = image_preprocessing(replace(said, mean=plain[0], std=plain[1], scale=scale), path, shape)
    top = "255" if scale == 1.0 else "1"
    return found, (*assumed, f"The model normalises its input itself; pixels from 0 to {top} were assumed.")


def _pixel_scale(model: Mapping[str, Any]) -> float | None:
    """Return by what pixels are multiplied for a model that normalises them itself; None if it does not."""
    for layer in model["config"]["layers"]:
        kind, config = layer["class_name"], layer["config"]
        if kind in ("Sequential", "Model"):
            return _pixel_scale(layer)
        if kind in _PASSES or kind.startswith("Random"):
            continue
        if kind not in _NORMALISES or (layer.get("module") == "keras.layers" and kind in ("Add", "Multiply")):
            return None
        factor = config.get("scale") if kind == "Rescaling" else None
        factors = factor if isinstance(factor, list) else [factor]
        if kind == "Rescaling" and any(isinstance(item, int | float) and abs(item) > _WHOLE_SCALE for item in factors):
            return 1 / 255
        return 1.0
    return None


def _check_entry(path: Path, config: CheckedConfig, facts: ModelFacts) -> None:
    """Check that the model takes images or vectors."""
    if facts.modality == "text":
        raise ModelError(
            f"{path.name} needs a tokenizer to read text. Got a Keras file, which holds none. "
            "Use the model's Transformers folder (config.json, model.safetensors and tokenizer files) instead."
        )
    if len(config.inputs) != 1:
        raise ModelError(
            f"{path.name} needs exactly one input. Got {len(config.inputs)}. Save a model with one keras.Input."
        )
    n_axes = len(config.inputs[0][0])
    if n_axes != (2 if facts.modality == "tabular" else 4):
        vectors = facts.modality == "tabular"
        wanted = "(features,) for vectors" if vectors else "(height, width, channels) for images"
        raise ModelError(
            f"{path.name} needs an input of shape {wanted}. Got rank {n_axes}. Save it with such an input."
        )


def _feature_layer(path: Path, model: Any, graph: LayerGraph, facts: ModelFacts) -> tuple[str, tuple[str, ...]]:
    """Return the default layer, and a sentence if it had to be guessed badly."""
    several = len(model.outputs) > 1
    warnings = (f"The model has {len(model.outputs)} outputs; the first is followed back.",) if several else ()
    if facts.feature_layer is not None:
        if facts.feature_layer in graph.layers:
            return facts.feature_layer, ()
        raise ModelError(
            f"{path.name} needs the feature_layer that its card names. "
            f"Got {facts.feature_layer!r}, which the model does not have. Correct the card."
        )
    head = graph.head()
    if head is not None and head.reads in graph.layers:
        return str(head.reads), warnings
    last = graph.end if graph.end in graph.layers else next(reversed(graph.layers), None)
    if last is None:
        raise ModelError(f"{path.name} needs a layer that gives features. Got none. Save a model with layers.")
    found = "The only linear layer reads the input itself" if head is not None else "No final Dense layer was found"
    return last, (*warnings, f"{found}; the output {last!r} is taken as the features.")
