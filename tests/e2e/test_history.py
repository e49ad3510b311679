"""`neuralrank outcome`, `runs` and `report` over real rankings of the tiny repository."""

import csv
import io
import json

import pytest

from neuralrank import rank
from neuralrank.reports.document import document
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.journal import begin_run, take_up
from neuralrank.storage.outcomes import JOURNAL_NAME, outcomes
from neuralrank.storage.runs import store_ranking, targets
from neuralrank.types import Failure


@pytest.fixture
def ranked(models, photos, warm_cache, own_catalogue):
    """A ranking of three models that is in the catalogue."""
    result = rank(models, photos, also=(), cache_dir=warm_cache)
    with open_catalogue(own_catalogue) as opened:
        store_ranking(opened, result)
    return result


@pytest.fixture
def kept(own_catalogue):
    """Return the outcomes of the catalogue."""

    def read():
        with open_catalogue(own_catalogue) as opened:
            return outcomes(opened)

    return read


def best_id(ranking):
    return ranking.models[0].model_id


# --- add ---------------------------------------------------------------------------------------------------------


def test_an_outcome_is_kept_for_the_model_and_the_data_of_a_ranking(run, ranked, kept, photos):
    added = run("outcome", "add", "crafted.onnx", "--data", photos, "--accuracy", "0.93")
    (outcome,) = kept()
    assert added.out == f"Kept as {outcome.id}: {best_id(ranked)} reached 93 % on {photos}.\n"
    assert added.err == ""
    assert (outcome.model_id, outcome.fingerprint, outcome.accuracy) == (
        best_id(ranked), ranked.target.fingerprint, 0.93,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(lambda ranking: ranking.run_id, id="run"),
        pytest.param(lambda ranking: ranking.run_id[:5], id="start of a run"),
        pytest.param(lambda ranking: ranking.target.fingerprint, id="fingerprint"),
        pytest.param(lambda ranking: ranking.target.fingerprint[:8], id="start of a fingerprint"),
        pytest.param(lambda ranking: ranking.target.path.rpartition("/")[2], id="name"),
    ],
)
def test_data_that_were_ranked_can_be_named_without_reading_them(run, ranked, kept, name):
    assert run("outcome", "add", best_id(ranked), "--data", name(ranked), "--accuracy", "93%").code == 0
    assert [(outcome.fingerprint, outcome.accuracy) for outcome in kept()] == [(ranked.target.fingerprint, 0.93)]


def test_data_that_were_never_ranked_are_read_and_described(run, kept, photos, own_catalogue):
    added = run("outcome", "add", "resnet50", "--data", photos, "--accuracy", "0.5")
    assert added.err == ("No model of the catalogue or of a stored run is called 'resnet50': it is kept as given.\n")
    assert [outcome.model_id for outcome in kept()] == ["resnet50"]
    with open_catalogue(own_catalogue) as opened:
        (target,) = targets(opened)
    assert (target.modality, target.task, target.n_samples, len(target.class_names)) == (
        "image", "classification", 120, 4,
    )  # fmt: skip


def test_unknown_data_are_refused(run, ranked, kept):
    refused = run("outcome", "add", best_id(ranked), "--data", "elsewhere", "--accuracy", "0.5")
    assert refused.code == 2
    assert refused.err == (
        "error: An outcome needs the data set it was measured on. Got 'elsewhere', which is no path and not the data "
        "of a stored run. Give its path, or a run of `neuralrank runs`.\n"
    )
    assert kept() == []


def test_data_that_changed_since_they_were_ranked_are_told(run, models, own_photos, warm_cache, own_catalogue, kept):
    result = rank(models, own_photos, also=(), cache_dir=warm_cache)
    with open_catalogue(own_catalogue) as opened:
        store_ranking(opened, result)
    next(own_photos.rglob("*.png")).unlink()
    added = run("outcome", "add", "crafted.onnx", "--data", own_photos, "--accuracy", "0.5")
    assert "is not what it was when models were ranked on it" in added.err
    assert kept()[0].fingerprint != result.target.fingerprint


