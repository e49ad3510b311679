"""Find the logits of a `.pt2` program's own classifier: the value that its final linear layer makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from neuralrank.formats._export_features import FEATURE_OUTPUTS, LINEAR
from neuralrank.formats._export_graph import Program, Reference, Step
from neuralrank.formats._export_operators import aten_name

WALK_THROUGH = frozenset(
    """
    squeeze unsqueeze view _unsafe_view reshape flatten unflatten permute transpose clone contiguous alias detach
    dropout dropout_ feature_dropout to _to_copy
    """.split()  # noqa: SIM905
)
SQUASHES = frozenset("softmax _softmax log_softmax _log_softmax sigmoid sigmoid_ hardsigmoid hardsigmoid_".split())  # noqa: SIM905
BIAS_OR_SCALE = frozenset(("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_"))
RECTIFIES = frozenset("relu relu_ relu6 relu6_ leaky_relu leaky_relu_ clamp clamp_ hardtanh hardtanh_".split())  # noqa: SIM905
POOLS = frozenset(
    """
    mean amax avg_pool2d max_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d adaptive_avg_pool1d
    avg_pool1d
    """.split()  # noqa: SIM905
)
FLATTENS = frozenset(("view", "reshape", "flatten", "squeeze"))
CONVOLUTIONS = ("conv1d", "conv2d", "convolution")
USUAL_N_CLASSES = (1000, 1001)
MAX_STEPS = 40


def logits_value(
    program: Program,
    weights: Mapping[str, Sequence[int]],
    outputs: Mapping[str, str],
    *,
    n_classes: int | None = None,
    features: str | None = None,
) -> str | None:
    """Return the value with the logits of the program's own classifier, None if it has none or several.

    The rule is that of ONNX files: an output counts if a final linear layer makes it, it is one row of at least two
    numbers a sample, and it is not named as features; of a softmax or sigmoid, the logits are what it reads.

    Args:
        program: the checked graph.
        weights: shape of each stored value, by its name in the graph.
        outputs: the user's name of each output with its name in the graph.
        n_classes: how many the card says there are; an output of another width does not count.
        features: layer that is known to hold features; without `n_classes` it does not count.
    """
    if n_classes is not None and n_classes < 2:
        return None
    graph = _Graph({name: step for step in program.steps for name in step.outputs if name}, weights, n_classes)
    found: dict[str, str] = {}
    for shown, value in outputs.items():
        if shown in FEATURE_OUTPUTS or not _one_row_each(program, value, n_classes):
            continue
        logits = graph.before_squashing(value)
        if logits is None or (n_classes is None and features in (logits, shown)):
            continue
        if graph.ends_linear(value):
            found.setdefault(logits, shown)
    if len(found) > 1:  # what another one is made from are features
        inner = {name for other in found for name in _read_by(program, other)}
        found = {value: shown for value, shown in found.items() if value not in inner}
    if len(found) > 1:
        found = {value: shown for value, shown in found.items() if shown.lower() == "logits"}
    return next(iter(found)) if len(found) == 1 else None


def _read_by(program: Program, value: str) -> set[str]:
    """Return every value that `value` is made from."""
    inner: set[str] = set()
    for step in reversed(program.steps):
        if inner.intersection(step.outputs) or value in step.outputs:
            inner.update(step.references())
    return inner


def _one_row_each(program: Program, value: str, n_classes: int | None) -> bool:
    shape = program.output_shapes.get(value, ())
    long = [size for size in shape[1:] if size != 1]
    if len(long) != 1 or (None not in (long[0], n_classes) and long[0] != n_classes):
        return False
    images = [entry.shape[1:] for entry in program.user_inputs if len(entry.shape) == 4]
    n_pixels = {prod(size or 0 for size in image) for image in images}
    return n_classes is not None or long[0] not in n_pixels  # as many as pixels: an image made again


@dataclass(frozen=True)
class _Graph:
    """The steps of a program by what they make."""

    makers: Mapping[str, Step]
    weights: Mapping[str, Sequence[int]]
    n_classes: int | None

    def before_squashing(self, output: str) -> str | None:
        """Return what the final softmax or sigmoid reads, and `output` where there is none.

        None if its rows are turned, or something is done to the probabilities.
        """
        value: str | None = output
        plain = True
        for _ in range(MAX_STEPS):
            step = self.makers.get(value or "")
            operator = _operator(step)
            if step is None or operator not in WALK_THROUGH | SQUASHES | BIAS_OR_SCALE | POOLS | RECTIFIES:
                return output
            if operator in SQUASHES:
                return _name(step, 0) if plain else None
            turned = operator in ("permute", "transpose") and _moves_batch(step, operator)
            plain &= operator in WALK_THROUGH and not turned
            value = _name(step, 1 if self.is_constant(step, 0) else 0)
        return output

    def ends_linear(self, output: str) -> bool:
        """Tell whether a linear layer makes `output`: as for ONNX, a convolution counts where a pooling follows."""
        value: str | None = output
        flattened = squashed = rectified = False
        for _ in range(MAX_STEPS):
            step = self.makers.get(value or "")
            if step is None:
                return False
            operator = _operator(step)
            if operator in (*LINEAR, "matmul"):
                return self.is_constant(step, 2 if operator == "addmm" else 1)
            if operator in CONVOLUTIONS:
                n_out = (*self.weights.get(_name(step, 1) or "", ()), 0)[0]
                is_head = n_out == self.n_classes or n_out in USUAL_N_CLASSES or squashed
                return flattened and (is_head or not rectified)
            if operator in BIAS_OR_SCALE:
                data = [place for place in (0, 1) if not self.is_constant(step, place)]
                value = _name(step, data[0]) if len(data) == 1 else None
            elif operator in WALK_THROUGH | SQUASHES | POOLS or (operator in RECTIFIES and flattened):
                value = _name(step, 0)
            else:
                return False
            flattened |= operator in POOLS | FLATTENS
            squashed |= operator in SQUASHES
            rectified |= operator in RECTIFIES
        return False

    def is_constant(self, step: Step, position: int, depth: int = 8) -> bool:
        """Tell whether an argument is a number, a weight, or made of weights alone."""
        arguments = step.positional[position : position + 1]
        return bool(arguments) and self._constant(arguments[0], depth)

    def _constant(self, value: Any, depth: int) -> bool:
        if not isinstance(value, Reference):
            return not isinstance(value, list)
        if value.name in self.weights:
            return True
        step = self.makers.get(value.name)
        if step is None or depth == 0:
            return False
        return all(self._constant(Reference(name), depth - 1) for name in step.references())


def _moves_batch(step: Step, operator: str) -> bool:
    axes = step.positional[1] if operator == "permute" else step.positional[1:3]
    return axes[0] != 0 if operator == "permute" else 0 in axes


def _name(step: Step, position: int) -> str | None:
    values = step.positional[position : position + 1]
    return values[0].name if values and isinstance(values[0], Reference) else None


def _operator(step: Step | None) -> str:
    return (aten_name(step.target) or ("",))[0] if step is not None else ""
