"""`.pt2` files: exported here, run against torch itself, and turned into weapons that must not go off."""

import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import ModelError

torch = pytest.importorskip("torch")

EXPORT = registry.get("formats", "torch_export")
DIM = torch.export.Dim


class Net(torch.nn.Module):
    """Convolution, batch normalisation, an in-place step, pooling, and a linear head."""

    def __init__(self, *, outputs: str = "logits") -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(6)
        self.relu = torch.nn.ReLU(inplace=True)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(6, 4)
        self.outputs = outputs

    def forward(self, image: Any) -> Any:
        features = self.relu(self.norm(self.conv(image))).mean((2, 3))
        logits = self.fc(self.drop(features)).softmax(-1)
        if self.outputs == "dictionary":
            return {"logits": logits, "features": features}
        return (logits, features) if self.outputs == "tuple" else logits


class Attention(torch.nn.Module):
    """Patches, one attention over them whose sizes follow the batch, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 8, 4, stride=4)
        self.attend = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, image: Any) -> Any:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.head(self.norm(tokens + mixed).mean(1))


def quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call torch without its warnings and log lines, which are not ours to mend."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)


def export(path: Path, model: Any, *, batch: int | None = None, decompose: bool = False, shape: Any = (3, 8, 8)) -> Any:
    """Save a program with an open batch axis (or a fixed one) and return the model."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    example = (torch.zeros(batch or 3, *shape),)
    shapes = None if batch else ({0: DIM("n", min=1, max=64)},)
    program = quietly(torch.export.export, model.eval(), example, dynamic_shapes=shapes)
    if decompose:
        program = quietly(program.run_decompositions)
    quietly(torch.export.save, program, path)
    return model


def load(path: Path) -> Any:
    return EXPORT(path, EXPORT.describe(path), n_threads=1)


def images(n: int, shape: Any = (3, 8, 8)) -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)}


def expected(model: Any, batch: dict[str, Any]) -> Any:
    with torch.inference_mode():
        return model(torch.from_numpy(batch["image"].copy()))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    return path, export(path, Net())


# --- what a program gives ------------------------------------------------------------------------------------------


def test_a_program_says_what_it_is(clean: tuple[Path, Any]):
    path, model = clean
    facts = EXPORT.describe(path)
    assert (facts.format, facts.modality, facts.files) == ("torch_export", "image", (path,))
    assert facts.n_params == sum(parameter.numel() for parameter in model.parameters())
    assert facts.preprocessing.size == (8, 8)
    assert facts.assumptions == (
        "The colour order was assumed: RGB.",
        "The resize was assumed: stretched to the input size, bilinear.",
        "The normalisation was assumed: pixels / 255, then the mean and standard deviation of ImageNet.",
    )


@pytest.mark.parametrize("decompose", [False, True], ids=["as-exported", "decomposed"])
@pytest.mark.parametrize("make", [Net, Attention])
def test_outputs_agree_with_torch(make: Any, decompose: bool, tmp_path: Path):
    model = export(tmp_path / "m.pt2", make(), decompose=decompose)
    encoder = load(tmp_path / "m.pt2")
    batch = images(5)
    values = encoder.encode(batch, ["output"])["output"].values
    np.testing.assert_allclose(values, expected(model, batch).numpy(), atol=1e-5)


def test_features_are_the_input_of_the_final_linear_layer(tmp_path: Path):
    model = export(tmp_path / "m.pt2", Net())
    encoder = load(tmp_path / "m.pt2")
    features = torch.from_numpy(encoder.encode(images(5), [encoder.feature_layer])[encoder.feature_layer].values)
    assert features.shape == (5, 6)
    logits = torch.nn.functional.linear(features, model.fc.weight, model.fc.bias).softmax(-1)
    torch.testing.assert_close(logits.detach(), expected(model, images(5)), atol=1e-5, rtol=1e-5)
    assert encoder.warnings == ()


def test_an_output_named_features_comes_first(tmp_path: Path):
    model = export(tmp_path / "m.pt2", Net(outputs="dictionary"))
    encoder = load(tmp_path / "m.pt2")
    assert encoder.feature_layer == "features"
    assert encoder.layers[-2:] == ("logits", "features")
    values = encoder.encode(images(4), ["features"])["features"].values
    np.testing.assert_allclose(values, expected(model, images(4))["features"].numpy(), atol=1e-5)


