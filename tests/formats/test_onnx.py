"""The ONNX format on files made here, and on the development zoo where it is present."""

import json
import os
from pathlib import Path

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralrank import registry
from neuralrank.errors import ModelError
from neuralrank.types import ImagePreprocessing

ZOO = Path(__file__).resolve().parents[2] / "../shared/zoo"
ONNX = registry.get("formats", "onnx")
RNG = np.random.default_rng(0)
CONV = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
HEAD = RNG.normal(size=(4, 5)).astype(np.float32)
CARD = {
    "architecture": "tiny", "parameters": 1234, "input_size": [3, 8, 8], "colour_order": "BGR", "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.5, 0.5], "resize": {"rule": "crop, then cut", "interpolation": "bicubic", "crop_fraction": 0.875},
    "class_names": ["a", "b", "c", "d", "e"], "licence": "MIT", "reported_accuracy": 50, "outputs": ["logits"],
}  # fmt: skip


def save(path: Path, nodes, inputs, outputs, weights=None, **options) -> Path:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx_package.save(model, path, **options)
    return path


def value(name: str, shape, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def classifier(path: Path, *, batch="n", side=8, kind=TensorProto.FLOAT, squash="Softmax", **options) -> Path:
    """Conv → Relu → pool → flatten → Gemm → Softmax, logits only."""
    nodes = [helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT)] if kind != TensorProto.FLOAT else []
    nodes += [
        helper.make_node("Conv", ["cast" if nodes else "image", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "h"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node(squash, ["sum"], ["probabilities"]),
    ]
    weights = {"w": CONV, "h": HEAD, "b": np.ones(5, np.float32)}
    inputs = [value("image", [batch, 3, side, side], kind)]
    return save(path, nodes, inputs, [value("probabilities", [batch, 5])], weights, **options)


def with_card(path: Path, **changes) -> Path:
    path.with_suffix(".json").write_text(json.dumps({**CARD, **changes}))
    return path


def opened(path: Path):
    return ONNX(path, ONNX.describe(path), n_threads=1)


def images(n: int, side: int = 8) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(n).normal(size=(n, 3, side, side)).astype(np.float32)}


def expected_features(batch: dict[str, np.ndarray]) -> np.ndarray:
    padded = np.pad(batch["image"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("nchwij,ocij->nohw", windows, CONV), 0).mean(axis=(2, 3))


def test_other_files_are_not_described(tmp_path):
    (tmp_path / "model.pt2").write_bytes(b"x")
    assert ONNX.describe(tmp_path / "model.pt2") is None
    assert ONNX.describe(tmp_path) is None


def test_without_a_card_the_graph_speaks_and_the_rest_is_assumed(tmp_path):
    facts = ONNX.describe(classifier(tmp_path / "m.onnx"))
    assert (facts.format, facts.modality, facts.n_params) == ("onnx", "image", 108 + 20 + 5)
    assert facts.files == (tmp_path / "m.onnx",)
    assert facts.preprocessing == ImagePreprocessing(size=(8, 8), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert facts.assumptions == (
        "The colour order was assumed: RGB.",
        "The resize was assumed: stretched to the input size, bilinear.",
        "The normalisation was assumed: pixels / 255, then the mean and standard deviation of ImageNet.",
    )


def test_an_open_input_size_is_assumed_to_be_224(tmp_path):
    facts = ONNX.describe(classifier(tmp_path / "m.onnx", side="s"))
    assert facts.preprocessing.size == (224, 224)
    assert facts.assumptions[0] == "The input size was assumed: 224 × 224 pixels."


def test_an_order_of_axes_that_nothing_tells_is_assumed(tmp_path):
    path = classifier(tmp_path / "m.onnx")
    model = onnx_package.load(path)
    for axis in model.graph.input[0].type.tensor_type.shape.dim:
        axis.Clear()
    path.write_bytes(model.SerializeToString())
    sentence = "The order of the axes was assumed: channels, height, width (NCHW)."
    assert ONNX.describe(path).assumptions[0] == sentence
    assert sentence not in ONNX.describe(with_card(path, layout="NCHW")).assumptions


def test_a_card_beats_the_graph_and_leaves_nothing_assumed(tmp_path):
    facts = ONNX.describe(with_card(classifier(tmp_path / "m.onnx"), scale=1 / 255))
    assert facts.assumptions == ()
    assert facts.files == (tmp_path / "m.onnx", tmp_path / "m.json")
    assert (facts.n_params, facts.architecture, facts.licence, facts.reported_accuracy) == (1234, "tiny", "MIT", 50.0)
    assert facts.label_names == ("a", "b", "c", "d", "e")
    assert facts.preprocessing == ImagePreprocessing(
        size=(8, 8), channels="BGR", mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5), resize="crop", crop_fraction=0.875,
        interpolation="bicubic",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param(
            {"mean": [0.1, 0.2]},
            "m.json needs 3 numbers in 'mean', one per channel. Got [0.1, 0.2]. Correct the card.",
            id="short-mean",
        ),
        pytest.param(
            {"std": [0.5, 0, 0.5]}, "m.json needs positive numbers in 'std'. Got [0.5, 0, 0.5]. Correct the card.",
            id="zero-std",
        ),
        pytest.param(
            {"mean": ["0.1", 0.2, 0.3]}, "m.json needs numbers in 'mean'. Got ['0.1', 0.2, 0.3]. Correct the card.",
            id="text-in-mean",
        ),
        pytest.param(
            {"colour_order": "HSV"},
            "m.json needs one of 'RGB', 'BGR', 'grey' in 'colour_order'. Got 'HSV'. Correct the card.",
            id="colour-order",
        ),
        pytest.param(
            {"colour_order": "grey"},
            "m.json needs a colour_order that fits input_size. Got 'grey' and 3 channels. Correct the card.",
            id="grey-with-three-channels",
        ),
        pytest.param(
            {"input_size": [3, 99999, 8]},
            "m.json needs 'input_size' as [1 or 3 channels, height, width] with sides up to 4096 pixels. "
            "Got [3, 99999, 8]. Correct the card.",
            id="absurd-size",
        ),
        pytest.param(
            {"input_size": [3, 16, 16]},
            "m.json needs the input_size of m.onnx, [3, 8, 8]. Got [3, 16, 16]. Correct the card.",
            id="size-against-graph",
        ),
        pytest.param(
            {"mean": None}, "m.json needs 'mean' and 'std' of one length. Got mean None and std (0.5, 0.5, 0.5). "
            "Correct the card.", id="std-without-mean",
        ),
        pytest.param(
            {"value_range": [0, 1]},
            "m.json needs a 'value_range' that follows from mean, std and scale. "
            "Got [0, 1], while they give [-0.6, 1.8]. Correct the card.",
            id="value-range",
        ),
        pytest.param(
            {"num_classes": 4},
            "m.json needs one name per class in 'class_names'. Got 5 names and num_classes 4. Correct the card.",
            id="class-count",
        ),
        pytest.param(
            {"resize": "magnify"},
            "m.json needs a resize rule that begins with 'stretch' or 'crop'. Got 'magnify'. Correct the card.",
            id="resize-rule",
        ),
        pytest.param(
            {"parameters": -1},
            "m.json needs a whole number from 0 to 10000000000000 in 'parameters'. Got -1. Correct the card.",
            id="negative-parameters",
        ),
        pytest.param(
            {"licence": ["MIT"]},
            "m.json needs a text of at most 2000 characters in 'licence'. Got ['MIT']. Correct the card.",
            id="licence-list",
        ),
    ],
)  # fmt: skip
def test_a_contradictory_card_is_refused_with_a_sentence(tmp_path, changes, sentence):
    path = with_card(classifier(tmp_path / "m.onnx"), **changes)
    with pytest.raises(ModelError) as caught:
        ONNX.describe(path)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["{", "[1, 2]", "\x00", "[" * 100_000, '{"mean": NaN, "std": Infinity}'])
