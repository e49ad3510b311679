"""Building, measuring and scoring a small repository, from images to tables."""

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from neuralrank.bench import collect, tables
from neuralrank.bench._data import check_data, read_images
from neuralrank.bench._features import probe_features
from neuralrank.bench._grid import GRIDS, make_grid
from neuralrank.bench._jobs import run_jobs
from neuralrank.bench.build import build, write_whole
from neuralrank.bench.published_features import read_features
from neuralrank.bench.score_probes import draw_probes
from neuralrank.bench.truth import fine_tuned, measure_truth, measurements, read_rows
from neuralrank.cli import app
from neuralrank.errors import DataError, UsageError


def silent(*_) -> None:
    """A progress nobody looks at."""


@pytest.fixture(scope="module")
def specs(small_grid):
    return make_grid(small_grid)


def test_every_network_is_built_with_its_card_and_facts(repository, specs):
    for spec in specs:
        facts = json.loads(repository.facts(spec.name).read_text())
        card = json.loads((repository.models / f"{spec.name}.json").read_text())
        assert (repository.models / f"{spec.name}.pt2").stat().st_size > 1_000
        assert card["parameters"] == facts["n_params"]
        assert ("logits" in card["outputs"]) == (facts["algorithm"] not in ("simclr", "rotation"))


def test_what_is_finished_is_not_made_again(repository, small_grid, specs):
    before = {file: file.stat().st_mtime_ns for file in repository.folder.rglob("*.*") if file.is_file()}
    build(small_grid, repository, jobs=1, progress=silent)
    measure_truth(small_grid, repository, jobs=1, progress=silent)
    assert {file: file.stat().st_mtime_ns for file in repository.folder.rglob("*.*") if file.is_file()} == before


def test_a_lost_network_is_made_again_bit_by_bit(repository, small_grid, specs, tmp_path):
    copy = replace(repository, folder=tmp_path / "copy")
    shutil.copytree(repository.folder, copy.folder)
    lost = specs[1].name
    weights = copy.weights(lost).read_bytes()
    copy.facts(lost).unlink()
    copy.weights(lost).unlink()
    told = []
    build(small_grid, copy, jobs=1, progress=lambda *event: told.append(event))
    assert told == [(lost, 1, 1)]
    assert copy.weights(lost).read_bytes() == weights


def test_the_folder_of_models_can_be_ranked_and_gives_the_features_that_are_scored(repository, specs):
    import neuralrank
    from neuralrank.readers._open import open_target

    probe = read_images(repository.data, "digits", "probe", cache=repository.images)
    pixels = probe.pixels.repeat(3, axis=1).transpose(0, 2, 3, 1)
    ranking = neuralrank.rank(repository.models, open_target((pixels, probe.labels)), probe=len(probe))
    assert not ranking.failures
    assert {model.name for model in ranking.models} == {f"{spec.name}.pt2" for spec in specs}
    by_name = {f"{spec.name}.pt2": spec for spec in specs}
    for model in ranking.models[::3]:
        stored = probe_features(by_name[model.name], "digits", repository)
        assert stored.features.shape == (len(probe), model.n_features)
        assert neuralrank.score("neuralrank", stored.features, stored.labels).value == pytest.approx(
            model.score, abs=1e-3
        )


def test_parts_of_a_data_set_share_no_sample(repository):
    def read(part):
        return read_images(repository.data, "digits", part, cache=repository.images)

    parts = [read(part) for part in ("pretraining", "probe", "head")]
    assert sum(len(part) for part in parts) == 1_297
    assert len(read("test")) == 500
    whole = np.concatenate([part.pixels for part in parts])
    with np.load(repository.images / "digits-train.npz") as stored:
        assert sorted(map(bytes, whole)) == sorted(map(bytes, stored["pixels"]))


def test_a_missing_data_set_is_one_sentence(tmp_path):
    (tmp_path / "mnist").mkdir()
    with pytest.raises(
        UsageError, match=r"needs a folder with one folder per data set: mnist, kmnist\. Got .* without"
    ):
        check_data(tmp_path, ("mnist", "kmnist"))


def test_the_truth_has_every_regime_size_and_seed(repository, small_grid, specs):
    rows = read_rows(small_grid, repository)
    heads = [row for row in rows if row["regime"] == "head"]
    tuned = [row for row in rows if row["regime"] == "finetune" and row["seed"] == 0]
    assert len(heads) == len(specs) * 2 * 2 * 3
    assert len(tuned) == len(specs) * 2 * 2
    further = [piece for piece in measurements(small_grid, repository) if piece.seeds == (1, 2)]
    assert 0 < len(further) < 2 * len(specs)
    assert all(row["n_correct_a"] + row["n_correct_b"] == round(row["accuracy"] * 500) for row in rows)
    assert {row["n_used"] for row in heads} == {500, 518}, "40 % of the training samples are all there are"