def test_the_card_names_outputs_and_the_feature_layer(tmp_path: Path):
    path = tmp_path / "m.pt2"
    model = export(path, Net(outputs="tuple"))
    assert load(path).layers[-2:] == ("output_0", "output_1")
    card = {"outputs": ["logits", "embedding"], "licence": "MIT", "class_names": list("abcd"), "input_size": [3, 8, 8]}
    path.with_suffix(".json").write_text(json.dumps(card))
    facts = EXPORT.describe(path)
    assert (facts.licence, facts.label_names) == ("MIT", ("a", "b", "c", "d"))
    encoder = load(path)
    assert encoder.feature_layer == "embedding"
    np.testing.assert_allclose(
        encoder.encode(images(2), ["embedding"])["embedding"].values, expected(model, images(2))[1].numpy(), atol=1e-5
    )
    path.with_suffix(".json").write_text(json.dumps({**card, "feature_layer": "conv2d"}))
    assert load(path).feature_layer == "conv2d"
    assert load(path).encode(images(2), ["conv2d"])["conv2d"].values.shape == (2, 6, 8, 8)
    path.with_suffix(".json").write_text(json.dumps({**card, "feature_layer": "nowhere"}))
    with pytest.raises(ModelError) as error:
        load(path)
    assert str(error.value) == (
        "m.pt2 needs the feature_layer that its card names. Got 'nowhere', which the program does not have. "
        "Correct the card."
    )


def test_batches_of_1_and_8_agree_and_the_batch_is_not_changed(clean: tuple[Path, Any]):
    encoder = load(clean[0])
    batch = images(8)
    before = batch["image"].copy()
    layer = encoder.feature_layer
    together = encoder.encode(batch, [layer])[layer].values
    alone = [encoder.encode({"image": before[i : i + 1]}, [layer])[layer].values for i in range(8)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-6)
    assert (batch["image"] == before).all()


def test_a_fixed_batch_axis_is_served_in_pieces(tmp_path: Path):
    model = export(tmp_path / "m.pt2", Net(), batch=3)
    values = load(tmp_path / "m.pt2").encode(images(7), ["output"])["output"].values
    np.testing.assert_allclose(values, expected(model, images(7)).numpy(), atol=1e-5)


def test_vectors_are_taken_too(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    export(tmp_path / "m.pt2", model, shape=(5,))
    assert EXPORT.describe(tmp_path / "m.pt2").modality == "tabular"
    encoder = load(tmp_path / "m.pt2")
    assert encoder.encode(images(3, (5,)), [encoder.feature_layer])[encoder.feature_layer].values.shape == (3, 7)


def test_a_program_without_a_linear_head_gives_its_output_and_says_so(tmp_path: Path):
    export(tmp_path / "m.pt2", torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU()))
    encoder = load(tmp_path / "m.pt2")
    assert encoder.feature_layer == "output"
    assert encoder.warnings == (
        "No final linear layer was found; the output 'output' itself is taken as the features.",
    )


def test_samples_of_another_shape_are_refused(clean: tuple[Path, Any]):
    with pytest.raises(ModelError) as error:
        load(clean[0]).encode(images(2, (3, 9, 8)), ["output"])["output"]
    assert str(error.value) == (
        "The program needs samples of shape 3 × 8 × 8. Got 3 × 9 × 8. Choose a model made for such samples."
    )


def test_a_program_in_training_mode_is_refused(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Dropout(0.5))
    program = quietly(torch.export.export, model.train(), (torch.zeros(2, 3, 8, 8),))
    quietly(torch.export.save, program, tmp_path / "m.pt2")
    with pytest.raises(ModelError) as error:
        EXPORT.describe(tmp_path / "m.pt2")
    assert str(error.value) == (
        "m.pt2 needs a program exported for inference. Got 'dropout' in training mode. "
        "Call model.eval() before torch.export.export."
    )


def test_the_zoo_copies_agree_with_torch(shared: Path):
    files = sorted((shared / "zoo").glob("*.pt2"))
    if not files:
        pytest.skip("the development zoo is not beside this repository")
    for path in files:
        encoder = load(path)
        batch = images(3, encoder._entry.shape[1:])
        program = quietly(torch.export.load, path)
        theirs = quietly(lambda program=program, batch=batch: expected(program.module(), batch))
        assert encoder.feature_layer == "features"
        layers = [layer for layer in ("features", encoder.head_layer) if layer is not None]
        assert set(layers) == set(theirs)
        for layer, hidden in encoder.encode(batch, layers).items():
            np.testing.assert_allclose(hidden.values, theirs[layer].numpy(), atol=1e-4)


# --- its classifier ------------------------------------------------------------------------------------------------


