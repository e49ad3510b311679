"""Check the `config.json` of a `.keras` file and write it anew, so that Keras builds only what was looked at.

Keras's own safe mode was got round time and again (docs/formats.md lists how): a configuration names modules and
functions, and Keras imports them. Here it is data. Each named thing must be on a list (`_keras_names.py`), and the
configuration that Keras is given is a new one made of the checked parts: without what compiles or builds, with
every weight first zero, and in single precision.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._keras_names import (
    ACTIVATIONS,
    DTYPES,
    FUNCTION_MODULES,
    MODEL_MODULES,
    MODELS,
    MODULES,
    WHOLE_DTYPES,
)

MAX_LAYERS = 20_000
MAX_VALUES = 2_000_000
MAX_LIST = 100_000
MAX_TEXT = 1_000
MAX_NUMBER = 2**31
MAX_INPUT = 2**26
"""Numbers in one sample."""
Json = dict[str, Any]
_OBJECT_KEYS = frozenset(
    "module class_name config registered_name build_config compile_config shared_object_id name inbound_nodes".split()  # noqa: SIM905
)
_IN_CALLS = {"__keras_tensor__", "__slice__", "__ellipsis__"}
_ZEROS: Json = {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}


@dataclass(kw_only=True)
class CheckedConfig:
    """A configuration that names nothing but what is on the lists."""

    model: Json = field(default_factory=dict)
    n_layers: int = 0
    has_lambda: bool = False
    """It brings code of its own, which is left as it is: it may be built for users who trust it alone."""
    inputs: list[tuple[tuple[int | None, ...], str]] = field(default_factory=list)
    """Shape (batch first) and type of each input of the model."""
    is_channels_first: bool = False
    reads_tokens: bool = False


def check_config(name: str, content: Any) -> CheckedConfig:
    """Check a parsed `config.json`.

    Args:
        name: of the file, for messages.
        content: what its JSON holds.

    Raises:
        ModelError: it names something that is not on the lists, is too large, or is no model that Keras can build
            from layers of its own.
    """
    check = _Check(name)
    if not isinstance(content, dict) or content.get("class_name") not in MODELS:
        got = content.get("class_name") if isinstance(content, dict) else content
        raise check.error("a Sequential or functional model", f"{check.shown(got)}, which brings a class of its own")
    check.found.model = check.model(content, is_whole=True)
    return check.found


class _Check:
    """One pass over a configuration; counts what it meets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found = CheckedConfig()
        self.n_values = 0

    def error(self, need: str, got: str) -> ModelError:
        return ModelError(f"{self.name} needs {need}. Got {got}. Build it from layers of Keras, or export it to ONNX.")

    @staticmethod
    def shown(value: Any) -> str:
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}…"

    def value(self, key: str, value: Any, *, in_call: bool = False) -> Any:
        """Check one value of a configuration and return what stands for it."""
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise self.error(f"at most {MAX_VALUES:,} values in config.json", "more")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            limit = 2**64 if key == "seed" else MAX_NUMBER
            if not math.isfinite(value) or abs(value) > limit:
                raise self.error(f"numbers up to {limit:,}", f"{self.shown(value)} as {key!r}")
            return value
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise self.error(f"texts of at most {MAX_TEXT:,} characters", f"{len(value):,} as {key!r}")
            if key == "name" and (value in (".", "..") or "/" in value or "\\" in value):
                raise self.error("layers with plain names", f"{self.shown(value)}, which is a path")
            return value
        if isinstance(value, list):
            if len(value) > MAX_LIST:
                raise self.error(f"lists of at most {MAX_LIST:,} values", f"{len(value):,} as {key!r}")
            return [self.value(key, item, in_call=in_call) for item in value]
        if "class_name" in value:
            return self.call_value(value) if in_call else self.named(value)
        if "module" in value or "registered_name" in value:
            raise self.error("a class_name wherever a module is named", f"none in {key!r}")
        return {name: self.value(name, item, in_call=in_call) for name, item in value.items()}

    def call_value(self, value: Json) -> Json:
        """Check a tensor, a slice or an ellipsis among the arguments of a call."""
        kind, config = value["class_name"], value.get("config")
        if kind not in _IN_CALLS or not set(value) <= {"class_name", "config", "module", "registered_name"}:
            raise self.error("tensors and numbers as arguments of layers", self.shown(kind))
        if kind == "__ellipsis__":
            return {"class_name": kind, "config": {}}
        keys = ("start", "stop", "step") if kind == "__slice__" else ("shape", "dtype", "keras_history")
        if not isinstance(config, dict) or set(config) != set(keys):
            raise self.error("whole arguments of layers", f"a damaged {kind}")
        return {"class_name": kind, "config": {key: self.value(key, config[key], in_call=True) for key in keys}}

    def named(self, value: Json) -> Any:
        """Check something that names a class or a function of Keras."""
        module, kind = value.get("module"), value["class_name"]
        if not set(value) <= _OBJECT_KEYS or not isinstance(module, str) or not isinstance(kind, str):
            raise self.error("classes of Keras by module and name", f"{self.shown(module)}, {self.shown(kind)}")
        if kind == "function":
            return self.function(value)
        if kind in MODELS and module in MODEL_MODULES:
            return self.model(value)
        if kind == "DTypePolicy" and module in ("keras", "keras.dtype_policies"):
            config = value.get("config")
            return self.dtype(config.get("name") if isinstance(config, dict) else None)
        if module == "keras.layers" and kind == "Lambda":
            self.found.has_lambda = True
            return {part: value[part] for part in value if part not in ("build_config", "compile_config")}
        if kind not in MODULES.get(module, ()):
            raise self.error("layers and functions of Keras that only compute", f"{self.shown(f'{module}.{kind}')}")
        if value.get("registered_name") not in (None, kind):
            raise self.error(f"{kind} of Keras", f"one registered as {self.shown(value['registered_name'])}")
        return self.built_in(module, kind, value)

    def built_in(self, module: str, kind: str, value: Json) -> Any:
        config = value.get("config")
        if not isinstance(config, dict):
            raise self.error(f"the configuration of {kind} as an object", self.shown(config))
        self.found.reads_tokens |= kind == "Embedding"
        self.found.is_channels_first |= config.get("data_format") == "channels_first"
        checked = {part: self.part(part, item) for part, item in config.items()}
        if kind == "InputLayer":
            self.input(checked)
        if module == "keras.initializers":
            return _ZEROS
        new: Json = {"module": module, "class_name": kind, "config": checked, "registered_name": None}
        return self.with_calls(new, value)

    def with_calls(self, new: Json, value: Json) -> Json:
        """Add what a functional model says of a layer: its name, and the tensors it is called on."""
        self.found.n_layers += 1
        if self.found.n_layers > MAX_LAYERS:
            raise self.error(f"at most {MAX_LAYERS:,} layers", "more")
        for part in ("name", "inbound_nodes"):
            if part in value:
                new[part] = self.value(part, value[part], in_call=True)
        return new

    def part(self, key: str, value: Any) -> Any:
        """Check one entry of a layer's configuration: most by their kind, some by their name."""
        if key.endswith(("regularizer", "constraint")):
            self.value(key, value)
            return None  # they steer training alone
        if key.endswith("initializer"):
            self.value(key, value)
            return None if value is None else _ZEROS  # the weights are in the file
        if key.endswith("activation") and isinstance(value, str) and value not in ACTIVATIONS:
            raise self.error("activations of Keras", self.shown(value))
        if key == "dtype" and isinstance(value, str):
            return self.dtype(value)
        if key in ("quantization_config", "lora_rank", "quantization_mode") and value not in (None, False):
            raise self.error("weights that are not quantized or adapted", f"{key} {self.shown(value)}")
        return self.value(key, value)

    def dtype(self, value: Any) -> str:
        """Return the type a layer computes in: single precision for every floating one but double."""
        if value in DTYPES:
            return "float64" if value == "float64" else "float32"
        if value in WHOLE_DTYPES:
            return str(value)
        raise self.error("layers of floating numbers", f"the type {self.shown(value)}")

    def function(self, value: Json) -> str:
        name, module, registered = (value.get(part) for part in ("config", "module", "registered_name"))
        if module not in FUNCTION_MODULES or name not in ACTIVATIONS or registered not in (None, "function", name):
            raise self.error("activations of Keras", self.shown(f"{module}.{name}"))
        return str(name)

    def input(self, config: Json) -> None:
        shape: Any = config.get("batch_shape")
        if config.get("sparse") or config.get("ragged"):
            raise self.error("dense inputs", "a sparse or ragged one")
        axes = [axis for axis in shape[1:] if axis is not None] if isinstance(shape, list) and shape else [-1]
        if not all(type(axis) is int and axis > 0 for axis in axes) or math.prod(axes) > MAX_INPUT:
            raise self.error(f"an input of at most {MAX_INPUT:,} numbers a sample", f"the shape {self.shown(shape)}")
        shape[0] = None  # any number of samples, whatever the model was saved with

    def model(self, value: Json, *, is_whole: bool = False) -> Json:
        """Check a Sequential or functional model, the whole one or one among its layers."""
        kind, config = value["class_name"], value.get("config")
        needed = {"name", "layers"} | (set() if kind == "Sequential" else {"input_layers", "output_layers"})
        if value.get("module") not in MODEL_MODULES or value.get("registered_name") not in (None, kind):
            raise self.error("a model of Keras itself", self.shown(value.get("registered_name") or value.get("module")))
        if not isinstance(config, dict) or not needed <= set(config) or not isinstance(config["layers"], list):
            raise self.error("a Sequential or functional model", "one that its configuration does not describe")
        checked: Json = {part: self.value(part, config[part], in_call=True) for part in needed - {"layers"}}
        checked["layers"] = [self.layer(item) for item in config["layers"]]
        if kind == "Sequential" and isinstance(config.get("build_input_shape"), list):
            shape = self.value("build_input_shape", config["build_input_shape"])
            self.input({"batch_shape": shape})
            checked["build_input_shape"] = shape
        if is_whole:
            self.found.inputs = _inputs(kind, checked)
        new: Json = {"module": "keras", "class_name": MODELS[kind], "config": checked, "registered_name": None}
        return self.with_calls(new, value)

    def layer(self, value: Any) -> Any:
        if not isinstance(value, dict) or "class_name" not in value:
            raise self.error("a list of layers", self.shown(value))
        return self.named(value)


def _inputs(kind: str, config: Mapping[str, Any]) -> list[tuple[tuple[int | None, ...], str]]:
    """Return shape and type of each input of a checked model."""
    entries = [layer for layer in config["layers"] if layer["class_name"] == "InputLayer"]
    found = [
        (tuple(entry["config"].get("batch_shape") or ()), str(entry["config"].get("dtype", "float32")))
        for entry in entries
    ]
    if not found and kind == "Sequential" and config.get("build_input_shape"):
        found = [(tuple(config["build_input_shape"]), "float32")]
    if not found and kind == "Sequential" and config["layers"] and "layers" in config["layers"][0]["config"]:
        first = config["layers"][0]
        return _inputs(first["class_name"], first["config"])
    return found
