"""A TorchScript archive (`torch.jit.save`): its code is checked and carried out here, never by `torch.jit.load`.

That function runs what the file says while it loads (`__setstate__`, custom classes) and whatever operator the code
names afterwards, among them some that write files. See docs/formats.md, and docs/model-card.md for the card.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import Card, facts_from_card, read_card
from neuralrank.formats._export_features import default_layer
from neuralrank.formats._export_head import logits_value
from neuralrank.formats._script_archive import ScriptArchive, read_script
from neuralrank.formats._torch_module import (
    check_layers,
    import_for,
    only_array,
    prepare_torch,
    to_array,
    to_tensors,
)
from neuralrank.formats._torch_pickle import StoredTensor
from neuralrank.types import Batch, Encoder, Hidden, ImagePreprocessing, Modality, ModelFacts

if TYPE_CHECKING:
    import torch

    from neuralrank.formats._script_runner import ScriptRunner
    from neuralrank.formats._script_tape import Tape


def describe(path: Path) -> ModelFacts | None:
    """Return what a TorchScript archive and its card say; None for any other file.

    Raises:
        ModelError: the archive or its card is damaged, they contradict each other, or it holds more than modules.
    """
    script = read_script(path)
    if script is None:
        return None
    card = read_card(path)
    modality = (card.modality if card else None) or _modality(script)
    preprocessing: ImagePreprocessing | None = None
    assumptions: tuple[str, ...] = ()
    if modality == "image":
        preprocessing, assumptions = image_preprocessing(card, path, (None, _n_channels(script), None, None))
    return facts_from_card(
        card,
        format_name="torchscript",
        files=(path,),
        modality=modality,
        n_params=script.n_params(),
        preprocessing=preprocessing,
        assumptions=assumptions,
    )


@checkpoint_format(describe)
def torchscript(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Check the code again, load the weights, and run two blank samples to find the layers.

    Args:
        path: the archive.
        facts: what `describe` said of it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Returns:
        An encoder whose layers are the outputs of the modules and of the program.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: the program takes no image and no vector, names an operator that is not known to be safe, or has no
            such layer as its card names.
    """
    import_for("torchscript", "torch", "torch")
    from neuralrank.formats._script_runner import ScriptRunner

    script = read_script(path)
    if script is None:
        raise ModelError(f"{path.name} needs to be a TorchScript archive. Got another file. List the folder again.")
    shape = _sample_shape(path, script, facts)
    runner = ScriptRunner(script, prepare_torch(n_threads))
    _check_input(path, runner)
    tape, size = _first_pass(runner, shape)
    return _ScriptEncoder(path.name, runner, tape, facts, n_classes=_n_classes(read_card(path)), size=size, shape=shape)


def _n_classes(card: Card | None) -> int | None:
    return card.n_classes if card else None


def _modality(script: ScriptArchive) -> Modality | None:
    """Judge by the first weights: an embedding takes token ids, a convolution an image, a matrix a vector."""
    for item in script.objects():
        weights = [value for value in item.attributes.values() if isinstance(value, StoredTensor)]
        if item.class_name.endswith(".sparse.Embedding"):
            return "text"
        if any(len(value.sizes) == 4 for value in weights):
            return "image"
    kernels = [value for value in script.constants if isinstance(value, StoredTensor) and len(value.sizes) == 4]
    return "image" if kernels else "tabular" if _n_features(script) else None


def _n_channels(script: ScriptArchive) -> int | None:
    kernels = [value.sizes[1] for value in script.tensors().values() if len(value.sizes) == 4]
    kernels += [
        value.sizes[1] for value in script.constants if isinstance(value, StoredTensor) and len(value.sizes) == 4
    ]
    return kernels[0] if kernels and kernels[0] in (1, 3) else None


def _n_features(script: ScriptArchive) -> int | None:
    matrices = [value.sizes[1] for name, value in script.tensors().items() if len(value.sizes) == 2]
    return matrices[0] if matrices else None


def _sample_shape(path: Path, script: ScriptArchive, facts: ModelFacts) -> tuple[int, ...]:
    """Return the shape of one sample."""
    if facts.modality == "image" and facts.preprocessing is not None:
        channels = 1 if facts.preprocessing.channels == "grey" else 3
        height, width = facts.preprocessing.size
        grid = (channels, height, width) if facts.preprocessing.layout == "NCHW" else (height, width, channels)
        return grid
    n_features = _n_features(script)
    if facts.modality == "tabular" and n_features:
        return (n_features,)
    if facts.modality == "text":
        raise ModelError(
            f"{path.name} needs a tokenizer to read text. Got a TorchScript file, which holds none. "
            "Use the model's Transformers folder (config.json, weights and tokenizer files) instead."
        )
    raise ModelError(
        f"{path.name} needs to take images or vectors. Got a program for {facts.modality or 'something else'}. "
        "State the 'modality' in its card, or export it to ONNX."
    )


