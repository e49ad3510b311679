"""`.keras` files: saved here, run against Keras itself, damaged, and turned into weapons that must not go off."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hostile_keras
import numpy as np
import pytest
from PIL import Image

import neuralrank
from neuralrank import registry
from neuralrank.errors import ModelError
from neuralrank.formats._hdf5_tree import read_tree
from neuralrank.formats._keras_build import import_keras

if any(find_spec(package) is None for package in ("torch", "h5py", "keras")):
    pytest.skip("needs the extra keras", allow_module_level=True)

# Keras 3.15 makes arrays in a way that numpy 2 warns of
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

KERAS = registry.get("formats", "keras_archive")


@pytest.fixture(scope="module")
def keras() -> Any:
    return import_keras()


def convnet(keras: Any, *, activation: str | None = "softmax") -> Any:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation=activation, name="classes"),
        ]
    )
    rng = np.random.default_rng(0)
    net.set_weights([rng.uniform(0.1, 1, size=weight.shape).astype(np.float32) for weight in net.get_weights()])
    return net


def branches(keras: Any) -> Any:
    """A functional model of two branches, a shared inner model and functions as layers."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inside = keras.Input((8, 8, 4))
    inner = keras.Model(
        inside, layers.Conv2D(4, 3, padding="same", activation="gelu", name="conv")(inside), name="inner"
    )
    entry = keras.Input((8, 8, 3))
    left, right = layers.Conv2D(4, 1, name="left")(entry), layers.Conv2D(4, 3, padding="same", name="right")(entry)
    joined = layers.Add(name="sum")([inner(left), right])
    hidden = layers.Dense(5, activation="tanh", name="hidden")(layers.Flatten(name="flat")(joined))
    return keras.Model(entry, keras.ops.softmax(layers.Dense(3, name="scores")(hidden)))


def vectors(keras: Any) -> Any:
    keras.utils.set_random_seed(2)
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, activation="relu", name="a"), layers.Dense(2, name="b")]
    )


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def load(path: Path) -> Any:
    return KERAS(path, KERAS.describe(path), n_threads=1)


def own(keras: Any, model: Any, layer: Any, rows: Any) -> Any:
    """Return what Keras itself computes for a layer, channels in front."""
    values = keras.Model(model.inputs[0], layer.output)(rows, training=False).detach().numpy()
    return np.moveaxis(values, 3, 1) if values.ndim == 4 else values


def images(n: int) -> Any:
    return np.random.default_rng(0).uniform(0, 255, size=(n, 8, 8, 3)).astype(np.float32)


# --- what a model says and gives ---------------------------------------------------------------------------------


def test_a_convnet_says_what_it_is_without_keras(keras: Any, tmp_path: Path) -> None:
    path = saved(model := convnet(keras), tmp_path / "net.keras")
    facts = KERAS.describe(path)
    assert (facts.format, facts.modality, facts.files, facts.needs_trust) == ("keras_archive", "image", (path,), None)
    assert facts.n_params == model.count_params()
    assert (facts.preprocessing.size, facts.preprocessing.layout, facts.preprocessing.scale) == ((8, 8), "NHWC", 1.0)
    assert facts.assumptions[-1] == "The model normalises its input itself; pixels from 0 to 255 were assumed."
    code = "import sys; from pathlib import Path; from neuralrank import registry; "
    code += f"registry.get('formats', 'keras_archive').describe(Path({str(path)!r})); "
    code += "sys.exit(bool({'keras', 'h5py', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_convnet_gives_what_keras_gives(keras: Any, tmp_path: Path) -> None:
    model = convnet(keras)
    encoder = load(saved(model, tmp_path / "net.keras"))
    assert encoder.layers == (*(layer.name for layer in model.layers), "classes.logits")
    assert (encoder.feature_layer, encoder.head_layer) == (model.layers[-2].name, "classes.logits")
    rows = images(8)
    found = encoder.encode({"image": rows}, encoder.layers)
    for layer in model.layers:
        np.testing.assert_allclose(found[layer.name].values, own(keras, model, layer, rows), atol=1e-5)
    logits = found["classes.logits"].values.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(softmax, own(keras, model, model.layers[-1], rows), atol=1e-5)


