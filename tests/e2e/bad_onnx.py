"""Bad checkpoints in ONNX, and files, links and names that are bad whatever they hold."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_models
import numpy as np
from bad_parts import Site, Table, cut, flip_bits, nested
from tiny_zoo import CARD, convolution, network, random_filters, save

ONNX = Table("onnx", ".onnx")
bad = ONNX.bad


def whole(path: Path, card: dict[str, Any] | None = None) -> Path:
    return save(convolution(random_filters(4, seed=3)), path, card)


def card_of(path: Path) -> Path:
    return path.with_suffix(".json")


# --- bytes -------------------------------------------------------------------------------------------------------


@bad("cut short", "list", quick=True)
def cut_at_the_start(path: Path, site: Site) -> None:
    """A twentieth of the file."""
    cut(whole(path), 0.05)


@bad("cut short", "list", quick=True)
def cut_in_half(path: Path, site: Site) -> None:
    """Half of the file."""
    cut(whole(path), 0.5)


@bad("cut short", "list", quick=True)
def cut_at_the_end(path: Path, site: Site) -> None:
    """All but the last bytes."""
    cut(whole(path), 0.99)


@bad("bits flipped", "list", "load", quick=True)
def bits_flipped(path: Path, site: Site) -> None:
    """One bit in every seventh byte."""
    flip_bits(whole(path))


@bad("empty", "list", quick=True)
def empty(path: Path, site: Site) -> None:
    """No byte."""
    path.write_bytes(b"")


# --- shapes, types, sizes ----------------------------------------------------------------------------------------


@bad("wrong shape", "list", "load", "extract")
def filters_of_five_channels(path: Path, site: Site) -> None:
    """Filters of five channels for an image of three."""
    save(convolution(np.ones((4, 5, 3, 3), dtype=np.float32)), path, CARD)


@bad("wrong shape", "load")
def input_of_rank_five(path: Path, site: Site) -> None:
    """An input of five axes."""
    save(network(*bad_models.pooled(), tail="flat", n_features=3, shape=("n", 3, 4, 32, 32)), path)


@bad("wrong type", "list", "load")
def filters_of_integers(path: Path, site: Site) -> None:
    """Filters of int64 in a convolution."""
    save(convolution(np.ones((4, 3, 3, 3), dtype=np.int64)), path, CARD)


@bad("wrong type", "match", "list", "load")
def input_of_texts(path: Path, site: Site) -> None:
    """An input of strings in the shape of an image."""
    from onnx import TensorProto

    save(network(*bad_models.pooled(), tail="flat", n_features=3, kind=TensorProto.STRING), path, CARD)


@bad("absurd size", "list", "load", quick=True)
def weights_of_petabytes(path: Path, site: Site) -> None:
    """Weights that claim 2⁵⁰ numbers and bring four."""
    model = convolution(random_filters(4, seed=3))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    del weights.dims[:]
    weights.dims.extend([2**30, 2**20, 1, 1])
    weights.raw_data = bytes(16)
    save(model, path, CARD)


@bad("absurd size", "list", "load", quick=True)
def weights_of_negative_size(path: Path, site: Site) -> None:
    """Weights with an axis of -3."""
    model = convolution(random_filters(4, seed=3))
    model.graph.initializer[0].dims[0] = -3
    save(model, path, CARD)


# --- other files -------------------------------------------------------------------------------------------------


def _external(path: Path, location: str) -> None:
    model = convolution(random_filters(4, seed=3))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = 1
    for key, value in (("location", location), ("offset", "0"), ("length", "432")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    save(model, path, CARD)


@bad("path out", "list", quick=True)
def weights_in_a_system_file(path: Path, site: Site) -> None:
    """External weights at /etc/passwd."""
    _external(path, "/etc/passwd")


@bad("path out", "list", quick=True)
def weights_above_the_folder(path: Path, site: Site) -> None:
    """External weights above the folder."""
    _external(path, os.path.relpath(site.outside / "secret.bin", path.parent))


@bad("link out", "list", quick=True)
def weights_behind_a_link(path: Path, site: Site) -> None:
    """External weights that are a link to a file of the system."""
    _external(path, "weights_of_another.data")
    (path.parent / "weights_of_another.data").symlink_to("/etc/passwd")


@bad("pipe", "list", quick=True)
def weights_in_a_pipe(path: Path, site: Site) -> None:
    """External weights that are a pipe."""
    _external(path, "weights_of_a_pipe.data")
    os.mkfifo(path.parent / "weights_of_a_pipe.data")


# --- what it gives -----------------------------------------------------------------------------------------------


def _graph(maker: Callable[[Path], None]) -> Callable[[Path, Site], None]:
    """Return a maker of tests/e2e/bad_models.py, which writes `bad.onnx`, for another path."""

    def make(path: Path, site: Site) -> None:
        maker(path.parent)
        for suffix in (".onnx", ".json"):
            made = path.parent / f"bad{suffix}"
            if made.exists():
                made.rename(path.with_suffix(suffix))

    return make


for _name, _damage, _stage, _maker in (
    ("loop_without_end", "endless", "extract", bad_models.endless_model),
    ("zeros_by_the_gigabyte", "hungry", "extract", bad_models.greedy_model),
    ("logarithm_of_the_negative", "NaN", "extract", bad_models.nan_model),
    ("mean_over_the_batch", "batch", "extract", bad_models.batch_mixing_model),
    ("times_zero", "constant", "score", bad_models.constant_model),
    ("tokens", "wrong type", "match", bad_models.token_model),
):
    ONNX.add(_name, _damage, _stage, make=_graph(_maker), why=_maker.__doc__ or "")


@bad("NaN", "extract")
def divided_by_zero(path: Path, site: Site) -> None:
    """Infinity for every sample."""
    from onnx import helper

    body = [*bad_models.pooled(), helper.make_node("Div", ["flat", "zero"], ["features"])]
    save(network(*body, n_features=3, stored={"zero": np.float32([0])}), path, CARD)


@bad("batch", "extract")
def every_row_twice(path: Path, site: Site) -> None:
    """Two rows for each sample."""
    from onnx import helper

    body = [*bad_models.pooled(), helper.make_node("Concat", ["flat", "flat"], ["features"], axis=0)]
    save(network(*body, n_features=3), path, CARD)


@bad("batch", "extract", "score")
def as_wide_as_the_batch(path: Path, site: Site) -> None:
    """One column for each sample of the batch."""
    from onnx import TensorProto, helper

    body = [
        *bad_models.pooled(),
        helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["flat", "turned"], ["features"]),
    ]
    model = network(*body, tail="flat", n_features=3)
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", "m"]))
    save(model, path, {**CARD, "feature_layer": "features"})


@bad("hungry", "load", "extract")
def zeros_while_loading(path: Path, site: Site) -> None:
    """A constant of 400 GB that is computed when the graph is made ready."""
    from onnx import helper

    body = [
        *bad_models.pooled(),
        helper.make_node("ConstantOfShape", ["size"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["zero"], keepdims=0),
        helper.make_node("Add", ["flat", "zero"], ["features"]),
    ]
    save(network(*body, n_features=3, stored={"size": np.array([100_000_000_000])}), path, CARD)


@bad("code", "list", "load")
def operator_of_a_library(path: Path, site: Site) -> None:
    """An operator of somebody's own library, under a name with escape sequences and line breaks."""
    model = convolution(random_filters(4, seed=3))
    model.graph.node[1].op_type = "Evil\x1b[31m\r\nLines:\n"
    model.graph.node[1].domain = "evil\x07"
    save(model, path, CARD)


