"""The code of a TorchScript archive → checked functions: a small subset of Python's grammar, and known operators only.

The text is parsed with Python's own parser, which runs nothing. Each function is checked whole, branches that are
never taken included, before its first line is carried out by `_script_runner.py`.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._script_archive import CUSTOM, ScriptArchive
from neuralrank.formats._script_operators import BUILT_IN, known

STATEMENTS = (ast.Assign, ast.AnnAssign, ast.Expr, ast.If, ast.While, ast.For, ast.Return, ast.Pass)
EXPRESSIONS = (
    ast.Constant,
    ast.Name,
    ast.Attribute,
    ast.Call,
    ast.keyword,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Subscript,
    ast.UnaryOp,
    ast.USub,
    ast.Load,
    ast.Store,
)
MANGLED = re.compile(r"___torch_mangle_\d+")
"""Part of the name of a class or function of which there are several."""
MARKERS = ("annotate", "unchecked_cast", "uninitialized")
"""Calls that only say a type; it is not looked at, here or when the code is carried out."""
RUN_AT_LOAD = ("__setstate__", "__getstate__")


@dataclass(frozen=True, eq=False)
class ScriptFunction:
    """One function or method, checked."""

    name: str
    parameters: tuple[str, ...]
    defaults: Mapping[str, ast.expr]
    body: list[ast.stmt]


@dataclass(frozen=True)
class ScriptClass:
    """One class: its methods; its fields in order where it is a named tuple; its members where it is an enumeration."""

    methods: Mapping[str, ast.FunctionDef]
    fields: tuple[str, ...] | None
    members: Mapping[str, Any] = field(default_factory=dict)


class ScriptCode:
    """The functions and classes of one archive, each file parsed when it is first asked for."""

    def __init__(self, archive: ScriptArchive) -> None:
        self.file = archive.path.name
        self._archive = archive
        self._modules: dict[str, tuple[Mapping[str, ast.FunctionDef], Mapping[str, ScriptClass]]] = {}
        self._checked: dict[str, ScriptFunction] = {}
        for item in archive.objects():
            names = self.get_class(item.class_name).methods
            found = next((name for name in RUN_AT_LOAD if name in names), None)
            if found is not None:
                raise self.refused("modules that are stored by their attributes", f"{item.class_name!r} with {found}")

    def get_class(self, qualified: str) -> ScriptClass:
        """Return the class of that name."""
        module, _, name = qualified.rpartition(".")
        found = self._module(module)[1].get(name)
        if found is None or qualified.startswith(CUSTOM):
            raise self.refused("the code of every class it uses", f"none for {qualified[:100]!r}")
        return found

    def find_class(self, qualified: str) -> ScriptClass | None:
        """Return the class of that name, None if there is none."""
        module, _, name = qualified.rpartition(".")
        return self._module(module)[1].get(name) if self._archive.code(module) is not None else None

    def get_method(self, class_name: str, method: str) -> ScriptFunction:
        """Return a checked method."""
        definition = self.get_class(class_name).methods.get(method)
        if definition is None:
            raise self.refused("the code of every method it calls", f"none for {class_name}.{method}"[:200])
        return self._function(f"{class_name}.{method}", definition)

    def get_function(self, qualified: str) -> ScriptFunction:
        """Return a checked function that is no method."""
        module, _, name = qualified.rpartition(".")
        definition = self._module(module)[0].get(name)
        if definition is None:
            raise self.refused("the code of every function it calls", f"none for {qualified[:100]!r}")
        return self._function(qualified, definition)

    def refused(self, need: str, got: str) -> ModelError:
        """Return the error for code that is not carried out."""
        return ModelError(
            f"{self.file} needs {need}. Got {got}. Save the model for inference, made of the modules and operators of "
            "torch alone, or export it to ONNX."
        )

    def _module(self, module: str) -> tuple[Mapping[str, ast.FunctionDef], Mapping[str, ScriptClass]]:
        if module not in self._modules:
            text = self._archive.code(module)
            if text is None:
                raise self.refused("the code of all its modules", f"none for {module[:100]!r}")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise self.refused("code as torch.jit.save writes it", f"other text in {module[:100]!r}") from error
            functions = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
            classes = {item.name: _class(item) for item in tree.body if isinstance(item, ast.ClassDef)}
            self._modules[module] = functions, classes
        return self._modules[module]

    def _function(self, qualified: str, definition: ast.FunctionDef) -> ScriptFunction:
        if qualified not in self._checked:
            arguments = definition.args
            plain = not (arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs)
            if not plain or definition.decorator_list:
                raise self.refused("plain functions", f"{qualified[:100]!r} with other parameters")
            parameters = tuple(argument.arg for argument in arguments.args)
            n_defaults = len(arguments.defaults)
            defaults = dict(zip(parameters[len(parameters) - n_defaults :], arguments.defaults, strict=True))
            for value in defaults.values():
                self._expression(value)
            self._block(definition.body)
            self._checked[qualified] = ScriptFunction(qualified, parameters, defaults, definition.body)
        return self._checked[qualified]

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if not isinstance(statement, STATEMENTS):
                raise self._unknown(statement)
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    self._target(target)
                self._expression(statement.value)
            elif isinstance(statement, ast.AnnAssign):
                self._target(statement.target)
                self._expression(statement.value or ast.Constant(None))
            elif isinstance(statement, ast.For):
                self._target(statement.target)
                self._expression(statement.iter)
            elif isinstance(statement, ast.If | ast.While):
                self._expression(statement.test)
            elif isinstance(statement, ast.Expr | ast.Return) and statement.value is not None:
                self._expression(statement.value)
            if isinstance(statement, ast.If | ast.While | ast.For):
                self._block(statement.body)
                self._block(statement.orelse)

    def _target(self, target: ast.expr) -> None:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        if not all(isinstance(part, ast.Name | ast.Attribute) for part in parts):
            raise self._unknown(target)

    def _expression(self, node: ast.expr) -> None:
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if not isinstance(part, EXPRESSIONS):
                raise self._unknown(part)
            if isinstance(part, ast.Attribute) and part.attr.startswith("__") and not MANGLED.fullmatch(part.attr):
                raise self._unknown(part)
            if isinstance(part, ast.Call):
                waiting += self._call(part)
            else:
                waiting += ast.iter_child_nodes(part)

    def _call(self, call: ast.Call) -> list[ast.AST]:
        """Check what is called, and return the parts that are yet to be checked."""
        inner: list[ast.AST] = [*call.args, *call.keywords]
        name = dotted(call.func)
        if name is None:
            return [call.func, *inner]  # a method of a module
        space, _, last = name.rpartition(".")
        if space in ("torch", "ops.prim", "ops.aten"):
            if not known(space.removeprefix("ops."), last):
                raise self._unsafe(name)
        elif name.startswith(("ops.", "torch.", "CONSTANTS.")):
            raise self._unsafe(name)
        elif name in MARKERS:
            return inner[1:]
        elif name == "getattr":
            if len(inner) != 2 or not isinstance(inner[1], ast.Constant):
                raise self._unsafe(name)
        elif "." not in name and name not in BUILT_IN and not name.startswith("_"):
            # torch names the functions it calls through by _0, _1 and so on
            raise self._unsafe(name)
        return inner

    def _unsafe(self, name: str) -> ModelError:
        return self.refused("operators that are known to be safe", repr(name[:100]))

    def _unknown(self, node: ast.AST) -> ModelError:
        line = f" in line {node.lineno}" if isinstance(node, ast.expr | ast.stmt) else ""
        return self.refused("code as torch.jit.save writes it", f"{type(node).__name__}{line}")


def dotted(node: ast.expr) -> str | None:
    """Return `a.b.c` for such an expression, None for any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _class(definition: ast.ClassDef) -> ScriptClass:
    methods = {item.name: item for item in definition.body if isinstance(item, ast.FunctionDef)}
    targets = [item.target for item in definition.body if isinstance(item, ast.AnnAssign)]
    named = [target.id for target in targets if isinstance(target, ast.Name)]
    bases = [base.id for base in definition.bases if isinstance(base, ast.Name)]
    members: dict[str, Any] = {}
    if "Enum" in bases:
        for item in definition.body:
            if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
                members.update((target.id, item.value.value) for target in item.targets if isinstance(target, ast.Name))
    return ScriptClass(methods, tuple(named) if "NamedTuple" in bases else None, members)