class Pooled(torch.nn.Module):
    """A convolution as classifier, pooled as last step, and an in-place sigmoid where asked for."""

    def __init__(self, *, maps: bool = False) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(inplace=True))
        self.head = torch.nn.Conv2d(6, 5, 1)
        self.maps = maps

    def forward(self, image: Any) -> Any:
        maps = self.head(self.body(image))
        return maps if self.maps else maps.mean((2, 3), keepdim=True).sigmoid_()


class TwoOutputs(torch.nn.Module):
    """Two linear layers side by side, or one on top of the other."""

    def __init__(self, *, chain: bool) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(5, 4), torch.nn.Linear(4 if chain else 5, 3)
        self.chain = chain

    def forward(self, x: Any) -> Any:
        first = self.first(x)
        return first, self.second(first if self.chain else x)


@pytest.mark.parametrize("decompose", [False, True], ids=["as-exported", "decomposed"])
def test_logits_are_what_the_final_softmax_reads(decompose: bool, tmp_path: Path):
    model = export(tmp_path / "m.pt2", Net(), decompose=decompose)
    encoder, batch = load(tmp_path / "m.pt2"), images(5)
    both = encoder.encode(batch, [encoder.feature_layer, encoder.head_layer])
    features, logits = (torch.from_numpy(both[name].values) for name in (encoder.feature_layer, encoder.head_layer))
    torch.testing.assert_close(logits, model.fc(features).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits.softmax(-1), expected(model, batch), atol=1e-5, rtol=1e-5)


def test_several_layers_come_from_one_pass_that_overwrites_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = export(tmp_path / "m.pt2", Pooled())
    encoder, batch, ran = load(tmp_path / "m.pt2"), images(5), []
    layers = ["conv2d", encoder.feature_layer, str(encoder.head_layer), "output"]
    alone = {layer: encoder.encode(batch, [layer])[layer].values for layer in layers}
    step = encoder._runner._run_step
    monkeypatch.setattr(encoder._runner, "_run_step", lambda call, known: ran.append(call) or step(call, known))
    together = encoder.encode(batch, layers)
    assert len(ran) == len(set(map(id, ran)))
    for layer in layers:
        np.testing.assert_array_equal(together[layer].values, alone[layer])
    logits = together[str(encoder.head_layer)].values
    assert logits.shape == (5, 5, 1, 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected(model, batch).numpy(), atol=1e-6)
    assert logits.min() < 0


def test_maps_are_no_head(tmp_path: Path):
    export(tmp_path / "m.pt2", Pooled(maps=True))
    assert load(tmp_path / "m.pt2").head_layer is None


def test_a_head_has_as_many_columns_as_the_card_has_classes(tmp_path: Path):
    path = tmp_path / "m.pt2"
    export(path, Net())
    for card, found in (({"class_names": list("abc")}, False), ({"num_classes": 4}, True)):
        path.with_suffix(".json").write_text(json.dumps(card))
        assert (load(path).head_layer is not None) == found


@pytest.mark.parametrize(("chain", "width"), [(False, None), (True, 3)])
def test_of_two_outputs_one_on_top_of_the_other_is_the_head(chain: bool, width: int | None, tmp_path: Path):
    export(tmp_path / "m.pt2", TwoOutputs(chain=chain), shape=(5,))
    encoder = load(tmp_path / "m.pt2")
    head = encoder.head_layer
    assert (head is None) == (width is None)
    if head is not None:
        assert encoder.encode(images(2, (5,)), [head])[head].values.shape == (2, width)


# --- what a hostile program does -----------------------------------------------------------------------------------


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


Entries = dict[str, bytes]


def rewritten(source: Path, target: Path, change: Callable[[Entries], None]) -> Path:
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    change(entries)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target


def edit_json(entries: Entries, ending: str, change: Callable[[dict[str, Any]], Any]) -> str:
    name = next(name for name in entries if name.endswith(ending))
    content = json.loads(entries[name])
    change(content)
    entries[name] = json.dumps(content).encode()
    return name


def sample_inputs(entries: Entries, marker: Path) -> None:
    name = next(name for name in entries if "sample_inputs" in name)
    entries[name] = pickle.dumps(Touch(marker))


def pickled_weight(entries: Entries, marker: Path) -> None:
    change = {"use_pickle": True, "path_name": "weight_99"}
    name = edit_json(entries, "model_weights_config.json", lambda content: content["config"]["fc.bias"].update(change))
    entries[name.replace("model_weights_config.json", "weight_99")] = pickle.dumps(Touch(marker))


