"""The command line, its options and its output, over real models and images."""

import csv
import io
import json
import os
import shutil
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import bad_models
import numpy as np
import pytest
from PIL import Image
from tiny_zoo import CARD, CLASSES, Run, convolution, random_filters, save

import neuralrank
from neuralrank import registry

RankPhotos = Callable[..., Any]


@pytest.fixture
def rank_photos(run: Run, models: Path, photos: Path, warm_cache: Path) -> RankPhotos:
    """Rank the three models on the photos, their features known already."""

    def call(*options: object) -> Any:
        return run("rank", models, "--data", photos, "--cache-dir", warm_cache, *options)

    return call


def names(outcome: Any) -> list[str]:
    return [row["name"] for row in outcome.ranking["ranking"]]


# --- output ------------------------------------------------------------------------------------------------------


def test_json_on_standard_output_is_all_there_is_and_fits_the_published_schema(
    run: Run, own_models: Path, photos: Path, warm_cache: Path
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    bad_models.cut_onnx(own_models)
    outcome = run("rank", own_models, "--data", photos, "--cache-dir", warm_cache, "--format", "json")
    schema = json.loads((files("neuralrank") / "schemas" / "ranking-1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(outcome.ranking, schema)
    assert names(outcome) == ["crafted.onnx", "deep/random.onnx", "plain.onnx"]
    places, told = zip(*(line.split(" ", 1) for line in outcome.err.splitlines()), strict=True)
    assert places == ("[1/4]", "[2/4]", "[3/4]", "[4/4]")
    assert sorted(told) == [
        "crafted.onnx: 0.830",
        "deep/random.onnx: 0.276",
        "folder:bad.onnx: failed (list)",
        "plain.onnx: 0.005",
    ]


def test_json_says_what_is_known_of_the_best_model(rank_photos: RankPhotos) -> None:
    ranking = rank_photos("--format", "json").ranking
    best = ranking["ranking"][0]
    assert best["model_id"].startswith("folder:crafted.onnx@")
    assert {key: best[key] for key in ("rank", "tie_group", "layer", "n_features", "n_samples_used", "params")} == {
        "rank": 1, "tie_group": 1, "layer": "features", "n_features": 7, "n_samples_used": 120, "params": 7 * 27 + 70,
    }  # fmt: skip
    assert (best["license"], best["pretraining_data"], best["format"]) == ("MIT", "none", "onnx")
    assert best["interval"][0] < best["score"] < best["interval"][1]
    assert best["warnings"] == []
    assert list(best["scores"]) == ["neuralrank", "log_me", "lda_probe", "knn"]
    assert list(best["per_class"]) == list(CLASSES)
    assert sum(row["p_best"] for row in ranking["ranking"]) == pytest.approx(1)
    assert ranking["target"]["label_entropy_bits"] == pytest.approx(2)
    assert ranking["target"]["chance_accuracy"] == 0.25
    assert [name.partition("@")[0] for name in ranking["baselines"]["log_params"]] == [
        "folder:crafted.onnx", "folder:deep/random.onnx", "folder:plain.onnx",
    ]  # fmt: skip


def test_assumed_preprocessing_and_a_score_at_chance_are_warnings(rank_photos: RankPhotos) -> None:
    assert rank_photos("--format", "json").ranking["ranking"][2]["warnings"] == [
        "no better than chance (neuralrank of 0.00).",
        "The colour order was assumed: RGB.",
        "The resize was assumed: stretched to the input size, bilinear.",
        "The normalisation was assumed: pixels / 255, then the mean and standard deviation of ImageNet.",
    ]


def test_csv_has_one_line_per_model(rank_photos: RankPhotos) -> None:
    rows = list(csv.DictReader(io.StringIO(rank_photos("--format", "csv").out)))
    assert [(row["rank"], row["name"]) for row in rows] == [
        ("1", "crafted.onnx"), ("2", "deep/random.onnx"), ("3", "plain.onnx"),
    ]  # fmt: skip


def test_table_markdown_and_html_name_the_models_in_order(rank_photos: RankPhotos) -> None:
    for form in ("table", "markdown", "html"):
        out = rank_photos("--format", form).out
        places = [out.index(name) for name in ("crafted.onnx", "random.onnx", "plain.onnx")]
        assert places == sorted(places)
        assert "\x1b" not in out
    assert out.startswith("<!doctype html>")
    assert "<script" not in out


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.json", '{\n  "schema": "neuralrank/ranking/1"'), ("r.csv", "rank,"), ("r.HTML", "<!doctype html>"),
     ("r.md", "#"), ("r.txt", "target"), ("r", "target")],
)  # fmt: skip
def test_suffix_of_the_output_file_chooses_its_format(
    rank_photos: RankPhotos, tmp_path: Path, name: str, start: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    outcome = rank_photos("--out", folder / name)
    assert outcome.code == 0
    assert (folder / name).read_text().startswith(start)
    assert [path.name for path in folder.iterdir()] == [name]  # no temporary file stays
    assert outcome.err.splitlines()[-1] == f"Written to {folder / name}"
    assert outcome.out.startswith("target" if name == "r.HTML" else "")


def test_format_beats_the_suffix(rank_photos: RankPhotos, tmp_path: Path) -> None:
    rank_photos("--out", tmp_path / "ranking.txt", "--format", "json")
    assert json.loads((tmp_path / "ranking.txt").read_text())["schema"] == "neuralrank/ranking/1"


def test_output_to_a_link_keeps_the_link(rank_photos: RankPhotos, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "latest.csv"
    link.symlink_to(Path("folder") / "today.csv")
    assert rank_photos("--out", link).code == 0
    assert link.is_symlink()
    assert (tmp_path / "folder" / "today.csv").read_text().startswith("rank,")


def test_output_to_a_pipe_or_device_does_not_replace_it(rank_photos: RankPhotos, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert rank_photos("--out", pipe).code == 0
    reader.join(timeout=10)
    assert read[0].startswith("rank,")
    assert pipe.is_fifo()


def test_failing_run_leaves_an_earlier_report_as_it_was(run: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("the old one")
    assert run("rank", models, "--data", tmp_path / "nowhere", "--out", tmp_path / "report.json").code == 2
    assert (tmp_path / "report.json").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_top_shows_the_first_models_of_the_same_ranking(rank_photos: RankPhotos) -> None:
    everything = rank_photos("--format", "json").ranking["ranking"]
    assert rank_photos("--format", "json", "--top", 2).ranking["ranking"] == everything[:2]
    assert "… and 1 more" in rank_photos("--top", 2).out


def test_quiet_prints_the_result_alone(rank_photos: RankPhotos) -> None:
    outcome = rank_photos("--quiet")
    assert outcome.err == ""
    assert outcome.out == rank_photos().out


# --- scores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["neuralrank", "knn", "log_me", "h_score"])
def test_every_score_finds_the_crafted_model_and_has_intervals(rank_photos: RankPhotos, score: str) -> None:
    ranking = rank_photos("--score", score, "--also", "", "--format", "json").ranking
    rows = ranking["ranking"]
    assert ranking["score"] == score
    assert [row["name"] for row in rows] == ["crafted.onnx", "deep/random.onnx", "plain.onnx"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["tie_group"] < rows[1]["tie_group"] <= rows[2]["tie_group"]
    for row in rows:
        assert row["interval"][0] < row["score"] < row["interval"][1]
        assert row["scores"] == {score: row["score"]}
    assert rows[0]["interval"][0] > rows[1]["interval"][1]


@pytest.mark.parametrize("score", ["neuralrank", "log_me"])
def test_copies_of_a_model_are_tied_and_share_the_probability_of_being_best(
    run: Run, own_models: Path, photos: Path, warm_cache: Path, score: str
) -> None:
    shutil.copy(own_models / "crafted.onnx", own_models / "twin.onnx")
    shutil.copy(own_models / "crafted.json", own_models / "twin.json")
    options = ("--score", score, "--also", "", "--format", "json", "--cache-dir", warm_cache)
    outcome = run("rank", own_models, "--data", photos, *options)
    first, second, third, _ = outcome.ranking["ranking"]
    assert (first["name"], second["name"]) == ("crafted.onnx", "twin.onnx")
    assert first["score"] == second["score"]
    assert (first["tie_group"], second["tie_group"], third["tie_group"]) == (1, 1, 2)
    assert (first["p_best"], second["p_best"]) == (0.5, 0.5)


def test_model_named_twice_is_ranked_once(run: Run, models: Path, photos: Path, warm_cache: Path) -> None:
    options = ("--data", photos, "--format", "json", "--cache-dir", warm_cache)
    assert names(run("rank", models, models, *options)) == ["crafted.onnx", "deep/random.onnx", "plain.onnx"]


# --- what is scored ----------------------------------------------------------------------------------------------


def test_layer_list_names_the_layers_and_marks_the_default(run: Run, own_models: Path, photos: Path) -> None:
    shutil.rmtree(own_models / "deep")
    (own_models / "plain.onnx").write_bytes(b"damaged")
    outcome = run("rank", own_models, "--data", photos, "--layer", "list")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("folder:crafted.onnx@")
    assert lines[1:6] == ["  maps", "  rectified", "  pooled", "  features  (default)", "  logits"]
    assert lines[6] == "folder:plain.onnx"
    assert lines[7].startswith("  failed while it was asked (list): plain.onnx could not be read as ONNX.")
    assert len(lines) == 8


def test_layer_is_taken_from_every_model_that_has_it(run: Run, models: Path, photos: Path) -> None:
    outcome = run("rank", models / "crafted.onnx", "--data", photos, "--layer", "logits", "--format", "json")
    best = outcome.ranking["ranking"][0]
    assert (best["layer"], best["n_features"], outcome.ranking["settings"]["layer"]) == ("logits", 10, "logits")
    outcome = run("rank", models / "crafted.onnx", "--data", photos, "--layer", "logit", "--format", "json")
    assert outcome.code == 1
    sentence = (
        "--layer needs a layer of this model. Got 'logit'. Its last layers are: maps, rectified, pooled, features, "
        "logits."
    )
    assert outcome.failures == {"crafted.onnx": ("load", sentence)}


def test_probe_is_stratified_and_its_seed_can_be_repeated(run: Run, models: Path, photos: Path) -> None:
    def score(seed: int) -> dict[str, Any]:
        options = ("--probe", 40, "--seed", seed, "--also", "", "--format", "json")
        ranking: dict[str, Any] = run("rank", models / "crafted.onnx", "--data", photos, *options).ranking
        assert (ranking["seed"], ranking["target"]["n_probe"], ranking["target"]["n_samples"]) == (seed, 40, 120)
        assert ranking["target"]["chance_accuracy"] == 0.25
        return dict(ranking["ranking"][0], extract_seconds=None, cached=None)

    first = score(1)
    assert score(1) == first
    assert score(2)["score"] != first["score"]


def test_split_names_the_part_of_the_data(run: Run, models: Path, photos: Path, tmp_path: Path) -> None:
    for name in CLASSES:
        for number, image in enumerate(sorted((photos / name).iterdir())):
            part = tmp_path / "data" / ("train" if number < 20 else "test") / name
            part.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, part)
    one = ("rank", models / "crafted.onnx", "--data", tmp_path / "data", "--format", "json")
    assert run(*one).ranking["target"]["n_samples"] == 80
    assert run(*one, "--split", "test").ranking["target"]["n_samples"] == 40
    assert run(*one, "--split", "all").ranking["target"]["n_samples"] == 120
    assert run(*one, "--split", "valid").code == 2


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A table of 24 objects with five near-equal frames each, whose labels have nothing to do with their looks."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "frames"
    folder.mkdir()
    lines = ["file,kind,stars,object"]
    for thing in range(24):
        looks = rng.integers(40, 215, size=(4, 4, 3)).repeat(8, axis=0).repeat(8, axis=1)
        for frame in range(5):
            pixels = looks + rng.normal(0, 2, size=looks.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{thing}-{frame}.png")
            lines.append(f"{thing}-{frame}.png,{'ab'[thing % 2]},{thing % 3},object {thing}")
    (folder / "frames.csv").write_text("\n".join(lines))
    return folder / "frames.csv"


def test_group_column_keeps_frames_of_one_object_together(run: Run, frames: Path, tmp_path: Path) -> None:
    save(convolution(random_filters(48, seed=5)), tmp_path / "wide.onnx", CARD)
    one = (
        "rank",
        tmp_path / "wide.onnx",
        "--data",
        frames,
        "--label-column",
        "kind",
        "--also",
        "knn",
        "--format",
        "json",
    )
    apart = run(*one).ranking
    together = run(*one, "--group-column", "object").ranking
    assert apart["target"]["n_groups"] is None
    assert together["target"]["n_groups"] == 24
    assert apart["ranking"][0]["scores"]["knn"] > 0.95
    assert together["ranking"][0]["scores"]["knn"] < 0.7
    assert apart["ranking"][0]["score"] > 0.5
    assert together["ranking"][0]["score"] < 0.1
    assert together["ranking"][0]["cached"]  # groups change the scores, not the features


def test_column_that_is_not_there_is_answered_with_those_that_are(run: Run, models: Path, frames: Path) -> None:
    outcome = run("rank", models, "--data", frames, "--label-column", "kinds")
    assert outcome.code == 2
    assert outcome.err == (
        f"error: --label-column needs a column of '{frames}'. Got 'kinds'. Did you mean 'kind'? "
        "Available: 'file', 'kind', 'stars', 'object'.\n"
    )


def test_exact_copies_among_the_samples_are_held_out_together(run: Run, models: Path, own_photos: Path) -> None:
    for name in CLASSES:
        for image in sorted((own_photos / name).iterdir())[:10]:
            shutil.copy(image, image.with_name(f"copy-{image.name}"))
    outcome = run("rank", models / "crafted.onnx", "--data", own_photos, "--format", "json")
    assert outcome.ranking["target"]["n_groups"] == 120
    assert outcome.ranking["target"]["notes"] == [
        "40 of 160 samples repeat another exactly: they are held out together."
    ]


def test_threads_reach_the_worker_and_its_libraries(run: Run, photos: Path, tmp_path: Path, toy_format: None) -> None:
    (tmp_path / "m.toy").write_text("raise RuntimeError(f'{n_threads} and ' + os.environ['OMP_NUM_THREADS'])")
    outcome = run("rank", tmp_path / "m.toy", "--data", photos, "--threads", 3, "--format", "json")
    assert outcome.failures == {"m.toy": ("load", "RuntimeError: 3 and 3")}


# --- other commands, and wrong usage -----------------------------------------------------------------------------


def test_scores_lists_every_score(run: Run) -> None:
    outcome = run("scores")
    assert outcome.code == 0
    listed = [line.split()[0] for line in outcome.out.split("\n\n")[0].splitlines() if line[0] != " "]
    assert listed[:2] == ["score", "neuralrank"]
    assert sorted(listed[1:]) == sorted(registry.names("scorers"))
    assert "combinations: borda, mean_rank" in outcome.out


def test_the_list_of_scores_says_what_each_declares(run: Run) -> None:
    facts = {fact["score"]: fact for fact in json.loads(run("scores", "--format", "json").out)}
    assert facts["neuralrank"]["tasks"] == ["classification", "regression", "multilabel"]
    assert facts["neuralrank"]["noise_from"] == [None, None]
    assert facts["silhouette"]["tasks"] == ["classification"]
    assert [facts[name]["needs"] for name in ("leep", "energy", "size")] == ["head", "head (logits)", "record"]
    rows = [line for line in run("scores", "--format", "markdown").out.splitlines() if line.startswith("| `")]
    assert len(rows) == len(facts)
    assert run("scores", "--format", "yaml").code == 2


def test_version_and_help(run: Run) -> None:
    assert (run("--version").code, run("--version").out) == (0, f"neuralrank {neuralrank.__version__}\n")
    outcome = run("rank", "--help")
    assert outcome.code == 0
    assert "--model-timeout" in outcome.out
    assert outcome.err == ""


def test_no_command_prints_the_help_and_is_wrong_usage(run: Run) -> None:
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: neuralrank ")


SEE = "See `neuralrank --help`."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("rnak",), f"No such command 'rnak'. Did you mean 'rank'? {SEE}", id="command"),
        pytest.param(
            ("rank", "MODELS"),
            "--data needs a data set. Got none. Name a folder of class folders, Parquet, CSV, JSONL or npz.",
            id="no-data",
        ),
        pytest.param(
            ("--score", "hscor"),
            f"Unknown scorer 'hscor'. Did you mean 'h_score'? Available: {', '.join(registry.names('scorers'))}.",
            id="score",
        ),
        pytest.param(
            ("--also", "knn,lgo_me"),
            f"Unknown scorer 'lgo_me'. Did you mean 'log_me'? Available: {', '.join(registry.names('scorers'))}.",
            id="also",
        ),
        pytest.param(
            ("--score", "mean_rank"),
            "mean_rank needs the scores to combine. Got none. Write mean_rank:neuralrank,log_me,parc.",
            id="combination-of-nothing",
        ),
        pytest.param(
            ("--score", "borda:knn, knn"),
            "borda needs at least 2 different scores. Got knn, knn. Write borda:neuralrank,log_me,parc.",
            id="combination-of-one",
        ),
        pytest.param(
            ("--score", "mean_rnak:knn,log_me"),
            "Unknown combination 'mean_rnak'. Did you mean 'mean_rank'? Available: borda, mean_rank.",
            id="combination",
        ),
        pytest.param(
            ("--format", "yaml"),
            "--format needs one of table, json, csv, markdown, html. Got 'yaml'. Leave it out for a table.",
            id="format",
        ),
        pytest.param(
            ("--task", "ranking"),
            "--task needs classification, regression or multilabel. Got 'ranking'. Leave it out to have it detected.",
            id="task",
        ),
        pytest.param(
            ("--task", "regression"),
            "A regression needs numbers as labels. Got 'amber' in 'DATA'. Name another column with --label-column, or "
            "use --task classification.",
            id="regression-of-texts",
        ),
        pytest.param(("--probe", "0"), "--probe needs at least 1 sample. Got 0. Use 2,000 if unsure.", id="probe"),
        pytest.param(
            ("--seed", "-1"), "--seed needs a whole number of at least 0. Got -1. Use 0 if unsure.", id="seed"
        ),
        pytest.param(
            ("--model-memory", "inf"),
            "--model-memory needs a finite number above 0. Got inf. Leave it out for the default.",
            id="memory",
        ),
        pytest.param(
            ("--model-timeout", "0"),
            "--model-timeout needs a finite number above 0. Got 0. Leave it out for the default.",
            id="timeout",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    run: Run, models: Path, photos: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    if arguments[0].startswith("--"):
        arguments = ("rank", str(models), "--data", str(photos), *arguments)
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {sentence.replace('DATA', str(photos))}\n"


def test_unknown_option_is_answered_with_the_nearest(rank_photos: RankPhotos) -> None:
    outcome = rank_photos("--scor", "knn")
    assert outcome.code == 2
    assert outcome.err.startswith("error: No such option: --scor")
    assert "--score" in outcome.err


def test_setting_of_the_environment_that_is_no_number_is_named(
    rank_photos: RankPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURALRANK_MODEL_TIMEOUT", "soon")
    outcome = rank_photos()
    assert outcome.code == 2
    assert outcome.err == (
        "error: NEURALRANK_MODEL_TIMEOUT needs a number of at least 0. Got 'soon'. Correct or unset it.\n"
    )