def test_the_data_of_a_ranking_are_known_though_they_need_options_to_be_read(
    run, ranked, kept, tmp_path, own_catalogue, monkeypatch
):
    path = tmp_path / "labels.txt"
    path.write_text("nothing that is a data set")
    with open_catalogue(own_catalogue) as opened:
        opened.connection.execute("UPDATE target SET path = ?", (str(path),))
    assert run("outcome", "add", "crafted.onnx", "--data", path, "--accuracy", "0.5").code == 0
    assert kept()[0].fingerprint == ranked.target.fingerprint


@pytest.mark.parametrize("accuracy", ["93", "1.01", "-0.5", "-1%", "nan", "inf", "0,93", "101%", "%", "", "0.9.3", "١"])
def test_an_accuracy_that_may_be_a_slip_is_refused(run, ranked, kept, accuracy):
    refused = run("outcome", "add", best_id(ranked), "--data", ranked.run_id, f"--accuracy={accuracy}")
    assert refused.code == 2
    assert refused.err == (
        f"error: An accuracy needs to be a share or per cent. Got {accuracy!r}. Write 0.93 or 93%.\n"
    )
    assert kept() == []


@pytest.mark.parametrize(
    ("accuracy", "share"), [("0", 0.0), ("1", 1.0), ("100%", 1.0), (" 93.5 % ", 0.935), (".5", 0.5), ("5e-1", 0.5)]
)
def test_shares_and_per_cent_are_read(run, ranked, kept, accuracy, share):
    assert run("outcome", "add", best_id(ranked), "--data", ranked.run_id, "--accuracy", accuracy).code == 0
    assert kept()[0].accuracy == pytest.approx(share)


def test_a_model_that_may_be_several_is_refused(run, photos, kept, own_catalogue):
    from neuralrank.entries import ModelEntry

    entries = [
        ModelEntry(model_id=f"{source}:net@1", source=source, name="net", location="net", stamp="s")
        for source in ("folder", "hf")
    ]
    with open_catalogue(own_catalogue) as opened:
        for entry in entries:
            opened.write(f"{entry.source}:x", [entry], concepts=list)
    refused = run("outcome", "add", "net", "--data", photos, "--accuracy", "0.5")
    assert (refused.code, refused.err) == (
        2,
        "error: An outcome needs one model. Got 'net', which may be folder:net@1, hf:net@1. "
        "Give the id of one of these.\n",
    )
    assert run("outcome", "add", "hf:n", "--data", photos, "--accuracy", "0.5").code == 0
    assert [outcome.model_id for outcome in kept()] == ["hf:net@1"]


def test_the_same_outcome_is_kept_once(run, ranked, kept):
    words = ("outcome", "add", "crafted.onnx", "--data", ranked.run_id, "--accuracy", "0.5")
    first, second = run(*words), run(*words)
    assert first.out.startswith("Kept as ")
    assert second.out.startswith(f"Already there as {kept()[0].id}: ")
    assert len(kept()) == 1


def test_empty_names_are_refused(run, ranked):
    for words in (("", "--data", ranked.run_id), ("crafted.onnx", "--data", "")):
        refused = run("outcome", "add", *words, "--accuracy", "0.5")
        assert (refused.code, refused.err.startswith("error: An outcome needs a model and a data set.")) == (2, True)


# --- import ------------------------------------------------------------------------------------------------------


def table(tmp_path, *lines, head="model,data,accuracy", encoding="utf-8"):
    path = tmp_path / "outcomes.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding=encoding)
    return path


def test_a_table_is_kept_whole_whatever_the_order_and_case_of_its_columns(run, ranked, kept, tmp_path, photos):
    path = table(
        tmp_path, f"93%,seed 1,crafted.onnx,{photos}", f'0.5,,"deep/random.onnx",{ranked.run_id}',
        head="Accuracy, note ,MODEL,data", encoding="utf-8-sig",
    )  # fmt: skip
    done = run("outcome", "import", path)
    assert (done.code, done.out, done.err) == (0, "Outcomes: 2 kept.\n", "")
    assert sorted(outcome.accuracy for outcome in kept()) == [0.5, 0.93]
    assert {outcome.fingerprint for outcome in kept()} == {ranked.target.fingerprint}
    assert run("outcome", "import", path).out == "Outcomes: 0 kept, 2 already there.\n"
    assert len(kept()) == 2


