"""The demo repository inside the package: every file is whole, described and runnable."""

import hashlib
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

FOLDER = Path(str(files("neuralrank"))) / "demo_models"
CARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
DATA = ("MNIST", "Fashion-MNIST", "KMNIST (10k)", "CIFAR-10 (JPEG copy)", "none (random weights)")

each_model = pytest.mark.parametrize("name", CARDS)


def open_session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(FOLDER / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def test_there_are_at_least_twenty_models() -> None:
    assert len(CARDS) >= 20


def test_every_card_has_its_onnx_file_and_back() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}{end}" for name in CARDS for end in (".json", ".onnx")}


def test_the_repository_stays_within_six_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6_000_000


@each_model
def test_sizes_and_hashes_of_the_card_are_those_of_the_file(name: str) -> None:
    content = (FOLDER / f"{name}.onnx").read_bytes()
    described = CARDS[name]["onnx"]
    assert described["file"] == f"{name}.onnx"
    assert described["bytes"] == len(content)
    assert described["sha256"] == hashlib.sha256(content).hexdigest()


@each_model
def test_parameters_of_the_card_are_those_of_the_graph(name: str) -> None:
    graph = onnx.load(FOLDER / f"{name}.onnx").graph
    sizes = {
        tensor.name: math.prod(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    # Counted where they are used: a file holds equal tensors, like the zero biases of an untrained model, only once.
    n_weights = sum(sizes.get(used, 0) for node in graph.node for used in node.input)
    surplus = n_weights - CARDS[name]["parameters"]
    # Attention also uses scalars for its scaling; biases of zero, which only untrained models have, are left out.
    n_left_out = CARDS[name]["parameters"] // 10 if CARDS[name]["pretraining_data"].startswith("none") else 0
    assert -n_left_out <= surplus <= 4
    assert math.log(CARDS[name]["parameters"]) > 0


@each_model
def test_the_graph_tells_nothing_of_the_machine_it_was_made_on(name: str) -> None:
    model = onnx.load(FOLDER / f"{name}.onnx")
    del model.graph.initializer[:]  # bytes of weights could spell anything
    content = model.SerializeToString()
    assert b".py" not in content
    assert b"/" not in content


@each_model
def test_the_graph_declares_what_the_card_says(name: str) -> None:
    card, session = CARDS[name], open_session(name)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", *card["input_size"]])
    assert [output.name for output in session.get_outputs()] == card["outputs"]
    assert onnx.load(FOLDER / f"{name}.onnx").opset_import[0].version == card["onnx"]["opset"] >= 17


@each_model
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    card, session = CARDS[name], open_session(name)
    images = np.random.default_rng(0).normal(size=(3, *card["input_size"])).astype(np.float32)
    (together,) = session.run(["features"], {"image": images})
    alone = np.concatenate([session.run(["features"], {"image": images[row : row + 1]})[0] for row in range(3)])
    assert together.shape == (3, card["feature_dim"])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


@each_model
def test_logits_fit_the_class_names(name: str) -> None:
    card, session = CARDS[name], open_session(name)
    if "logits" not in card["outputs"]:
        assert card["num_classes"] is None
        assert card["class_names"] is None
        return
    (logits,) = session.run(["logits"], {"image": np.zeros((3, *card["input_size"]), np.float32)})
    assert logits.shape == (3, card["num_classes"])
    assert len(card["class_names"]) == card["num_classes"]


@each_model
def test_the_card_tells_how_the_model_was_made(name: str) -> None:
    card = CARDS[name]
    assert card["name"] == name
    assert card["licence"] == "Apache-2.0"
    assert card["pretraining_data"].startswith(DATA)
    assert card["initialised_from"] is None or card["initialised_from"] in CARDS
    assert card["training"].keys() >= {"algorithm", "optimiser", "epochs", "samples", "labels", "seed"}
    assert len(card["mean"]) == len(card["std"]) == card["input_size"][0]


@each_model
def test_the_accuracy_on_its_own_task_is_given_where_it_has_one(name: str) -> None:
    card = CARDS[name]
    if "logits" in card["outputs"] or "rotated" in card["training"]["algorithm"]:
        assert 0 < card["reported_accuracy"] <= 100
        assert card["reported_accuracy_source"]["what"].endswith("top-1")
    else:
        assert card["reported_accuracy"] is None
        assert card["reported_accuracy_source"] is None


def test_no_model_saw_the_target_of_the_demo() -> None:
    assert not any("digits" in card["pretraining_data"].lower() for card in CARDS.values())


def test_the_models_differ_in_every_respect_a_repository_does() -> None:
    cards = CARDS.values()
    assert {card["family"] for card in cards} >= {"mlp", "lenet", "vgg", "resnet", "mobilenet", "vit"}
    assert {title for title in DATA if any(card["pretraining_data"].startswith(title) for card in cards)} == set(DATA)
    assert len({card["training"]["algorithm"].split(":")[0] for card in cards}) >= 3
    assert len({card["training"]["labels"] for card in cards}) == 4
    assert any(card["initialised_from"] for card in cards)


def test_size_does_not_tell_how_well_a_model_does_its_own_task() -> None:
    measured = [card for card in CARDS.values() if card["reported_accuracy"] is not None]
    sizes = np.log([card["parameters"] for card in measured])
    accuracies = np.array([card["reported_accuracy"] for card in measured])
    assert abs(np.corrcoef(sizes, accuracies)[0, 1]) < 0.4
