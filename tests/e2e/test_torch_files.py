"""Files of torch beside an ONNX model, the whole way: what is ranked, what needs trust, what is listed as a failure."""

import json
from pathlib import Path

import pytest
from tiny_zoo import Run, convolution, random_filters, save

import neuralrank

torch = pytest.importorskip("torch")

CARD = {"input_size": [3, 32, 32], "colour_order": "RGB", "resize": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def network() -> "torch.nn.Sequential":
    torch.manual_seed(0)
    parts = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    return torch.nn.Sequential(*parts, torch.nn.Linear(32, 5)).eval()


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    save(convolution(random_filters(2, seed=3)), folder / "plain.onnx")
    program = torch.jit.trace(network(), torch.zeros(2, 3, 32, 32), check_trace=False)
    torch.jit.save(program, folder / "script.pt")
    torch.save(network(), folder / "whole.pt")
    torch.save(network().state_dict(), folder / "bare.pt")
    for name in ("script", "whole"):
        (folder / f"{name}.json").write_text(json.dumps(CARD))
    return folder


def trusted_id(checkpoints: Path) -> str:
    records = neuralrank.registry.get("sources", "folder")(checkpoints).list_models()
    return next(record.model_id for record in records if record.model_id.startswith("folder:whole.pt@"))


def test_without_trust_the_pickled_module_is_a_failure_with_the_way_out(run: Run, checkpoints: Path, photos: Path):
    outcome = run("rank", checkpoints, "--data", photos, "--format", "json")
    content = json.loads(outcome.out)
    assert {row["name"] for row in content["ranking"]} == {"plain.onnx", "script.pt"}
    failures = {row["model_id"]: row for row in content["failures"]}
    whole = trusted_id(checkpoints)
    assert failures[whole]["stage"] == "load"
    assert failures[whole]["error"] == (
        f"whole.pt is a pickle, and loading it runs code from the file. If you trust it, add --trust '{whole}'."
    )
    assert failures["folder:bare.pt"]["error"] == (
        "bare.pt needs a card 'bare.json' that names its architecture. Got weights alone. "
        'Write, for example: {"architecture": "timm:resnet18"}'
    )


def test_with_its_id_it_is_ranked_as_the_script_of_the_same_network_is(run: Run, checkpoints: Path, photos: Path):
    outcome = run("rank", checkpoints, "--data", photos, "--format", "json", "--trust", trusted_id(checkpoints))
    scores = {row["name"]: row["score"] for row in json.loads(outcome.out)["ranking"]}
    assert set(scores) == {"plain.onnx", "script.pt", "whole.pt"}
    assert scores["whole.pt"] == pytest.approx(scores["script.pt"], abs=1e-4)


def test_an_id_of_no_model_is_a_usage_error(run: Run, checkpoints: Path, photos: Path):
    outcome = run("rank", checkpoints, "--data", photos, "--trust", "folder:whole.pt@0000000000000000")
    assert outcome.code == 2
    assert "--trust needs the id of a model of this run, with the hash after its @." in outcome.err


def test_they_are_catalogued_and_found_again(run: Run, checkpoints: Path):
    assert run("index", checkpoints).code == 0
    found = json.loads(run("search", "", "--format", "json").out)
    formats = {row["name"]: row["format"] for row in found["models"]}
    assert formats == {
        "plain.onnx": "onnx",
        "script.pt": "torchscript",
        "whole.pt": "trusted_module",
        "bare.pt": "pt",
    }
    shown = run("show", next(row["model_id"] for row in found["models"] if row["name"] == "bare.pt"))
    assert "bare.json" in " ".join(shown.out.split())
