import json
import sqlite3
from dataclasses import replace

import pytest

from neuralrank.entries import ModelEntry
from neuralrank.errors import CatalogueError, UnknownNameError, UsageError
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.outcomes import (
    JOURNAL_NAME,
    Outcome,
    Replayed,
    add_outcomes,
    outcomes,
    remove_outcome,
    replay_outcomes,
)
from neuralrank.storage.runs import (
    StoredTarget,
    get_document,
    get_run,
    list_runs,
    store_ranking,
    targets,
    trials_of,
    trials_of_model,
)
from neuralrank.types import RankedModel, Ranking, TargetSummary


def model(rank, **facts):
    values = {
        "rank": rank,
        "model_id": f"folder:net{rank}.onnx@{rank}",
        "name": f"net{rank}.onnx",
        "score": 1.0 - rank / 10,
        "interval": None,
        "p_best": None,
        "tie_group": rank,
        "expected_accuracy": 0.9,
        "layer": "pool",
        "n_features": 8,
        "n_samples_used": 200,
        "scores": {},
        "per_class": {},
        "params": None,
        "size_bytes": 1,
        "extract_seconds": 4.0,
        "cached": False,
        "architecture": "resnet18",
        "format": "onnx",
        "license": None,
    }
    return RankedModel(**{**values, **facts})


def ranking(run_id="aa11", created="2026-01-02T03:04:05+00:00", models=None, **of_target):
    summary = {
        "path": "photos",
        "modality": "image",
        "task": "classification",
        "n_samples": 1_000,
        "n_probe": 200,
        "n_classes": 2,
        "label_entropy_bits": 1.0,
        "fingerprint": "f0",
        "class_names": ("cat", "dog"),
    }
    return Ranking(
        run_id=run_id,
        created=created,
        seed=0,
        score="neuralrank",
        target=TargetSummary(**{**summary, **of_target}),
        models=tuple([model(1), model(2)] if models is None else models),
        failures=(),
        baselines={},
        stopped="all models scored",
        settings={},
    )


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def outcome(number=1, **facts):
    values = {"model_id": f"m{number}", "fingerprint": "f0", "data": "photos", "accuracy": 0.9, "id": f"{number:012}"}
    return Outcome(**{**values, **facts})


# --- runs --------------------------------------------------------------------------------------------------------


def test_a_ranking_comes_back_as_it_was_written(catalogue):
    stored = ranking()
    store_ranking(catalogue, stored)
    assert get_document(catalogue, "aa11") == stored.to_json()
    assert targets(catalogue) == [
        StoredTarget(
            fingerprint="f0", path="photos", modality="image", task="classification", n_samples=1_000,
            class_names=("cat", "dog"),
        )
    ]  # fmt: skip


def test_runs_are_listed_newest_first_whatever_their_time_zone(catalogue):
    store_ranking(catalogue, ranking("aa11", "2026-01-02T03:04:05+00:00"))
    store_ranking(catalogue, ranking("bb22", "2026-01-02T04:00:00+02:00"))
    found = list_runs(catalogue)
    assert [(run.run_id, run.created) for run in found] == [
        ("aa11", "2026-01-02T03:04:05Z"),
        ("bb22", "2026-01-02T02:00:00Z"),
    ]
    assert (found[0].data, found[0].n_models, found[0].best, found[0].score) == (
        "photos", 2, "net1.onnx", "neuralrank",
    )  # fmt: skip


def test_a_run_without_models_is_kept(catalogue):
    store_ranking(catalogue, ranking(models=[]))
    assert [(run.n_models, run.best) for run in list_runs(catalogue)] == [(0, None)]


def test_a_ranking_stored_twice_is_there_once(catalogue):
    store_ranking(catalogue, ranking())
    store_ranking(catalogue, ranking(models=[model(1)]))
    assert len(list_runs(catalogue)) == 1
    assert [trial.model_id for trial in trials_of(catalogue, "f0")] == ["folder:net1.onnx@1"]


def test_a_run_is_found_by_the_start_of_its_id(catalogue):
    store_ranking(catalogue, ranking("aa11"))
    store_ranking(catalogue, ranking("ab22"))
    store_ranking(catalogue, ranking("ab"))
    assert get_run(catalogue, "aa").run_id == "aa11"
    assert get_run(catalogue, "ab").run_id == "ab"  # the whole id of one, and the start of two
    with pytest.raises(UnknownNameError) as raised:
        get_run(catalogue, "a")
    assert str(raised.value) == (
        "A run needs an id that begins like no other. Got 'a', with which aa11, ab, ab22 begin. Give more of it."
    )
    for key in ("", "%", "zz"):
        with pytest.raises(UnknownNameError, match=r"^A run needs the id of one in the catalogue\. Got"):
            get_run(catalogue, key)