def test_heads_beat_chance_and_repeat_nearly(repository, small_grid, specs):
    rows = [row for row in read_rows(small_grid, repository) if row["regime"] == "head" and row["n_train"] == 500]
    for spec in specs:
        accuracies = [row["accuracy"] for row in rows if row["model"] == spec.name and row["target"] == "digits"]
        assert min(accuracies) > 0.2
        assert np.ptp(accuracies) < 0.12


def test_fine_tuning_leaves_the_network_as_it_was_and_learns(repository, specs):
    from neuralrank.bench.build import load_network

    network = load_network(specs[0], repository)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    head = read_images(repository.data, "flipped", "head", cache=repository.images)
    rate, tuned = fine_tuned(network, head, n_steps=8, seed=0)
    assert rate in (5e-4, 2e-3, 8e-3)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert not torch.equal(next(tuned.stages.parameters()), next(network.stages.parameters()))


def test_probes_are_drawn_by_class_and_are_the_same_for_every_network(repository, specs):
    labels = probe_features(specs[0], "digits", repository).labels
    draws = {(n_probe, draw): indices for n_probe, draw, indices in draw_probes(labels, "digits")}
    assert set(draws) == {(size, draw) for size in (50, 100, 200) for draw in range(5)}
    for (n_probe, _), indices in draws.items():
        assert len(np.unique(indices)) == n_probe
        assert np.bincount(labels[indices], minlength=10).min() >= n_probe // 10 - 3
    assert not np.array_equal(draws[100, 0], draws[100, 1])


def test_tables_hold_what_was_measured(repository, small_grid, specs, tmp_path):
    collect.write_networks(small_grid, repository, tmp_path)
    collect.write_truth(small_grid, repository, tmp_path)
    collect.write_scores(small_grid, repository, tmp_path)
    found = tables.read_tables(tmp_path)
    assert found.networks.model == tuple(spec.name for spec in specs)
    assert set(found.scores.score.names) == {"neuralrank", "knn", "leep"}
    assert set(found.scores.n_probe.tolist()) == {50, 100}
    without = {spec.name for spec in specs if spec.algorithm in ("simclr", "rotation", "untrained")}
    of_leep = found.scores.score.codes == found.scores.score.names.index("leep")
    lacking = np.isnan(found.scores.value) & of_leep
    assert {found.scores.model.names[code] for code in found.scores.model.codes[lacking]} == without


def test_published_features_score_as_the_real_ones(repository, small_grid, specs, tmp_path):
    import neuralrank

    collect.write_features(small_grid, repository, tmp_path)
    by_name = {spec.name: spec for spec in specs}
    found = list(read_features(tmp_path))
    assert {(each.target, each.model) for each in found} == {
        (target, spec.name) for target in small_grid.targets for spec in specs
    }
    for each in found:
        stored = probe_features(by_name[each.model], each.target, repository)
        if (each.labels == stored.labels).all():
            step = np.ptp(stored.features, axis=0) / 255
            assert (np.abs(each.features - stored.features) <= 0.51 * step + 1e-6).all()
        exact = neuralrank.score("neuralrank", stored.features, stored.labels).value
        assert neuralrank.score("neuralrank", each.features, each.labels).value == pytest.approx(exact, abs=0.01)
        assert (each.logits is None) == (stored.logits is None)


def test_the_commands_of_the_quick_evidence_run(repository, small_grid, digits_data, monkeypatch):
    monkeypatch.setitem(GRIDS, "quick", small_grid)
    told = subprocess.run(
        ["make", "--dry-run", "evidence-quick", f"EVIDENCE_DATA={digits_data}", f"EVIDENCE_QUICK={repository.folder}"],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    commands = [shlex.split(line)[1:] for line in told.stdout.splitlines() if "neuralrank bench" in line]
    assert [command[1] for command in commands] == ["build", "truth", "score", "evaluate"]
    commands[-1] += ["--probe", "100"]
    for command in commands:
        outcome = CliRunner().invoke(app, command)
        assert outcome.exit_code == 0, outcome.output
    assert {line.split()[0] for line in outcome.stdout.splitlines() if line} >= {"neuralrank", "knn", "log_params"}


def test_missing_features_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"A new score needs the tables features-TARGET\.npz\. Got none in"):
        list(read_features(tmp_path))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with write_whole(path) as part:
        part.write_text("old")
    with pytest.raises(RuntimeError):
        _fail_to_write(path)
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_mistake_in_a_piece_of_work_is_not_swallowed(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_jobs(_touch, [tmp_path / "no folder" / "file"], name=str, jobs=1, progress=silent)


def test_a_worker_computes_on_one_core(tmp_path):
    before = dict(os.environ)
    run_jobs(_write_threads, [tmp_path / "threads"], name=str, jobs=1, progress=silent)
    assert set((tmp_path / "threads").read_text().split()) == {"1"}
    assert dict(os.environ) == before


def _write_threads(path) -> None:
    import threadpoolctl

    np.linalg.svd(np.ones((2, 2)))
    path.write_text(" ".join(str(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()))


def _fail_to_write(path) -> None:
    with write_whole(path) as part:
        part.write_text("new")
        raise RuntimeError


def _touch(path) -> None:
    path.touch()
