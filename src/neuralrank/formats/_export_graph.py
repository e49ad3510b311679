"""The JSON graph of a `.pt2` file → a list of steps, every name, argument and operator checked.

Only values and references to earlier values can be arguments; sub-graphs, custom objects and operators as values
are refused.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._export_operators import (
    CHECKS,
    IN_PLACE,
    TRAINING_FLAGS,
    aten_name,
    is_allowed,
)

SCHEMA_MAJOR = 8
MAX_STEPS = 1_000_000
MAX_NAME = 1_000
REFERENCES = {"as_tensor": "name", "as_sym_int": "as_name", "as_sym_float": "as_name", "as_sym_bool": "as_name"}
LISTS = {
    "as_tensors": "as_tensor",
    "as_sym_ints": "as_sym_int",
    "as_sym_floats": "as_sym_float",
    "as_sym_bools": "as_sym_bool",
}
LITERALS: Mapping[str, tuple[type, ...]] = {
    "as_int": (int,),
    "as_float": (float, int),
    "as_bool": (bool,),
    "as_string": (str,),
}
CODES = ("as_scalar_type", "as_memory_format", "as_layout")
SPECIAL_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


@dataclass(frozen=True)
class Reference:
    """A value of an earlier step, by name."""

    name: str


@dataclass(frozen=True)
class Code:
    """A number that stands for a type, a memory format or a layout of torch."""

    kind: str
    value: int


@dataclass(frozen=True)
class Here:
    """The device that the program runs on, whatever it was exported for."""


@dataclass(frozen=True, kw_only=True)
class StoredInput:
    """A value that comes from the archive: the tensor `target`."""

    name: str
    target: str


@dataclass(frozen=True, kw_only=True)
class UserInput:
    """A value that comes from the user; an axis is None where it may have any length."""

    name: str
    kind: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of an operator."""

    target: str
    positional: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    """One name per result; "" for a result that nobody uses."""
    gives_list: bool

    def references(self) -> tuple[str, ...]:
        """List the values it reads."""
        return tuple(_references((*self.positional, *(value for _, value in self.named))))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A checked graph."""

    stored_inputs: tuple[StoredInput, ...]
    constant_inputs: Mapping[str, Any]
    user_inputs: tuple[UserInput, ...]
    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    """The user's name of each output tensor → its name in the graph, in order."""
    output_shapes: Mapping[str, tuple[int | None, ...]]
    """Shape of each output by its name in the graph; an axis is None where it may have any length."""


def parse_program(file: str, document: Mapping[str, Any]) -> Program:
    """Check one `models/NAME.json`.

    Raises:
        ModelError: the schema is another one, or a step is not a call of a known operator on values.
    """
    version = document.get("schema_version")
    major = version.get("major") if isinstance(version, dict) else None
    if major != SCHEMA_MAJOR:
        raise ModelError(
            f"{file} needs schema {SCHEMA_MAJOR} of torch.export. Got {major!r}. "
            "Load it where you trust it, and save it again with a current torch."
        )
    try:
        return _Parser(file, document["graph_module"]).program()
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} needs a graph as torch.export.save writes it. Got another one. Export it again."
        ) from error