def test_trials_hold_what_was_ranked_newest_run_first(catalogue):
    store_ranking(catalogue, ranking("aa11", "2026-01-01T00:00:00+00:00"))
    store_ranking(catalogue, ranking("bb22", "2026-01-02T00:00:00+00:00", models=[model(1, expected_accuracy=None)]))
    store_ranking(catalogue, ranking("cc33", fingerprint="f1"))
    found = trials_of(catalogue, "f0")
    assert [(trial.run_id, trial.rank) for trial in found] == [("bb22", 1), ("aa11", 1), ("aa11", 2)]
    assert (found[0].expected_accuracy, found[1].expected_accuracy) == (None, 0.9)
    assert (found[2].name, found[2].architecture, found[2].score) == ("net2.onnx", "resnet18", 0.8)
    assert {trial.run_id for trial in trials_of_model(catalogue, "net2.onnx")} == {"aa11", "cc33"}


def test_models_learn_their_seconds_per_sample_unless_the_cache_brought_them(catalogue):
    entries = [
        ModelEntry(model_id=f"folder:net{n}.onnx@{n}", source="folder", name=f"net{n}", location=str(n), stamp="s")
        for n in (1, 2, 3)
    ]
    catalogue.write("folder:/nets", entries, concepts=list)
    before = catalogue.seq()
    store_ranking(catalogue, ranking(models=[model(1), model(2, cached=True), model(3, extract_seconds=0.0)]))
    assert [entry.seconds_per_sample for entry in catalogue.entries([0, 1, 2])] == [0.02, None, None]
    assert [row for row, _, _ in catalogue.changed_since(before)] == [0]


def test_hostile_names_are_kept(catalogue):
    name = "a\udcff\n'; DROP TABLE run"
    store_ranking(catalogue, ranking(path=name, models=[model(1, model_id=name, name=name, architecture=name)]))
    assert list_runs(catalogue)[0].data == "a?\n'; DROP TABLE run"
    assert json.loads(get_document(catalogue, "aa11"))["target"]["path"] == name


def test_a_ranking_that_cannot_be_stored_leaves_nothing(catalogue, monkeypatch):
    broken = [model(1), model(1)]  # two of one place
    with pytest.raises(CatalogueError):
        store_ranking(catalogue, ranking(models=broken))
    assert list_runs(catalogue) == []
    assert targets(catalogue) == []


# --- outcomes ----------------------------------------------------------------------------------------------------


def journal(catalogue):
    return catalogue.folder / JOURNAL_NAME


def test_outcomes_come_back_newest_first(catalogue):
    old, new = outcome(1, created="2026-01-01T00:00:00Z"), outcome(2, created="2026-01-02T00:00:00Z")
    add_outcomes(catalogue, [old, new])
    assert outcomes(catalogue) == [new, old]


@pytest.mark.parametrize("accuracy", [93.0, -0.1, float("nan"), True])
def test_an_accuracy_that_is_no_share_is_refused_and_nothing_is_written(catalogue, accuracy):
    with pytest.raises(UsageError, match=r"^An accuracy needs to be between 0 and 1\. Got"):
        add_outcomes(catalogue, [outcome(1), outcome(2, accuracy=accuracy)])
    assert outcomes(catalogue) == []
    assert not journal(catalogue).exists()


def test_an_outcome_is_removed_by_the_start_of_its_id(catalogue):
    add_outcomes(catalogue, [outcome(1, id="ab12"), outcome(2, id="ac12")])
    assert remove_outcome(catalogue, "ab").id == "ab12"
    assert [each.id for each in outcomes(catalogue)] == ["ac12"]
    with pytest.raises(UnknownNameError) as raised:
        remove_outcome(catalogue, "ab")
    assert str(raised.value) == "An outcome needs its id. Got 'ab'. `neuralrank outcome list` shows the ids."
    add_outcomes(catalogue, [outcome(3, id="ac99")])
    for key in ("a", ""):
        with pytest.raises(UnknownNameError):
            remove_outcome(catalogue, key)


