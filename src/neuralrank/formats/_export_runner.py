"""Run a checked `.pt2` program step by step with the operators of torch, up to the values that are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralrank.errors import ModelError
from neuralrank.formats._export_archive import ExportArchive, StoredTensor, open_export
from neuralrank.formats._export_graph import Code, Here, Program, Reference, Step
from neuralrank.formats._export_operators import IN_PLACE, NUMBERS, aten_name
from neuralrank.formats._plain_zip import PlainZip
from neuralrank.formats._torch_module import one_line

if TYPE_CHECKING:
    import torch

TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
LAYOUTS = {7: "strided"}


@dataclass(frozen=True)
class _Call:
    step: Step
    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: Mapping[str, Any]


class ProgramRunner:
    """A program with its weights in memory."""

    def __init__(self, path: Path, archive: ExportArchive, device: "torch.device") -> None:
        self.program: Program = archive.program
        self._name = path.name
        self.device = device
        # a layout in memory that pays for convolutions, except where a program counts on its own strides
        targets = {step.target for step in self.program.steps}
        convolutions = any((aten_name(target) or ("",))[0] in ("conv2d", "convolution") for target in targets)
        self.channels_last = convolutions and not any(".as_strided." in target for target in targets)
        self._calls = tuple(self._call(step) for step in self.program.steps)
        self._made_by = {name: index for index, step in enumerate(self.program.steps) for name in step.outputs if name}
        self._stored = self._load(path, archive)
        self._copies_input = any((aten_name(target) or ("",))[0] in IN_PLACE for target in targets)

    def run(self, values: "torch.Tensor", wanted: Sequence[str]) -> "list[torch.Tensor]":
        """Compute the wanted values of the graph for one batch, each step once.

        Raises:
            ModelError: a step fails, or a value is no tensor.
        """
        import torch

        known: dict[str, Any] = {**self._stored, **self.program.constant_inputs}
        known[self.program.user_inputs[0].name] = values.clone() if self._copies_input else values
        results = {name: known[name] for name in wanted if name in known}
        missing = [name for name in wanted if name not in known]
        if missing:
            last = max(self._made_by[name] for name in missing)
            ends = self._last_uses(last)
            try:
                with torch.inference_mode():
                    for index in range(last + 1):
                        self._run_step(self._calls[index], known)
                        for name in self._calls[index].step.outputs:
                            if name in missing:
                                # a later step may overwrite it in place
                                copies = self._copies_input and index < last and isinstance(known[name], torch.Tensor)
                                results[name] = known[name].clone() if copies else known[name]
                        for name in ends.get(index, ()):
                            known.pop(name, None)
            except (RuntimeError, TypeError, ValueError, IndexError, ZeroDivisionError, NotImplementedError) as error:
                raise ModelError(
                    f"{self._name} could not run a batch. Got {one_line(error)!r}. Export it again."
                ) from error
        for name, result in results.items():
            if not isinstance(result, torch.Tensor):
                raise ModelError(
                    f"{self._name} needs a tensor in the layer {name!r}. Got a number. Choose another layer."
                )
        return [results[name] for name in wanted]

    def _run_step(self, call: _Call, known: dict[str, Any]) -> None:
        positional = [self._value(value, known) for value in call.positional]
        named = {name: self._value(value, known) for name, value in call.named.items()}
        result = call.function(*positional, **named)
        if call.step.gives_list:
            if len(result) != len(call.step.outputs):
                raise ValueError(f"{call.step.target} gave {len(result)} results in place of {len(call.step.outputs)}")
            known.update((name, item) for name, item in zip(call.step.outputs, result, strict=True) if name)
        elif call.step.outputs and call.step.outputs[0]:
            known[call.step.outputs[0]] = result

    def _value(self, value: Any, known: Mapping[str, Any]) -> Any:
        if isinstance(value, Reference):
            return known[value.name]
        if isinstance(value, list):
            return [self._value(item, known) for item in value]
        return value

    def _last_uses(self, last: int) -> Mapping[int, tuple[str, ...]]:
        """Say after which step each value is of no more use, so that memory is given back as the program runs."""
        final: dict[str, int] = {}
        for index in range(last + 1):
            step = self.program.steps[index]
            final.update(dict.fromkeys((*filter(None, step.outputs), *step.references()), index))
        ends: dict[int, tuple[str, ...]] = {}
        for name, index in final.items():
            if name not in self._stored:
                ends[index] = (*ends.get(index, ()), name)
        return ends

    def _call(self, step: Step) -> _Call:
        function = NUMBERS.get(step.target) or self._operator(step.target)
        named = {name: self._constant(value) for name, value in step.named}
        return _Call(step, function, tuple(map(self._constant, step.positional)), named)

    def _operator(self, target: str) -> Callable[..., Any]:
        import torch

        name, overload = aten_name(target) or ("", "")
        if name in REPLACED:
            return REPLACED[name]
        # a view of a tensor whose axes lie in another order in memory needs the copy that reshape makes
        name, overload = ("reshape", "default") if (name, overload) == ("view", "default") else (name, overload)
        function: Callable[..., Any] | None = getattr(getattr(torch.ops.aten, name, None), overload, None)
        if function is None:
            raise ModelError(
                f"The installed torch {torch.__version__} does not know the operator {target!r} of {self._name}. "
                "Update it: pip install -U torch"
            )
        return function

    def _constant(self, value: Any) -> Any:
        import torch

        if isinstance(value, Here):
            return self.device
        if isinstance(value, list):
            return [self._constant(item) for item in value]
        if not isinstance(value, Code):
            return value
        table = {"as_scalar_type": TYPES, "as_memory_format": MEMORY_FORMATS, "as_layout": LAYOUTS}[value.kind]
        if value.value not in table:
            raise ModelError(f"{self._name} needs known types. Got the code {value.value}. Export it again in float32.")
        return getattr(torch, table[value.value])

    def _load(self, path: Path, archive: ExportArchive) -> dict[str, "torch.Tensor"]:
        import torch

        loaded: dict[str, torch.Tensor] = {}
        flat: dict[tuple[str, int], torch.Tensor] = {}
        with open_export(path) as source:
            for stored in self.program.stored_inputs:
                meta = archive.tensors[stored.target]
                key = (meta.entry, meta.kind)
                try:
                    if key not in flat:
                        flat[key] = _read_flat(source, meta)
                    tensor = torch.as_strided(flat[key], meta.sizes, meta.strides, meta.offset).to(self.device)
                except RuntimeError as error:
                    raise ModelError(
                        f"{path.name} holds damaged weights. Got {one_line(error)!r}. Download it again."
                    ) from error
                if self.channels_last and tensor.ndim == 4:
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                loaded[stored.name] = tensor
        return loaded


def _read_flat(source: PlainZip, meta: StoredTensor) -> "torch.Tensor":
    """Return the raw numbers of one entry."""
    import torch

    raw = bytearray(source.read(meta.entry))
    kind = getattr(torch, TYPES[meta.kind])
    raw = raw[: len(raw) // kind.itemsize * kind.itemsize]
    return torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float) -> tuple[Any, ...]:
    import torch

    return torch.nn.functional.batch_norm(x, mean, var, weight, bias, False, momentum, eps), None, None


def _attention(
    q: Any, k: Any, v: Any, dropout_p: float = 0.0, is_causal: bool = False, attn_mask: Any = None, scale: Any = None
) -> tuple[Any, ...]:
    import torch

    if dropout_p:
        raise ValueError("attention with dropout")
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(q, k, v, attn_mask=attn_mask, is_causal=is_causal, scale=scale), None


REPLACED: Mapping[str, Callable[..., Any]] = {
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}
