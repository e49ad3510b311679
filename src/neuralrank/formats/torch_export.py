"""A `torch.export` program (`.pt2`): read as data and run step by step, never through `torch.export.load`.

That function runs what the file says: pickles, Python expressions, guards (docs/formats.md shows how). Here the graph
is checked against a list of operators, and its weights are read as raw numbers. See docs/model-card.md for the card.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import Card, facts_from_card, read_card
from neuralrank.formats._export_archive import is_pt2, read_archive
from neuralrank.formats._export_features import choosable_layers, default_layer
from neuralrank.formats._export_graph import Program, UserInput
from neuralrank.formats._export_head import logits_value
from neuralrank.formats._torch_module import (
    check_layers,
    import_for,
    only_array,
    prepare_torch,
    to_array,
    to_tensors,
)
from neuralrank.types import Batch, Encoder, Hidden, ImagePreprocessing, Modality, ModelFacts

if TYPE_CHECKING:
    from neuralrank.formats._export_runner import ProgramRunner

BYTE, HALF, FLOAT, DOUBLE, LONG, INT = 1, 6, 7, 8, 5, 4


def describe(path: Path) -> ModelFacts | None:
    """Return what a `.pt2` file and its card say; None for any other file.

    Raises:
        ModelError: the file or its card is damaged, they contradict each other, or the program is not safe to run.
    """
    if not is_pt2(path):
        return None
    archive = read_archive(path)
    card = read_card(path)
    entry = archive.program.user_inputs[0] if len(archive.program.user_inputs) == 1 else None
    modality = _modality(entry, card)
    preprocessing: ImagePreprocessing | None = None
    assumptions: tuple[str, ...] = ()
    if modality == "image" and entry is not None and len(entry.shape) == 4:
        preprocessing, assumptions = image_preprocessing(card, path, entry.shape, integer_pixels=entry.kind == BYTE)
    return facts_from_card(
        card,
        format_name="torch_export",
        files=(path,),
        modality=modality,
        n_params=archive.n_params(),
        preprocessing=preprocessing,
        assumptions=assumptions,
    )


@checkpoint_format(describe)
def torch_export(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Check the program again and load its weights.

    Args:
        path: the `.pt2` file.
        facts: what `describe` said of it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Returns:
        An encoder whose layers are values of the graph and its outputs.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: the program takes no image and no vector, or the layer its card names is not in it.
    """
    import_for("torch_export", "torch", "torch")
    from neuralrank.formats._export_runner import ProgramRunner

    archive = read_archive(path)
    entry = _entry(path, archive.program, facts)
    card = read_card(path)
    program = archive.program
    names = _names(program, card)
    feature_layer, warnings = default_layer(path.name, program, names, facts.feature_layer)
    weights = {stored.name: archive.tensors[stored.target].sizes for stored in program.stored_inputs}
    n_classes = card.n_classes if card else None
    logits = logits_value(program, weights, names, n_classes=n_classes, features=facts.feature_layer)
    layers = {**choosable_layers(program, {feature_layer, *filter(None, [logits])}), **names}
    runner = ProgramRunner(path, archive, prepare_torch(n_threads))
    return _ExportEncoder(
        runner=runner,
        entry=entry,
        names=layers,
        feature_layer=feature_layer,
        head_layer=next((name for name, value in reversed(layers.items()) if value == logits), None),
        preprocessing=facts.preprocessing,
        warnings=warnings,
    )


def _modality(entry: UserInput | None, card: Card | None) -> Modality | None:
    if entry is not None and entry.kind in (LONG, INT):
        return "text"
    if card and card.modality:
        return card.modality
    if entry is None:
        return None
    return "image" if len(entry.shape) == 4 else "tabular" if len(entry.shape) == 2 and entry.kind != BYTE else None


