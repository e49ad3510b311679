"""What a further run has to compute: only what is new; and what a run would cost, before it is begun."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_zoo import CARD, Run, convolution, crafted_filters, draw_images, random_filters, save

import neuralrank
from neuralrank import Ranking

Data = tuple[NDArray[np.uint8], NDArray[np.int64]]
N_SMALL, N_LARGE = 100, 240


@pytest.fixture(scope="module")
def data() -> Data:
    """240 images and what they show, in random order."""
    images, labels = draw_images(n_per_class=N_LARGE // 4)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order], labels[order]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "models"
    save(convolution(crafted_filters()), folder / "good.onnx", CARD)
    save(convolution(random_filters(3, seed=1)), folder / "poor.onnx", CARD)
    return folder


@pytest.fixture(scope="module")
def begun(zoo: Path, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that knows both models on a probe of 100 samples."""
    cache = tmp_path_factory.mktemp("begun")
    ranking = neuralrank.rank(
        zoo, data, also=(), probe=N_SMALL, cache_dir=cache, catalogue=tmp_path_factory.mktemp("catalogue")
    )
    assert ranking.cost["n_samples_run_now"] == 2 * N_SMALL
    return cache


@pytest.fixture
def cache(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "cache"))


def rank(models: Any, data: Any, cache: Path, **options: Any) -> Ranking:
    return neuralrank.rank(models, data, **{"also": (), "cache_dir": cache, "probe": N_SMALL, **options})


def passes(ranking: Ranking) -> int:
    return int(ranking.cost["n_samples_run_now"])


def scores(ranking: Ranking) -> dict[str, float]:
    return {model.name: model.score for model in ranking.models}


# --- only what is new --------------------------------------------------------------------------------------------


def test_a_larger_probe_runs_the_new_samples_alone(zoo: Path, data: Data, cache: Path, tmp_path: Path) -> None:
    larger = rank(zoo, data, cache, probe=N_LARGE)
    assert passes(larger) == 2 * (N_LARGE - N_SMALL)
    at_once = rank(zoo, data, tmp_path / "other", probe=N_LARGE)
    assert passes(at_once) == 2 * N_LARGE
    assert scores(larger) == pytest.approx(scores(at_once), abs=1e-6)
    assert passes(rank(zoo, data, cache)) == 0  # and back


def test_more_data_run_what_was_not_seen_alone(zoo: Path, data: Data, cache: Path) -> None:
    images, labels = data
    few = rank(zoo, (images[:120], labels[:120]), cache, probe=N_LARGE)
    all_ = rank(zoo, data, cache, probe=N_LARGE)
    assert passes(few) + passes(all_) == 2 * (N_LARGE - N_SMALL)


def test_a_new_model_costs_itself_alone(zoo: Path, data: Data, cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "models"))
    save(convolution(random_filters(2, seed=2)), folder / "new.onnx", CARD)
    ranking = rank(folder, data, cache)
    assert passes(ranking) == N_SMALL
    assert len(ranking.models) == 3
    assert {model.name: model.cached for model in ranking.models} == {
        "new.onnx": False, "good.onnx": True, "poor.onnx": True,
    }  # fmt: skip


