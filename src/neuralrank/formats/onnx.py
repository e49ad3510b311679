"""ONNX files: one graph with its weights, run by onnxruntime. See docs/model-card.md for the card beside it.

Parsing and running an ONNX graph runs no code of its author; operators that onnxruntime does not know are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuralrank.errors import ModelError
from neuralrank.formats import _onnx_graph as graphs
from neuralrank.formats import checkpoint_format
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import Card, facts_from_card, read_card
from neuralrank.formats._onnx_encoder import Entry, OnnxEncoder
from neuralrank.formats._onnx_head import head_output, logits_layer, named_features, penultimate
from neuralrank.types import Encoder, ImagePreprocessing, Modality, ModelFacts

_INPUT_TYPES: Mapping[str, type[np.generic]] = {
    "FLOAT": np.float32,
    "FLOAT16": np.float16,
    "DOUBLE": np.float64,
    "UINT8": np.uint8,
}


def describe(path: Path) -> ModelFacts | None:
    """Return what an ONNX file and its card say; None for any other file.

    Raises:
        ModelError: the file or its card is damaged, they contradict each other, or the weights lie elsewhere.
    """
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return None
    model = graphs.read_graph(path)
    card = read_card(path)
    modality = _modality(model.graph, card)
    preprocessing, assumptions = _preprocessing(path, model.graph, card) if modality == "image" else (None, ())
    return facts_from_card(
        card,
        format_name="onnx",
        files=(path, *graphs.external_files(model, path)),
        modality=modality,
        n_params=graphs.count_parameters(model),
        preprocessing=preprocessing,
        feature_layer=named_features(model.graph, card.outputs if card else ()),
        assumptions=assumptions,
    )


@checkpoint_format(describe)
def onnx(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Open an ONNX file as an encoder.

    Args:
        path: the `.onnx` file.
        facts: what `describe` said of it.
        n_threads: threads inside one operator; 0 leaves the choice to onnxruntime.

    Returns:
        An encoder whose layers are tensors of the graph; the default is the layer that the card names, else an
        output named as features, else what the final linear layer reads.

    Raises:
        ModelError: the graph is damaged, takes no image and no vector, or onnxruntime cannot run it.
    """
    model = graphs.read_graph(path)
    graphs.external_files(model, path)
    entry = _entry(path, model.graph, facts)
    layer, warnings = _feature_layer(path, model.graph, facts)
    card = read_card(path)
    head = logits_layer(model.graph, n_classes=card.n_classes if card else None, features=facts.feature_layer)
    encoder = OnnxEncoder(
        path=path,
        entry=entry,
        layers=graphs.choosable_layers(model.graph, {layer, *filter(None, [head])}),
        feature_layer=layer,
        head_layer=head,
        preprocessing=facts.preprocessing,
        warnings=warnings,
        n_threads=n_threads,
    )
    del model
    encoder.load([layer])
    return encoder


def _modality(graph: Any, card: Card | None) -> Modality | None:
    """Judge by the one float input, or by token numbers; None if neither fits."""
    inputs = graphs.free_inputs(graph)
    kinds = [graphs.element_type(value) for value in inputs]
    if inputs and all(kind in ("INT64", "INT32") for kind in kinds):
        return "text"
    if card and card.modality:
        return card.modality
    if len(inputs) != 1 or kinds[0] not in _INPUT_TYPES:
        return None
    shape = graphs.axes(inputs[0])
    if shape is None:
        return "image" if card and card.input_size else None
    return "image" if len(shape) == 4 else "tabular" if len(shape) == 2 and kinds[0] != "UINT8" else None


def _preprocessing(path: Path, graph: Any, card: Card | None) -> tuple[ImagePreprocessing | None, tuple[str, ...]]:
    inputs = graphs.free_inputs(graph)
    shape = graphs.axes(inputs[0]) if len(inputs) == 1 else None
    if len(inputs) != 1 or (shape is not None and len(shape) != 4):
        return None, ()
    whole = graphs.element_type(inputs[0]) == "UINT8"
    return image_preprocessing(card, path, shape or (None,) * 4, integer_pixels=whole)


def _entry(path: Path, graph: Any, facts: ModelFacts) -> Entry:
    """Check that the model takes images or vectors, and return its input."""
    if facts.modality == "text":
        raise ModelError(
            f"{path.name} needs a tokenizer to read text. Got an ONNX file, which holds none. "
            "Use the model's Transformers folder (config.json, model.safetensors and tokenizer files) instead."
        )
    inputs = graphs.free_inputs(graph)
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs[:8]) or "none"
        raise ModelError(f"{path.name} needs exactly one input. Got {len(inputs)}: {names}. Export it with one.")
    kind, shape = graphs.element_type(inputs[0]), graphs.axes(inputs[0])
    vectors = facts.modality == "tabular"
    if facts.modality is None if shape is None else len(shape) != (2 if vectors else 4):
        wanted = "(batch, features) for vectors" if vectors else "(batch, channels, height, width) for images"
        got = "an open rank" if shape is None else f"rank {len(shape)}"
        raise ModelError(
            f"{path.name} needs an input of shape {wanted}. Got {got}, input {inputs[0].name!r}. "
            "Export it with such an input."
        )
    if kind not in _INPUT_TYPES:
        raise ModelError(
            f"{path.name} needs an input of float32, float16, float64 or uint8. Got {kind.lower() or 'no tensor'}. "
            "Export it with a float32 input."
        )
    return Entry(inputs[0].name, _INPUT_TYPES[kind], shape)


def _feature_layer(path: Path, graph: Any, facts: ModelFacts) -> tuple[str, tuple[str, ...]]:
    """Return the default layer, and a sentence if it had to be guessed badly."""
    if facts.feature_layer is not None:
        if any(facts.feature_layer in node.output for node in graph.node):
            return facts.feature_layer, ()
        raise ModelError(
            f"{path.name} needs the feature_layer that its card names. "
            f"Got {facts.feature_layer!r}, which the graph does not have. Correct the card."
        )
    output = head_output(graph)
    if output is None:
        raise ModelError(f"{path.name} needs an output of floats. Got none. Export it with its logits or features.")
    found = penultimate(graph, output, len(facts.label_names) if facts.label_names else None)
    made_here = found is not None and any(found in node.output for node in graph.node)
    if found is not None and made_here:
        return found, ()
    return output, (f"No final linear layer was found; the output {output!r} itself is taken as the features.",)