def test_the_journal_restores_a_lost_database(catalogue):
    about = StoredTarget(fingerprint="f0", path="photos", modality="image", task="classification", class_names=("a",))
    add_outcomes(catalogue, [outcome(1), outcome(2), outcome(3)], [about])
    remove_outcome(catalogue, outcome(2).id)
    kept = outcomes(catalogue)
    catalogue.close()
    for file in catalogue.folder.glob("catalogue.sqlite*"):
        file.unlink()
    with open_catalogue(catalogue.folder) as fresh:
        assert replay_outcomes(fresh) == Replayed(n_added=2, n_removed=0, n_unreadable=0)
        assert outcomes(fresh) == kept
        assert targets(fresh) == [about]
        assert replay_outcomes(fresh) == Replayed(n_added=0, n_removed=0, n_unreadable=0)


def test_a_removal_that_the_database_lost_is_replayed(catalogue):
    add_outcomes(catalogue, [outcome(1), outcome(2)])
    with journal(catalogue).open("a") as file:
        file.write(json.dumps({"removed": outcome(1).id}) + "\n")
    assert replay_outcomes(catalogue) == Replayed(n_added=0, n_removed=1, n_unreadable=0)
    assert outcomes(catalogue) == [outcome(2, created=outcomes(catalogue)[0].created)]


@pytest.mark.parametrize("n_lost", range(1, 40))
def test_a_torn_last_line_is_skipped_and_takes_no_later_one_with_it(catalogue, n_lost):
    add_outcomes(catalogue, [outcome(1)])
    add_outcomes(catalogue, [outcome(2)])
    content = journal(catalogue).read_bytes()
    journal(catalogue).write_bytes(content[:-n_lost])
    catalogue.connection.execute("DELETE FROM outcome")
    whole = n_lost == 1  # the line's end alone is missing
    assert replay_outcomes(catalogue) == Replayed(n_added=1 + whole, n_removed=0, n_unreadable=1 - whole)
    add_outcomes(catalogue, [outcome(3)])
    catalogue.connection.execute("DELETE FROM outcome")
    assert replay_outcomes(catalogue).n_added == 2 + whole


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        "null",
        '{"outcome": 1}',
        '{"outcome": {"id": "x"}}',
        '{"outcome": {"id": "x", "model_id": "m", "fingerprint": "f", "data": "d", "accuracy": 2, "created": "c"}}',
        '{"outcome": {"id": 1, "model_id": "m", "fingerprint": "f", "data": "d", "accuracy": 1, "created": "c"}}',
        '{"target": {"fingerprint": "f"}}',
        '{"other": 1}',
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_a_line_of_another_kind_is_counted_and_skipped(catalogue, line):
    add_outcomes(catalogue, [outcome(1)])
    with journal(catalogue).open("ab") as file:
        file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
    catalogue.connection.execute("DELETE FROM outcome")
    assert replay_outcomes(catalogue) == Replayed(n_added=1, n_removed=0, n_unreadable=1)


def test_without_a_journal_nothing_is_replayed(catalogue):
    assert replay_outcomes(catalogue) == Replayed(n_added=0, n_removed=0, n_unreadable=0)


def test_what_cannot_be_journalled_is_not_in_the_database_either(catalogue):
    journal(catalogue).mkdir()
    with pytest.raises(CatalogueError):
        add_outcomes(catalogue, [outcome(1)])
    assert outcomes(catalogue) == []


def test_the_journal_is_written_before_the_database(catalogue, monkeypatch):
    add_outcomes(catalogue, [])

    class Dies:
        in_transaction = True

        def __init__(self, inner):
            self.inner = inner

        def execute(self, statement, *values):
            if statement == "COMMIT":
                raise sqlite3.OperationalError("killed")
            return self.inner.execute(statement, *values)

        def executemany(self, *values):
            return self.inner.executemany(*values)

    dying = replace(catalogue, connection=Dies(catalogue.connection))
    with pytest.raises(CatalogueError):
        add_outcomes(dying, [outcome(1)])
    assert outcomes(catalogue) == []
    assert replay_outcomes(catalogue).n_added == 1


def test_an_outcome_does_not_forget_what_a_ranking_knew_of_its_data(catalogue):
    store_ranking(catalogue, ranking())
    add_outcomes(catalogue, [outcome(1)], [StoredTarget(fingerprint="f0", path="elsewhere/photos")])
    (found,) = targets(catalogue)
    assert (found.path, found.modality, found.class_names) == ("elsewhere/photos", "image", ("cat", "dog"))
