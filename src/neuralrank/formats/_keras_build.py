"""Build the model of a checked configuration with Keras on torch, and give it the weights that were read as data."""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.formats._hdf5_tree import Read, StoredArray
from neuralrank.formats._keras_config import CheckedConfig
from neuralrank.formats._torch_module import import_for, one_line

MAX_VALUES = 2**28
"""Numbers that one layer may give for one sample."""
NOT_OF_THE_MODEL = ("optimizer", "metrics", "_metrics", "_loss_tracker")


def import_keras() -> Any:
    """Import Keras on the torch backend; its settings file goes to a folder that is removed at once.

    Raises:
        MissingExtraError: keras or torch is not installed, or this process has already loaded another backend.
    """
    if "keras" not in sys.modules:
        home = tempfile.mkdtemp(prefix="keras-")
        with _environment({"KERAS_BACKEND": "torch", "KERAS_HOME": home}):
            import_for("keras_archive", "keras", "keras")
            import_for("keras_archive", "h5py", "keras")
        shutil.rmtree(home, ignore_errors=True)
    keras = importlib.import_module("keras")
    if keras.backend.backend() != "torch":
        raise MissingExtraError(
            f"The keras_archive format needs Keras on torch. Got Keras on {keras.backend.backend()}, which this "
            "process has loaded. Set KERAS_BACKEND=torch before keras is imported."
        )
    return keras


@contextmanager
def _environment(settings: Mapping[str, str]) -> Any:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def build_model(
    keras: Any, name: str, config: CheckedConfig, arrays: Mapping[str, StoredArray], read: Read, *, runs_code: bool
) -> Any:
    """Build the model and load its weights.

    Args:
        keras: the package.
        name: of the file, for messages.
        config: what was checked of its configuration.
        arrays: its weights.
        read: returns bytes of the file that holds them.
        runs_code: the user trusts the code that the configuration brings.

    Raises:
        ModelError: Keras cannot build it, it needs more numbers than the file has, or its weights do not fit.
    """
    if not runs_code:
        _check_size(name, _built(keras, name, config, "meta", runs_code=False), arrays)
    model = _built(keras, name, config, None, runs_code=runs_code)
    for layer in model.layers:
        _check_outputs(name, layer)
    _load_weights(name, model, arrays, read)
    return model


def _built(keras: Any, name: str, config: CheckedConfig, device: str | None, *, runs_code: bool) -> Any:
    """Build the model; on the device `meta` no memory is taken for its weights."""
    content = deepcopy(config.model)
    try:
        if device is None:
            model = keras.saving.deserialize_keras_object(content, safe_mode=not runs_code)
        else:
            with keras.device(device):
                model = keras.saving.deserialize_keras_object(content, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a wrong configuration makes Keras raise
        raise ModelError(
            f"{name} needs a configuration that the installed Keras {keras.__version__} can build. "
            f"Got: {one_line(error).rstrip('.')}. Save the model with this version, or update keras."
        ) from error
    if not isinstance(model, keras.Model) or not model.built or not model.inputs:
        raise ModelError(f"{name} needs a model that says what it reads. Got one without an input. Add a keras.Input.")
    return model


def _check_size(name: str, model: Any, arrays: Mapping[str, StoredArray]) -> None:
    """Check that the file has every number that the model needs, before memory is taken for them."""
    needed = sum(prod(weight.shape) for weight in model.weights)
    stored = sum(array.size for path, array in arrays.items() if is_of_the_model(path))
    if needed > stored:
        raise ModelError(f"{name} needs {needed:,} weights for its layers. Got {stored:,}. Download the file again.")


def _check_outputs(name: str, layer: Any) -> None:
    for tensor in _outputs(layer):
        if prod(axis or 1 for axis in tensor.shape) > MAX_VALUES:
            raise ModelError(
                f"{name} needs layers of at most {MAX_VALUES:,} numbers a sample. Got the shape {tensor.shape} in "
                f"{layer.name!r}. Use a smaller model."
            )
    for inner in getattr(layer, "layers", ()):
        _check_outputs(name, inner)


def _outputs(layer: Any) -> list[Any]:
    nodes = getattr(layer, "_inbound_nodes", ())
    return [tensor for node in nodes for tensor in node.output_tensors if tensor.shape is not None]


def is_of_the_model(path: str) -> bool:
    """Tell whether an array belongs to the layers, not to what trained them."""
    return path.split("/", 1)[0] not in NOT_OF_THE_MODEL


def _load_weights(name: str, model: Any, arrays: Mapping[str, StoredArray], read: Read) -> None:
    """Write the arrays to a new file, the only one that the HDF5 library sees, and have Keras load it."""
    import h5py

    with tempfile.TemporaryDirectory(prefix="keras-") as folder:
        file = Path(folder) / "model.weights.h5"
        with h5py.File(file, "w") as written:
            for path, array in arrays.items():
                if is_of_the_model(path):
                    written[path] = array.values(read)
        try:
            model.load_weights(file)
        except MemoryError:
            raise
        except Exception as error:  # whatever weights that do not fit make Keras raise
            raise ModelError(
                f"{name} needs weights that fit its layers. Got others: {one_line(error).rstrip('.')}. "
                "Save the model again."
            ) from error