@bad("nested", "list", quick=True)
def graphs_in_graphs(path: Path, site: Site) -> None:
    """Graphs in graphs, three hundred deep."""
    model = convolution(random_filters(4, seed=3)).SerializeToString()
    graph = b""
    for _ in range(300):
        for field in (6, 5, 1):  # the graph of an attribute, the attribute of a node, the node of a graph
            graph = bytes([field << 3 | 2]) + _length(graph) + graph
    path.write_bytes(model + b"\x3a" + _length(graph) + graph)


def _length(content: bytes) -> bytes:
    """Return the number of bytes as protobuf writes it."""
    number, written = len(content), b""
    while number > 127:
        written, number = written + bytes([number & 127 | 128]), number >> 7
    return written + bytes([number])


# --- cards -------------------------------------------------------------------------------------------------------


@bad("card", "load", "list")
def card_of_another_layer(path: Path, site: Site) -> None:
    """The card names a layer that the graph does not have."""
    whole(path, {**CARD, "feature_layer": "nowhere\x1b[2J"})


@bad("card", "list", "load", "extract")
def card_of_grey_images(path: Path, site: Site) -> None:
    """The card says grey images of 64 pixels, the graph takes colours of 32."""
    whole(path, {"input_size": [1, 64, 64], "colour_order": "grey", "mean": [0.5], "std": [0.5]})