class _Parser:
    """Reads the graph in order and knows which values exist so far."""

    def __init__(self, file: str, module: Mapping[str, Any]) -> None:
        self.file = file
        self.graph: Mapping[str, Any] = module["graph"]
        self.signature: Mapping[str, Any] = module["signature"]
        self.calls: list[Mapping[str, Any]] = module["module_call_graph"]
        self.known: set[str] = set()
        self.fixed: set[str] = set()
        """Values that come from outside the graph: weights, constants and user inputs."""

    def program(self) -> Program:
        stored: list[StoredInput] = []
        constants: dict[str, Any] = {}
        users: list[UserInput] = []
        for spec in self.signature["input_specs"]:
            self._input(spec, stored, constants, users)
        self.fixed = set(self.known)
        nodes = self.graph["nodes"]
        if len(nodes) > MAX_STEPS:
            raise self._refused(f"at most {MAX_STEPS} steps", str(len(nodes)))
        steps = [step for step in map(self._step, nodes) if step is not None]
        outputs = self._outputs()
        return Program(
            stored_inputs=tuple(stored),
            constant_inputs=constants,
            user_inputs=tuple(users),
            steps=tuple(steps),
            outputs=outputs,
            output_shapes={name: self._shape(name) for name in outputs.values()},
        )

    def _refused(self, need: str, got: str) -> ModelError:
        return ModelError(f"{self.file} needs {need}. Got {got[:200]}. Export the model again for inference.")

    def _define(self, name: Any) -> str:
        if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_NAME or name in self.known:
            raise self._refused("a new plain name for every value", repr(name))
        self.known.add(name)
        return name

    def _use(self, name: Any) -> Reference:
        if name not in self.known:
            raise self._refused("steps that use earlier values", repr(name))
        return Reference(str(name))

    def _input(
        self, spec: Mapping[str, Any], stored: list[StoredInput], constants: dict[str, Any], users: list[UserInput]
    ) -> None:
        kind, body = _only_item(spec)
        key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}.get(
            kind
        )
        if key is not None:
            stored.append(StoredInput(name=self._define(body["arg"]["name"]), target=str(body[key])))
        elif kind == "constant_input":
            constants[self._define(body["name"])] = _only_item(body["value"])[1]
        elif kind == "user_input" and _only_item(body["arg"])[0] == "as_tensor":
            name = self._define(_only_item(body["arg"])[1]["name"])
            kind = self.graph["tensor_values"][name]["dtype"]
            users.append(UserInput(name=name, kind=kind, shape=self._shape(name)))
        elif kind == "user_input" and _only_item(body["arg"])[0] in (*LITERALS, "as_none"):
            return
        else:
            raise self._refused("tensors as inputs", f"an input of the kind {kind!r}")

    def _shape(self, name: str) -> tuple[int | None, ...]:
        # a length that is an expression is one that the program leaves open; the expression is not read
        return tuple(size.get("as_int") for size in self.graph["tensor_values"][name]["sizes"])

    def _step(self, node: Mapping[str, Any]) -> Step | None:
        target = node["target"]
        if isinstance(target, str) and target.startswith(CHECKS):
            return None
        if not isinstance(target, str) or not is_allowed(target):
            raise ModelError(
                f"{self.file} needs operators that are known to be safe. Got {str(target)[:200]!r}. "
                "Export the model for inference with the operators of torch alone, or use ONNX."
            )
        positional, named = [], []
        for argument in node["inputs"]:
            value = self._argument(argument["arg"])
            if argument.get("kind") == 2:
                named.append((str(argument["name"]), value))
            else:
                positional.append(value)
            self._refuse_training(target, argument["name"], value)
        name = aten_name(target)
        if name is not None and name[0] in IN_PLACE and (not positional or positional[0] in map(Reference, self.fixed)):
            raise self._refused("steps that leave inputs and weights as they are", target)
        outputs, gives_list = self._results(node["outputs"])
        return Step(
            target=target,
            positional=tuple(positional),
            named=tuple(named),
            outputs=outputs,
            gives_list=gives_list,
        )

    def _refuse_training(self, target: str, argument: str, value: Any) -> None:
        name = aten_name(target)
        if name is not None and value is True and TRAINING_FLAGS.get(name[0]) == argument:
            raise ModelError(
                f"{self.file} needs a program exported for inference. Got {name[0]!r} in training mode. "
                "Call model.eval() before torch.export.export."
            )

    def _results(self, outputs: list[Mapping[str, Any]]) -> tuple[tuple[str, ...], bool]:
        kinds = [_only_item(output) for output in outputs]
        if len(kinds) == 1 and kinds[0][0] == "as_tensors":
            return tuple(self._define(item["name"]) for item in kinds[0][1]), True
        names = []
        for kind, body in kinds:
            if kind == "as_none":
                names.append("")
            elif kind in REFERENCES:
                names.append(self._define(body[REFERENCES[kind]]))
            else:
                raise self._refused("steps that give tensors or numbers", f"a result of the kind {kind!r}")
        return tuple(names), len(names) > 1

    def _argument(self, argument: Mapping[str, Any]) -> Any:
        """Return a literal, a Reference, a Code, Here, or a list of those."""
        kind, body = _only_item(argument)
        if kind == "as_none":
            return None
        if kind == "as_device":
            return Here()
        if kind in CODES and type(body) is int:
            return Code(kind, body)
        if kind in LITERALS:
            return _literal(kind, body)
        if kind in REFERENCES:
            if kind != "as_tensor" and REFERENCES[kind] not in body:
                return _literal(*_only_item(body))
            return self._use(body[REFERENCES[kind]])
        if kind in ("as_ints", "as_floats", "as_bools"):
            return [_literal(kind.removesuffix("s"), item) for item in body]
        if kind in LISTS:
            return [self._argument({LISTS[kind]: item}) for item in body]
        if kind == "as_optional_tensors":
            return [self._argument(item) for item in body]
        if kind == "as_optional_tensor":
            return self._argument(body)
        raise self._refused("plain values as arguments", f"one of the kind {kind!r}")

    def _outputs(self) -> Mapping[str, str]:
        graph_names = []
        for spec in self.signature["output_specs"]:
            kind, body = _only_item(spec)
            if kind != "user_output":
                raise self._refused("a program that only computes outputs", f"an output of the kind {kind!r}")
            inner, value = _only_item(body["arg"])
            graph_names.append(self._use(value["name"]).name if inner == "as_tensor" else "")
        shown = _output_names(self.calls, len(graph_names))
        return {name: graph_name for name, graph_name in zip(shown, graph_names, strict=True) if graph_name}


def _only_item(union: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, body),) = union.items()
    return str(kind), body


def _literal(kind: str, body: Any) -> Any:
    if kind == "as_float" and body in SPECIAL_FLOATS:
        return SPECIAL_FLOATS[body]
    if kind not in LITERALS or type(body) not in LITERALS[kind]:
        raise ValueError(kind)
    return float(body) if kind == "as_float" else body


def _output_names(calls: list[Mapping[str, Any]], n: int) -> tuple[str, ...]:
    """Return the keys of a dictionary that the program returns, else 'output', or 'output_0' and so on."""
    plain = ("output",) if n == 1 else tuple(f"output_{index}" for index in range(n))
    signature = calls[0].get("signature") if calls else None
    try:
        tree = json.loads(signature["out_spec"])[1] if signature else {}
        keys = json.loads(tree["context"]) if tree.get("type") == "builtins.dict" else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return plain
    named = isinstance(keys, list) and len(keys) == n == len(set(map(str, keys)))
    return tuple(map(str, keys)) if named and keys else plain


def _references(values: tuple[Any, ...] | list[Any]) -> list[str]:
    found = []
    for value in values:
        if isinstance(value, Reference):
            found.append(value.name)
        elif isinstance(value, list):
            found.extend(_references(value))
    return found
