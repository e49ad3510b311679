"""Read an ONNX graph without running it: inputs, outputs, parameters, the feature tensor, and how to cut it there.

The file is a stranger's: nothing it names is opened before it is known to lie in the model's own folder.
"""

from collections.abc import Collection, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError

MAX_PARAMS = 10**13
MAX_FILE_BYTES = 2**31
FLOATS = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
WEIGHTS = (*FLOATS, "INT8", "UINT8", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2")

_SHAPE_ONLY = {"Shape", "Size", "ConstantOfShape", "NonZero", "ArgMax", "ArgMin"}
_WORTH_CHOOSING = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "Gelu", "Mish",
    "Sigmoid", "Tanh", "Elu", "Selu", "Add", "Concat", "LayerNormalization", "BatchNormalization", "GlobalAveragePool",
    "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean", "Flatten", "FusedConv", "FusedGemm",
}  # fmt: skip


def read_graph(path: Path) -> Any:
    """Parse an ONNX file, its external weights left where they are.

    Returns:
        onnx.ModelProto with at least one node and one output.

    Raises:
        ModelError: the file is truncated, damaged or empty.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        if path.stat().st_size >= MAX_FILE_BYTES:
            raise _unreadable(path, "more than the 2 GiB that an ONNX file can hold")
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise _unreadable(path, f"{path.stat().st_size} bytes that are damaged or cut short") from error
    except OSError as error:
        raise _unreadable(path, error.strerror or "an input error") from error
    if not model.graph.node or not model.graph.output:
        raise _unreadable(path, "a file without a graph")
    return model


def external_files(model: Any, path: Path) -> tuple[Path, ...]:
    """List the files that hold weights outside the ONNX file, sorted.

    Raises:
        ModelError: a location is absolute, leads out of the model's folder, or is missing.
    """
    folder = path.parent
    inside = {folder.resolve(), path.resolve().parent}
    found = set()
    for location in sorted({_location(tensor) for tensor in _tensors(model) if tensor.data_location == 1}):
        file = folder / location
        plain = bool(location) and not Path(location).is_absolute() and ".." not in Path(location).parts
        if not plain or not any(file.resolve().is_relative_to(root) for root in inside):
            raise ModelError(
                f"{path.name} needs its weights inside its own folder. Got the location {location[:200]!r}. "
                "Export it again with the weights beside it."
            )
        if not file.is_file():
            raise ModelError(
                f"{path.name} needs the weights file {location[:200]!r}. Got none. Put it beside the model."
            )
        found.add(file)
    return tuple(sorted(found))


def count_parameters(model: Any) -> int | None:
    """Count the numbers stored as weights; None if the declared shapes are absurd."""
    kinds = _type_numbers(WEIGHTS)
    total = 0
    for tensor in _tensors(model):
        if tensor.data_type in kinds and all(size >= 0 for size in tensor.dims):
            total += prod(tensor.dims)
    return total if total <= MAX_PARAMS else None


def free_inputs(graph: Any) -> list[Any]:
    """Return the inputs that have to be fed: those without a stored value."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def element_type(value: Any) -> str:
    """Return the element type of an input or output as ONNX spells it, '' if it is no tensor."""
    import onnx

    number = value.type.tensor_type.elem_type
    return str(onnx.TensorProto.DataType.Name(number)) if number in onnx.TensorProto.DataType.values() else ""


def axes(value: Any) -> tuple[int | None, ...] | None:
    """Return the shape of an input or output, None for an open axis; None if even the rank is open."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim)


def choosable_layers(graph: Any, always: Collection[str]) -> tuple[str, ...]:
    """List the tensors worth taking features from, in graph order: layer outputs, graph outputs, and `always`."""
    outputs = {value.name for value in graph.output}
    declared = {value.name: value for value in (*graph.value_info, *graph.output)}
    floats = _type_numbers(FLOATS)
    from_input = {value.name for value in free_inputs(graph)}
    chosen = []
    for node in graph.node:
        if node.op_type in _SHAPE_ONLY or not from_input.intersection(used_names(node)):
            continue
        from_input.update(node.output)
        for name in filter(None, node.output):
            worth = name in outputs or (node.op_type in _WORTH_CHOOSING and name == node.output[0])
            if name in always or (worth and _may_be_features(declared.get(name), floats)):
                chosen.append(name)
    return tuple(dict.fromkeys(chosen))


def cut_at(model: Any, layers: Sequence[str]) -> Any:
    """Make `layers` the only outputs, in place, and drop every node and weight that they do not need."""
    import onnx

    graph = model.graph
    declared = {value.name: value for value in (*graph.value_info, *graph.output)}
    outputs = [onnx.ValueInfoProto(name=layer) for layer in layers]
    for output in outputs:
        if output.name in declared:
            output.CopyFrom(declared[output.name])
    needed = set(layers)
    for index in range(len(graph.node) - 1, -1, -1):
        if needed.intersection(graph.node[index].output):
            needed.update(used_names(graph.node[index]))
        else:
            del graph.node[index]
    for field in (graph.initializer, graph.input):
        for index in range(len(field) - 1, -1, -1):
            if field[index].name not in needed:
                del field[index]
    del graph.output[:]
    graph.output.extend(outputs)
    return model


def used_names(node: Any) -> set[str]:
    """Return the tensors a node reads, those its inner graphs take from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= used_names(inner)
            names.update(value.name for value in graph.output)
    return names


def _may_be_features(value: Any, floats: set[int]) -> bool:
    if value is None:
        return True
    shape = axes(value)
    return value.type.tensor_type.elem_type in floats and (shape is None or 2 <= len(shape) <= 4)


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every stored tensor: of the graph, of its inner graphs, and of model-local functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)
    for training in model.training_info:
        yield from _graph_tensors(training.initialization)
        yield from _graph_tensors(training.algorithm)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def _type_numbers(names: tuple[str, ...]) -> set[int]:
    import onnx

    known = onnx.TensorProto.DataType
    return {known.Value(name) for name in names if name in known.keys()}  # noqa: SIM118


def _unreadable(path: Path, got: str) -> ModelError:
    return ModelError(f"{path.name} could not be read as ONNX. Got {got}. Download or export it again.")
