"""Published ONNX networks as trainable modules: the same values as onnxruntime, and weights that learn."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from neuralrank.bench._third_party import TrainableNetwork, load_trainable
from neuralrank.errors import ModelError
from neuralrank.modalities.image import image
from neuralrank.types import ImagePreprocessing

SIDE = 12
CARD = {"input_size": [3, SIDE, SIDE], "colour_order": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_draws(monkeypatch):
    """Every test draws the same weights, whichever ran before it."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def weights(**shapes: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    return {name: RNG.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def save(
    folder: Path, nodes: Sequence[onnx.NodeProto], stored: dict[str, NDArray[Any]], outputs: dict[str, list[Any]],
    opset: int = 20, **card: Any,
) -> Path:  # fmt: skip
    path = folder / "net.onnx"
    shaped = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    n_channels = 1 if card.get("colour_order") == "grey" else 3
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", n_channels, SIDE, SIDE])
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [taken], shaped, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    path.with_suffix(".json").write_text(json.dumps({**CARD, "outputs": list(outputs), **card}))
    return path


def small(folder: Path, **options: Any) -> Path:
    """Convolution, batch normalisation, rectifier, grouped convolution, pooling, and a linear classifier."""
    stored = weights(w=(8, 3, 3, 3), scale=(8,), shift=(8,), mean=(8,), w2=(8, 4, 3, 3), b2=(8,), h=(5, 8), b=(5,))
    stored["variance"] = RNG.uniform(0.5, 2, 8).astype(np.float32)
    nodes = [
        node("Conv", "image w", "conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "conv scale shift mean variance", "norm"),
        node("Relu", "norm", "relu"),
        node("Conv", "relu w2 b2", "grouped", group=2, strides=[2, 2], pads=[0, 0, 1, 1]),
        node("MaxPool", "grouped", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "pool", "average", kernel_shape=[3, 3]),
        node("Reshape", "average flat", "features", allowzero=1),
        node("Gemm", "features h b", "logits", transB=1),
    ]
    stored["flat"] = whole(-1, 8)
    return save(folder, nodes, stored, {"logits": ["n", 5], "features": ["n", 8]}, **options)


def pixels(n: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 20, 20), dtype=np.uint8)


def values(network: TrainableNetwork, images: torch.Tensor) -> dict[str, NDArray[Any]]:
    network.eval()
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(images).items()}


def difference(path: Path, network: TrainableNetwork, n: int = 3) -> float:
    """Return the largest difference from onnxruntime, relative to the largest value, over all outputs."""
    images = network.prepare(pixels(n))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found, names = values(network, images), [output.name for output in session.get_outputs()]
    assert set(found) == set(names)
    expected = dict(zip(names, session.run(names, {"image": images.contiguous().numpy()}), strict=True))
    return max(float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max()) for name in names)


# --- the same values ---------------------------------------------------------------------------------------------


def test_features_and_logits_are_those_of_onnxruntime(tmp_path):
    path = small(tmp_path)
    network = load_trainable(path)
    assert (network.n_features, network.n_batch_norms) == (8, 1)
    assert difference(path, network) < 1e-5