def test_a_wrong_row_keeps_the_whole_table_out_and_its_line_is_told(run, ranked, kept, tmp_path):
    data = ranked.run_id
    path = table(
        tmp_path, f"crafted.onnx,{data},0.5", f"crafted.onnx,{data},93", "", f",{data},0.5", "a,nowhere,0.5", "b"
    )
    refused = run("outcome", "import", path)
    assert refused.code == 2
    assert refused.err == (
        f"error: A table of outcomes needs rows that are all right. Got 4 in {str(path)!r} that are not:\n"
        "  line 3: An accuracy needs to be a share or per cent. Got '93'. Write 0.93 or 93%.\n"
        "  line 5: A row needs a model, data and an accuracy. Got no model.\n"
        "  line 6: An outcome needs the data set it was measured on. Got 'nowhere', which is no path and not the data "
        "of a stored run. Give its path, or a run of `neuralrank runs`.\n"
        "  line 7: A row needs a model, data and an accuracy. Got no data and no accuracy.\n"
        "Nothing was kept. Correct them, or leave them out with --skip-bad.\n"
    )
    assert kept() == []
    skipped = run("outcome", "import", path, "--skip-bad")
    assert (skipped.code, skipped.out) == (0, "Outcomes: 1 kept, 4 left out.\n")
    assert "line 3: An accuracy" in skipped.err
    assert [outcome.accuracy for outcome in kept()] == [0.5]