def test_other_labels_of_the_same_samples_run_nothing(zoo: Path, data: Data, cache: Path) -> None:
    images, labels = data
    everything = rank(zoo, data, cache, probe=N_LARGE)
    other = rank(zoo, (images, labels // 2), cache, probe=N_LARGE)
    values = rank(zoo, (images, images.mean(axis=(1, 2, 3)) / 255.0), cache, probe=N_LARGE, task="regression")
    assert passes(other) == passes(values) == 0
    assert scores(other) != scores(everything)
    assert other.target.n_classes == 2


def test_another_strategy_runs_the_rest_alone(zoo: Path, data: Data, cache: Path) -> None:
    raced = rank(zoo, data, cache, probe=N_LARGE, strategy="racing")
    used = sum(model.n_samples_used for model in raced.models)
    whole = rank(zoo, data, cache, probe=N_LARGE)
    assert passes(raced) + passes(whole) == 2 * (N_LARGE - N_SMALL)
    assert passes(rank(zoo, data, cache, probe=N_LARGE, strategy="racing")) == 0
    assert used < 2 * N_LARGE


def test_copies_of_a_sample_are_run_once(zoo: Path, data: Data, tmp_path: Path) -> None:
    images, labels = data
    ranking = rank(zoo, (np.repeat(images[:60], 2, axis=0), np.repeat(labels[:60], 2)), tmp_path / "new", probe=120)
    assert passes(ranking) == 2 * 60


# --- before a run ------------------------------------------------------------------------------------------------


@pytest.fixture
def npz(data: Data, tmp_path: Path) -> Path:
    np.savez(tmp_path / "photos.npz", images=data[0], labels=data[1])
    return tmp_path / "photos.npz"


def test_a_dry_run_says_what_the_run_then_takes(run: Run, zoo: Path, npz: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "models"))
    (folder / "broken.onnx").write_bytes(b"damaged")
    command = ("rank", folder, "--data", npz, "--probe", N_LARGE, "--also", "", "--format", "json")
    outcome = run(*command, "--dry-run")
    assert outcome.code == 0
    said = json.loads(outcome.out)
    assert said["schema"] == "neuralrank/estimate/1"
    assert (said["strategy"], said["n_models"], said["n_probe"]) == ("full", 2, N_LARGE)
    assert (said["rungs"], said["fetch_bytes"], said["n_unknown_size"]) == ([N_LARGE], 0, 0)
    assert [failure["model_id"].partition("@")[0] for failure in said["failures"]] == ["folder:broken.onnx"]
    tried = {model["name"]: model["n_known"] for model in said["models"] if model["failure"] is None}
    assert tried == {"good.onnx": 16, "poor.onnx": 16}
    for model in said["models"]:
        if model["failure"] is None:
            assert model["basis"] == "measured now"
            assert 0 < model["seconds_per_sample"] < model["start_seconds"]
            assert model["peak_bytes"] > 10_000_000
    assert said["passes"] == [2 * (N_LARGE - 16)] * 2
    assert said["passes_of_full_run"] == 2 * (N_LARGE - 16)
    least, most = said["seconds"]
    assert 0 < least <= most
    assert said["peak_bytes"] >= max(model["peak_bytes"] or 0 for model in said["models"])
    assert json.loads(run("runs", "--format", "json").out) == []  # nothing was ranked, nor begun
    then = run(*command)
    assert then.ranking["cost"]["n_samples_run_now"] == said["passes"][0]


def test_a_dry_run_of_what_is_known_runs_nothing(
    run: Run, zoo: Path, npz: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python-here"))  # a worker could not even start
    command = ("rank", zoo, "--data", npz, "--probe", N_SMALL, "--cache-dir", cache, "--dry-run")
    outcome = run(*command)
    assert outcome.code == 0
    assert "passes    0 of 0 (what is known is not run again)" in outcome.out
    assert outcome.out.count("measured before") == 2
    raced = json.loads(run(*command, "--strategy", "racing", "--probe", N_LARGE, "--format", "json").out)
    least, most = raced["passes"]
    assert 0 <= least < most == raced["passes_of_full_run"] == 2 * (N_LARGE - N_SMALL)
    assert raced["rungs"][-1] == N_LARGE
    assert len(raced["rungs"]) > 1


@pytest.mark.parametrize("strategy", ["racing", "successive_halving", "asynchronous_halving"])
def test_a_run_takes_what_its_dry_run_says(run: Run, zoo: Path, npz: Path, cache: Path, strategy: str) -> None:
    command = ("rank", zoo, "--data", npz, "--probe", N_LARGE, "--also", "", "--cache-dir", cache, "--format", "json")
    said = json.loads(run(*command, "--strategy", strategy, "--dry-run").out)
    then = run(*command, "--strategy", strategy).ranking
    assert said["passes"][0] <= then["cost"]["n_samples_run_now"] <= said["passes"][1]


def test_a_dry_run_is_written_as_table_or_json(run: Run, zoo: Path, npz: Path) -> None:
    refused = run("rank", zoo, "--data", npz, "--dry-run", "--format", "csv")
    assert refused.code == 2
    assert refused.err == ("error: --dry-run is written as table or json. Got csv. Leave --format out for a table.\n")


def test_a_dry_run_without_a_model_that_runs_ends_with_1(run: Run, npz: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.onnx").write_bytes(b"damaged")
    outcome = run("rank", tmp_path / "models", "--data", npz, "--dry-run")
    assert outcome.code == 1
    assert "time      not known: no model has run yet" in outcome.out
    assert "Cannot be run (1)" in outcome.out


# --- a cache without room ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_bytes", [4_096, 8_192, 12_288])
def test_a_cache_that_becomes_full_costs_the_cache_and_not_the_ranking(
    zoo: Path, data: Data, cache: Path, tmp_path: Path, n_bytes: int
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        ranking = rank(zoo / "good.onnx", data, small)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    [model] = ranking.models
    assert model.score == pytest.approx(scores(rank(zoo, data, cache))["good.onnx"], abs=1e-6)
    assert any(str(small) in warning and "no space left" in warning.lower() for warning in model.warnings)
