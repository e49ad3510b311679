"""Carry out the checked code of a TorchScript archive, line by line, with the named operators of torch.

Values are tensors, numbers, texts, lists and the archive's own modules. No Python object is reached by a name in the
file: an attribute is a key of a module's dictionary, and what is called is a function of the archive or an operator of
the tables in `_script_operators.py`.
"""

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._script_archive import ScriptArchive, ScriptEnum, ScriptObject
from neuralrank.formats._script_code import ScriptCode, ScriptFunction, dotted
from neuralrank.formats._script_operators import (
    ALWAYS_PLAIN,
    BUILT_IN,
    MAX_INTEGER,
    NEVER_RUN,
    OF_LISTS,
    OVERWRITING,
    PLAIN,
    PRIM,
    TENSOR,
    TRAINING_ARGUMENT,
    TYPES,
    WITH_NUMBERS,
)
from neuralrank.formats._script_weights import load_weights
from neuralrank.formats._torch_module import one_line

if TYPE_CHECKING:
    import torch

MAX_CALLS = 150
FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
)
"""What torch and arithmetic raise on values that do not fit; RecursionError is a RuntimeError."""


@dataclass(frozen=True)
class FunctionName:
    """A function of the archive as a value."""

    name: str


@dataclass(frozen=True)
class NamedValues:
    """A named tuple of the archive."""

    fields: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(eq=False)
