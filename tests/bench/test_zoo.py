"""Networks that others published, from ONNX files to the tables that the evaluation reads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from neuralrank.bench import _zoo_models as models
from neuralrank.bench import _zoo_truth, _zoo_tuning, tables, zoo
from neuralrank.bench._cells import Question
from neuralrank.bench._data import Images
from neuralrank.bench._third_party import load_trainable
from neuralrank.bench.build import Repository
from neuralrank.bench.evaluate import evaluate
from neuralrank.cli import app
from neuralrank.errors import UsageError

SIDE, LARGE = 12, 128
CARD = {"colour_order": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "family": "plain"}


def silent(*_) -> None:
    """A progress nobody looks at."""


def save(path: Path, side: int, *, activation: str = "Relu", scale: float = 1.0, stride: int = 2, **card: Any) -> None:
    """Write a network of one convolution, an activation, pooling and a linear classifier."""
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(0, 0.3 * scale, (8, 3, 3, 3)), "h": rng.normal(0, 0.5, (5, 8)), "b": np.zeros(5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"], strides=[stride, stride]),
        helper.make_node(activation, ["conv"], ["active"]),
        helper.make_node("ReduceMean", ["active", "axes"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "h", "b"], ["logits"], transB=1),
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in stored.items()]
    tensors.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    shapes = {"image": ["n", 3, side, side], "logits": ["n", 5], "features": ["n", 8]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "g", [values["image"]], [values["logits"], values["features"]], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    card = {"input_size": [3, side, side], "outputs": ["logits", "features"], "num_classes": 5, **CARD, **card}
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, digits_data: Path) -> models.Zoo:
    """Five networks: one small, one for large images, one that cannot be trained, one that gives nan, one damaged."""
    folder = tmp_path_factory.mktemp("zoo")
    save(folder / "small.onnx", SIDE, pretraining_data="CIFAR-10", reported_accuracy=91.5)
    save(folder / "large.onnx", LARGE, stride=6)
    save(folder / "frozen.onnx", SIDE, activation="Elu", family="other")
    save(folder / "nan.onnx", SIDE, scale=np.nan)
    (folder / "damaged.onnx").write_bytes(b"not a graph")
    repository = Repository(folder=tmp_path_factory.mktemp("repository"), data=digits_data)
    found = models.Zoo(
        models=folder, repository=repository, targets=("digits",), n_probe=100, n_pool=400, n_test=200,
        steps={500: 15, 2_000: 15}, n_seeds=2, scores=("neuralrank", "knn", "leep"),
    )  # fmt: skip
    zoo.measure_zoo(found, jobs=1, progress=silent)
    return found


@pytest.fixture(scope="module")
def written(measured, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    zoo.write_tables(measured, folder)
    return folder


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{name}.parquet").to_pylist())


def test_every_network_has_its_truth(written):
    truth = rows(written, "truth")
    heads = [(row["model"], row["n_train"], row["n_used"], row["seed"]) for row in truth if row["regime"] == "head"]
    assert sorted(heads) == sorted(
        (model, n_train, 400, seed)
        for model in ("small", "large", "large@96", "frozen")
        for n_train in (500, 5_000)
        for seed in (0, 1, 2)
    )
    tuned = [row for row in truth if row["regime"] == "finetune"]
    assert sorted((row["model"], row["n_train"], row["n_used"], row["seed"]) for row in tuned) == [
        (model, n_train, 400, seed) for model in ("large@96", "small") for n_train in (500, 2_000) for seed in (0, 1)
    ]
    assert all(row["learning_rate"] in _zoo_tuning.RATES for row in tuned)
    assert all(row["n_correct_a"] + row["n_correct_b"] == round(200 * row["accuracy"]) for row in truth)
    assert min(row["accuracy"] for row in truth) > 0.2


def test_networks_are_described_by_their_cards(written):
    networks = {row["model"]: row for row in rows(written, "networks")}
    assert list(networks) == ["frozen", "large", "large@96", "nan", "small"]
    assert {name: row["parent"] for name, row in networks.items() if row["parent"]} == {"large@96": "large"}
    small = {name: value for name, value in networks["small"].items() if value is not None}
    assert small == {
        "model": "small", "lineage": "plain", "half": "confirmation", "pretraining_data": "cifar10_jpeg",
        "n_classes": 5, "algorithm": "published", "architecture": "plain", "n_params": 216 + 40 + 5, "damage": "none",
        "source_accuracy": 0.915,
    }  # fmt: skip
    assert networks["frozen"]["lineage"] == "other"
    assert networks["large"]["pretraining_data"] == "unknown"


def test_a_probe_gives_smaller_ones(written):
    scores = rows(written, "scores")
    draws = {(row["n_probe"], row["draw"]) for row in scores}
    assert draws == {*((50, draw) for draw in range(5)), (100, 0)}
    assert {row["model"] for row in scores} == {"small", "large", "large@96", "frozen"}
    assert all(row["value"] is not None for row in scores), "all have a classifier"


def test_the_evaluation_reads_the_tables(written):
    found = evaluate(tables.read_tables(written), Question(n_probe=100, n_resamples=20, half="confirmation"))
    assert {(cell.regime, cell.n_models) for cell in found.cells} == {
        ("head 500", 4), ("head 5000", 4), ("finetune 500", 2), ("finetune 2000", 2),
    }  # fmt: skip


def test_what_is_not_measured_is_told(measured, written):
    told = {(remark.model, remark.kind, remark.target): remark.reason for remark in zoo.remarks(measured)}
    assert list(told) == [
        ("damaged", "not measured", None), ("frozen", "not fine-tuned", None), ("nan", "not measured", "digits"),
        ("nan", "not fine-tuned", "digits"),
    ]  # fmt: skip
    assert told["damaged", "not measured", None].startswith("damaged.onnx ")
    assert "Got the operator Elu" in told["frozen", "not fine-tuned", None]
    assert "Got NaN or infinity for 700 of 700 images" in told["nan", "not measured", "digits"]
    kept = json.loads((written / "remarks.json").read_text())
    assert [remark["reason"] for remark in kept] == list(told.values())


def test_a_second_call_does_nothing(measured):
    def times() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in measured.folder.rglob("*") if file.is_file()}

    before, told = times(), []
    zoo.measure_zoo(measured, jobs=1, progress=lambda *event: told.append(event))
    assert (told, times()) == ([], before)
    assert not [file for file in before if file.name.startswith(".") or file.suffix == ".npy"]


def test_a_file_that_has_changed_is_measured_anew(measured):
    card = measured.models / "small.json"
    before, text = models.list_published(measured.models), card.read_text()
    card.write_text(text.replace("91.5", "92.5"))
    changed = models.list_published(measured.models)
    card.write_text(text)
    assert [a.file.stem for a, b in zip(before, changed, strict=True) if a.digest != b.digest] == ["small"]
    assert not changed[-1].facts(measured).exists()


def test_a_network_that_costs_too_much_is_not_fine_tuned(measured):
    stingy = replace(measured, limit_seconds_per_step=1e-9)
    assert {piece.kind for piece in zoo.measurements(stingy)} == {"head"}
    assert {piece.model.name for piece in zoo.measurements(stingy)} == {"small", "large", "frozen", "nan"}
    (reason,) = [remark.reason for remark in zoo.remarks(stingy) if remark.model == "small"]
    assert reason.startswith("A training step on 32 images needs at most 1e-09 s. Got 0.00")


def test_a_network_that_works_at_its_own_size_alone_is_judged_there(tmp_path):
    save(tmp_path / "net.onnx", LARGE)
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[2].CopyFrom(helper.make_node("Reshape", ["active", "flat"], ["features"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 8 * 63 * 63]), "flat"))
    del model.graph.node[3], model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", None]))
    onnx.save(model, tmp_path / "net.onnx")
    card = json.loads((tmp_path / "net.json").read_text())
    (tmp_path / "net.json").write_text(json.dumps({**card, "outputs": ["features"], "num_classes": None}))
    found = models.Zoo(models=tmp_path, repository=Repository(folder=tmp_path / "repository", data=tmp_path))
    (published,) = models.list_published(tmp_path)
    models.look_at((published, found))
    look = models.read_look(published, found)
    assert look.side is None
    assert look.remark.startswith("net.onnx needs images of 128 × 128 pixels. With 96 × 96 it gives: ")
    assert look.seconds_per_step is not None


def test_features_are_those_of_a_ranking(measured):
    import neuralrank
    from neuralrank.readers._open import open_target

    samples = _zoo_truth.keep_samples("digits", measured)
    probe = samples.images(samples.probe)
    target = open_target((probe.pixels.transpose(0, 2, 3, 1), probe.labels))
    (ranked,) = neuralrank.rank(measured.models / "small.onnx", target, probe=len(probe)).models
    (piece,) = [each for each in zoo.measurements(measured) if each.name == "head digits small"]
    with np.load(piece.features) as stored:
        found = neuralrank.score("neuralrank", stored["features"], stored["labels"])
    assert ranked.score == pytest.approx(found.value, abs=1e-6)


def test_another_size_gives_other_features(measured):
    kept = {piece.model.name: piece.features for piece in zoo.measurements(measured) if piece.kind == "head"}
    with np.load(kept["large"]) as own, np.load(kept["large@96"]) as other:
        assert own["features"].shape == other["features"].shape == (100, 8)
        assert np.abs(own["features"] - other["features"]).max() > 1e-3
        np.testing.assert_array_equal(own["labels"], other["labels"])


def test_parts_of_a_target_are_apart(measured):
    samples = _zoo_truth.keep_samples("digits", measured)
    sizes = [len(samples.images(part)) for part in (samples.probe, samples.pool, samples.test)]
    assert sizes == [100, 400, 200]
    whole = samples.images(slice(None))
    assert whole.pixels.shape == (700, 3, 32, 32)
    train = {image.tobytes() for image in whole.pixels[:500]}
    assert len(train) > 495, "the digits hold a few copies"


def test_fine_tuning_learns_and_leaves_the_network_as_it_was(measured):
    network = load_trainable(measured.models / "small.onnx")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels = np.random.default_rng(0).integers(2, size=100)
    pixels = np.zeros((100, 3, 32, 32), dtype=np.uint8)
    pixels[:, :, 8:24, 8:24] = np.where(labels, 200, 120)[:, None, None, None]
    images = Images(pixels=pixels, labels=labels)
    rate, tuned = _zoo_tuning.fine_tuned(network, images, side=None, n_steps=10, seed=0)
    assert rate in _zoo_tuning.RATES
    assert (_zoo_tuning.predict(tuned, pixels, None) == labels).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    weights = dict(tuned.named_parameters())
    assert not torch.equal(weights["stored_0"], before["stored_0"])
    again = _zoo_tuning.fine_tuned(network, images, side=None, n_steps=10, seed=0)[1]
    assert torch.equal(dict(again.named_parameters())["stored_0"], weights["stored_0"])


def test_the_command_writes_the_tables_and_names_what_is_lacking(measured, digits_data, tmp_path, monkeypatch):
    given: dict[str, Any] = {}

    def chosen(**options: Any) -> Any:
        given.update(options)
        return replace(measured, limit_seconds_per_step=options["limit_seconds_per_step"])

    monkeypatch.setattr(models, "Zoo", chosen)
    words = ["--models", measured.models, "--data", digits_data, "--repository", tmp_path, "--tables", tmp_path / "t"]
    told = CliRunner().invoke(
        app, ["bench", "zoo", *map(str, words), "--limit-seconds-per-step", "9", "--seeds", "2", "--quiet"]
    )
    assert (told.exit_code, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert [line.partition(".onnx")[0] for line in lines[:2]] == [
        "damaged is not measured: damaged", "frozen is not fine-tuned: frozen",
    ]  # fmt: skip
    assert lines[2].startswith("nan is not measured on digits: Features need to be finite.")
    assert given == {
        "models": measured.models, "repository": Repository(folder=tmp_path, data=digits_data),
        "limit_seconds_per_step": 9.0, "n_seeds": 2,
    }  # fmt: skip
    assert len(rows(tmp_path / "t", "truth")) == 4 * 6 + 2 * 4


def test_a_folder_without_networks_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"^--models needs a folder with NAME\.onnx and NAME\.json of each network\."):
        models.list_published(tmp_path)


@pytest.mark.slow
def test_small_networks_of_the_zoo_are_measured(shared: Path, tmp_path: Path):
    if not (shared / "zoo").is_dir() or not (shared / "data" / "sign_digits").is_dir():
        pytest.skip("the development zoo is not beside this repository")
    (tmp_path / "zoo").mkdir()
    for name in ("doodlenet_quickdraw", "relationnet_omniglot_5way_1shot"):
        for kind in ("onnx", "json"):
            (tmp_path / "zoo" / f"{name}.{kind}").write_bytes((shared / "zoo" / f"{name}.{kind}").read_bytes())
    found = models.Zoo(
        models=tmp_path / "zoo", repository=Repository(folder=tmp_path / "repository", data=shared / "data"),
        targets=("sign_digits",), n_probe=100, n_pool=300, n_test=200,
        steps={200: 40}, scores=("neuralrank", "knn"),
    )  # fmt: skip
    zoo.measure_zoo(found, jobs=1, progress=silent)
    zoo.write_tables(found, tmp_path / "tables")
    assert zoo.remarks(found) == []
    truth = rows(tmp_path / "tables", "truth")
    assert len(truth) == 2 * (6 + 1)
    assert min(row["accuracy"] for row in truth) > 0.3