def test_a_damaged_card_is_refused(tmp_path, text):
    path = classifier(tmp_path / "m.onnx")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match=r"^m\.json needs "):
        ONNX.describe(path)


def test_a_card_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    path = classifier(tmp_path / "models" / "m.onnx")
    path.with_suffix(".json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelError, match=r"Got a link to elsewhere\. Copy the card here\.$"):
        ONNX.describe(path)


def test_features_are_what_the_final_linear_layer_reads(tmp_path):
    encoder = opened(classifier(tmp_path / "m.onnx"))
    assert encoder.feature_layer == "flat"
    assert encoder.layers == ("conv", "relu", "pool", "flat", "product", "sum", "probabilities")
    assert encoder.warnings == ()
    batch = images(6)
    np.testing.assert_allclose(
        encoder.encode(batch, ["flat"])["flat"].values, expected_features(batch), rtol=1e-4, atol=1e-5
    )
    assert encoder.encode(batch, ["relu"])["relu"].values.shape == (6, 4, 8, 8)
    np.testing.assert_allclose(
        encoder.encode(batch, ["probabilities"])["probabilities"].values.sum(axis=1), 1, rtol=1e-5
    )


def test_a_fixed_batch_axis_is_run_in_pieces(tmp_path):
    open_batch, batch = opened(classifier(tmp_path / "m.onnx")), images(7)
    for size in (1, 4):
        fixed = opened(classifier(tmp_path / f"fixed{size}.onnx", batch=size))
        np.testing.assert_allclose(
            fixed.encode(batch, ["flat"])["flat"].values,
            open_batch.encode(batch, ["flat"])["flat"].values,
            rtol=1e-5,
            atol=1e-6,
        )


def test_the_layer_named_by_the_card_is_the_default(tmp_path):
    assert opened(with_card(classifier(tmp_path / "m.onnx"), feature_layer="relu")).feature_layer == "relu"


def test_a_layer_that_the_graph_does_not_have_is_refused(tmp_path):
    with pytest.raises(ModelError) as caught:
        opened(with_card(classifier(tmp_path / "m.onnx"), feature_layer="penultimate"))
    assert str(caught.value) == (
        "m.onnx needs the feature_layer that its card names. Got 'penultimate', which the graph does not have. "
        "Correct the card."
    )
    with pytest.raises(ModelError, match=r"^n\.onnx needs a layer that it has\. Got 'nope'\. Choose one of conv, relu"):
        opened(classifier(tmp_path / "n.onnx")).encode(images(1), ["nope"])["nope"]


def test_an_output_named_features_is_the_default(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "h"], ["logits"]),
    ]
    outputs = [value("logits", ["n", 5]), value("embedding", ["n", 4])]
    path = save(tmp_path / "m.onnx", nodes, [value("image", ["n", 3, 8, 8])], outputs, {"w": CONV, "h": HEAD})
    assert ONNX.describe(path).feature_layer == "embedding"


