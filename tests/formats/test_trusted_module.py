"""Whole pickled modules, and folders with code of their own: described without running either, opened where trusted."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import ModelError

torch = pytest.importorskip("torch")

import hostile_torch  # noqa: E402 - it needs torch

MODULE = registry.get("formats", "trusted_module")
STATE = registry.get("formats", "state_dict")
FOLDER = registry.get("formats", "transformers_folder")
CARD = {"input_size": [3, 8, 8], "colour_order": "RGB", "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def sequence() -> Any:
    torch.manual_seed(0)
    parts = (torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(*parts, torch.nn.Linear(4, 3)).eval()


def write(path: Path, content: Any, card: dict[str, Any] | None = CARD, **options: Any) -> Path:
    torch.save(content, path, **options)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path


def load(path: Path) -> Any:
    return MODULE(path, MODULE.describe(path), n_threads=1)


def images(n: int) -> dict[str, Any]:
    return {"image": np.random.default_rng(0).normal(size=(n, 3, 8, 8)).astype(np.float32)}


# --- what is told without unpickling -------------------------------------------------------------------------------


@pytest.mark.parametrize("modern", [True, False])
def test_a_module_needs_trust_and_is_described_without_it(tmp_path: Path, modern: bool):
    path = write(tmp_path / "net.pt", sequence(), None, _use_new_zipfile_serialization=modern)
    facts = MODULE.describe(path)
    assert facts.needs_trust == "net.pt is a pickle, and loading it runs code from the file."
    assert (facts.format, facts.modality, facts.n_params) == ("trusted_module", "image", 127)
    assert facts.architecture == "torch.nn.modules.container.Sequential"
    assert STATE.describe(path) is None


def test_the_code_that_it_names_is_shown_and_not_run(tmp_path: Path):
    path, marker = tmp_path / "net.pt", tmp_path / "marker"
    hostile_torch.module_with_a_payload(path, marker)
    assert MODULE.describe(path).needs_trust == (
        "net.pt is a pickle, and loading it runs code from the file. It names hostile_torch.Explosive, posix.mkdir."
    )
    assert not marker.exists()


def test_a_checkpoint_with_a_module_inside_needs_trust(tmp_path: Path):
    path = write(tmp_path / "net.pt", {"epoch": 3, "model": sequence()})
    assert MODULE.describe(path).needs_trust is not None
    assert load(path).head_layer == "logits"


def test_other_files_are_not_recognised(tmp_path: Path):
    write(tmp_path / "a.pt", sequence().state_dict(), None)
    hostile_torch.write_script(tmp_path / "b.pt")
    (tmp_path / "c.pkl").write_bytes(b"\x80\x04.")
    (tmp_path / "d.pt").write_bytes(b"")
    hostile_torch.pickle_is_a_payload(tmp_path / "e.pt", tmp_path / "marker")
    assert [MODULE.describe(path) for path in sorted(tmp_path.iterdir())] == [None] * 5


# --- what it gives where it is trusted -----------------------------------------------------------------------------


def test_features_and_logits_are_those_of_the_module(tmp_path: Path):
    model, batch = sequence(), images(5)
    encoder = load(write(tmp_path / "net.pt", model))
    assert encoder.layers == ("0", "1", "2", "3", "4", "features", "logits", "output")
    assert (encoder.feature_layer, encoder.head_layer, encoder.warnings) == ("features", "logits", ())
    values = encoder.encode(batch, ["0", "features", "logits"])
    with torch.inference_mode():
        images_in = torch.from_numpy(batch["image"])
        for layer, expected in (("0", model[:1]), ("features", model[:4]), ("logits", model)):
            np.testing.assert_allclose(values[layer].values, expected(images_in).numpy(), rtol=1e-4, atol=1e-5)


def test_rows_keep_their_order(tmp_path: Path):
    encoder, batch = load(write(tmp_path / "net.pt", sequence())), images(6)
    whole = encoder.encode(batch, ["features"])["features"].values
    turned = encoder.encode({"image": batch["image"][::-1]}, ["features"])["features"].values
    np.testing.assert_allclose(turned[::-1], whole, rtol=1e-4, atol=1e-5)


def test_a_module_without_a_linear_layer_gives_its_output(tmp_path: Path):
    encoder = load(write(tmp_path / "net.pt", sequence()[:4]))
    assert (encoder.feature_layer, encoder.head_layer) == ("output", None)
    assert encoder.warnings == ("No final linear layer was found; the output itself is taken as the features.",)


def test_the_card_names_the_layer_with_the_features(tmp_path: Path):
    encoder = load(write(tmp_path / "net.pt", sequence(), {**CARD, "feature_layer": "1"}))
    assert encoder.feature_layer == "1"
    with pytest.raises(ModelError, match="The model has no layer 'neck'"):
        load(write(tmp_path / "net.pt", sequence(), {**CARD, "feature_layer": "neck"}))


def test_vectors_are_taken(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    path = write(tmp_path / "net.pt", model, None)
    assert MODULE.describe(path).modality == "tabular"
    assert load(path).encode({"input": np.ones((2, 5), dtype=np.float32)}, ["features"])["features"].values.shape == (
        2,
        8,
    )


def test_a_class_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "net.pt", hostile_torch.Net())
    facts = MODULE.describe(path)
    monkeypatch.delitem(sys.modules, "hostile_torch")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not entry.endswith("tests/formats")])
    with pytest.raises(ModelError) as error:
        MODULE(path, facts, n_threads=1)
    assert str(error.value) == (
        "net.pt needs the classes that its pickle names. Got \"No module named 'hostile_torch'\". Install the package "
        "they come from, or put its folder into PYTHONPATH."
    )


def test_a_file_cut_short_anywhere_is_told_in_one_sentence(tmp_path: Path):
    path = write(tmp_path / "net.pt", sequence())
    whole = path.read_bytes()
    for share in np.linspace(0.01, 0.999, 30):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ModelError, match="Got "):
            load(path)


# --- folders of Transformers with code of their own ----------------------------------------------------------------

CODE = """
import torch
from pathlib import Path
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

