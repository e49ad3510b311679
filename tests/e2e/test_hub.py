"""From a Hub to a ranking in one command: a real client against a server on this machine, real networks and images."""

import json
import sys
from pathlib import Path

import pytest
from tiny_zoo import CARD, convolution, crafted_filters, random_filters

from neuralrank.sources import _hub_http

sys.path.insert(0, str(Path(__file__).parents[1] / "sources"))

from fake_hub import FakeHub, Repo


def repo(model, licence, **info):
    files = {
        "model.onnx": model.SerializeToString(),
        "model.json": json.dumps(CARD).encode(),
        "README.md": f"---\nlicense: {licence}\n---\nSees stripes.".encode(),
    }
    shown = {"pipeline_tag": "image-classification", "tags": [f"license:{licence}"], "cardData": {"license": licence}}
    return Repo(files=files, info={**shown, **info})


@pytest.fixture
def hub(monkeypatch, tmp_path):
    from huggingface_hub import constants

    repos = {
        "owner/crafted": repo(convolution(crafted_filters()), "mit", downloads=5),
        "owner/random": repo(convolution(random_filters(6, seed=1)), "mit", downloads=50),
        "owner/closed": repo(convolution(random_filters(4, seed=2)), "other", downloads=500),
        "owner/pickle": Repo(files={"pytorch_model.bin": b"\x80\x04."}, info={"cardData": {"license": "mit"}}),
    }
    with FakeHub(repos) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setitem(_hub_http.Hub.__init__.__kwdefaults__, "sleep", lambda _seconds: None)
        yield server


RANK = ("rank", "hf:owner/*", "--where", "license = 'mit'", "--format", "json")


def test_only_what_is_ranked_is_fetched(run, hub, photos):
    outcome = run(*RANK, "--data", photos)
    assert outcome.code == 0, outcome.err
    assert outcome.scores.keys() == {"owner/crafted", "owner/random"}
    assert outcome.scores["owner/crafted"] > outcome.scores["owner/random"]
    assert outcome.ranking["ranking"][0]["model_id"].startswith("hf:owner/crafted@")
    assert not hub.asked("owner/closed/resolve/.*onnx")
    assert not hub.asked("bin$")


def test_scores_are_those_of_the_same_files_in_a_folder(run, hub, photos, models):
    fetched = run(*RANK, "--data", photos).scores
    local = run("rank", models, "--data", photos, "--format", "json").scores
    assert fetched["owner/crafted"] == local["crafted.onnx"]


def test_a_model_that_cannot_be_fetched_is_a_failure_and_the_others_are_ranked(run, hub, photos):
    hub.fail("owner/random/resolve/.*onnx", "status", status=503)
    outcome = run(*RANK, "--data", photos)
    assert outcome.code == 0
    assert outcome.scores.keys() == {"owner/crafted"}
    (failure,) = outcome.ranking["failures"]
    assert failure["stage"] == "fetch"
    assert "503" in failure["error"]


def test_offline_ranks_what_was_fetched_before(run, hub, photos):
    online = run(*RANK, "--data", photos).scores
    hub.requests.clear()
    offline = run(*RANK, "--data", photos, "--offline")
    assert offline.scores == online
    assert hub.requests == []


def test_a_hub_that_is_down_takes_nothing_from_the_catalogue(run, hub, photos):
    assert run("index", "hf:owner/*").code == 0
    hub.fail("/api/models", "status", status=503)
    again = run("index", "hf:owner/*")
    assert again.code == 1
    assert "503" in again.err
    found = json.loads(run("search", "--format", "json").out)
    assert found["n_models"] == 4


def test_a_hub_that_never_answered_is_one_sentence(run, hub, photos):
    hub.fail("/api/models", "status", status=503)
    outcome = run(*RANK, "--data", photos)
    assert outcome.code == 1
    assert outcome.err.count("error:") == 1
    assert "503" in outcome.err


def test_max_fetch_refuses_before_the_first_byte(run, hub, photos):
    outcome = run(*RANK, "--data", photos, "--max-fetch", "0.000001")
    assert outcome.code == 1
    assert {failure["stage"] for failure in outcome.ranking["failures"]} == {"fetch"}
    assert all("Raise --max-fetch" in failure["error"] for failure in outcome.ranking["failures"])
    assert not hub.asked("resolve/.*onnx")