class Frame:
    """One call: the local values, and the module it belongs to."""

    function: ScriptFunction
    path: str
    depth: int
    values: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of an operator of torch, where in the code it stands, and its result."""

    name: str
    frame: Frame
    node: ast.Call
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    result: Any


@dataclass(eq=False)
class Pass:
    """What to look at during one pass, and what was seen."""

    modules: Collection[str] | None = ()
    """Paths of the modules whose output is kept; None for all."""
    on_operator: Callable[[Operation], None] | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    changeable: dict[tuple[int, str], Any] = field(default_factory=dict)
    """Lists and dictionaries of modules, copied so that what one pass puts into them ends with it."""


class ScriptRunner:
    """One archive with its weights in memory, ready to run."""

    def __init__(self, archive: ScriptArchive, device: "torch.device") -> None:
        self.file = archive.path.name
        self.device = device
        self.code = ScriptCode(archive)
        weights = load_weights(archive, device)
        self.root = weights.root
        self.constants = weights.constants
        self.weights = weights.named
        self.channels_last = weights.has_convolutions
        self._fixed = weights.storages
        self._operators: dict[str, Callable[..., Any]] = {}
        self._pass = Pass()
        self.forward = self.code.get_method(self.root.class_name, "forward")

    def run(self, values: "torch.Tensor", look: Pass) -> Any:
        """Compute the output for one batch.

        Raises:
            ModelError: a step fails, or is one that is not carried out.
        """
        import torch

        self._pass = look
        try:
            with torch.inference_mode():
                return self._invoke(self.forward, self.root.path, [self.root, values.clone()], {}, 0)
        except FAILURES as error:
            raise ModelError(
                f"{self.file} could not run a batch. Got {one_line(error)!r}. Check the input_size of its card, or "
                "save the model again."
            ) from error

    # --- calls -----------------------------------------------------------------------------------------------------

    def _invoke(
        self, function: ScriptFunction, path: str, arguments: list[Any], named: Mapping[str, Any], depth: int
    ) -> Any:
        if depth > MAX_CALLS or len(arguments) > len(function.parameters):
            raise self.code.refused("calls that fit, at most 150 deep", f"another one of {function.name[:100]!r}")
        frame = Frame(function, path, depth, dict(zip(function.parameters, arguments, strict=False)))
        for name in function.parameters[len(arguments) :]:
            if name in named:
                frame.values[name] = named[name]
            elif name in function.defaults:
                frame.values[name] = self._value(function.defaults[name], frame)
        result = self._block(function.body, frame)
        return result[0] if result else None

    def _call(self, node: ast.Call, frame: Frame) -> Any:
        name = dotted(node.func)
        space, _, last = (name or "").rpartition(".")
        if name == "annotate" or name == "unchecked_cast":
            return self._value(node.args[1], frame)
        if name == "uninitialized":
            return None
        arguments = [self._value(argument, frame) for argument in node.args]
        named = {str(keyword.arg): self._value(keyword.value, frame) for keyword in node.keywords}
        if space in ("torch", "ops.aten"):
            return self._operator(last, node, frame, tuple(arguments), named)
        if space == "ops.prim":
            return self._language(last, arguments)
        if name is not None and name.startswith("__torch__."):
            return self._function(name, frame, arguments, named)
        if isinstance(node.func, ast.Name):
            return self._named_call(node.func.id, frame, arguments, named)
        if not isinstance(node.func, ast.Attribute):
            raise self.code.refused("calls of functions by name", "another one")
        return self._method(self._value(node.func.value, frame), node.func.attr, frame, arguments, named)

    def _named_call(self, name: str, frame: Frame, arguments: list[Any], named: Mapping[str, Any]) -> Any:
        held = frame.values.get(name)
        if isinstance(held, FunctionName):
            return self._function(held.name, frame, arguments, named)
        if name == "getattr" and len(arguments) == 2:
            return self._attribute(arguments[0], arguments[1])
        if name in BUILT_IN:
            return self._counted(BUILT_IN[name](*arguments))
        raise self.code.refused("operators that are known to be safe", repr(name[:100]))

    def _function(self, name: str, frame: Frame, arguments: list[Any], named: Mapping[str, Any]) -> Any:
        made = self.code.find_class(name)
        if made is not None and made.fields is not None:
            return NamedValues(made.fields, tuple(arguments))
        return self._invoke(self.code.get_function(name), frame.path, arguments, named, frame.depth + 1)

    def _method(self, target: Any, method: str, frame: Frame, arguments: list[Any], named: Mapping[str, Any]) -> Any:
        if not isinstance(target, ScriptObject):
            raise self.code.refused("methods of modules", f"{method[:100]!r} of another value")
        function = self.code.get_method(target.class_name, method)
        result = self._invoke(function, target.path, [target, *arguments], named, frame.depth + 1)
        wanted = self._pass.modules
        if method == "forward" and (wanted is None or target.path in wanted):
            self._pass.outputs[target.path] = kept(result)
        return result

    def _language(self, name: str, arguments: list[Any]) -> Any:
        import torch

        if name == "RaiseException":
            said = str(arguments[0])[:200] if arguments else "an exception"
            raise ModelError(f"{self.file} does not take such a batch. Got {said!r}. Use it on other data.")
        if name == "NumToTensor":
            return torch.tensor(arguments[0])
        return self._counted(PRIM[name](*arguments))

    def _operator(
        self, name: str, node: ast.Call, frame: Frame, arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Any:
        import torch

        if name == "device":
            return self.device
        with_tensor = any(_has_tensor(value) for value in (*arguments, *named.values()))
        if name in ALWAYS_PLAIN:
            return self._counted(ALWAYS_PLAIN[name](*arguments))
        of_lists = name in OF_LISTS and bool(arguments) and isinstance(arguments[0], list | dict)
        if of_lists or (name in PLAIN and not with_tensor):
            return self._counted(PLAIN[name](*arguments, **named))
        self._check_step(name, arguments)
        if name in WITH_NUMBERS:  # a tensor of one number is taken for it there
            arguments = tuple(value.item() if isinstance(value, torch.Tensor) else value for value in arguments)
        elif not with_tensor:  # torch would choose among operators on numbers, complex ones included
            raise TypeError(f"{name} of plain numbers")
        if name == "tensor":
            return _new_tensor(arguments[0], **named)
        if name not in self._operators:
            # a view of a tensor whose axes lie in another order in memory needs the copy that reshape makes
            self._operators[name] = getattr(torch.ops.aten, "reshape" if name == "view" else name)
        result = self._operators[name](*arguments, **named)
        if self._pass.on_operator is not None:
            self._pass.on_operator(Operation(name, frame, node, arguments, named, result))
        return result

    def _check_step(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name not in TENSOR and name not in OVERWRITING and name not in NEVER_RUN:
            # the code was checked for this before; what is called is decided here
            raise self.code.refused("operators that are known to be safe", repr(f"torch.{name}"[:100]))
        if name in NEVER_RUN:
            raise self.code.refused("a program that gives the same numbers each time", f"the operator {name!r}")
        if name in OVERWRITING and arguments[0].untyped_storage().data_ptr() in self._fixed:
            raise self._not_for_inference(f"{name!r}, which overwrites a weight")
        place = TRAINING_ARGUMENT.get(name, len(arguments))
        if place < len(arguments) and arguments[place] is True and arguments[1:2] != (0.0,):
            raise self._not_for_inference(f"{name!r} in training mode")

    def _not_for_inference(self, got: str) -> ModelError:
        return ModelError(
            f"{self.file} needs a program saved for inference. Got {got}. "
            "Call model.eval() before torch.jit.trace or torch.jit.script."
        )

    def _counted(self, value: Any) -> Any:
        """Return a value of the language, whose whole numbers have 64 bits."""
        if type(value) is int and not -MAX_INTEGER <= value < MAX_INTEGER:
            raise OverflowError("a whole number of more than 64 bits")
        return value

    # --- statements ------------------------------------------------------------------------------------------------

    def _block(self, body: list[ast.stmt], frame: Frame) -> tuple[Any] | None:
        """Carry out statements; return a tuple of the value where one of them returns."""
        for statement in body:
            result = self._statement(statement, frame)
            if result is not None:
                return result
        return None

    def _statement(self, statement: ast.stmt, frame: Frame) -> tuple[Any] | None:
        if isinstance(statement, ast.Assign):
            value = self._value(statement.value, frame)
            for target in statement.targets:
                self._assign(target, value, frame)
        elif isinstance(statement, ast.AnnAssign):
            if statement.value is not None:
                self._assign(statement.target, self._value(statement.value, frame), frame)
        elif isinstance(statement, ast.Expr):
            self._value(statement.value, frame)
        elif isinstance(statement, ast.Return):
            return (None if statement.value is None else self._value(statement.value, frame),)
        elif isinstance(statement, ast.If):
            return self._block(statement.body if self._value(statement.test, frame) else statement.orelse, frame)
        elif isinstance(statement, ast.While):
            while self._value(statement.test, frame):
                result = self._block(statement.body, frame)
                if result is not None:
                    return result
        elif isinstance(statement, ast.For):
            for value in self._value(statement.iter, frame):
                self._assign(statement.target, value, frame)
                result = self._block(statement.body, frame)
                if result is not None:
                    return result
        return None

    def _assign(self, target: ast.expr, value: Any, frame: Frame) -> None:
        if isinstance(target, ast.Name):
            frame.values[target.id] = value
        elif isinstance(target, ast.Tuple):
            values = value.values if isinstance(value, NamedValues) else value
            if not isinstance(values, list | tuple):
                raise TypeError("a value that cannot be taken apart")
            for part, item in zip(target.elts, values, strict=True):
                self._assign(part, item, frame)
        else:
            raise self.code.refused("modules that stay as they are", "one that stores a value during a pass")

    # --- expressions -----------------------------------------------------------------------------------------------

    def _value(self, node: ast.expr, frame: Frame) -> Any:
        if isinstance(node, ast.Name):
            value = frame.values[node.id] if node.id in frame.values else _number(node.id)
        elif isinstance(node, ast.Constant):
            value = node.value
        elif isinstance(node, ast.Call):
            value = self._call(node, frame)
        elif isinstance(node, ast.Attribute):
            value = self._dotted(node, frame)
        elif isinstance(node, ast.List):
            value = [self._value(item, frame) for item in node.elts]
        elif isinstance(node, ast.Tuple):
            value = tuple(self._value(item, frame) for item in node.elts)
        elif isinstance(node, ast.Subscript):
            value = self._item(self._value(node.value, frame), self._value(node.slice, frame))
        elif isinstance(node, ast.UnaryOp):
            value = -self._value(node.operand, frame)
        elif isinstance(node, ast.Dict):
            pairs = [(key, item) for key, item in zip(node.keys, node.values, strict=True) if key is not None]
            value = {self._value(key, frame): self._value(item, frame) for key, item in pairs}
        else:
            raise self.code.refused("code as torch.jit.save writes it", type(node).__name__)
        return value

    def _dotted(self, node: ast.Attribute, frame: Frame) -> Any:
        name = dotted(node)
        if name is not None and name.startswith("__torch__."):
            return self._named_value(name)
        if name is not None and name.startswith("CONSTANTS.c"):
            return self.constants[int(name.removeprefix("CONSTANTS.c"))]
        return self._attribute(self._value(node.value, frame), node.attr)

    def _named_value(self, name: str) -> ScriptEnum | FunctionName:
        class_name, _, member = name.rpartition(".")
        made = self.code.find_class(class_name)
        if made is not None and member in made.members:
            return ScriptEnum(class_name, made.members[member])
        return FunctionName(name)

    def _attribute(self, target: Any, name: str) -> Any:
        if isinstance(target, NamedValues):
            return target.values[target.fields.index(name)]
        if isinstance(target, ScriptEnum) and name == "value":
            return target.value
        if not isinstance(target, ScriptObject) or name not in target.attributes:
            raise self.code.refused("attributes that its modules have", repr(name)[:100])
        value = target.attributes[name]
        if not isinstance(value, list | dict):
            return value
        return self._pass.changeable.setdefault((id(target), name), type(value)(value))

    def _item(self, target: Any, key: Any) -> Any:
        if isinstance(target, NamedValues):
            return target.values[key]
        if not isinstance(target, list | tuple | dict | str):
            raise TypeError("an index into a value that has no items")
        return target[key]


def kept(value: Any) -> Any:
    """Return a copy of a tensor, or of the first of several: a later step may overwrite it in place."""
    import torch

    if isinstance(value, NamedValues):
        value = value.values
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return value.clone() if isinstance(value, torch.Tensor) else value


def _new_tensor(value: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    """Make a tensor of numbers; left to itself, torch would take any number for a truth value here."""
    import torch

    kind = getattr(torch, TYPES[dtype]) if type(dtype) is int else dtype
    return torch.tensor(value, dtype=kind, device=device)


def _number(name: str) -> float:
    if name not in ("inf", "nan"):
        raise KeyError(name)
    return float(name)


def _has_tensor(value: Any) -> bool:
    import torch

    if isinstance(value, list | tuple):
        return any(isinstance(item, torch.Tensor) for item in value)
    return isinstance(value, torch.Tensor)