def _check_input(path: Path, runner: "ScriptRunner") -> None:
    function = runner.forward
    needed = [name for name in function.parameters[1:] if name not in function.defaults]
    if len(needed) != 1:
        names = ", ".join(map(repr, needed[:8])) or "none"
        raise ModelError(f"{path.name} needs exactly one input. Got {len(needed)}: {names}. Save it with one.")


def _first_pass(runner: "ScriptRunner", shape: tuple[int, ...]) -> tuple["Tape", int | None]:
    """Run two blank samples, and one where the program was traced for a single sample; say the size it is bound to."""
    import torch

    from neuralrank.formats._script_tape import Tape

    complaint: ModelError | None = None
    for n in (2, 1):
        try:
            tape = Tape(runner, torch.zeros(n, *shape, device=runner.device))
        except ModelError as error:
            complaint = complaint or error
            continue
        if all(value.ndim and len(value) == n for value in tape.outputs.values()):
            return tape, None if n == 2 else 1
    raise complaint or ModelError(
        f"{runner.file} needs to give one row per sample. Got outputs of another length. "
        "Trace it with an open batch axis."
    )


class _ScriptEncoder:
    """A program whose layers are its modules' outputs and its own; 'features' is the input of its classifier."""

    def __init__(
        self,
        file: str,
        runner: "ScriptRunner",
        tape: "Tape",
        facts: ModelFacts,
        *,
        n_classes: int | None,
        size: int | None,
        shape: tuple[int, ...],
    ) -> None:
        self._runner = runner
        self._size = size
        self._shape = shape
        self.preprocessing = facts.preprocessing
        program = tape.program()
        n_rows = size or 2
        outputs = program.outputs
        modules = [
            path
            for path, value in tape.modules.items()
            if getattr(value, "ndim", 0) in (2, 3, 4) and len(value) == n_rows and path not in outputs
        ]
        stated = facts.feature_layer
        is_module = stated is not None and stated in modules
        feature, warnings = default_layer(file, program, outputs, None if is_module else stated)
        logits = logits_value(program, tape.weights, outputs, n_classes=n_classes, features=stated)
        self._values: dict[str, str] = {}
        """Layers that are neither a module's output nor the program's, by the step that makes them."""
        self.warnings: tuple[str, ...] = () if is_module else warnings
        self.feature_layer = str(stated) if is_module else self._named(feature, "features", outputs)
        self.head_layer = None if logits is None else self._named(logits, "logits", outputs)
        self._modules = frozenset(path for path in modules if path not in self._values)
        inner = [path for path in modules if path in self._modules]
        self.layers = tuple(dict.fromkeys((*inner, *self._values, *outputs)))

    def _named(self, value: str, name: str, outputs: Mapping[str, str]) -> str:
        """Return the name of an output that is `value`, else a name of its own."""
        shown = next((output for output, made in outputs.items() if value in (made, output)), None)
        if shown is not None:
            return shown
        name = name if name not in outputs else f"inner_{name}"
        self._values[name] = value
        return name

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch of any size and return the values of `layers`."""
        check_layers(layers, self.layers)
        values = only_array(batch)
        if values.shape[1:] != self._shape:
            shown = " × ".join(map(str, self._shape))
            raise ModelError(
                f"The program needs samples of shape {shown}. Got {' × '.join(map(str, values.shape[1:]))}. "
                "Choose a model made for such samples."
            )
        size = self._size or max(len(values), 1)
        parts = [self._piece(values[start : start + size], layers) for start in range(0, len(values), size)]
        return {layer: Hidden(values=np.concatenate([part[layer] for part in parts])) for layer in layers}

    def _piece(self, values: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        batch = {"input": np.ascontiguousarray(values, dtype=np.float32)}
        tensor = to_tensors(batch, self._runner.device, channels_last=self._runner.channels_last)["input"]
        found = self._run(tensor, layers)
        arrays = {}
        for layer in layers:
            value = found.get(layer)
            n_axes = getattr(value, "ndim", 0)
            if n_axes not in (2, 3, 4) or len(found[layer]) != len(values):
                got = "none" if value is None else f"shape {tuple(getattr(value, 'shape', ()))}"
                raise ModelError(
                    f"The program needs one row per sample in the layer {layer!r}. Got {got} for {len(values)} "
                    "samples. Choose another layer, or trace the model with an open batch axis."
                )
            arrays[layer] = to_array(found[layer])
        return arrays

    def _run(self, tensor: "torch.Tensor", layers: Sequence[str]) -> "dict[str, torch.Tensor]":
        from neuralrank.formats._script_runner import Pass
        from neuralrank.formats._script_tape import Catch, named_outputs

        wanted = {layer: self._values[layer] for layer in layers if layer in self._values}
        catch = Catch(wanted.values())
        look = Pass(modules=self._modules.intersection(layers), on_operator=catch if wanted else None)
        found: dict[str, Any] = dict(named_outputs(self._runner.run(tensor, look)))
        found.update(look.outputs)
        found.update((layer, catch.values[name]) for layer, name in wanted.items() if name in catch.values)
        return found
