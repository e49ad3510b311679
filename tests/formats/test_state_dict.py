"""Weights without a network: state dicts of torch and safetensors, with a card that names their architecture."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import ModelError
from neuralrank.formats._torchvision import repair_torchvision

torch = pytest.importorskip("torch")
repair_torchvision()
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

import hostile_torch  # noqa: E402 - it needs torch

STATE = registry.get("formats", "state_dict")
TIMM = registry.get("formats", "timm_folder")
ARCHITECTURE = "timm:resnet10t"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=7).eval()


def write(path: Path, content: Any, card: dict[str, Any] | None = None, **options: Any) -> Path:
    torch.save(content, path, **options)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path


def load(path: Path) -> Any:
    return STATE(path, STATE.describe(path), n_threads=1)


def sentence_of(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load(path)
    return str(error.value)


def images(n: int, side: int = 64) -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(n, 3, side, side)).astype(np.float32)}


def logits_of(model: Any, batch: dict[str, Any]) -> Any:
    with torch.inference_mode():
        return model(torch.from_numpy(batch["image"].copy())).numpy()


# --- what is loaded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("m.pt", {}, id="zip"),
        pytest.param("m.pth", {"_use_new_zipfile_serialization": False}, id="before-1.6"),
        pytest.param("m.ckpt", {}, id="ckpt"),
        pytest.param("m.bin", {}, id="bin"),
        pytest.param("m.pkl", {}, id="pkl"),
        pytest.param("m.pth.tar", {}, id="tar-in-name-only"),
    ],
)
def test_features_and_logits_are_those_of_the_network(tmp_path: Path, network: Any, name: str, options: Any):
    path = write(tmp_path / name, network.state_dict(), {"architecture": ARCHITECTURE}, **options)
    facts = STATE.describe(path)
    assert (facts.format, facts.modality, facts.architecture) == ("state_dict", "image", ARCHITECTURE)
    assert facts.n_params == sum(parameter.numel() for parameter in network.parameters())
    assert (facts.needs_trust, facts.assumptions) == (None, ())
    encoder, batch = load(path), images(3)
    values = encoder.encode(batch, ["features", "logits"])
    np.testing.assert_allclose(values["logits"].values, logits_of(network, batch), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(torch.from_numpy(batch["image"])), pre_logits=True)
    np.testing.assert_allclose(values["features"].values, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_safetensors_alone_are_loaded_with_a_card(tmp_path: Path, network: Any):
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    save_file(network.state_dict(), path)
    assert STATE.describe(path) is None
    path.with_suffix(".json").write_text(json.dumps({"architecture": ARCHITECTURE}))
    batch = images(2)
    logits = load(path).encode(batch, ["logits"])["logits"].values
    np.testing.assert_allclose(logits, logits_of(network, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "number"), [("resnet18", 5), ("mobilenet_v3_small", 1000), ("squeezenet1_1", 4), ("googlenet", 6)]
)
def test_networks_of_torchvision_are_built(tmp_path: Path, name: str, number: int):
    extra = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=number, **extra).eval()
    path = write(tmp_path / "m.pt", model.state_dict(), {"architecture": f"torchvision:{name}"})
    encoder, batch = load(path), images(2, 224)
    assert (encoder.preprocessing.size, encoder.preprocessing.resize) == ((224, 224), "crop")
    assert encoder.warnings[0] == f"The preprocessing was assumed: that which torchvision states for {name}."
    assert encoder.head_layer == "logits"
    np.testing.assert_allclose(
        encoder.encode(batch, ["output"])["output"].values, logits_of(model, batch), rtol=1e-3, atol=1e-4
    )
    assert encoder.encode(batch, ["features"])["features"].values.shape[0] == 2


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_what_is_wrapped_around_the_weights_is_left_out_and_said(
    tmp_path: Path, network: Any, wrapper: str, prefix: str
):
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), 0.1).state_dict()
    path = write(
        tmp_path / "m.pt", {"epoch": 3, "optimizer": optimizer, wrapper: weights}, {"architecture": ARCHITECTURE}
    )
    said = [f"The weights were taken from {wrapper!r} in m.pt; what lies beside them was left out."]
    if prefix:
        said.append(f"The names of the weights were read without the {prefix!r} before each.")
    assert list(STATE.describe(path).assumptions) == said
    batch = images(2)
    np.testing.assert_allclose(
        load(path).encode(batch, ["logits"])["logits"].values, logits_of(network, batch), rtol=1e-4, atol=1e-5
    )


def test_arguments_of_the_network_come_from_the_card(tmp_path: Path):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", in_chans=1, num_classes=3).eval()
    card = {"architecture": ARCHITECTURE, "model_args": {"in_chans": 1}, "input_size": [1, 32, 32]}
    encoder = load(write(tmp_path / "m.pt", model.state_dict(), card))
    assert (encoder.preprocessing.channels, encoder.preprocessing.size) == ("grey", (32, 32))
    batch = {"image": np.ones((2, 1, 32, 32), dtype=np.float32)}
    np.testing.assert_allclose(
        encoder.encode(batch, ["logits"])["logits"].values, logits_of(model, batch), rtol=1e-4, atol=1e-5
    )


def test_preprocessing_of_the_card_wins_over_that_of_the_architecture(tmp_path: Path, network: Any):
    card = {"architecture": ARCHITECTURE, "input_size": [3, 64, 64], "mean": [0, 0, 0], "std": [1, 1, 1]}
    encoder = load(write(tmp_path / "m.pt", network.state_dict(), card))
    assert (encoder.preprocessing.size, encoder.preprocessing.mean) == ((64, 64), (0, 0, 0))
    assert encoder.warnings == ()


WHOLE = {
    "input_size": [3, 64, 64], "colour_order": "RGB", "scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1],
    "resize": {"rule": "crop", "crop_fraction": 0.9, "interpolation": "bicubic"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("left_out", "sentences"),
    [
        pytest.param({}, (), id="nothing"),
        pytest.param({"input_size": None}, ("The input size was assumed: 224 × 224 pixels.",), id="size"),
        pytest.param({"colour_order": None}, ("The colour order was assumed: RGB.",), id="colours"),
        pytest.param({"scale": None}, ("The scale of the pixels was assumed: 1 / 255.",), id="scale"),
        pytest.param({"scale": None, "value_range": [0, 1]}, (), id="scale-that-the-range-states"),
        pytest.param(
            {"mean": None, "std": None},
            ("The normalisation was assumed: none beyond the scale of the card.",),
            id="mean",
        ),
        pytest.param(
            {"resize": None}, ("The resize was assumed: stretched to the input size, bilinear.",), id="resize"
        ),
        pytest.param(
            {"resize": "crop"},
            (
                "The share of the image kept by the crop was assumed: all of its shorter side.",
                "The interpolation was assumed: bilinear.",
            ),
            id="parts-of-the-resize",
        ),
        pytest.param({"resize": "stretch"}, ("The interpolation was assumed: bilinear.",), id="interpolation"),
    ],
)
def test_whatever_a_card_leaves_out_of_the_preprocessing_is_said(
    tmp_path: Path, network: Any, left_out: Any, sentences: tuple[str, ...]
):
    path = write(tmp_path / "m.pt", network.state_dict(), {"architecture": ARCHITECTURE, **WHOLE, **left_out})
    assert STATE.describe(path).assumptions == sentences


def test_without_it_that_of_the_architecture_is_assumed(tmp_path: Path, network: Any):
    encoder = load(write(tmp_path / "m.pt", network.state_dict(), {"architecture": ARCHITECTURE}))
    assert encoder.preprocessing.size == (176, 176)
    assert encoder.warnings == ("The preprocessing was assumed: that which timm states for resnet10t.",)


def test_batch_counters_alone_may_be_missing(tmp_path: Path, network: Any):
    weights = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    path = write(tmp_path / "m.pt", weights, {"architecture": ARCHITECTURE})
    assert load(path).head_layer == "logits"
    del weights["layer1.0.conv1.weight"]
    assert sentence_of(write(path, weights)) == (
        "m.pt needs the weights of timm:resnet10t. Got tensors that differ: 1 missing (first: "
        "'layer1.0.conv1.weight'). Correct the 'architecture' or the 'model_args' of its card."
    )


def test_weights_of_another_architecture_are_told(tmp_path: Path, network: Any):
    path = write(tmp_path / "m.pt", network.state_dict(), {"architecture": "timm:resnet14t"})
    assert sentence_of(path).startswith("m.pt needs the weights of timm:resnet14t. Got tensors that differ: ")


# --- what a card has to say ----------------------------------------------------------------------------------------


def test_weights_without_a_card_show_the_card_to_write(tmp_path: Path, network: Any):
    assert sentence_of(write(tmp_path / "m.pt", network.state_dict())) == (
        "m.pt needs a card 'm.json' that names its architecture. Got weights alone. "
        'Write, for example: {"architecture": "timm:resnet18"}'
    )


@pytest.mark.parametrize(
    ("architecture", "got"),
    [
        pytest.param(None, "none", id="absent"),
        pytest.param("resnet18", "'resnet18'", id="no-library"),
        pytest.param("timm:hf-hub:x/y", "'timm:hf-hub:x/y'", id="hub"),
        pytest.param("torchvision:../x", "'torchvision:../x'", id="path"),
    ],
)
def test_a_card_names_library_and_network(tmp_path: Path, network: Any, architecture: Any, got: str):
    assert sentence_of(write(tmp_path / "m.pt", network.state_dict(), {"architecture": architecture})) == (
        f"m.json needs an 'architecture' as timm:NAME or torchvision:NAME. Got {got}. "
        'Write, for example: {"architecture": "timm:resnet18"}'
    )


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path, network: Any):
    path = write(tmp_path / "m.pt", network.state_dict(), {"architecture": "torchvision:resnet19"})
    assert sentence_of(path).startswith(
        f"The installed torchvision {torchvision.__version__} does not know the architecture 'resnet19'. "
        "Did you mean 'resnet18'"
    )
    path.with_suffix(".json").write_text(json.dumps({"architecture": "timm:resnet10"}))
    assert "does not know the architecture 'resnet10'. Did you mean 'resnet1" in sentence_of(path)


@pytest.mark.parametrize("arguments", [{"pretrained": True}, {"checkpoint_path": "/etc/passwd"}, {"cache_dir": "/"}])
def test_arguments_that_name_other_files_are_refused(tmp_path: Path, network: Any, arguments: dict[str, Any]):
    card = {"architecture": ARCHITECTURE, "model_args": arguments}
    said = sentence_of(write(tmp_path / "m.pt", network.state_dict(), card))
    assert said.startswith(f"The card needs 'model_args' of the network alone. Got {next(iter(arguments))!r}")


def test_arguments_are_plain_values(tmp_path: Path, network: Any):
    card = {"architecture": ARCHITECTURE, "model_args": {"block_args": {"x": 1}}}
    said = sentence_of(write(tmp_path / "m.pt", network.state_dict(), card))
    assert said.startswith("m.json needs an object of plain values in 'model_args'. Got ")


# --- damaged files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modern", [True, False])
def test_a_file_cut_short_anywhere_is_told_in_one_sentence(tmp_path: Path, modern: bool):
    path = tmp_path / "m.pt"
    card = {"architecture": ARCHITECTURE}
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 4))
    whole = write(path, model.state_dict(), card, _use_new_zipfile_serialization=modern).read_bytes()
    for share in np.linspace(0.06, 0.999, 25):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "Got " in sentence_of(path)


def test_flipped_bits_never_raise_anything_else(tmp_path: Path):
    from neuralrank.formats._stored_state import load_state

    path = write(tmp_path / "m.pt", torch.nn.Linear(30, 4).state_dict(), {"architecture": ARCHITECTURE})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            if STATE.describe(path) is not None:
                load_state(path)
        except ModelError:
            n_refused += 1
    assert n_refused > 50


def test_weights_that_are_none_are_told(tmp_path: Path):
    path = write(tmp_path / "m.pt", {"epoch": 3, "losses": [1.0, 2.0]}, {"architecture": ARCHITECTURE})
    assert sentence_of(path) == (
        "m.pt needs weights by name. Got none. Save the state_dict() of the network with torch.save or safetensors."
    )


# --- hostile files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", hostile_torch.PICKLES[:6], ids=lambda make: make.__name__)
def test_the_payload_goes_off_in_torch(tmp_path: Path, make: Any):
    make(tmp_path / "evil.pt", tmp_path / "marker")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("make", hostile_torch.PICKLES, ids=lambda make: make.__name__)
def test_hostile_pickles_are_refused_and_do_nothing(tmp_path: Path, make: Any):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    make(path, marker)
    path.with_suffix(".json").write_text(json.dumps({"architecture": ARCHITECTURE}))
    assert "Got " in sentence_of(path)
    assert not marker.exists()


def test_what_is_beside_the_weights_is_named(tmp_path: Path):
    hostile_torch.pickle_has_a_payload_beside_weights(tmp_path / "evil.pt", tmp_path / "marker")
    assert sentence_of(tmp_path / "evil.pt") == (
        "evil.pt needs to hold weights alone. Got posix.mkdir beside them, and loading that runs code. "
        "Where you trust it, save its state_dict() alone with torch.save or safetensors."
    )


def test_our_own_check_comes_before_that_of_torch(tmp_path: Path, network: Any, monkeypatch: pytest.MonkeyPatch):
    hostile_torch.pickle_has_a_payload_beside_weights(tmp_path / "evil.pt", tmp_path / "marker")
    (tmp_path / "evil.json").write_text(json.dumps({"architecture": ARCHITECTURE}))
    facts = STATE.describe(write(tmp_path / "good.pt", network.state_dict(), {"architecture": ARCHITECTURE}))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(ModelError, match="needs to hold weights alone"):
        STATE(tmp_path / "evil.pt", facts, n_threads=1)


# --- folders whose weights are pickles -----------------------------------------------------------------------------


def timm_folder(folder: Path, network: Any) -> Path:
    folder.mkdir()
    config = {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_a_timm_folder_with_pickled_weights_is_loaded_without_trust(tmp_path: Path, network: Any):
    folder = timm_folder(tmp_path / "model", network)
    facts = TIMM.describe(folder)
    assert (facts.needs_trust, facts.n_params) == (None, sum(part.numel() for part in network.parameters()))
    assert folder / "pytorch_model.bin" in facts.files
    batch = images(2)
    logits = TIMM(folder, facts, n_threads=1).encode(batch, ["logits"])["logits"].values
    np.testing.assert_allclose(logits, logits_of(network, batch), rtol=1e-4, atol=1e-5)


def test_a_timm_folder_with_a_payload_is_refused(tmp_path: Path, network: Any):
    folder = timm_folder(tmp_path / "model", network)
    hostile_torch.pickle_has_a_payload_beside_weights(folder / "pytorch_model.bin", tmp_path / "marker")
    with pytest.raises(ModelError, match=r"pytorch_model.bin needs to hold weights alone. Got posix.mkdir"):
        TIMM.describe(folder)
    assert not (tmp_path / "marker").exists()


def small_vit(folder: Path, *, shards: int = 1) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    items = sorted(model.state_dict().items())
    if shards == 1:
        torch.save(dict(items), folder / "pytorch_model.bin")
        return model
    weight_map = {}
    for index in range(shards):
        name = f"pytorch_model-{index + 1:05d}-of-{shards:05d}.bin"
        torch.save(dict(items[index::shards]), folder / name)
        weight_map.update(dict.fromkeys((key for key, _ in items[index::shards]), name))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return model


@pytest.mark.parametrize("shards", [1, 2])
def test_a_transformers_folder_with_pickled_weights_is_loaded_without_trust(tmp_path: Path, shards: int):
    folder = tmp_path / "model"
    model = small_vit(folder, shards=shards)
    form = registry.get("formats", "transformers_folder")
    facts = form.describe(folder)
    assert (facts.needs_trust, facts.n_params) == (None, sum(part.numel() for part in model.parameters()))
    assert len([file for file in facts.files if file.suffix == ".bin"]) == shards
    batch = images(2, 32)
    logits = form(folder, facts, n_threads=1).encode({"pixel_values": batch["image"]}, ["logits"])["logits"].values
    with torch.inference_mode():
        expected = model(torch.from_numpy(batch["image"])).logits.numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_transformers_folder_is_checked_again_before_transformers_reads_it(tmp_path: Path):
    folder = tmp_path / "model"
    small_vit(folder)
    form = registry.get("formats", "transformers_folder")
    facts = form.describe(folder)
    hostile_torch.pickle_has_a_payload_beside_weights(folder / "pytorch_model.bin", tmp_path / "marker")
    with pytest.raises(ModelError, match=r"pytorch_model.bin needs to hold weights alone. Got posix.mkdir"):
        form(folder, facts, n_threads=1)
    assert not (tmp_path / "marker").exists()


def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path: Path):
    folder = tmp_path / "model"
    small_vit(folder, shards=2)
    shutil.copy(folder / "pytorch_model-00001-of-00002.bin", tmp_path / "outside.bin")
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../outside.bin"}}))
    with pytest.raises(ModelError, match=r"needs to name .bin files of its own folder. Got '../outside.bin'"):
        registry.get("formats", "transformers_folder").describe(folder)