Path({marker!r}).mkdir(exist_ok=True)

class TinyConfig(PretrainedConfig):
    model_type = "tiny-own"
    def __init__(self, width=4, image_size=8, num_channels=3, **rest):
        self.width, self.image_size, self.num_channels = width, image_size, num_channels
        super().__init__(**rest)

class TinyModel(PreTrainedModel):
    config_class = TinyConfig
    def __init__(self, config):
        super().__init__(config)
        self.conv = torch.nn.Conv2d(3, config.width, 3)
        self.post_init()
    def forward(self, pixel_values, output_hidden_states=False, return_dict=True):
        maps = self.conv(pixel_values)
        tokens = maps.flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=tokens.mean(1), hidden_states=None)
"""


def own_folder(folder: Path, marker: Path) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    auto_map = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    config = {"model_type": "tiny-own", "architectures": ["TinyModel"], "auto_map": auto_map}
    config |= {"image_size": 8, "num_channels": 3}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_tiny.py").write_text(CODE.format(marker=str(marker)))
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3)
    save_file(
        {"conv.weight": conv.weight.data, "conv.bias": conv.bias.data}, folder / "model.safetensors", {"format": "pt"}
    )
    return folder


def test_a_folder_with_code_of_its_own_needs_trust_and_runs_with_it(tmp_path: Path):
    pytest.importorskip("transformers")
    folder, marker = own_folder(tmp_path / "tiny", tmp_path / "marker"), tmp_path / "marker"
    facts = FOLDER.describe(folder)
    assert facts.needs_trust == (
        "tiny brings program code of its own (modeling_tiny.py), and loading it runs that code."
    )
    assert folder / "modeling_tiny.py" in facts.files
    assert not marker.exists()
    encoder, batch = FOLDER(folder, facts, n_threads=1), images(2)
    assert marker.exists()
    torch.manual_seed(0)
    with torch.inference_mode():
        expected = torch.nn.Conv2d(3, 4, 3)(torch.from_numpy(batch["image"])).mean((2, 3)).numpy()
    values = encoder.encode({"pixel_values": batch["image"]}, ["features"])["features"].values
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_the_id_of_such_a_folder_changes_with_its_code(tmp_path: Path):
    folder = own_folder(tmp_path / "tiny", tmp_path / "marker")
    listed = registry.get("sources", "folder")
    (before,) = listed(tmp_path).list_models()
    with (folder / "modeling_tiny.py").open("a") as file:
        file.write("# another line\n")
    (after,) = listed(tmp_path).list_models()
    assert before.model_id != after.model_id
    assert not (tmp_path / "marker").exists()