def test_a_convolution_as_classifier_is_found_by_its_softmax(tmp_path):
    head = RNG.normal(size=(5, 4, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("Conv", ["conv", "h"], ["head"]),
        helper.make_node("Relu", ["head"], ["rectified"]),
        helper.make_node("GlobalAveragePool", ["rectified"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["out"]),
    ]
    inputs, weights = [value("image", ["n", 3, 8, 8])], {"w": CONV, "h": head}
    assert opened(save(tmp_path / "a.onnx", nodes, inputs, [value("out", ["n", 5])], weights)).feature_layer == "conv"
    headless = opened(save(tmp_path / "b.onnx", nodes[:-1], inputs, [value("flat", ["n", 5])], weights))
    assert headless.feature_layer == "flat"
    assert headless.warnings == ("No final linear layer was found; the output 'flat' itself is taken as the features.",)


def test_channels_last_is_seen_in_the_shape(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "h"], ["logits"]),
    ]
    inputs = [value("image", ["n", 8, 10, 3])]
    path = save(tmp_path / "m.onnx", nodes, inputs, [value("logits", ["n", 5])], {"w": CONV, "h": HEAD})
    wanted = ONNX.describe(path).preprocessing
    assert (wanted.layout, wanted.size) == ("NHWC", (8, 10))
    assert opened(path).encode({"image": np.zeros((2, 8, 10, 3), np.float32)}, ["flat"])["flat"].values.shape == (2, 4)