def pickled_constant(entries: Entries, marker: Path) -> None:
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    name = edit_json(entries, "model_constants_config.json", lambda content: content["config"].update(x=meta))
    entries[name.replace("model_constants_config.json", "opaque_obj_0")] = pickle.dumps(Touch(marker))


def size_expression(entries: Entries, marker: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for meta in content["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = f"__import__('pathlib').Path({str(marker)!r}).touch() or 3"

    edit_json(entries, "models/model.json", change)


def guard(entries: Entries, marker: Path) -> None:
    code = [f"__import__('pathlib').Path({str(marker)!r}).touch() is None"]
    edit_json(entries, "models/model.json", lambda content: content.update(guards_code=code))


def file_operator(entries: Entries, marker: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        node = content["graph_module"]["graph"]["nodes"][-1]
        node["target"] = "torch.ops.aten.from_file.default"
        values = {"filename": {"as_string": str(marker)}, "shared": {"as_bool": True}, "size": {"as_int": 10}}
        node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in values.items()]

    edit_json(entries, "models/model.json", change)


IGNORED = (sample_inputs, size_expression, guard)
REFUSED = {
    pickled_weight: "evil.pt2 needs plain tensors. Got 'fc.bias' as a pickle, which can run code while it is read. "
    "Export the model without tensor subclasses and custom objects.",
    pickled_constant: "evil.pt2 needs plain tensors. Got 'x' as a pickle, which can run code while it is read. "
    "Export the model without tensor subclasses and custom objects.",
    file_operator: "evil.pt2 needs operators that are known to be safe. Got 'torch.ops.aten.from_file.default'. "
    "Export the model for inference with the operators of torch alone, or use ONNX.",
}


@pytest.mark.parametrize("payload", [*IGNORED, *REFUSED], ids=lambda payload: payload.__name__)
def test_the_loader_of_torch_runs_the_payload(payload: Any, clean: tuple[Path, Any], tmp_path: Path):
    marker = tmp_path / "marker"
    path = rewritten(clean[0], tmp_path / "evil.pt2", lambda entries: payload(entries, marker))

    def load_and_run() -> None:
        try:
            torch.export.load(path).module()(torch.zeros(3, 3, 8, 8))
        except Exception:  # noqa: BLE001 - whatever it says afterwards, the payload has run or not
            return

    quietly(load_and_run)
    if not marker.exists():
        pytest.skip("the loader of this version of torch does not run it any more")


@pytest.mark.parametrize("payload", IGNORED, ids=lambda payload: payload.__name__)
def test_code_in_parts_that_are_never_read_leaves_no_trace(payload: Any, clean: tuple[Path, Any], tmp_path: Path):
    marker = tmp_path / "marker"
    path = rewritten(clean[0], tmp_path / "evil.pt2", lambda entries: payload(entries, marker))
    values = load(path).encode(images(4), ["output"])["output"].values
    np.testing.assert_allclose(values, expected(clean[1], images(4)).numpy(), atol=1e-5)
    assert not marker.exists()


@pytest.mark.parametrize("payload", REFUSED, ids=lambda payload: payload.__name__)
def test_code_in_parts_that_are_read_is_refused(payload: Any, clean: tuple[Path, Any], tmp_path: Path):
    marker = tmp_path / "marker"
    path = rewritten(clean[0], tmp_path / "evil.pt2", lambda entries: payload(entries, marker))
    with pytest.raises(ModelError) as error:
        EXPORT.describe(path)
    assert str(error.value) == REFUSED[payload]
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.save.default",
        "torch.ops.aten.set_.source_Tensor",
        "torch.ops.higher_order.cond",
        "torch.ops.prims.load.default",
        "torch.hub.load",
        "_operator.attrgetter",
        "math.__loader__.load_module",
        "os.system",
        "#custom",
    ],
)
def test_operators_off_the_list_are_refused(target: str, clean: tuple[Path, Any], tmp_path: Path):
    def change(content: dict[str, Any]) -> None:
        content["graph_module"]["graph"]["nodes"][-1]["target"] = target

    path = rewritten(
        clean[0], tmp_path / "evil.pt2", lambda entries: edit_json(entries, "models/model.json", change) and None
    )
    with pytest.raises(ModelError, match=r"needs operators that are known to be safe\. Got "):
        EXPORT.describe(path)