def _entry(path: Path, program: Program, facts: ModelFacts) -> UserInput:
    """Check that the program takes images or vectors, and return its input."""
    if facts.modality == "text":
        raise ModelError(
            f"{path.name} needs a tokenizer to read text. Got a .pt2 file, which holds none. "
            "Use the model's Transformers folder (config.json, model.safetensors and tokenizer files) instead."
        )
    if len(program.user_inputs) != 1:
        names = ", ".join(repr(entry.name) for entry in program.user_inputs[:8]) or "none"
        raise ModelError(
            f"{path.name} needs exactly one input. Got {len(program.user_inputs)}: {names}. Export it with one."
        )
    entry = program.user_inputs[0]
    vectors = facts.modality == "tabular"
    if len(entry.shape) != (2 if vectors else 4):
        wanted = "(batch, features) for vectors" if vectors else "(batch, channels, height, width) for images"
        raise ModelError(
            f"{path.name} needs an input of shape {wanted}. Got rank {len(entry.shape)}, input {entry.name!r}. "
            "Export it with such an input."
        )
    if entry.kind not in (BYTE, HALF, FLOAT, DOUBLE):
        raise ModelError(
            f"{path.name} needs an input of float32, float16, float64 or uint8. Got another type. "
            "Export it with a float32 input."
        )
    return entry


def _names(program: Program, card: Card | None) -> dict[str, str]:
    """Return the name of each output, as the program or else its card states it, with its name in the graph."""
    shown = tuple(program.outputs)
    unnamed = all(name == "output" or name.startswith("output_") for name in shown)
    if card and unnamed and len(card.outputs) == len(shown) == len(set(card.outputs)):
        shown = card.outputs
    return dict(zip(shown, program.outputs.values(), strict=True))


class _ExportEncoder:
    """A program that stops at the last value asked for; a fixed batch axis is served in pieces of that size."""

    def __init__(
        self,
        *,
        runner: "ProgramRunner",
        entry: UserInput,
        names: dict[str, str],
        feature_layer: str,
        head_layer: str | None,
        preprocessing: ImagePreprocessing | None,
        warnings: tuple[str, ...],
    ) -> None:
        self.layers = tuple(names)
        self.feature_layer = feature_layer
        self.head_layer = head_layer
        self.preprocessing = preprocessing
        self.warnings = warnings
        self._runner = runner
        self._entry = entry
        self._names = names
        self._dtype = {BYTE: np.uint8, HALF: np.float16, FLOAT: np.float32, DOUBLE: np.float64}[entry.kind]

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch of any size and return the values of `layers`."""
        check_layers(layers, self.layers)
        values = only_array(batch)
        expected = self._entry.shape[1:]
        fits = len(values.shape) == len(expected) + 1 and all(
            want in (None, have) for want, have in zip(expected, values.shape[1:], strict=True)
        )
        if not fits:
            shown = " × ".join("any" if axis is None else str(axis) for axis in expected)
            raise ModelError(
                f"The program needs samples of shape {shown}. Got {' × '.join(map(str, values.shape[1:]))}. "
                "Choose a model made for such samples."
            )
        size = self._entry.shape[0] or max(len(values), 1)
        parts = [self._piece(values[start : start + size], size, layers) for start in range(0, len(values), size)]
        columns = zip(layers, zip(*parts, strict=True), strict=True)
        return {
            layer: Hidden(values=pieces[0] if len(pieces) == 1 else np.concatenate(pieces)) for layer, pieces in columns
        }

    def _piece(self, values: np.ndarray, size: int, layers: Sequence[str]) -> list[np.ndarray]:
        n = len(values)
        if n < size:
            values = np.concatenate([values, np.repeat(values[-1:], size - n, axis=0)])
        if self._dtype is np.uint8 and values.dtype != np.uint8:
            values = np.clip(np.rint(values), 0, 255)
        batch = {"input": np.ascontiguousarray(values, dtype=self._dtype)}
        tensor = to_tensors(batch, self._runner.device, channels_last=self._runner.channels_last)["input"]
        outputs = list(map(to_array, self._runner.run(tensor, [self._names[layer] for layer in layers])))
        for layer, output in zip(layers, outputs, strict=True):
            if output.ndim not in (2, 3, 4) or len(output) != size:
                raise ModelError(
                    f"The program needs one row per sample in the layer {layer!r}. Got shape {output.shape} for {size} "
                    "samples. Choose another layer."
                )
        return [output[:n] for output in outputs]