POOLED = node("ReduceMean", "x axes", "features", keepdims=0)
CASES = {
    "dilated": ([node("Conv", "image w", "x", pads=[2, 2, 2, 2], dilations=[2, 2])], weights(w=(4, 3, 3, 3))),
    "depthwise": ([node("Conv", "image w", "x", group=3, strides=[2, 2])], weights(w=(6, 1, 3, 3))),
    "a-slope-per-channel": ([node("PRelu", "image slope", "x")], weights(slope=(3, 1, 1))),
    "one-slope": ([node("PRelu", "image slope", "x")], weights(slope=(1,))),
    "leaky": ([node("LeakyRelu", "image", "x", alpha=0.1)], {}),
    "clipped-above": (
        [helper.make_node("Clip", ["image", "", "high"], ["x"])],
        {"high": np.array(0.5, dtype=np.float32)},
    ),
    "max-rounded-up": ([node("MaxPool", "image", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}),
    "max-padded-on-one-side": (
        [node("MaxPool", "image", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])], {},
    ),
    "average-with-pads": (
        [node("AveragePool", "image", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)], {},
    ),
    "average-without-pads": (
        [node("AveragePool", "image", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {},
    ),
    "padded-channels": ([node("Pad", "image pads", "x")], {"pads": whole(0, 2, 1, 0, 0, 3, 0, 2)}),
    "every-second-row": (
        [node("Slice", "image starts ends along steps", "x")],
        {"starts": whole(1, -6), "ends": whole(2**63 - 1, -1), "along": whole(2, 3), "steps": whole(2, 1)},
    ),
    "channels-last-affine": (
        [
            node("Transpose", "image", "last", perm=[0, 2, 3, 1]),
            node("Sub", "last mean", "centred"),
            node("Mul", "centred gain", "scaled"),
            node("Add", "scaled shift", "shifted"),
            node("Transpose", "shifted", "x", perm=[0, 3, 1, 2]),
        ],
        weights(mean=(3,), gain=(3,), shift=(3,)),
    ),
    "gated": ([node("Sigmoid", "image", "gate"), node("Tanh", "image", "t"), node("Mul", "gate t", "x")], {}),
    "resized-to-a-stored-size": (
        [
            node("Shape", "image", "two", start=0, end=2),
            node("Concat", "two wanted", "sizes", axis=0),
            helper.make_node(
                "Resize", ["image", "", "", "sizes"], ["x"], mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
        ],
        {"wanted": whole(7, 17)},
    ),
    "picked-by-index": (
        [
            node("Transpose", "image", "sides", perm=[2, 3, 0, 1]),
            node("GatherND", "sides places", "picked"),
            node("Where", "mask zero picked", "masked"),
            node("Div", "masked count", "divided"),
            node("Gather", "divided one", "row"),
            node("Transpose", "row", "x", perm=[1, 2, 0]),
        ],
        {
            "places": RNG.integers(-SIDE, SIDE, (5, 2, 2)), "mask": RNG.random((5, 2, 1, 1)) > 0.5,
            "zero": np.array(0, dtype=np.float32), "count": np.array(3, dtype=np.float32), "one": np.array(1),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_operator_gives_the_values_of_onnxruntime(name, tmp_path):
    nodes, stored = CASES[name]
    axes = whole(2) if name == "picked-by-index" else whole(2, 3)
    path = save(tmp_path, [*nodes, POOLED], {**stored, "axes": axes}, {"features": ["n", None]})
    assert difference(path, load_trainable(path)) < 1e-5


@pytest.mark.parametrize("order", ["RGB", "BGR", "grey"])
def test_images_are_prepared_as_a_ranking_prepares_them(order, tmp_path):
    channels = 1 if order == "grey" else 3
    numbers = {"mean": CARD["mean"][:channels], "std": CARD["std"][:channels]}
    stored = {**weights(w=(4, channels, 3, 3)), "axes": whole(2, 3)}
    nodes = [node("Conv", "image w", "x"), POOLED]
    card = {"input_size": [channels, SIDE, SIDE], "colour_order": order, **numbers}
    network = load_trainable(save(tmp_path, nodes, stored, {"features": ["n", 4]}, **card))
    for size in (SIDE, 31):
        wanted = ImagePreprocessing(
            size=(size, size), channels=order, mean=tuple(numbers["mean"]), std=tuple(numbers["std"])
        )
        given = pixels(4)
        expected = image().make_batch(list(given.transpose(0, 2, 3, 1)), wanted)["image"]
        found = network.prepare(given, None if size == SIDE else size).numpy()
        assert np.abs(found - expected).max() < 1.01 / 255 / min(numbers["std"])  # Pillow rounds to whole pixel values


def test_grey_images_are_given_three_channels(tmp_path):
    network = load_trainable(small(tmp_path))
    grey = pixels(2)[:, :1]
    assert torch.equal(network.prepare(grey), network.prepare(grey.repeat(3, axis=1)))


# --- other sizes -------------------------------------------------------------------------------------------------


def test_pooling_over_the_whole_image_holds_at_other_sizes(tmp_path):
    path = small(tmp_path)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    onnx.save(model, path)
    network = load_trainable(path)
    assert difference(path, network) < 1e-5
    assert values(network, network.prepare(pixels(2), 24))["features"].shape == (2, 8)


def test_a_size_that_does_not_fit_is_told(tmp_path):
    network = load_trainable(small(tmp_path))
    with pytest.raises(ModelError, match=r"^net.onnx needs images of 12 × 12 pixels\. With 24 × 24 it gives: "):
        network(network.prepare(pixels(2), 24))


# --- training ----------------------------------------------------------------------------------------------------


def test_weights_are_trained_and_statistics_are_not(tmp_path):
    network = load_trainable(small(tmp_path))
    assert sum(parameter.numel() for parameter in network.parameters()) == 216 + 8 + 8 + 288 + 8 + 40 + 5
    assert sum(buffer.numel() for buffer in network.buffers()) == 8 + 8


def test_sizes_stay_with_the_processor_when_weights_are_moved(tmp_path):
    network = load_trainable(small(tmp_path))
    kept = {name: value for name, value in vars(network).items() if isinstance(value, torch.Tensor)}
    assert [value.tolist() for value in kept.values()] == [[-1, 8]]
    network.to("meta")
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}
    assert all(getattr(network, name) is value for name, value in kept.items())


def test_gradients_reach_every_weight(tmp_path):
    network = load_trainable(small(tmp_path))
    network(network.prepare(pixels(4)))["logits"].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_statistics_of_the_batch_are_used_and_kept_in_training_alone(tmp_path):
    network = load_trainable(small(tmp_path))
    images = network.prepare(pixels(8))
    before = copy.deepcopy(network)
    evaluated = values(network, images)["features"]
    network.train()
    trained = network(images)["features"].detach().numpy()
    assert np.abs(trained - evaluated).max() > 1e-2
    changed = [not torch.equal(a, b) for a, b in zip(network.buffers(), before.buffers(), strict=True)]
    assert sum(changed) == 2
    np.testing.assert_array_equal(values(before, images)["features"], evaluated)


def test_training_with_a_new_classifier_lowers_the_loss(tmp_path):
    torch.manual_seed(0)
    network = load_trainable(small(tmp_path))
    assert network.training
    network.classifier = torch.nn.Linear(network.n_features, 3)
    images, labels = network.prepare(pixels(24)), torch.arange(24) % 3
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images)["logits"], labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_a_copy_is_trained_by_itself(tmp_path):
    network = load_trainable(small(tmp_path))
    tuned = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.zero_()
    images = network.prepare(pixels(2))
    assert values(tuned, images)["logits"].max() == 0
    assert values(network, images)["logits"].max() != 0


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "got"),
    [
        pytest.param(node("Mish", "image", "x"), "the operator Mish", id="unknown"),
        pytest.param(
            node("Pad", "image pads", "x", mode="reflect"), "the operator Pad with mode 'reflect'", id="attribute"
        ),
    ],
)
def test_an_operator_that_is_not_offered_is_named(changed, got, tmp_path):
    stored = {"axes": whole(2, 3), "pads": whole(0, 0, 1, 1, 0, 0, 1, 1)}
    path = save(tmp_path, [changed, POOLED], stored, {"features": ["n", 3]})
    with pytest.raises(ModelError, match=rf"^net.onnx needs operators that can be trained: Add, .* Got {got}\. Exp"):
        load_trainable(path)


def test_an_old_opset_is_refused(tmp_path):
    path = small(tmp_path, opset=17)
    with pytest.raises(ModelError, match=r"^net.onnx needs opset 18 or later to be trained\. Got 17\. "):
        load_trainable(path)


def test_what_torch_cannot_run_is_told_when_it_is_loaded(tmp_path):
    nodes = [node("AveragePool", "image", "x", kernel_shape=[3, 3], pads=[0, 0, 1, 1]), POOLED]
    path = save(tmp_path, nodes, {"axes": whole(2, 3)}, {"features": ["n", 3]})
    with pytest.raises(
        ModelError, match=r"^net.onnx could not be run by torch\. Got: an average over pads that differ"
    ):
        load_trainable(path)


def test_a_resize_that_is_not_offered_is_refused(tmp_path):
    path = small(tmp_path, resize="crop")
    with pytest.raises(ModelError, match="Got crop, bilinear, NCHW"):
        load_trainable(path)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "net.txt").write_text("x")
    with pytest.raises(ModelError, match=r"^net.txt needs to be an ONNX file that takes images\."):
        load_trainable(tmp_path / "net.txt")


# --- published networks ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_network_of_the_zoo_gives_the_values_of_onnxruntime(shared: Path):
    files = sorted((shared / "zoo").glob("*.onnx"))
    if not files:
        pytest.skip("the development zoo is not beside this repository")
    differences = {path.stem: difference(path, load_trainable(path), n=2) for path in files}
    assert len(differences) == 31
    assert max(differences.values()) < 1e-3, max(differences, key=lambda name: differences[name])