@bad("card", "list", quick=True)
def card_of_huge_images(path: Path, site: Site) -> None:
    """The card says images of a billion pixels a side."""
    whole(path, {**CARD, "input_size": [3, 10**9, 10**9]})


@bad("nested", "list", quick=True)
def card_without_bottom(path: Path, site: Site) -> None:
    """A card of a hundred thousand levels."""
    whole(path)
    card_of(path).write_text(nested())


@bad("card", "list", quick=True)
def card_of_a_gigabyte(path: Path, site: Site) -> None:
    """A card of a gigabyte, which takes no room on the disk."""
    whole(path)
    with card_of(path).open("wb") as stream:
        stream.truncate(10**9)


@bad("pipe", "list", quick=True)
def card_is_a_pipe(path: Path, site: Site) -> None:
    """A card that is a pipe: opening it waits for ever."""
    whole(path)
    os.mkfifo(card_of(path))


@bad("pipe", "list", quick=True)
def card_is_a_device(path: Path, site: Site) -> None:
    """A card that is a link to a device without end."""
    whole(path)
    card_of(path).symlink_to("/dev/zero")


@bad("link out", "list", quick=True)
def card_leads_out(path: Path, site: Site) -> None:
    """A card that is a link to a file of the system."""
    whole(path)
    card_of(path).symlink_to(site.outside / "secret.json")


# --- files, links and names --------------------------------------------------------------------------------------


@bad("link out", "list", quick=True)
def link_leads_out(path: Path, site: Site) -> None:
    """A link to a good model outside."""
    path.symlink_to(site.outside / "good.onnx")


@bad("link out", "list", quick=True, file="folder_leads_out", shown="folder_leads_out")
def folder_leads_out(path: Path, site: Site) -> None:
    """A link to a folder outside."""
    path.symlink_to(site.outside)


@bad("pipe", "list", quick=True)
def pipe(path: Path, site: Site) -> None:
    """A pipe."""
    os.mkfifo(path)


@bad("pipe", "list", quick=True)
def device(path: Path, site: Site) -> None:
    """A link to a device without end."""
    path.symlink_to("/dev/zero")


@bad("pipe", "list", quick=True)
def link_to_itself(path: Path, site: Site) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


@bad("name", "list", quick=True, file="Twin.onnx")
def upper_twin(path: Path, site: Site) -> None:
    """One of two names that differ in case alone."""
    cut(whole(path), 0.4)


@bad("name", "list", quick=True, file="twin.onnx")
def lower_twin(path: Path, site: Site) -> None:
    """The other."""
    cut(whole(path), 0.6)


@bad(
    "name", "list", quick=True, file="\x1b[31mred\x07\r.onnx", shown="\\x1b[31mred\\x07\\r.onnx",
)  # fmt: skip
def red(path: Path, site: Site) -> None:
    """A name with escape sequences, a bell and a carriage return."""
    cut(whole(path), 0.5)


@bad("name", "list", quick=True, file="two\nlines\u202e.onnx", shown="two\\nlines\\u202e.onnx")
def two_lines(path: Path, site: Site) -> None:
    """A name of two lines that turns the direction of writing."""
    cut(whole(path), 0.5)


@bad("name", "load", "list", "extract", file="\x1b]0;title\x07.onnx", shown="\\x1b]0;title\\x07.onnx")
def title(path: Path, site: Site) -> None:
    """A name that sets the title of a terminal, on a model that fails when it is opened."""
    save(convolution(np.ones((4, 5, 3, 3), dtype=np.float32)), path)
