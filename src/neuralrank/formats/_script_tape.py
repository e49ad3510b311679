"""One pass of a TorchScript program written down as a list of steps, to find features and logits as in `.pt2` files.

A step is named by the module it runs in, its place in the text, and how often that place was reached: the same value
is found again in a later pass, however many samples it has.
"""

import ast
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._export_graph import Program, Reference, Step, StoredInput, UserInput
from neuralrank.formats._script_runner import Frame, NamedValues, Operation, Pass, ScriptRunner, kept

if TYPE_CHECKING:
    import torch

FLOAT = 7
SAME = {"_convolution": "convolution"}
"""Operators that go by another name in `.pt2` programs."""


class Tape:
    """Every operator of one pass that gives tensors, and the outputs of the modules."""

    def __init__(self, runner: ScriptRunner, values: "torch.Tensor") -> None:
        from torch.utils.weak import WeakIdKeyDictionary

        self._names: Any = WeakIdKeyDictionary()
        self._seen: Counter[str] = Counter()
        self._steps: list[Step] = []
        self._shape = tuple(values.shape[1:])
        for name, weight in runner.weights.items():
            self._names[weight] = name
        look = Pass(modules=None, on_operator=self._write)
        result = runner.run(values, look)
        self.modules: Mapping[str, Any] = look.outputs
        self.outputs: Mapping[str, Any] = named_outputs(result)
        self.weights = {name: tuple(weight.shape) for name, weight in runner.weights.items()}

    def program(self) -> Program:
        """Return the pass as a program of which each output has its name."""
        names = {name: self._names.get(value, "") for name, value in self.outputs.items()}
        return Program(
            stored_inputs=tuple(StoredInput(name=name, target=name) for name in self.weights),
            constant_inputs={},
            user_inputs=(UserInput(name="", kind=FLOAT, shape=(None, *self._shape)),),
            steps=tuple(self._steps),
            outputs={name: value for name, value in names.items() if value},
            output_shapes={names[name]: (None, *value.shape[1:]) for name, value in self.outputs.items()},
        )

    def _write(self, step: Operation) -> None:
        step_name = site(step.frame, step.node, self._seen)
        inputs = tuple(map(self._argument, step.arguments))
        keywords = tuple((name, self._argument(value)) for name, value in step.named.items())
        results = step.result if isinstance(step.result, list | tuple) else [step.result]
        outputs = tuple(
            self._define(value, step_name if len(results) == 1 else f"{step_name}.{index}")
            for index, value in enumerate(results)
        )
        if any(outputs):
            target = f"torch.ops.aten.{SAME.get(step.name, step.name)}.default"
            self._steps.append(
                Step(target=target, positional=inputs, named=keywords, outputs=outputs, gives_list=len(outputs) > 1)
            )

    def _define(self, value: Any, name: str) -> str:
        import torch

        if not isinstance(value, torch.Tensor):
            return ""
        self._names[value] = name
        return name

    def _argument(self, value: Any) -> Any:
        import torch

        if isinstance(value, list | tuple):
            return [self._argument(item) for item in value]
        if isinstance(value, torch.Tensor):
            return Reference(self._names.get(value, ""))
        return value


class Catch:
    """Keeps the values of some steps during one pass."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.values: dict[str, Any] = {}
        self._wanted = frozenset(wanted)
        self._places = {_place_of(name) for name in wanted}
        self._seen: Counter[str] = Counter()

    def __call__(self, step: Operation) -> None:
        """Look at the result of one operator."""
        frame, node, result = step.frame, step.node, step.result
        if (node.lineno, node.col_offset) not in self._places:
            return
        name = site(frame, node, self._seen)
        if name in self._wanted:
            self.values[name] = kept(result)
        elif isinstance(result, list | tuple):
            for index, value in enumerate(result):
                if f"{name}.{index}" in self._wanted:
                    self.values[f"{name}.{index}"] = kept(value)


def site(frame: Frame, node: ast.Call, seen: Counter[str]) -> str:
    """Return the name of a step, and count that its place was reached."""
    place = f"{frame.path}|{frame.function.name}|{node.lineno}|{node.col_offset}"
    seen[place] += 1
    return f"{place}|{seen[place]}"


def named_outputs(result: Any) -> "dict[str, torch.Tensor]":
    """Return the tensors that a program returns: by its keys, else as 'output', or 'output_0' and so on.

    Raises:
        ModelError: there is none.
    """
    import torch

    if isinstance(result, dict):
        named = {str(key): value for key, value in result.items()}
    elif isinstance(result, NamedValues):
        named = dict(zip(result.fields, result.values, strict=False))
    elif isinstance(result, list | tuple):
        named = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        named = {"output": result}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError("The program needs to return a tensor. Got none. Save it with its logits or features.")
    return tensors


def _place_of(name: str) -> tuple[int, int]:
    _, _, line, column, _ = name.rsplit("|", 4)
    return int(line), int(column)