def test_branches_and_inner_models_are_followed(keras: Any, tmp_path: Path) -> None:
    model = branches(keras)
    encoder = load(saved(model, tmp_path / "net.keras"))
    assert {"left", "right", "inner", "inner/conv", "sum", "flat", "hidden", "scores", "softmax"} <= set(encoder.layers)
    assert (encoder.feature_layer, encoder.head_layer) == ("hidden", "scores")
    rows = images(3)
    found = encoder.encode({"image": rows}, encoder.layers)
    for name in ("left", "hidden", "scores"):
        np.testing.assert_allclose(found[name].values, own(keras, model, model.get_layer(name), rows), atol=1e-3)
    np.testing.assert_allclose(found["inner/conv"].values, found["inner"].values)


def test_a_network_on_vectors(keras: Any, tmp_path: Path) -> None:
    model = vectors(keras)
    path = saved(model, tmp_path / "net.keras")
    assert KERAS.describe(path).modality == "tabular"
    encoder = load(path)
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    found = encoder.encode({"x": rows}, ["a", "b"])
    assert (encoder.feature_layer, encoder.head_layer, encoder.preprocessing) == ("a", "b", None)
    np.testing.assert_allclose(found["b"].values, model(rows).detach().numpy(), atol=1e-6)
    with pytest.raises(ModelError, match=r"The model needs samples of shape 5\. Got 4\."):
        encoder.encode({"x": rows[:, :4]}, ["a"])


def test_the_last_dense_of_an_inner_model_is_the_head(keras: Any, tmp_path: Path) -> None:
    entry = keras.Input((8, 8, 3))
    model = keras.Model(entry, convnet(keras, activation=None)(entry))
    encoder = load(saved(model, tmp_path / "net.keras"))
    inner = model.layers[-1].name
    assert encoder.head_layer == f"{inner}/classes"
    assert encoder.feature_layer == f"{inner}/{model.layers[-1].layers[-2].name}"
    values = encoder.encode({"image": images(2)}, [encoder.head_layer])[encoder.head_layer].values
    np.testing.assert_allclose(values, model(images(2), training=False).detach().numpy(), atol=1e-5)


def test_a_model_without_a_classifier_gives_its_output(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, name="conv"), layers.ReLU(name="relu")])
    encoder = load(saved(model, tmp_path / "net.keras"))
    assert (encoder.feature_layer, encoder.head_layer) == ("relu", None)
    assert encoder.warnings == ("No final Dense layer was found; the output 'relu' is taken as the features.",)
    assert encoder.encode({"image": images(2)}, ["relu"])["relu"].values.shape == (2, 3, 6, 6)


def test_sample_order_and_batch_size_do_not_matter(keras: Any, tmp_path: Path) -> None:
    encoder = load(saved(convnet(keras), tmp_path / "net.keras"))
    rows, layer = images(8), encoder.feature_layer
    whole = encoder.encode({"image": rows}, [layer])[layer].values
    single = [encoder.encode({"image": rows[i : i + 1]}, [layer])[layer].values for i in reversed(range(8))]
    np.testing.assert_allclose(whole[::-1], np.concatenate(single), atol=1e-4)


def test_a_card_names_the_layer_and_the_preprocessing(keras: Any, tmp_path: Path) -> None:
    path = saved(convnet(keras), tmp_path / "net.keras")
    card = {"feature_layer": "batch_normalization", "class_names": list("abcd"), "mean": [0.5] * 3, "std": [0.5] * 3}
    path.with_suffix(".json").write_text(json.dumps(card))
    facts = KERAS.describe(path)
    assert (facts.preprocessing.mean, facts.label_names, len(facts.files)) == ((0.5,) * 3, ("a", "b", "c", "d"), 2)
    path.with_suffix(".json").write_text(json.dumps({"feature_layer": "nowhere"}))
    with pytest.raises(ModelError, match="needs the feature_layer that its card names"):
        load(path)