def test_a_step_that_would_change_a_weight_is_refused(clean: tuple[Path, Any], tmp_path: Path):
    def change(content: dict[str, Any]) -> None:
        nodes = content["graph_module"]["graph"]["nodes"]
        node = next(node for node in nodes if node["target"] == "torch.ops.aten.relu_.default")
        node["inputs"][0]["arg"] = {"as_tensor": {"name": "p_conv_weight"}}

    path = rewritten(
        clean[0], tmp_path / "evil.pt2", lambda entries: edit_json(entries, "models/model.json", change) and None
    )
    with pytest.raises(ModelError, match="needs steps that leave inputs and weights as they are"):
        EXPORT.describe(path)


def test_a_weight_that_reaches_beyond_its_bytes_is_refused(clean: tuple[Path, Any], tmp_path: Path):
    def change(content: dict[str, Any]) -> None:
        content["config"]["fc.bias"]["tensor_meta"]["strides"] = [{"as_int": 1_000_000}]

    path = rewritten(
        clean[0], tmp_path / "evil.pt2", lambda entries: edit_json(entries, "weights_config.json", change) and None
    )
    with pytest.raises(ModelError) as error:
        EXPORT.describe(path)
    assert str(error.value) == ("evil.pt2 is cut short: 'fc.bias' needs more bytes than it has. Download it again.")


def test_machine_code_is_refused(clean: tuple[Path, Any], tmp_path: Path):
    path = rewritten(
        clean[0], tmp_path / "evil.pt2", lambda entries: entries.update({"net/data/aotinductor/model/x.so": b"\x7fELF"})
    )
    with pytest.raises(ModelError) as error:
        EXPORT.describe(path)
    assert str(error.value) == (
        "evil.pt2 needs to hold a program of torch operators. Got compiled machine code. "
        "Export the model with torch.export.save."
    )


def test_a_zip_bomb_and_a_way_out_of_the_folder_are_refused(clean: tuple[Path, Any], tmp_path: Path):
    bomb = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", b" " * 10_000_000)
    with pytest.raises(ModelError, match=r"needs plain entries\. Got compressed ones"):
        EXPORT.describe(bomb)
    path = rewritten(clean[0], tmp_path / "evil.pt2", lambda entries: entries.update({"net/../../x": b"1"}))
    with pytest.raises(ModelError, match=r"needs entries inside the archive\. Got the name 'net/../../x'"):
        EXPORT.describe(path)


def test_damage_is_told(clean: tuple[Path, Any], tmp_path: Path):
    whole = clean[0].read_bytes()
    half = tmp_path / "half.pt2"
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError) as error:
        EXPORT.describe(half)
    assert str(error.value) == (
        "half.pt2 needs to be a whole torch.export archive. Got a file that is damaged, cut short or of another kind. "
        "Download it again."
    )
    old = tmp_path / "old.pt2"
    with zipfile.ZipFile(old, "w") as archive:
        archive.writestr("version", "8.1")
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ModelError) as error:
        EXPORT.describe(old)
    assert str(error.value) == (
        "old.pt2 needs the archive format of torch 2.8 or newer. Got an older one, which holds pickles. "
        "Load it where you trust it, and save it again with torch.export.save."
    )


def test_a_cut_anywhere_is_told_as_a_cut(clean: tuple[Path, Any], tmp_path: Path):
    """Also behind the sample inputs, which are archives inside the archive, and were taken for the whole."""
    whole = clean[0].read_bytes()
    inner = whole.rindex(b"PK\x05\x06", 0, whole.rindex(b"PK\x05\x06"))
    path = tmp_path / "cut.pt2"
    for n in (inner + 22, inner + 30, len(whole) * 99 // 100, len(whole) - 22, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(ModelError) as error:
            EXPORT.describe(path)
        assert str(error.value) == (
            "cut.pt2 needs to be a whole torch.export archive. Got a file that is damaged, cut short or of another "
            "kind. Download it again."
        )


def test_a_flipped_bit_in_the_weights_is_found_when_they_are_read(clean: tuple[Path, Any], tmp_path: Path):
    with zipfile.ZipFile(clean[0]) as archive:
        name = next(name for name in archive.namelist() if name.endswith("weights/weight_0"))
        content = archive.read(name)
    whole = bytearray(clean[0].read_bytes())
    whole[whole.index(content)] ^= 1
    path = tmp_path / "m.pt2"
    path.write_bytes(whole)
    with pytest.raises(ModelError, match=r"needs a whole entry 'data/weights/weight_0'\. Got a damaged one"):
        load(path)


def test_other_files_are_not_recognised(tmp_path: Path):
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert EXPORT.describe(tmp_path / "model.zip") is None
    assert EXPORT.describe(tmp_path) is None
