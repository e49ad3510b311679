"""Listing a folder tree of checkpoints made here."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuralrank import registry
from neuralrank.errors import UsageError
from neuralrank.types import Failure, ModelRecord

ZOO = Path(__file__).resolve().parents[2] / "../shared/zoo"


def listed(path: Path) -> list[ModelRecord | Failure]:
    return list(registry.get("sources", "folder")(path).list_models())


def by_name(path: Path) -> dict[str, ModelRecord | Failure]:
    return {item.model_id.removeprefix("folder:").split("@")[0]: item for item in listed(path)}


def write_onnx(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).normal(size=(12, 2)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["logits"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_models_are_listed_in_sorted_order_with_ids_by_content(tmp_path):
    for name in ("b.onnx", "a/z.onnx", "a/b.onnx"):
        write_onnx(tmp_path / name)
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "a" / "photo.jpg").write_bytes(b"x")
    records = listed(tmp_path)
    assert [record.name for record in records] == ["a/b.onnx", "a/z.onnx", "b.onnx"]
    content = (tmp_path / "b.onnx").read_bytes()
    expected = hashlib.sha256(b"b.onnx\0" + len(content).to_bytes(8, "little") + content).hexdigest()
    assert records[2].content_hash == expected
    assert records[2].model_id == f"folder:b.onnx@{expected[:16]}"
    assert records[2].size_bytes == len(content)
    assert records[2].facts.n_params == 24
    assert records[2].path == tmp_path / "b.onnx"


def test_the_id_changes_with_weights_and_card_and_not_with_the_place(tmp_path):
    first, second = write_onnx(tmp_path / "x" / "m.onnx"), write_onnx(tmp_path / "y" / "m.onnx")
    assert listed(first.parent)[0].model_id == listed(second.parent)[0].model_id
    first.with_suffix(".json").write_text(json.dumps({"licence": "MIT"}))
    with_card = listed(first.parent)[0]
    assert with_card.model_id != listed(second.parent)[0].model_id
    assert with_card.facts.licence == "MIT"
    write_onnx(second, seed=1)
    assert listed(second.parent)[0].content_hash not in (with_card.content_hash, listed(tmp_path)[0].content_hash)


def test_a_single_file_is_a_source_of_one_model(tmp_path):
    path = write_onnx(tmp_path / "m.onnx")
    write_onnx(tmp_path / "other.onnx")
    assert [record.name for record in listed(path)] == ["m.onnx"]


def test_no_such_path_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError) as caught:
        registry.get("sources", "folder")(tmp_path / "none")
    assert str(caught.value) == (
        f"A folder or file of models is needed. Got {str(tmp_path / 'none')!r}, which does not exist. Check the path."
    )


def test_a_folder_without_models_lists_nothing(tmp_path):
    assert listed(tmp_path) == []
    (tmp_path / "notes.txt").write_text("nothing here")
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "arrays.npz").write_bytes(b"x")
    assert listed(tmp_path) == []


def with_weights_in(path: Path, location: str) -> Path:
    """Put the weights of an ONNX file into another one."""
    (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


@pytest.mark.parametrize(
    "location",
    ["weights.bin", "a.bin", "m.pt", "m.onnx.data", "m.onnx_data", "foo.weights", "w.pkl", "w.h5", "w.keras", "w.pt2",
     "w.safetensors", "deep/er/weights.bin"],
)  # fmt: skip
def test_weights_of_an_onnx_file_are_no_model_of_their_own(tmp_path, location):
    path = with_weights_in(write_onnx(tmp_path / "x" / "m.onnx"), location)
    assert [item.model_id.partition("@")[0] for item in listed(tmp_path)] == ["folder:x/m.onnx"]
    assert path.parent / location in by_name(tmp_path)["x/m.onnx"].facts.files
    (entry,) = registry.get("sources", "folder")(tmp_path).list_entries({})
    assert entry.name == "x/m.onnx"


def test_a_file_that_no_onnx_model_names_stays_a_failure(tmp_path):
    with_weights_in(write_onnx(tmp_path / "m.onnx"), "weights.bin")
    for name in ("other.bin", "deep/weights.bin", "z.pkl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x80\x04.")
    found = by_name(tmp_path)
    assert list(found) == ["deep/weights.bin", "m.onnx", "other.bin", "z.pkl"]
    assert sum(isinstance(item, Failure) for item in found.values()) == 3
    (failure,) = listed(tmp_path / "weights.bin")  # who asks for the file itself is told why it is no model
    assert failure.error.startswith("weights.bin needs to be a file that torch.save or torch.jit.save wrote.")


def test_weights_of_a_model_that_cannot_be_listed_stay_a_failure(tmp_path):
    path = with_weights_in(write_onnx(tmp_path / "m.onnx"), "weights.bin")
    path.write_bytes(path.read_bytes()[:20])
    assert list(by_name(tmp_path)) == ["m.onnx", "weights.bin"]


def test_no_model_hides_another_by_naming_it_as_its_weights(tmp_path):
    write_onnx(tmp_path / "good.onnx", seed=1)
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(2, 2)}, tmp_path / "weights.pt")
    (tmp_path / "weights.json").write_text('{"architecture": "timm:resnet18"}')
    model = onnx.load(with_weights_in(write_onnx(tmp_path / "evil.onnx"), "w.bin"), load_external_data=False)
    for victim in ("good.onnx", "weights.pt"):
        next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = victim
        (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
        assert {"good.onnx", "weights.pt"} <= set(by_name(tmp_path))


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib"])
def test_a_pickle_is_listed_and_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    (failure,) = listed(tmp_path)
    assert (failure.model_id, failure.stage) == (f"folder:{name}", "list")
    assert name in failure.error


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.bin", "m.ckpt", "M.PT"])
def test_what_torch_did_not_write_is_listed_and_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    (failure,) = listed(tmp_path)
    assert (failure.model_id, failure.stage) == (f"folder:{name}", "list")
    assert failure.error == (
        f"{name} needs to be a file that torch.save or torch.jit.save wrote. Got another one, and if it is a pickle, "
        "loading it runs code from the file. Convert it where you trust it, for example with "
        "torch.onnx.export(model, image, 'model.onnx') or model.save_pretrained(folder)."
    )


@pytest.mark.parametrize(
    "suffix",
    ["joblib", "pkl", "pickle", "pt", "PTH", "bin", "ckpt", "onnx", "pt2", "torchscript", "keras", "skops", "h5",
     "safetensors", "gguf"],
)  # fmt: skip
def test_an_empty_file_is_called_empty(tmp_path, suffix):
    (tmp_path / f"m.{suffix}").touch()
    (failure,) = listed(tmp_path)
    assert (failure.model_id, failure.stage) == (f"folder:m.{suffix}", "list")
    assert failure.error == f"m.{suffix} needs to hold a model. Got an empty file. Download it again."


def test_the_state_of_a_training_is_no_model(tmp_path):
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "random_states_0.pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
    assert listed(tmp_path) == []


def test_weights_without_a_config_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (failure,) = listed(tmp_path)
    assert failure.error == (
        "model.safetensors needs the config.json of its architecture beside it. Got weights alone. "
        "Put the config.json of Transformers or timm into the same folder, or write a card 'model.json' that names it, "
        'for example: {"architecture": "timm:resnet18"}'
    )


def test_weights_with_a_config_of_no_known_kind_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "config.json").write_text(json.dumps({"colour": "red"}))
    (failure,) = listed(tmp_path)
    assert failure.error.startswith(
        "model.safetensors needs a config.json that names a Transformers or timm architecture."
    )


@pytest.mark.parametrize("name", ["m.tflite", "m.pb", "m.gguf", "m.mlmodel"])
def test_formats_to_come_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    (failure,) = listed(tmp_path)
    assert failure.error == (
        f"{name} needs a format that neuralrank loads. Got {name[1:]}, which it does not yet. Export it to ONNX."
    )


@pytest.mark.parametrize("name", ["m.h5", "m.hdf5"])
def test_the_older_format_of_keras_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
    (failure,) = listed(tmp_path)
    assert failure.error == (
        f"{name} needs to be a .keras file. Got HDF5, the older format of Keras, which can run code while "
        "it is loaded. Load it where you trust it, and save it again with model.save('model.keras')."
    )


def test_a_directory_with_pickled_weights_alone_is_one_failure(tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (failure,) = listed(tmp_path)
    assert failure.model_id == "folder:bert"
    assert "pytorch_model.bin" in failure.error
    assert "safetensors" in failure.error


def test_a_damaged_model_is_one_failure_and_the_others_are_listed(tmp_path):
    path = write_onnx(tmp_path / "a.onnx")
    write_onnx(tmp_path / "b.onnx")
    path.write_bytes(path.read_bytes()[:100])
    failure, record = listed(tmp_path)
    assert failure == Failure(
        model_id="folder:a.onnx",
        stage="list",
        error="a.onnx could not be read as ONNX. Got 100 bytes that are damaged or cut short. "
        "Download or export it again.",
    )
    assert record.name == "b.onnx"


def test_hidden_folders_are_passed_over(tmp_path):
    write_onnx(tmp_path / ".cache" / "m.onnx")
    write_onnx(tmp_path / ".hidden.onnx")
    assert listed(tmp_path) == []


def test_links_that_lead_out_are_refused_and_links_inside_followed(tmp_path):
    root = tmp_path / "models"
    write_onnx(tmp_path / "outside" / "m.onnx")
    write_onnx(root / "real.onnx")
    (root / "file.onnx").symlink_to(tmp_path / "outside" / "m.onnx")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "gone.onnx").symlink_to(root / "missing")
    (root / "inside.onnx").symlink_to("real.onnx")
    (root / "notes.txt").symlink_to(tmp_path / "outside")
    found = by_name(root)
    out = "needs to lie inside the folder. Got a link that leads out of it. Copy the file here."
    assert found["file.onnx"].error == f"file.onnx {out}"
    assert found["folder"].error == f"folder {out}"
    assert (
        found["gone.onnx"].error
        == "gone.onnx needs a file to lead to. Got a link that leads nowhere. Restore the file."
    )
    assert isinstance(found["inside.onnx"], ModelRecord)
    assert isinstance(found["real.onnx"], ModelRecord)


def test_a_loop_of_links_ends(tmp_path):
    write_onnx(tmp_path / "a" / "m.onnx")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "self.onnx").symlink_to("self.onnx")
    assert [item.model_id.split("@")[0] for item in listed(tmp_path)] == ["folder:a/m.onnx", "folder:self.onnx"]


def test_a_pipe_is_refused_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    os.mkfifo(tmp_path / "log")
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "config.json")
    failures = listed(tmp_path)
    assert [failure.model_id for failure in failures] == ["folder:m.onnx", "folder:model"]
    assert failures[0].error == "m.onnx needs to be a regular file. Got a pipe, socket or device. Remove it."


def test_a_directory_whose_config_leads_out_is_refused(tmp_path):
    folder = tmp_path / "models" / "bert"
    folder.mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    (failure,) = listed(tmp_path / "models")
    assert failure.error.startswith("config.json needs to lie inside the folder.")


def test_a_snapshot_of_the_hubs_cache_may_link_into_its_blobs(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blob = write_onnx(tmp_path / "models--org--name" / "blobs" / "x.onnx")
    (snapshot / "m.onnx").symlink_to(os.path.relpath(blob, snapshot))
    write_onnx(tmp_path / "stranger.onnx")
    (snapshot / "n.onnx").symlink_to(tmp_path / "stranger.onnx")
    found = by_name(snapshot)
    assert isinstance(found["m.onnx"], ModelRecord)
    assert isinstance(found["n.onnx"], Failure)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_an_unreadable_file_is_a_failure(tmp_path):
    write_onnx(tmp_path / "m.onnx").chmod(0)
    (failure,) = listed(tmp_path)
    assert failure.error == "m.onnx could not be read. Got permission denied. Mend its name or permissions."


def test_names_that_cannot_be_printed_are_escaped(tmp_path):
    write_onnx(tmp_path / "a\nb\x1b.onnx")
    assert listed(tmp_path)[0].name == "a\\nb\\x1b.onnx"


def test_a_tree_without_end_is_left_at_a_stated_depth(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 70)
    deep.mkdir(parents=True)
    write_onnx(tmp_path / "m.onnx")
    failure, record = listed(tmp_path)
    assert failure.model_id == "folder:" + "/".join(["d"] * 65)
    assert failure.error == "d needs to lie at most 64 folders deep. Got a deeper tree. Rank that folder itself."
    assert record.name == "m.onnx"


def test_a_path_longer_than_the_system_takes_is_a_failure(tmp_path):
    top, name = Path.cwd(), "d" * 200
    os.chdir(tmp_path)
    try:
        for _ in range(25):
            Path(name).mkdir()
            os.chdir(name)
    finally:
        os.chdir(top)
    (failure,) = listed(tmp_path)
    assert failure.error == f"{name} could not be read. Got file name too long. Mend its name or permissions."


def test_the_zoo_is_listed_whole():
    if not ZOO.is_dir():
        pytest.skip("the development zoo is not beside this repository")
    items = listed(ZOO)
    assert not [item for item in items if isinstance(item, Failure)]
    names = {item.name for item in items}
    assert {path.name for path in ZOO.glob("*.onnx")} | {path.name for path in ZOO.glob("*.pt2")} <= names
    assert "mobilenetv2_100_224_tf2ptq.timm" in names
    assert len({item.model_id for item in items}) == len(items)