def test_pixels_go_in_as_the_model_scales_them(keras: Any, tmp_path: Path) -> None:
    def scale(*front: Any) -> float:
        net = keras.Sequential([keras.Input((8, 8, 3)), *front, keras.layers.Flatten(), keras.layers.Dense(2)])
        return float(KERAS.describe(saved(net, tmp_path / "net.keras")).preprocessing.scale)

    assert scale(keras.layers.Rescaling(2.0, offset=-1.0)) == 1 / 255
    assert scale(keras.layers.Rescaling(1 / 127.5, offset=-1.0)) == 1.0
    assert scale(keras.layers.Normalization(mean=[1.0] * 3, variance=[1.0] * 3)) == 1.0
    assert scale() == 1 / 255


@pytest.mark.parametrize("shape", [(10,), (8, 8)], ids=["tokens", "rank-3"])
def test_other_inputs_are_refused_when_they_are_opened(keras: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    layers = keras.layers
    first = layers.Embedding(20, 4) if shape == (10,) else layers.Conv1D(3, 2)
    net = keras.Sequential([keras.Input(shape), first, layers.GlobalAveragePooling1D(), layers.Dense(2)])
    with pytest.raises(ModelError, match=r"needs a tokenizer|needs an input of shape"):
        load(saved(net, tmp_path / "net.keras"))


def test_keras_writes_nothing_outside_and_leaves_the_environment(keras: Any, tmp_path: Path) -> None:
    path = saved(vectors(keras), tmp_path / "net.keras")
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    code = "import os; from pathlib import Path; from neuralrank import registry; before = dict(os.environ); "
    code += f"f = registry.get('formats', 'keras_archive'); p = Path({str(path)!r}); f(p, f.describe(p)); "
    code += "assert dict(os.environ) == before"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("KERAS")}
    environment = {**clean, "HOME": str(home), "TMPDIR": str(scratch)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not list(home.rglob("keras*"))
    assert not list(scratch.rglob("keras*"))


# --- damage ------------------------------------------------------------------------------------------------------


def complaint(action: Any) -> str | None:
    """Return the one line that an action fails with, None if it does not fail."""
    try:
        action()
    except ModelError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


def refused(path: Path) -> None:
    """Open a file that must fail with a sentence about it."""
    message = complaint(lambda: load(path))
    assert message is not None
    assert message.startswith(path.name)


def test_a_file_cut_short_anywhere_is_refused(keras: Any, tmp_path: Path) -> None:
    whole = saved(convnet(keras), tmp_path / "net.keras").read_bytes()
    path = tmp_path / "cut.keras"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        refused(path)


def test_flipped_bits_are_refused_or_harmless(keras: Any, tmp_path: Path) -> None:
    whole = saved(vectors(keras), tmp_path / "net.keras").read_bytes()
    path, rng, n_refused = tmp_path / "flipped.keras", np.random.default_rng(0), 0
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
        n_refused += complaint(lambda: load(path)) is not None
    assert n_refused > 100


def test_flipped_bits_in_the_weights_never_break_the_reader() -> None:
    whole, rng = hostile_keras.weights(), np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 3000):
        data = whole[:place] + bytes([int(rng.integers(256))]) + whole[place + 1 :]

        def read(start: int, n_bytes: int, data: bytes = data) -> bytes:
            return data[start : start + n_bytes]

        def check(read: Any = read, n_bytes: int = len(data)) -> None:
            found = read_tree("m.keras", read, n_bytes)
            assert sum(array.values(read).nbytes for array in found.values()) <= n_bytes

        complaint(check)


# --- weapons -----------------------------------------------------------------------------------------------------

ALL = (*hostile_keras.CODE, *hostile_keras.SIZES, *hostile_keras.ARCHIVES, *hostile_keras.WEIGHTS)


@pytest.mark.parametrize("make", [pytest.param(make, id=make.__name__) for make in ALL])
def test_a_hostile_file_is_refused_and_does_nothing(make: Any, keras: Any, tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.keras", tmp_path / "trace"
    make(path, trace)
    if complaint(lambda: KERAS.describe(path)) is None and KERAS.describe(path).needs_trust is None:
        refused(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "..\\x", ".."])
