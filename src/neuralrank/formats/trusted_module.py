"""A whole module of torch as `torch.save(model)` writes it: a pickle, opened only for models that the user trusts.

Loading it imports the classes it names and runs code of the file. Describing it does neither: the pickle is read as
data by `_torch_pickle.py`. Nothing else is checked once the user has named the model.
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._assumed import image_preprocessing
from neuralrank.formats._card import facts_from_card, read_card
from neuralrank.formats._module_encoder import ModuleEncoder
from neuralrank.formats._pickle_tree import Call, Persistent, walk
from neuralrank.formats._torch_module import import_for, one_line, prepare_torch
from neuralrank.formats._torch_pickle import (
    StoredTensor,
    TorchPickle,
    count_parameters,
    entries_of,
    find_module,
    read_torch_pickle,
    shown,
    stored_tensor,
)
from neuralrank.types import Encoder, ImagePreprocessing, Modality, ModelFacts

FAILURES = (
    ImportError,
    AttributeError,
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    EOFError,
    OSError,
    pickle.UnpicklingError,
)
PLAIN = ("torch.", "collections.", "__builtin__.set", "builtins.set")


def describe(path: Path) -> ModelFacts | None:
    """Return what a pickled module and its card say, without unpickling; None for any other file.

    Raises:
        ModelError: the file or its card is damaged, or they contradict each other.
    """
    pickle_file = read_torch_pickle(path)
    module = find_module(pickle_file) if pickle_file is not None else None
    if pickle_file is None or module is None:
        return None
    tensors = _tensors(pickle_file, module)
    card = read_card(path)
    modality = (card.modality if card else None) or _modality(tensors)
    preprocessing: ImagePreprocessing | None = None
    assumptions: tuple[str, ...] = ()
    if modality == "image":
        kernels = [tensor.sizes[1] for tensor in tensors.values() if len(tensor.sizes) == 4]
        n_channels = kernels[0] if kernels and kernels[0] in (1, 3) else None
        preprocessing, assumptions = image_preprocessing(card, path, (None, n_channels, None, None))
    facts = facts_from_card(
        card,
        format_name="trusted_module",
        files=(path,),
        modality=modality,
        n_params=count_parameters(tensors),
        preprocessing=preprocessing,
        assumptions=assumptions,
    )
    architecture = facts.architecture or _class_name(module.function)
    return replace(facts, architecture=architecture, needs_trust=_why(path, pickle_file))


@checkpoint_format(describe)
def trusted_module(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Unpickle the module, which runs code of the file; the caller has asked the user for that.

    Args:
        path: the file.
        facts: what `describe` said of it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: a class it names cannot be imported, or it holds no module that runs.
    """
    import_for("trusted_module", "torch", "torch")
    device = prepare_torch(n_threads)
    model = _unpickled(path)
    card = read_card(path)
    return ModuleEncoder(
        model,
        device,
        facts.preprocessing,
        shape=_shape(path, model, facts),
        n_classes=(card.n_classes or 0) if card else 0,
        feature_layer=facts.feature_layer,
    )


def _why(path: Path, pickle_file: TorchPickle) -> str:
    """Say why it needs trust, with the code beside torch's own that it names."""
    others = [name for name in pickle_file.foreign() if not name.startswith(PLAIN)]
    named = f" It names {shown(others)}." if others else ""
    return f"{path.name} is a pickle, and loading it runs code from the file.{named}"


def _class_name(function: Any) -> str:
    """Return the class of a module; files of torch before 1.6 keep its source beside its name."""
    key = function.key if isinstance(function, Persistent) else ()
    return str(key[1] if isinstance(key, tuple) and len(key) > 1 else function)[:200]


def _tensors(pickle_file: TorchPickle, module: Call) -> dict[str, StoredTensor]:
    """Return the parameters of all modules, in order."""
    found: dict[str, StoredTensor] = {}
    for value in walk(module):
        held = value.state if isinstance(value, Call) else None
        parameters = held.get("_parameters") if isinstance(held, dict) else None
        for name, item in (entries_of(parameters) or {}).items():
            tensor = stored_tensor(pickle_file, item)
            if tensor is not None:
                found[f"{len(found)}.{name}"] = tensor
    return found


def _modality(tensors: dict[str, StoredTensor]) -> Modality | None:
    sizes = [len(tensor.sizes) for tensor in tensors.values()]
    return "image" if 4 in sizes else "tabular" if 2 in sizes else None


def _unpickled(path: Path) -> Any:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"{path.name} needs the classes that its pickle names. Got {one_line(error)!r}. Install the package they "
            "come from, or put its folder into PYTHONPATH."
        ) from error
    except FAILURES as error:
        raise ModelError(f"{path.name} could not be unpickled. Got {one_line(error)!r}. Save it again.") from error
    values = [held, *held.values()] if isinstance(held, dict) else [held]
    model = next((value for value in values if isinstance(value, torch.nn.Module)), None)
    if model is None:
        raise ModelError(
            f"{path.name} needs to hold a torch module. Got a {type(held).__name__}. Save the model whole."
        )
    return model


def _shape(path: Path, model: Any, facts: ModelFacts) -> tuple[int, ...]:
    if facts.modality == "image" and facts.preprocessing is not None:
        return (1 if facts.preprocessing.channels == "grey" else 3, *facts.preprocessing.size)
    widths = [int(value.shape[1]) for value in model.parameters() if value.ndim == 2]
    if facts.modality == "tabular" and widths:
        return (widths[0],)
    raise ModelError(
        f"{path.name} needs to take images or vectors. Got a network for {facts.modality or 'something else'}. "
        "State the 'modality' in its card."
    )