def test_what_is_no_table_is_refused(run, tmp_path, ranked):
    cases = {
        "gone.csv": (None, "A table of outcomes needs to be a CSV file that can be read. Got"),
        "bytes.csv": (b"model,data,accuracy\n\xff\xfe,x,1\n", "A table of outcomes needs to be a CSV file that can be"),
        "empty.csv": (b"", "A table of outcomes needs the columns model, data and accuracy. Got"),
        "other.csv": (b"model,accuracy\na,1\n", "A table of outcomes needs the columns model, data and accuracy. Got"),
        "quote.csv": (b'model,data,accuracy\n"a,b,1\n', "A table of outcomes needs to be CSV. Got"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        refused = run("outcome", "import", tmp_path / name)
        assert (refused.code, refused.err.startswith(f"error: {message}")) == (2, True), name


# --- list, remove ------------------------------------------------------------------------------------------------


def test_outcomes_are_listed_as_table_json_and_csv(run, ranked, kept):
    run("outcome", "add", "crafted.onnx", "--data", ranked.run_id, "--accuracy", "0.93")
    (outcome,) = kept()
    head, row = run("outcome", "list").out.splitlines()
    assert head.split() == ["id", "accuracy", "model", "data", "reported"]
    assert row.split()[:3] == [outcome.id, "93", "%"]
    (listed,) = json.loads(run("outcome", "list", "--format", "json").out)
    assert listed == {
        "model_id": best_id(ranked), "fingerprint": ranked.target.fingerprint, "data": ranked.target.path,
        "accuracy": 0.93, "created": outcome.created, "id": outcome.id,
    }  # fmt: skip
    (line,) = csv.DictReader(io.StringIO(run("outcome", "list", "--format", "csv").out))
    assert (line["model_id"], line["accuracy"]) == (best_id(ranked), "0.93")
    assert run("outcome", "list", "--format", "xml").err == (
        "error: --format needs one of table, json, csv. Got 'xml'. Leave it out for a table.\n"
    )


def test_an_outcome_is_taken_back(run, ranked, kept):
    run("outcome", "add", "crafted.onnx", "--data", ranked.run_id, "--accuracy", "0.93")
    (outcome,) = kept()
    gone = run("outcome", "remove", outcome.id[:6])
    assert gone.out == f"Removed {outcome.id}: {best_id(ranked)}, 93 % on {ranked.target.path}.\n"
    assert run("outcome", "list").out == "No outcome is kept. Add one: `neuralrank outcome add`.\n"
    assert run("outcome", "list", "--format", "json").out == "[]\n"
    assert run("outcome", "remove", outcome.id).code == 2


def test_what_the_database_lost_is_brought_back_and_told(run, ranked, kept, own_catalogue):
    run("outcome", "add", "crafted.onnx", "--data", ranked.run_id, "--accuracy", "0.93")
    before = kept()
    assert (own_catalogue / JOURNAL_NAME).is_file()
    for file in own_catalogue.glob("catalogue.sqlite*"):
        file.unlink()
    listed = run("outcome", "list")
    assert listed.err == "The catalogue had lost 1 of what was reported or taken back; its journal had it.\n"
    assert kept() == before


def test_a_catalogue_is_named_by_an_option(run, ranked, tmp_path):
    assert run("outcome", "list", "--catalogue", tmp_path / "other").out.startswith("No outcome is kept.")
    assert run("runs", "--catalogue", tmp_path / "other").out.startswith("No ranking is kept yet.")


# --- runs, report ------------------------------------------------------------------------------------------------


def test_runs_are_listed_as_table_json_and_csv(run, ranked):
    head, row = run("runs").out.splitlines()
    assert head.split() == ["run", "time", "models", "score", "data", "best", "state"]
    assert row.endswith("  ended")
    assert row.split()[0] == ranked.run_id
    assert row.split()[2:4] == ["3", "neuralrank"]
    (listed,) = json.loads(run("runs", "--format", "json").out)
    assert (listed["run_id"], listed["n_models"], listed["best"]) == (ranked.run_id, 3, "crafted.onnx")
    (line,) = csv.DictReader(io.StringIO(run("runs", "--format", "csv").out))
    assert line["fingerprint"] == ranked.target.fingerprint


def test_a_past_ranking_is_shown_again_in_any_format(run, ranked, tmp_path):
    assert run("report", ranked.run_id, "--format", "json").out == document(ranked) + "\n"
    assert "crafted.onnx" in run("report", ranked.run_id[:6]).out
    page = tmp_path / "report.html"
    shown = run("report", ranked.run_id, "--format", "html", "--out", page)
    assert (shown.code, page.read_text().startswith("<!doctype html>")) == (0, True)
    assert len(json.loads(run("report", ranked.run_id, "--format", "json", "--top", "1").out)["ranking"]) == 1


def test_an_unknown_run_is_refused(run, ranked):
    refused = run("report", "zzz")
    assert refused.code == 2
    assert refused.err == (
        f"error: A run needs the id of one in the catalogue. Got 'zzz'. The newest are {ranked.run_id}; "
        "`neuralrank runs` lists all.\n"
    )


# --- runs that did not end ---------------------------------------------------------------------------------------


@pytest.fixture
def unended(own_catalogue) -> str:
    """Return the id of a run that was begun and left."""
    with (
        open_catalogue(own_catalogue) as opened,
        begin_run(opened, "feedbeef0123", "digest", {"data": "x.npz"}) as left,
    ):
        left.scored("folder:a.onnx@1", 20, 0.5)
        left.failed(Failure(model_id="folder:b.onnx@1", stage="load", error="It is damaged."), 20)
    return "feedbeef0123"


def test_a_run_that_did_not_end_is_listed_beside_the_others(run, ranked, unended):
    lines = run("runs").out.splitlines()
    assert len(lines) == 4
    assert sum(line.endswith("  not ended") for line in lines) == 1
    assert lines[-1] == f"{unended} has not ended: resume with neuralrank rank --resume {unended}"
    rows = json.loads(run("runs", "--format", "json").out)
    assert {row["run_id"]: row["state"] for row in rows} == {ranked.run_id: "ended", unended: "not ended"}
    told = csv.DictReader(io.StringIO(run("runs", "--format", "csv").out))
    assert {row["state"]: row["n_models"] for row in told} == {"ended": "3", "not ended": "1"}


def test_a_run_that_did_not_end_can_be_forgotten(run, ranked, unended):
    gone = run("runs", "--forget", unended[:5])
    assert (gone.code, gone.out) == (
        0, f"Forgot run {unended}, which had come to 2 models. What was computed is kept.\n"
    )  # fmt: skip
    assert "has not ended" not in run("runs").out
    again = run("runs", "--forget", unended)
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        f"error: --forget needs the id of a run that has not ended. Got {unended!r}. There are: none.\n"
    )
    assert run("runs", "--forget", ranked.run_id).code == 2  # it has ended, and stays
    assert ranked.run_id in run("runs").out


def test_a_run_that_goes_on_is_not_forgotten(run, own_catalogue, unended):
    with open_catalogue(own_catalogue) as opened, take_up(opened, unended):
        assert run("runs").out.splitlines()[-1].endswith("  running")
        refused = run("runs", "--forget", unended)
    assert (refused.code, refused.out) == (2, "")
    assert "which a process runs now" in refused.err
