"""timm folders: what they say, the network they give, and what is refused."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import ModelError
from neuralrank.formats._timm_preprocessing import timm_preprocessing
from neuralrank.formats._torchvision import repair_torchvision
from neuralrank.types import ImagePreprocessing

torch = pytest.importorskip("torch")
repair_torchvision()
timm = pytest.importorskip("timm")
st = pytest.importorskip("safetensors.torch")

TIMM = registry.get("formats", "timm_folder")
IMAGE = registry.get("modalities", "image")()
SETTINGS = {
    "input_size": [3, 64, 64],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "license": "mit",
    "num_classes": 5,
}


def write_folder(folder: Path, architecture: str = "resnet10t", *, changes: dict[str, Any] | None = None) -> Path:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=5, pretrained=False)
    folder.mkdir(parents=True)
    config = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": SETTINGS, **(changes or {})}
    (folder / "config.json").write_text(json.dumps(config))
    st.save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("timm") / "small", changes={"label_names": list("abcde")})


@pytest.fixture(scope="module")
def encoder(resnet: Path) -> Any:
    return TIMM(resnet, TIMM.describe(resnet), n_threads=1)


def images(n: int, side: int = 64) -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(n, 3, side, side)).astype(np.float32)}


def test_a_folder_says_what_it_is(resnet: Path):
    facts = TIMM.describe(resnet)
    model = timm.create_model("resnet10t", num_classes=5)
    assert (facts.format, facts.modality, facts.architecture) == ("timm_folder", "image", "resnet10t")
    assert facts.n_params == sum(parameter.numel() for parameter in model.parameters())
    assert (facts.licence, facts.label_names, facts.assumptions) == ("mit", ("a", "b", "c", "d", "e"), ())
    assert [file.name for file in facts.files] == ["config.json", "model.safetensors"]
    assert facts.preprocessing == ImagePreprocessing(
        size=(64, 64),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        resize="crop",
        crop_fraction=0.9,
        interpolation="bicubic",
    )


def test_features_are_the_input_of_the_classifier(encoder: Any, resnet: Path):
    model = timm.create_model("resnet10t", num_classes=5)
    model.load_state_dict(st.load_file(resnet / "model.safetensors"))
    batch = images(3)
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(batch["image"])).numpy()
    features = encoder.encode(batch, ["features"])["features"].values
    assert features.shape == (3, model.num_features)
    head = features @ model.fc.weight.detach().numpy().T + model.fc.bias.detach().numpy()
    np.testing.assert_allclose(head, logits, atol=1e-4)


def test_batches_of_1_and_8_agree_and_order_is_kept(encoder: Any):
    batch = images(8)
    together = encoder.encode(batch, ["features"])["features"].values
    alone = [encoder.encode({"image": batch["image"][i : i + 1]}, ["features"])["features"].values for i in range(8)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-5)


def test_layers_are_the_feature_stages(encoder: Any):
    assert encoder.layers == ("act1", "layer1", "layer2", "layer3", "layer4", "features", "logits")
    assert encoder.encode(images(2), ["layer2"])["layer2"].values.shape == (2, 128, 8, 8)
    with pytest.raises(ModelError, match=r"The model has no layer 'nowhere'. Available: act1, layer1"):
        encoder.encode(images(1), ["nowhere"])["nowhere"]


def test_logits_are_those_of_timm_from_one_pass(encoder: Any, resnet: Path, monkeypatch: pytest.MonkeyPatch):
    model = timm.create_model("resnet10t", num_classes=5)
    model.load_state_dict(st.load_file(resnet / "model.safetensors"))
    batch, passes = images(3), []
    trunk = encoder._model.forward_features
    monkeypatch.setattr(encoder._model, "forward_features", lambda x: passes.append(1) or trunk(x))
    both = encoder.encode(batch, encoder.layers)
    assert (len(passes), encoder.head_layer) == (1, "logits")
    with torch.inference_mode():
        np.testing.assert_allclose(both["logits"].values, model.eval()(torch.from_numpy(batch["image"])), atol=1e-4)
    for layer in encoder.layers:
        np.testing.assert_array_equal(both[layer].values, encoder.encode(batch, [layer])[layer].values)


@pytest.mark.parametrize(
    ("n_classes", "names", "head"), [(0, None, None), (1, None, None), (5, "abcd", None), (5, "abcde", "logits")]
)
def test_a_classifier_of_another_number_of_classes_is_no_head(n_classes: int, names: Any, head: Any, tmp_path: Path):
    model = timm.create_model("resnet10t", num_classes=n_classes)
    config = {"architecture": "resnet10t", "num_classes": n_classes, "pretrained_cfg": SETTINGS}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, **({"label_names": list(names)} if names else {})}))
    st.save_file(model.state_dict(), folder / "model.safetensors")
    assert TIMM(folder, TIMM.describe(folder), n_threads=1).head_layer == head


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_other_kinds_give_one_vector_and_inner_layers(architecture: str, tmp_path: Path):
    small = {"depth": 1} if architecture.startswith("vit") else {"depths": [1, 1], "num_heads": [1, 2], "embed_dim": 16}
    folder = tmp_path / "model"
    folder.mkdir()
    model = timm.create_model(architecture, num_classes=5, **small)
    config = {"architecture": architecture, "num_classes": 5, "model_args": small, "pretrained_cfg": SETTINGS}
    (folder / "config.json").write_text(json.dumps(config))
    st.save_file(model.state_dict(), folder / "model.safetensors")
    loaded = TIMM(folder, TIMM.describe(folder), n_threads=1)
    assert loaded.encode(images(2, 224), ["features"])["features"].values.shape == (2, model.num_features)
    inner = loaded.encode(images(2, 224), [loaded.layers[0]])[loaded.layers[0]].values
    assert inner.shape == ((2, 197, 192) if architecture.startswith("vit") else (2, 16, 56, 56))


def test_preprocessing_agrees_with_that_of_timm(resnet: Path):
    pillow = pytest.importorskip("PIL.Image")
    facts = TIMM.describe(resnet)
    transform = timm.data.create_transform(
        input_size=(3, 64, 64), mean=SETTINGS["mean"], std=SETTINGS["std"], interpolation="bicubic", crop_pct=0.9
    )
    generator = np.random.default_rng(1)
    for height, width in ((80, 120), (133, 90), (64, 64), (71, 71)):
        smooth = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = pillow.fromarray(smooth).resize((width, height), pillow.Resampling.BICUBIC)
        ours = IMAGE.make_batch([np.asarray(picture)], facts.preprocessing)["image"][0]
        theirs = transform(picture).numpy()
        # one of 255 levels at most, divided by the smallest std
        assert np.abs(ours - theirs).max() <= 1.01 / 255 / 0.2


def test_missing_fields_are_the_defaults_of_timm_and_said():
    preprocessing, assumed = timm_preprocessing({})
    assert preprocessing == ImagePreprocessing(
        size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize="crop",
        crop_fraction=0.875,
        interpolation="bicubic",
    )
    assert assumed == (
        "The input size was assumed: 224 × 224 pixels, the default of timm.",
        "The mean of the normalisation was assumed: that of ImageNet, the default of timm.",
        "The standard deviation of the normalisation was assumed: that of ImageNet, the default of timm.",
        "The share of the image kept by the crop was assumed: 0.875, the default of timm.",
        "The interpolation was assumed: bicubic, the default of timm.",
    )


def test_squash_stretches_and_one_channel_is_grey():
    settings = {
        **SETTINGS,
        "input_size": [1, 28, 28],
        "mean": [0.5],
        "std": [0.5],
        "crop_mode": "squash",
        "crop_pct": 1,
    }
    preprocessing, assumed = timm_preprocessing(settings)
    assert (preprocessing.channels, preprocessing.resize, assumed) == ("grey", "stretch", ())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"std": [0, 1, 1]}, "config.json needs positive numbers in 'std'. Got (0.0, 1.0, 1.0). Correct the file."),
        ({"crop_pct": "all"}, "config.json needs a number from 0.05 to 1 in 'crop_pct'. Got 'all'. Correct the file."),
        ({"mean": [1, 2]}, "config.json needs 3 numbers in 'mean'. Got [1, 2]. Correct the file."),
        (
            {"crop_mode": "x"},
            "config.json needs 'center', 'squash' or 'border' in 'crop_mode'. Got 'x'. Correct the file.",
        ),
    ],
)
def test_wrong_preprocessing_is_refused(changes: dict[str, Any], sentence: str):
    with pytest.raises(ModelError) as error:
        timm_preprocessing({**SETTINGS, **changes})
    assert str(error.value) == sentence


def test_weights_cut_in_half_are_found_before_loading(tmp_path: Path):
    folder = write_folder(tmp_path / "half")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError) as error:
        TIMM.describe(folder)
    assert str(error.value) == (
        f"model.safetensors is cut short. Needed {len(whole)} bytes. Got {len(whole) // 2}. Download it again."
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "model.safetensors needs a header of at most 100 MiB. Got an empty file. Download it again."),
        (
            struct.pack("<Q", 2**40),
            "model.safetensors needs a header of at most 100 MiB. Got 1099511627776 bytes. Download it again.",
        ),
        (
            struct.pack("<Q", 4) + b"nope",
            "model.safetensors needs a safetensors header in JSON. Got something else. Download it again.",
        ),
        (
            struct.pack("<Q", 62) + b'{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}} ' + b"\0" * 4,
            "model.safetensors needs offsets that fit type and shape. Got 'F32' (9,) at (0, 4). Download it again.",
        ),
    ],
)
def test_a_damaged_header_is_told(content: bytes, sentence: str, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": SETTINGS}))
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as error:
        TIMM.describe(folder)
    assert str(error.value) == sentence


def test_weights_that_torch_did_not_write_are_refused_with_the_way_out(tmp_path: Path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": SETTINGS}))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    with pytest.raises(ModelError) as error:
        TIMM.describe(folder)
    assert str(error.value) == (
        "pytorch_model.bin needs to be a file of torch.save. Got 3 other bytes. Download it again, or save the weights "
        "as safetensors."
    )


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "../x", "Resnet 18"])
def test_an_architecture_that_names_a_place_is_refused(name: str, tmp_path: Path):
    folder = write_folder(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": SETTINGS}))
    with pytest.raises(ModelError) as error:
        TIMM.describe(folder)
    assert str(error.value) == (
        f"config.json needs the plain name of a timm architecture. Got {name!r}. Correct the file."
    )


def test_an_unknown_architecture_is_told(tmp_path: Path):
    folder = write_folder(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet9999", "pretrained_cfg": SETTINGS}))
    with pytest.raises(
        ModelError, match=r"does not know the architecture 'resnet9999'. Update timm: pip install -U timm"
    ):
        TIMM(folder, TIMM.describe(folder))


def test_weights_of_another_architecture_are_told(tmp_path: Path):
    folder = write_folder(tmp_path / "model")
    changed = {"architecture": "resnet14t", "num_classes": 5, "pretrained_cfg": SETTINGS}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ModelError) as error:
        TIMM(folder, TIMM.describe(folder))
    assert str(error.value).startswith(
        "model.safetensors needs the weights of 'resnet14t' as config.json describes it. Got tensors that differ: "
    )
    assert "missing (first: 'layer1.0.conv3.weight')" in str(error.value)


def test_arguments_that_name_other_files_are_refused(tmp_path: Path):
    folder = write_folder(tmp_path / "model", changes={"model_args": {"checkpoint_path": "evil.pth"}})
    with pytest.raises(ModelError) as error:
        TIMM(folder, TIMM.describe(folder))
    assert str(error.value) == (
        "config.json needs 'model_args' of the network alone. Got 'checkpoint_path', which is set elsewhere or names "
        "other files. Remove it."
    )


def test_other_folders_and_files_are_not_recognised(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    assert TIMM.describe(tmp_path) is None
    assert TIMM.describe(tmp_path / "config.json") is None


def test_the_zoo_copy_agrees_with_its_onnx_file(shared: Path):
    ort = pytest.importorskip("onnxruntime")
    folder = shared / "zoo" / "mobilenetv2_100_224_tf2ptq.timm"
    if not folder.is_dir():
        pytest.skip("the development zoo is not beside this repository")
    facts = TIMM.describe(folder)
    assert (facts.preprocessing.resize, facts.licence, len(facts.label_names)) == ("stretch", "apache-2.0", 1001)
    batch = images(2, 224)
    ours = TIMM(folder, facts, n_threads=1).encode(batch, ["features", "logits"])
    theirs = ort.InferenceSession(str(folder.with_suffix(".onnx"))).run(["features", "logits"], batch)
    for layer, values in zip(("features", "logits"), theirs, strict=True):
        np.testing.assert_allclose(ours[layer].values, values, atol=1e-4)
