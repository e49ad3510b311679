"""Which value of a `.pt2` program stands for the features, and which others can be chosen."""

from collections.abc import Collection, Mapping

from neuralrank.errors import ModelError
from neuralrank.formats._export_graph import Program, Reference, Step
from neuralrank.formats._export_operators import aten_name

FEATURE_OUTPUTS = ("features", "embedding", "embeddings")
LINEAR = ("linear", "addmm", "mm")
AFTER_HEAD = """
    softmax _softmax log_softmax _log_softmax sigmoid squeeze unsqueeze view reshape flatten clone contiguous alias
    detach add mul div dropout to _to_copy
    """.split()  # noqa: SIM905
WORTH_CHOOSING = """
    conv1d conv2d convolution linear addmm relu relu_ hardtanh hardtanh_ hardswish hardswish_ gelu silu silu_ add
    add_ mean cat layer_norm native_layer_norm max_pool2d avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d
    flatten
    """.split()  # noqa: SIM905


def choosable_layers(program: Program, also: Collection[str]) -> Mapping[str, str]:
    """Return the inner values that can serve as a layer, `also` among them, input side first, each under its name."""
    found = {}
    for step in program.steps:
        first = step.outputs[:1] if _operator(step) in WORTH_CHOOSING else ()
        for name in step.outputs:
            if name and (name in first or name in also):
                found[name] = name
    return found


def default_layer(
    file: str, program: Program, outputs: Mapping[str, str], stated: str | None
) -> tuple[str, tuple[str, ...]]:
    """Return the layer that its card names, else an output named as features, else the final linear layer's input.

    Raises:
        ModelError: the card names a value that the program does not have, or the program has no output.
    """
    made = {name for step in program.steps for name in step.outputs if name}
    if stated is not None:
        if stated in made or stated in outputs:
            return stated, ()
        raise ModelError(
            f"{file} needs the feature_layer that its card names. Got {stated!r}, which the program does not have. "
            "Correct the card."
        )
    named = next((name for name in FEATURE_OUTPUTS if name in outputs), None)
    if named is not None:
        return named, ()
    if not outputs:
        raise ModelError(f"{file} needs an output. Got none. Export it with its logits or features.")
    output = next(iter(outputs))
    found = _head_input(program, outputs[output])
    if found in made:
        return str(found), ()
    return output, (f"No final linear layer was found; the output {output!r} itself is taken as the features.",)


def _head_input(program: Program, value: str) -> str | None:
    """Walk back from an output, through steps that keep its meaning, to the linear layer that makes it."""
    makers = {name: step for step in program.steps for name in step.outputs}
    for _ in range(8):
        step = makers.get(value)
        if step is None:
            return None
        operator = _operator(step)
        if operator in LINEAR:
            return _name(step, 1 if operator == "addmm" else 0)
        if operator not in AFTER_HEAD:
            return None
        inner = _name(step, 0)
        if inner is None:
            return None
        value = inner
    return None


def _name(step: Step, position: int) -> str | None:
    values = step.positional[position : position + 1]
    return values[0].name if values and isinstance(values[0], Reference) else None


def _operator(step: Step) -> str:
    return (aten_name(step.target) or ("",))[0]