def test_half_precision_input_is_cast(tmp_path):
    half, full = (
        opened(classifier(tmp_path / "h.onnx", kind=TensorProto.FLOAT16)),
        opened(classifier(tmp_path / "f.onnx")),
    )
    batch = images(3)
    np.testing.assert_allclose(
        half.encode(batch, ["flat"])["flat"].values, full.encode(batch, ["flat"])["flat"].values, rtol=0.01, atol=0.01
    )


def test_whole_pixel_input_is_neither_scaled_nor_normalised(tmp_path):
    path = classifier(tmp_path / "m.onnx", kind=TensorProto.UINT8)
    facts = ONNX.describe(path)
    assert (facts.preprocessing.scale, facts.preprocessing.std) == (1.0, (1.0, 1.0, 1.0))
    assert (
        facts.assumptions[-1] == "The normalisation was assumed: none, as the input takes whole pixel values (uint8)."
    )
    pixels = np.full((1, 3, 8, 8), 3.6, np.float32)
    np.testing.assert_allclose(
        opened(path).encode({"image": pixels}, ["flat"])["flat"].values,
        expected_features({"image": np.rint(pixels)}),
        rtol=1e-4,
    )
    with pytest.raises(ModelError, match=r"^m\.json needs no mean, std or scale, as m\.onnx takes whole pixel values"):
        ONNX.describe(with_card(path))


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.98])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = classifier(tmp_path / "m.onnx")
    content = path.read_bytes()
    n = int(keep * len(content)) if isinstance(keep, float) else keep
    path.write_bytes(content[:n])
    with pytest.raises(ModelError) as caught:
        ONNX.describe(path)
    assert str(caught.value) in (
        f"m.onnx could not be read as ONNX. Got {n} bytes that are damaged or cut short. Download or export it again.",
        "m.onnx could not be read as ONNX. Got a file without a graph. Download or export it again.",
    )