def test_a_layer_may_not_be_named_as_a_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    named = hostile_keras.layer("Dense", name, units=3)
    hostile_keras.write(path, hostile_keras.sequential(hostile_keras.entry(4), named))
    assert complaint(lambda: KERAS.describe(path)) == (
        f"bad.keras needs layers with plain names. Got {name!r}, which is a path. Build it from layers of Keras, or "
        "export it to ONNX."
    )


def test_what_builds_or_compiles_is_dropped(keras: Any, tmp_path: Path) -> None:
    hostile_keras.in_build_config(tmp_path / "net.keras", tmp_path / "trace")
    assert load(tmp_path / "net.keras").layers == ("dense", "dense_1")
    assert not (tmp_path / "trace").exists()


def test_a_lambda_layer_needs_trust_and_then_runs(keras: Any, tmp_path: Path) -> None:
    path, trace = tmp_path / "net.keras", tmp_path / "trace"
    hostile_keras.lambda_layer(path, trace)
    facts = KERAS.describe(path)
    assert facts.needs_trust == (
        "net.keras needs a model of plain layers. Got a Lambda layer, which brings code of its own that would run. "
        "Replace it with a layer of Keras, or export the model to ONNX."
    )
    assert not trace.exists()
    encoder = KERAS(path, facts, n_threads=1)
    assert encoder.feature_layer == "dense"
    encoder.encode({"x": np.zeros((2, 4), dtype=np.float32)}, ["dense"])
    assert trace.exists()


def test_code_beside_a_lambda_layer_is_refused_even_with_trust(tmp_path: Path) -> None:
    hostile_keras.unsafe_switch(tmp_path / "net.keras", tmp_path / "trace")
    with pytest.raises(ModelError, match=r"Got 'keras\.config\.enable_unsafe_deserialization'"):
        KERAS.describe(tmp_path / "net.keras")


def test_exact_sentences(tmp_path: Path) -> None:
    def sentence(make: Any) -> str:
        make(tmp_path / "m.keras", tmp_path / "trace")
        with pytest.raises(ModelError) as failure:
            KERAS.describe(tmp_path / "m.keras")
        return str(failure.value)

    assert sentence(hostile_keras.module_class) == (
        "m.keras needs layers and functions of Keras that only compute. Got 'os.system'. "
        "Build it from layers of Keras, or export it to ONNX."
    )
    assert sentence(hostile_keras.external_storage) == (
        "m.keras needs plain arrays and groups. Got data in another file. Save the model again with Keras."
    )
    assert sentence(hostile_keras.assets) == (
        "m.keras needs a configuration and weights, and nothing else. Got the entry 'assets/words.txt'. "
        "Save the model without assets."
    )


def test_files_of_other_kinds_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    assert KERAS.describe(tmp_path / "m.onnx") is None
    with zipfile.ZipFile(tmp_path / "m.keras", "w"):
        pass
    with pytest.raises(ModelError, match=r"m\.keras needs the entry 'model\.weights\.h5'\. Got none\."):
        KERAS.describe(tmp_path / "m.keras")


# --- the whole path ----------------------------------------------------------------------------------------------


def test_a_folder_of_keras_models_is_ranked(keras: Any, tmp_path: Path) -> None:
    models, photos, trace = tmp_path / "models", tmp_path / "photos", tmp_path / "trace"
    models.mkdir()
    saved(convnet(keras), models / "net.keras")
    hostile_keras.lambda_layer(models / "code.keras", trace)
    rng = np.random.default_rng(0)
    for name, tone in (("dark", 60), ("light", 190)):
        (photos / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(rng.normal(tone, 30, size=(8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{number}.png")
    ranking = neuralrank.rank(models, photos, also=("leep",))
    assert [model.name for model in ranking.models] == ["net.keras"]
    assert ranking.models[0].score > 0.5
    assert ranking.models[0].scores["leep"] is not None
    (failure,) = ranking.failures
    assert failure.model_id.startswith("folder:code.keras")
    shutil.rmtree(photos)
    assert not trace.exists()
