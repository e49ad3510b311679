"""The commands that judge and report, from arguments to text."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from evidence_world import JUDGED, MODELS, TARGETS, expected, truth_rows, write_world

from neuralrank.bench._cells import Question
from neuralrank.bench.collect import coded
from neuralrank.bench.evaluate import evaluate
from neuralrank.bench.tables import read_tables, write_table
from neuralrank.cli import app
from neuralrank.errors import DataError, NeuralrankError, UnknownNameError, UsageError

PLUGIN = """
import numpy as np
from neuralrank.scorers import scorer
from neuralrank.types import Score

@scorer(tasks={"classification"}, paper="none")
def first_column(prepared):
    return Score(value=float(np.corrcoef(prepared.features[:, 0], prepared.labels)[0, 1]))

@scorer(tasks={"regression"}, paper="none")
def for_numbers(prepared):
    return Score(value=0.0)

@scorer(tasks={"classification"}, paper="none")
def endless(prepared):
    return Score(value=float("inf"))
"""
LABELS = np.arange(500) % 10


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The tables, and published features: one column goes with the labels as well as the network is accurate."""
    folder = tmp_path_factory.mktemp("tables")
    write_world(folder)
    for target in TARGETS:
        arrays = {"labels": LABELS.astype(np.uint8)}
        for model, accuracy in zip(MODELS, expected(target), strict=True):
            features = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
            features[:, 0] = accuracy * (LABELS - 4.5) / LABELS.std() + np.sqrt(1 - accuracy**2) * features[:, 1]
            arrays[f"{model}/features"], arrays[f"{model}/features range"] = coded(features)
        np.savez_compressed(folder / f"features-{target}.npz", **arrays)
    return folder


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with scores of its own."""
    information = tmp_path / "toy_scores-1.0.dist-info"
    information.mkdir()
    (tmp_path / "toy_scores.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-scores\nVersion: 1.0\n")
    names = ("first_column", "for_numbers", "endless")
    points = "\n".join(f"{name} = toy_scores:{name}" for name in names)
    (information / "entry_points.txt").write_text(f"[neuralrank.scorers]\n{points}\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("toy_scores", None)


def bench(*arguments):
    outcome = CliRunner().invoke(app, ["bench", *map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == 0, outcome.output
    return outcome


def judged(tables, **question):
    question = {"half": "confirmation", "targets": JUDGED, "details": False, **question}
    return evaluate(read_tables(tables), Question(**question))


def table_rows(text):
    lines = text.split("\n\n")[1].splitlines()
    return [line.split()[0] for line in lines[1:]]


# --- evaluate ----------------------------------------------------------------------------------------------------


def test_the_table_holds_every_list_best_first_on_what_had_no_part_in_the_choice(tables):
    text = bench("evaluate", "--tables", tables).stdout
    found = judged(tables)
    assert table_rows(text) == [one.score for one in found.standings]
    assert "networks  20 of the confirmation half\n" in text
    assert "targets   cifar10_jpeg, mnist\n" in text
    assert "probe     500 samples\n" in text
    tau = found.standing("knn").summaries["all"].weighted_tau
    (row,) = [line for line in text.splitlines() if line.startswith("knn ")]
    assert f"{tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}]" in row
    assert "\x1b" not in text


def test_the_development_half_brings_its_own_targets(tables):
    text = bench("evaluate", "--tables", tables, "--half", "development").stdout
    assert "networks  20 of the development half\n" in text
    assert "targets   fashion_mnist\n" in text


def test_all_halves_take_all_targets_and_the_unrelated_leave_relatives_out(tables):
    text = bench("evaluate", "--tables", tables, "--half", "all", "--unrelated").stdout
    assert "networks  20 to 40, none of which has met the target\n" in text
    assert "targets   cifar10_jpeg, fashion_mnist, mnist\n" in text


def test_a_target_and_a_size_of_the_probe_are_passed_on(tables):
    text = bench("evaluate", "--tables", tables, "--target", "fashion_mnist", "--probe", 100, "--format", "json").stdout
    document = json.loads(text)
    assert document["question"]["targets"] == ["fashion_mnist"]
    found = judged(tables, targets=("fashion_mnist",), n_probe=100)
    (knn,) = [one for one in document["standings"] if one["score"] == "knn"]
    assert knn["summaries"]["head"]["weighted_tau"]["low"] == found.standing("knn").summaries["head"].weighted_tau.low


def test_csv_has_a_row_for_each_list_and_scope(tables):
    rows = list(csv.DictReader(io.StringIO(bench("evaluate", "--tables", tables, "--format", "csv").stdout)))
    found = judged(tables)
    assert len(rows) == sum(len(one.summaries) for one in found.standings)
    (row,) = [row for row in rows if (row["score"], row["scope"]) == ("parc", "mnist")]
    assert float(row["spearman"]) == pytest.approx(found.standing("parc").summaries["mnist"].spearman, rel=1e-5)


def test_a_share_of_no_ceiling_is_shown_as_what_is_not_known(tmp_path):
    write_world(tmp_path)
    flat = [{**row, "n_correct_a": 700, "n_correct_b": 700} for row in truth_rows()]
    write_table(tmp_path / "truth.parquet", "truth", flat)
    text = bench("evaluate", "--tables", tmp_path).stdout
    assert "ceiling   –\n" in text
    (row,) = [line for line in text.splitlines() if line.startswith("knn ")]
    assert row.split()[1:6] == ["published", "0.000", "[0.000,", "0.000]", "–"]
    document = json.loads(bench("evaluate", "--tables", tmp_path, "--format", "json").stdout)
    assert all(one["ceiling"] is None for one in document["truths"])
    for one in document["standings"]:
        assert one["summaries"]["head"]["share_of_ceiling"] == {"value": None, "low": None, "high": None}
        assert one["summaries"]["head"]["weighted_tau"]["value"] == 0.0
    rows = list(csv.DictReader(io.StringIO(bench("evaluate", "--tables", tmp_path, "--format", "csv").stdout)))
    assert {row["share_of_ceiling"] for row in rows} == {""}


def test_scores_that_are_asked_about_stand_beside_the_default_and_the_best_others(tables):
    name = "mean_rank:parc,knn"
    rows = table_rows(bench("evaluate", "--tables", tables, "--score", name).stdout)
    static = next(one.score for one in judged(tables).standings if one.kind == "static")
    assert set(rows) == {name, "neuralrank", "knn", "parc", static}


def test_a_score_of_a_plugin_is_computed_and_said_to_be(tables, plugin):
    outcome = bench("evaluate", "--tables", tables, "--score", "first_column", "--score", "borda:first_column,knn")
    rows = table_rows(outcome.stdout)
    assert {"first_column", "borda:first_column,knn", "neuralrank"} < set(rows)
    text = " ".join(outcome.stdout.split())
    assert "first_column was not in the tables and was computed now, on one draw of 500 samples a target" in text
    assert "features in 8 bits" in text
    document = json.loads(bench("evaluate", "--tables", tables, "--score", "first_column", "--format", "json").stdout)
    (own,) = [one for one in document["standings"] if one["score"] == "first_column"]
    assert own["summaries"]["all"]["share_of_ceiling"]["value"] > 0.97
    assert "computed now" in document["notes"][0]


def test_the_note_of_a_computed_score_stays_out_of_the_csv(tables, plugin):
    outcome = bench("evaluate", "--tables", tables, "--score", "first_column", "--format", "csv")
    assert "computed now" in outcome.stderr
    assert {row["score"] for row in csv.DictReader(io.StringIO(outcome.stdout))} >= {"first_column", "neuralrank"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param(("--score", "hscor"), UnknownNameError, "Unknown scorer 'hscor'. Did you mean 'h_", id="name"),
        pytest.param(("--score", "mean_rank"), UsageError, "mean_rank needs the scores to combine", id="bare"),
        pytest.param(("--score", "mena_rank:knn,parc"), UnknownNameError, "Unknown combination", id="combine"),
        pytest.param(("--score", "mean_rank:knn,hscor"), UnknownNameError, "Unknown scorer 'hscor'", id="member"),
        pytest.param(("--score", "size"), UsageError, "Got 'size', a fact of records", id="static"),
        pytest.param(("--score", "gbc", "--probe", "100"), UsageError, "'gbc' is not in the tables", id="probe"),
        pytest.param(("--score", "leep"), DataError, "leep could be computed for no network. Got: leep", id="head"),
        pytest.param(("--score", "for_numbers"), DataError, "for_numbers could be computed for no network", id="task"),
        pytest.param(("--score", "endless"), DataError, "Got: inf for m", id="infinite"),
        pytest.param(("--half", "third"), UsageError, "--half needs one of confirmation, development, all", id="half"),
        pytest.param(("--target", "svhn"), UsageError, "Unknown target 'svhn'. Available: cifar10_jpeg", id="target"),
        pytest.param(("--format", "xml"), UsageError, "--format needs one of table, json, csv. Got 'xml'", id="format"),
        pytest.param(("--probe", "70"), DataError, "on 70 samples of 'cifar10_jpeg'. Got values on", id="n"),
        pytest.param(("--tables", "nowhere"), DataError, "needs the table 'nowhere/networks.parquet'", id="tables"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told(tables, plugin, arguments, error, message):
    with pytest.raises(NeuralrankError) as told:
        bench("evaluate", "--tables", tables, *arguments)
    assert isinstance(told.value, error)
    assert message in str(told.value)


def test_a_score_cannot_be_computed_without_published_features(tmp_path, plugin):
    write_world(tmp_path)
    with pytest.raises(DataError, match="A new score needs the tables features-TARGET"):
        bench("evaluate", "--tables", tmp_path, "--score", "first_column")


# --- report ------------------------------------------------------------------------------------------------------


def test_the_report_writes_the_page_and_says_what_it_wrote(tables, tmp_path):
    out = tmp_path / "docs" / "evidence.md"
    outcome = bench("report", "--tables", tables, "--out", out, "--published", tmp_path / "nowhere")
    told = [line.removeprefix("Written to ") for line in outcome.stdout.splitlines()]
    assert told[0] == str(out)
    assert all(Path(path).stat().st_size > 0 for path in told)
    found = judged(tables).standing("neuralrank").summaries["head"].weighted_tau
    assert f"for heads at a mean weighted τ of {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in out.read_text()
    assert "On 20 networks and 2 targets (cifar10_jpeg and mnist)" in out.read_text()
    assert "were not measured; `neuralrank bench zoo --models FOLDER --data FOLDER` does it." in out.read_text()


def test_the_report_holds_what_was_published_by_others(tables, tmp_path):
    write_world(tmp_path / "zoo")
    (tmp_path / "zoo" / "remarks.json").write_text("[]")
    bench("report", "--tables", tables, "--out", tmp_path / "page.md", "--published", tmp_path / "zoo")
    section = (tmp_path / "page.md").read_text().split("## Networks that other people published\n\n")[1]
    assert section.startswith("40 networks of 40 lineages (")
    assert "40 networks a target for heads and 40 networks a target for full fine-tuning" in section