def external(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(exist_ok=True)
    return classifier(
        folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0, all_tensors_to_one_file=True
    )


def relocated(path: Path, location: str) -> Path:
    model = onnx_package.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_belong_to_the_model(tmp_path):
    path = external(tmp_path)
    assert ONNX.describe(path).files == (path, path.parent / "m.data")
    batch = images(3)
    np.testing.assert_allclose(
        opened(path).encode(batch, ["flat"])["flat"].values, expected_features(batch), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("location", ["../m.data", "/etc/passwd", "", "a/../../m.data"])
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    path = external(tmp_path)
    (path.parent / "m.data").rename(tmp_path / "m.data")
    with pytest.raises(ModelError) as caught:
        ONNX.describe(relocated(path, location))
    assert str(caught.value) == (
        f"m.onnx needs its weights inside its own folder. Got the location {location!r}. "
        "Export it again with the weights beside it."
    )


def test_weights_behind_a_link_that_leads_out_are_refused(tmp_path):
    path = external(tmp_path)
    (path.parent / "m.data").rename(tmp_path / "m.data")
    (path.parent / "m.data").symlink_to(tmp_path / "m.data")
    with pytest.raises(ModelError, match=r"^m\.onnx needs its weights inside its own folder\."):
        ONNX.describe(path)


def test_missing_weights_are_named(tmp_path):
    path = external(tmp_path)
    (path.parent / "m.data").unlink()
    with pytest.raises(ModelError) as caught:
        ONNX.describe(path)
    assert str(caught.value) == "m.onnx needs the weights file 'm.data'. Got none. Put it beside the model."


def test_an_input_of_rank_three_is_refused_when_loaded(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", ["n", 4, 5])], [value("y", ["n", 4, 5])])
    assert ONNX.describe(path).modality is None
    with pytest.raises(ModelError) as caught:
        opened(path)
    assert str(caught.value) == (
        "m.onnx needs an input of shape (batch, channels, height, width) for images. Got rank 3, input 'x'. "
        "Export it with such an input."
    )


def test_token_inputs_are_text_and_need_a_tokenizer(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0)]
    ids = value("ids", ["n", "t"], TensorProto.INT64)
    path = save(tmp_path / "m.onnx", nodes, [ids], [value("rows", ["n", "t", 4])], {"table": HEAD.T.copy()})
    assert ONNX.describe(path).modality == "text"
    with pytest.raises(ModelError, match=r"^m\.onnx needs a tokenizer to read text\."):
        opened(path)


def test_vectors_are_tabular(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "a"], ["hidden"]), helper.make_node("Tanh", ["hidden"], ["bent"]),
             helper.make_node("Gemm", ["bent", "c"], ["y"])]  # fmt: skip
    weights = {"a": HEAD, "c": HEAD.T.copy()}
    path = save(tmp_path / "m.onnx", nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], weights)
    facts, encoder = ONNX.describe(path), opened(path)
    assert (facts.modality, facts.preprocessing, encoder.feature_layer) == ("tabular", None, "bent")
    x = np.ones((3, 4), np.float32)
    np.testing.assert_allclose(encoder.encode({"x": x}, ["bent"])["bent"].values, np.tanh(x @ HEAD), rtol=1e-4)
    with pytest.raises(ModelError) as caught:
        encoder.encode({"x": np.ones((3, 6), np.float32)}, ["bent"])["bent"]
    assert str(caught.value) == "m.onnx needs samples of shape 4. Got 6. Choose a model made for such samples."


def test_two_inputs_are_refused(tmp_path):
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    shape = ["n", 3, 8, 8]
    path = save(tmp_path / "m.onnx", nodes, [value("a", shape), value("b", shape)], [value("y", shape)])
    with pytest.raises(ModelError) as caught:
        opened(path)
    assert str(caught.value) == "m.onnx needs exactly one input. Got 2: 'a', 'b'. Export it with one."


def test_an_operator_that_the_runtime_does_not_know_is_refused_in_one_line(tmp_path):
    nodes = [helper.make_node("Surprise", ["image"], ["y"], domain="com.stranger")]
    path = save(tmp_path / "m.onnx", nodes, [value("image", ["n", 3, 8, 8])], [value("y", ["n", 3, 8, 8])])
    with pytest.raises(ModelError, match=r"^m\.onnx could not be loaded by onnxruntime\. Got: .*Surprise") as caught:
        opened(path)
    message = str(caught.value)
    assert "\n" not in message
    assert ".cc" not in message
    assert message.endswith("Download or export it again, with standard operators.")


def test_a_graph_that_loses_the_batch_axis_is_refused(tmp_path):
    nodes = [helper.make_node("ReduceMean", ["image"], ["y"], axes=[0])]
    path = save(tmp_path / "m.onnx", nodes, [value("image", ["n", 3, 8, 8])], [value("y", [1, 3, 8, 8])])
    with pytest.raises(ModelError) as caught:
        opened(path).encode(images(4), ["y"])["y"]
    assert str(caught.value) == (
        "m.onnx needs one row per sample in layer 'y'. Got shape (1, 3, 8, 8) for 4 samples. "
        "Choose another layer, or export it with an open batch axis."
    )


def test_a_graph_that_fails_while_running_gives_one_clean_sentence(tmp_path):
    nodes = [helper.make_node("Reshape", ["image", "shape"], ["y"])]
    shape = {"shape": np.array([7, 11], np.int64)}
    path = save(tmp_path / "m.onnx", nodes, [value("image", ["n", 3, 8, 8])], [value("y", [7, 11])], shape)
    with pytest.raises(ModelError) as caught:
        opened(path).encode(images(4), ["y"])["y"]
    assert str(caught.value).startswith("m.onnx needs to run on a batch of 4 samples. Got: Reshape: ")
    assert "The input tensor cannot be reshaped to the requested shape." in str(caught.value)
    assert "/" not in str(caught.value)


def test_a_card_is_read_from_a_cache_of_links(tmp_path):
    """In the Hub's cache the files of a snapshot are links into one folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    with_card(classifier(blobs / "a.onnx")).rename(blobs / "b1")
    (blobs / "a.json").rename(blobs / "b2")
    (snapshot / "m.onnx").symlink_to(os.path.relpath(blobs / "b1", snapshot))
    (snapshot / "m.json").symlink_to(os.path.relpath(blobs / "b2", snapshot))
    assert ONNX.describe(snapshot / "m.onnx").architecture == "tiny"


def test_the_example_of_the_documentation_is_a_complete_card(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "model-card.md").read_text()
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    path = classifier(tmp_path / "m.onnx", side=32)
    path.with_suffix(".json").write_text(json.dumps({**example, "feature_layer": "flat"}))
    facts = ONNX.describe(path)
    assert facts.assumptions == ()
    assert (facts.n_params, facts.preprocessing.size, facts.reported_accuracy) == (269722, (32, 32), 91.73)
    assert all(f"`{field.split('.')[0]}" in page for field in example)


def zoo_files() -> list[Path]:
    return sorted(ZOO.glob("*.onnx")) if ZOO.is_dir() else []


@pytest.fixture
def zoo() -> list[Path]:
    files = zoo_files()
    if not files:
        pytest.skip("the development zoo is not beside this repository")
    return files


def test_every_model_of_the_zoo_is_described_by_its_card(zoo):
    for path in zoo:
        card = json.loads(path.with_suffix(".json").read_text())
        facts = ONNX.describe(path)
        assert facts.assumptions == (), path.name
        assert facts.feature_layer == "features", path.name
        assert facts.n_params == card["parameters"]
        assert list(facts.preprocessing.size) == card["input_size"][1:]
        assert facts.preprocessing.channels == card["colour_order"]
        assert facts.preprocessing.mean == tuple(card["mean"])
        assert facts.licence == card["licence"]


@pytest.mark.parametrize("name", ["cifar10_resnet20", "face_tiny_xception_kdef", "minifasnetv2_antispoof"])
def test_batches_of_one_and_eight_agree_on_the_zoo(zoo, name):
    path = ZOO / f"{name}.onnx"
    card, encoder = json.loads(path.with_suffix(".json").read_text()), opened(path)
    batch = np.random.default_rng(0).normal(size=(8, *card["input_size"])).astype(np.float32)
    together = encoder.encode({"image": batch}, ["features"])["features"].values
    alone = np.concatenate(
        [encoder.encode({"image": batch[i : i + 1]}, ["features"])["features"].values for i in range(8)]
    )
    assert together.shape == (8, card["feature_dim"])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4 * np.abs(together).max())


# --- the classifier ------------------------------------------------------------------------------------------------


def head_of(path: Path, nodes, outputs, weights=None, **card):
    """Return the head of a graph with an image as its input, beside a card if fields of one are given."""
    stored = {"w": CONV, "h": HEAD, **(weights or {})}
    save(path, nodes, [value("image", ["n", 3, 8, 8])], outputs, stored)
    if card:
        path.with_suffix(".json").write_text(json.dumps(card))
    return opened(path).head_layer


def pooled(*tail):
    return [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        *tail,
    ]


def run_directly(path: Path, name: str, batch) -> np.ndarray:
    model = onnx_package.load(path)
    model.graph.output.append(onnx_package.ValueInfoProto(name=name))
    return onnxruntime.InferenceSession(model.SerializeToString()).run([name], batch)[0]


@pytest.mark.parametrize("squash", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_logits_are_what_the_final_softmax_reads(tmp_path, squash):
    path, batch = classifier(tmp_path / "m.onnx", squash=squash), images(6)
    encoder = opened(path)
    assert encoder.head_layer == "sum"
    logits = encoder.encode(batch, ["sum"])["sum"].values
    np.testing.assert_allclose(logits, run_directly(path, "sum", batch), rtol=1e-5, atol=1e-6)
    exponents = np.exp(logits)
    shares = {"Softmax": exponents / exponents.sum(axis=1, keepdims=True), "Sigmoid": 1 / (1 + 1 / exponents)}
    shares["LogSoftmax"] = np.log(shares["Softmax"])
    output = onnxruntime.InferenceSession(path).run(["probabilities"], batch)[0]
    np.testing.assert_allclose(shares[squash], output, rtol=1e-5, atol=1e-6)


def test_features_and_logits_come_from_one_run_of_the_graph(tmp_path, monkeypatch):
    encoder, batch = opened(classifier(tmp_path / "m.onnx", batch=4)), images(7)
    alone = {layer: encoder.encode(batch, [layer])[layer].values for layer in ("sum", "flat")}
    session, runs = encoder.load(["flat", "sum"]), []
    original = type(session).run
    monkeypatch.setattr(type(session), "run", lambda *given: runs.append(given[1]) or original(*given))
    both = encoder.encode(batch, ["flat", "sum"])
    assert runs == [["flat", "sum"]] * 2, "two pieces of the fixed batch size"
    for layer in ("flat", "sum"):
        np.testing.assert_allclose(both[layer].values, alone[layer], rtol=1e-6, atol=1e-7)


def test_a_pooled_convolution_is_a_head_after_its_pooling(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("Conv", ["conv", "k"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pool"]),
        helper.make_node("Softmax", ["pool"], ["out"], axis=1),
    ]
    weights = {"k": RNG.normal(size=(5, 4, 1, 1)).astype(np.float32)}
    assert head_of(tmp_path / "a.onnx", nodes, [value("out", ["n", 5, 1, 1])], weights) == "pool"
    assert head_of(tmp_path / "b.onnx", nodes[:2], [value("maps", ["n", 5, 6, 6])], weights) is None, "segmentation"
    assert head_of(tmp_path / "c.onnx", nodes[:2], [value("maps", ["n", 5, "h", "w"])], weights) is None


@pytest.mark.parametrize(
    ("name", "card", "head"),
    [
        pytest.param("output", {}, "output", id="unlabelled"),
        pytest.param("embedding", {}, None, id="named-as-features"),
        pytest.param("output", {"feature_layer": "output"}, None, id="features-by-the-card"),
        pytest.param("output", {"feature_layer": "output", "class_names": list("abcde")}, "output", id="with-classes"),
        pytest.param("output", {"class_names": list("abc")}, None, id="other-names"),
        pytest.param("output", {"num_classes": 5}, "output", id="number-alone"),
        pytest.param("output", {"num_classes": 4}, None, id="other-number"),
        pytest.param("output", {"num_classes": 0}, None, id="no-classes"),
    ],
)
def test_what_a_final_linear_layer_is(tmp_path, name, card, head):
    nodes = pooled(helper.make_node("Gemm", ["flat", "h"], [name]))
    assert head_of(tmp_path / "m.onnx", nodes, [value(name, ["n", 5])], **card) == head


def test_one_column_is_no_head_and_neither_are_as_many_as_pixels(tmp_path):
    weights = {"h": HEAD[:, :1].copy()}
    nodes = pooled(helper.make_node("Gemm", ["flat", "h"], ["y"]), helper.make_node("Sigmoid", ["y"], ["p"]))
    assert head_of(tmp_path / "a.onnx", nodes, [value("p", ["n", 1])], weights) is None
    weights = {"h": RNG.normal(size=(4, 192)).astype(np.float32)}
    assert head_of(tmp_path / "b.onnx", nodes, [value("p", ["n", 192])], weights) is None, "an image made again"
    assert head_of(tmp_path / "c.onnx", nodes, [value("p", ["n", 192])], weights, num_classes=192) == "y"


def test_of_several_outputs_the_head_is_the_one_that_can_be_told(tmp_path):
    gemm = helper.make_node("Gemm", ["flat", "h"], ["scores"])
    squash = helper.make_node("Softmax", ["scores"], ["shares"])
    other = helper.make_node("Gemm", ["flat", "g"], ["other"])
    twice = [value("shares", ["n", 5]), value("scores", ["n", 5])]
    assert head_of(tmp_path / "a.onnx", pooled(gemm, squash), twice) == "scores", "one layer, shown twice"
    features = [value("flat", ["n", 4]), value("scores", ["n", 5])]
    assert head_of(tmp_path / "b.onnx", pooled(gemm), features) == "scores"
    weights, both = {"g": HEAD[:, :3].copy()}, [value("other", ["n", 3]), value("scores", ["n", 5])]
    assert head_of(tmp_path / "c.onnx", pooled(gemm, other), both, weights) is None, "two heads"
    assert head_of(tmp_path / "d.onnx", pooled(gemm, other), both, weights, class_names=list("abc")) == "other"
    named = helper.make_node("Gemm", ["flat", "h"], ["logits"])
    both = [value("other", ["n", 3]), value("logits", ["n", 5])]
    assert head_of(tmp_path / "e.onnx", pooled(named, other), both, weights) == "logits"


def test_probabilities_that_cannot_be_undone_give_no_head(tmp_path):
    gemm = helper.make_node("Gemm", ["flat", "h"], ["scores"])
    squash = helper.make_node("Softmax", ["scores"], ["shares"])
    percent = helper.make_node("Mul", ["shares", "hundred"], ["percent"])
    outputs, weights = [value("percent", ["n", 5])], {"hundred": np.float32(100)}
    assert head_of(tmp_path / "a.onnx", pooled(gemm, squash, percent), outputs, weights) is None
    turn = helper.make_node("Transpose", ["scores"], ["turned"], perm=[1, 0])
    squash = helper.make_node("Softmax", ["turned"], ["columns"], axis=0)
    back = helper.make_node("Transpose", ["columns"], ["shares"], perm=[1, 0])
    assert head_of(tmp_path / "b.onnx", pooled(gemm, turn, squash, back), [value("shares", ["n", 5])]) is None


@pytest.mark.parametrize("kind", ["QDQ", "QOperator", "dynamic"])
def test_a_quantized_classifier_has_logits(tmp_path, kind):
    from onnxruntime import quantization

    class Calibration(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [images(4)]

        def get_next(self):
            return self.left.pop() if self.left else None

    source, path, batch = tmp_path / "m.onnx", tmp_path / "q.onnx", images(6)
    nodes = pooled(helper.make_node("Gemm", ["flat", "h", "b"], ["scores"]))
    weights = {"w": CONV, "h": HEAD, "b": np.ones(5, np.float32)}
    save(source, nodes, [value("image", ["n", 3, 8, 8])], [value("scores", ["n", 5])], weights)
    if kind == "dynamic":
        quantization.quantize_dynamic(source, path)
    else:
        quantization.quantize_static(source, path, Calibration(), quant_format=quantization.QuantFormat[kind])
    encoder = opened(path)
    assert encoder.head_layer == "scores"
    logits = encoder.encode(batch, ["scores"])["scores"].values
    np.testing.assert_array_equal(logits, onnxruntime.InferenceSession(path).run(None, batch)[0])


def test_the_heads_of_the_zoo_are_those_of_their_cards(zoo):
    for path in zoo:
        card = json.loads(path.with_suffix(".json").read_text())
        assert (opened(path).head_layer == "logits") == (card["num_classes"] is not None), path.name
