"""What is written to the catalogue is read back, counted and found."""

import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from neuralrank.entries import ModelEntry, ReportedResult, Unchanged
from neuralrank.errors import CatalogueError
from neuralrank.storage._connection import FILE_NAME
from neuralrank.storage.catalogue import Catalogue, Root, open_catalogue
from neuralrank.types import Failure

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import concepts, entry, random_entries


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def written(catalogue: Catalogue, *batch, spec="hf:*"):
    return catalogue.write(spec, batch, concepts=concepts)


def round_trip(catalogue: Catalogue, given: ModelEntry) -> ModelEntry:
    (row,) = written(catalogue, given).rows
    return catalogue.entries([row])[0]


def removed(catalogue: Catalogue) -> list[str]:
    return [entry.name for entry, moment in catalogue.all_entries() if moment is not None]


# --- round trips -------------------------------------------------------------------------------------------------


def test_every_field_is_read_as_it_was_written(catalogue):
    given = random_entries(300)
    rows = written(catalogue, *given).rows
    assert rows == tuple(range(300))
    assert catalogue.entries(rows) == given
    assert [one for one, _ in catalogue.all_entries()] == given
    differing = {field.name for field in fields(ModelEntry) if len({getattr(one, field.name) for one in given}) > 1}
    assert differing == {field.name for field in fields(ModelEntry)} - {"source"}


def test_rows_come_in_the_order_asked_for_and_those_that_do_not_exist_are_left_out(catalogue):
    given = random_entries(1_200)
    written(catalogue, *given)
    rows = [1_199, 3, 5_000, 3, 700, -1]
    assert catalogue.entries(rows) == [given[row] for row in (1_199, 3, 3, 700)]


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        pytest.param({"params": 2**63 - 1, "likes": -(2**63) + 1}, {}, id="largest-integers"),
        pytest.param({"params": 2**63, "downloads": 10**30}, {"params": None, "downloads": None}, id="beyond"),
        pytest.param({"accuracy": float("nan")}, {"accuracy": None}, id="nan"),
        pytest.param({"seconds_per_sample": float("inf")}, {"seconds_per_sample": None}, id="infinity"),
        pytest.param({"accuracy": 5e-324, "seconds_per_sample": 1.7e308}, {}, id="extreme-floats"),
        pytest.param({"task": "", "format": "", "description": "", "refusal": ""}, {}, id="empty-texts"),
        pytest.param({"tags": ("",), "languages": ("", "")}, {}, id="empty-members"),
        pytest.param({"tags": ('a"b', "c\\d", "e\nf", "g\x00h", "'; DROP TABLE entry")}, {}, id="hostile-members"),
        pytest.param({"tags": ("[1]", "x"), "languages": ("[",), "base_model": ("a,b", "c")}, {}, id="like-a-list"),
        pytest.param({"label_names": ('a"b', "c\\d", "e\x00f", "")}, {}, id="hostile-labels"),
        pytest.param({"description": "\x00\x01 'quoted' \\ \u2028 😀 é"}, {}, id="control-characters"),
        pytest.param({"description": "x" * 3_000_000 + "end"}, {}, id="long-text"),
        pytest.param({"label_names": tuple(f"class {n}" for n in range(30_000))}, {}, id="many-labels"),
        pytest.param({"name": "org/a" * 500}, {}, id="long-name"),
        pytest.param({"created": "2024-02-29"}, {"created": "2024-02-29T00:00:00Z"}, id="day"),
        pytest.param({"created": "2024-01-01T01:30:00.999+02:00"}, {"created": "2023-12-31T23:30:00Z"}, id="zone"),
        pytest.param({"created": "soon", "updated": "0999-12-31"}, {"created": None, "updated": None}, id="no-date"),
        pytest.param({"created": "1000-01-01T00:00:00Z", "updated": "9999-12-31T23:59:59Z"}, {}, id="first-and-last"),
        pytest.param({"updated": "9999-12-31T23:59:59-14:00"}, {"updated": None}, id="after-the-last"),
    ],
)
def test_extreme_values_are_kept_or_count_as_unknown(catalogue, facts, kept):
    given = entry(1, **facts)
    assert round_trip(catalogue, given) == replace(given, **kept)


def test_halves_of_surrogate_pairs_become_question_marks_everywhere(catalogue):
    bad = "a\udcffb"
    texts = dict.fromkeys(("task", "library", "architecture", "license", "format", "refusal", "description"), bad)
    lists = dict.fromkeys(("tags", "languages", "label_names", "pretraining_data", "base_model"), (bad,))
    given = entry(1, name=bad, stamp=bad, **texts, **lists, results=(_result(data=bad),))
    found = round_trip(catalogue, given)
    assert (found.name, found.location, found.stamp, found.model_id) == ("a?b", "a?b", "a?b", "hf:a?b@a?b")
    assert all(getattr(found, name) == "a?b" for name in texts)
    assert all(getattr(found, name) == ("a?b",) for name in lists)
    assert found.results[0].data == "a?b"
    assert catalogue.known("hf")[bad] == "a?b"
    written(catalogue, Unchanged(location=bad), Failure(model_id=bad, stage="list", error=bad), spec=f"hf:{bad}")
    assert catalogue.failures([f"hf:{bad}"]) == [Failure(model_id="a?b", stage="list", error="a?b")]
    assert catalogue.members([f"hf:{bad}"]).tolist() == [0]


def test_results_keep_numbers_that_json_does_not_know(catalogue):
    found = round_trip(catalogue, entry(1, results=(_result(value=float("inf")), _result(value=float("nan")))))
    assert str([result.value for result in found.results]) == "[inf, nan]"


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"location": "/zoo/m.onnx", "model_id": "folder:m.onnx@abc", "stamp": "[1]"}, id="own-revision"),
        pytest.param({"model_id": "something else"}, id="own-id"),
        pytest.param({"model_id": "hf:org/net@a@b"}, id="two-revisions"),
        pytest.param({"model_id": ""}, id="empty-id"),
        pytest.param({"stamp": ""}, id="no-stamp"),
        pytest.param({"name": "a:b@c:d@e"}, id="odd-name"),
    ],
)
def test_ids_and_places_that_do_not_follow_from_the_name_are_kept(catalogue, facts):
    given = entry(1, **facts)
    written(catalogue, entry(2), given)
    assert catalogue.entries([1]) == [given]
    assert catalogue.rows_of(given.model_id) == [1]
    assert catalogue.known("hf")[given.location] == given.stamp
    assert written(catalogue, given).n_unchanged == 1


# --- counts ------------------------------------------------------------------------------------------------------


def test_new_changed_and_unchanged_models_are_counted(catalogue):
    first = written(catalogue, entry(1), entry(2), entry(3))
    assert (first.n_new, first.n_changed, first.n_unchanged, first.rows) == (3, 0, 0, (0, 1, 2))
    again = written(
        catalogue, Unchanged(location=entry(1).name), entry(2, stamp="new"), entry(3), entry(4), _failure("hf:x")
    )
    assert (again.n_new, again.n_changed, again.n_unchanged, again.rows) == (1, 1, 2, (0, 1, 2, 3))
    assert catalogue.n_rows() == 4


def test_a_place_listed_twice_in_one_batch_is_one_model_and_the_last_counts(catalogue):
    twice = written(catalogue, entry(1, task="a"), Unchanged(location=entry(1).name), entry(1, task="b"), entry(2))
    assert (twice.n_new, twice.rows) == (2, (0, 1))
    assert catalogue.entries([0])[0].task == "b"
    assert catalogue.n_rows() == 2


def test_what_is_unchanged_but_not_known_is_no_model(catalogue):
    assert written(catalogue, Unchanged(location="never/seen")).rows == ()
    assert catalogue.n_rows() == 0


def test_names_that_differ_in_case_are_different_models(catalogue):
    written(catalogue, entry(1, name="Org/Net"), entry(2, name="org/net"))
    assert catalogue.n_rows() == 2
    assert catalogue.known("hf")["Org/Net"] == entry(1).stamp
    assert catalogue.known("hf")["org/net"] == entry(2).stamp
    assert "ORG/NET" not in catalogue.known("hf")
    assert written(catalogue, entry(2, name="org/net", stamp="new")).rows == (1,)


def test_one_place_in_two_kinds_of_source_is_two_models(catalogue):
    written(catalogue, entry(1), entry(1, source="hf_cache"))
    assert catalogue.n_rows() == 2
    assert len(catalogue.known("hf")) == len(catalogue.known("hf_cache")) == 1


def test_known_stamps_are_those_of_all_models_there_were(catalogue):
    written(catalogue, entry(1), entry(2, location="/elsewhere"))
    catalogue.finish("hf:*", [1], [], since=catalogue.seq())
    known = catalogue.known("hf")
    assert known[entry(1).name] == entry(1).stamp  # removed: if it comes back, it need not be read again
    assert sorted(known) == ["/elsewhere"]
    assert len(known) == 1
    assert known.get("nothing") is None


# --- removed models ----------------------------------------------------------------------------------------------


def test_a_model_that_is_listed_no_more_is_marked_and_comes_back(catalogue):
    rows = written(catalogue, entry(1), entry(2), entry(3)).rows
    assert catalogue.finish("hf:*", rows, [], since=catalogue.seq()) == 0
    assert catalogue.finish("hf:*", rows[:1], [], since=catalogue.seq()) == 2
    assert removed(catalogue) == [entry(2).name, entry(3).name]
    assert catalogue.removed(1) is not None
    assert catalogue.entries([1]) == [entry(2)]
    assert catalogue.finish("hf:*", rows[:1], [], since=catalogue.seq()) == 0
    before = catalogue.seq()
    back = written(catalogue, Unchanged(location=entry(2).name), entry(3))
    assert (back.n_new, back.n_unchanged, back.rows) == (0, 2, (1, 2))
    assert removed(catalogue) == []
    assert [(row, gone) for row, gone, _ in catalogue.changed_since(before)] == [(1, False), (2, False)]


def test_a_model_of_two_repositories_is_removed_only_when_both_have_lost_it(catalogue):
    one, both, other = entry(1), entry(2), entry(3)
    written(catalogue, one, both, spec="hf:one")
    assert written(catalogue, both, other, spec="hf:other").n_unchanged == 1
    assert [root.n_models for root in catalogue.roots()] == [2, 2]
    assert catalogue.members(["hf:one"]).tolist() == [0, 1]
    assert catalogue.members(["hf:one", "hf:other"]).tolist() == [0, 1, 2]
    assert catalogue.finish("hf:one", [], [], since=catalogue.seq()) == 1
    assert removed(catalogue) == [one.name]
    assert catalogue.finish("hf:other", [2], [], since=catalogue.seq()) == 1
    assert removed(catalogue) == [one.name, both.name]


def test_what_another_process_listed_meanwhile_is_not_marked(catalogue):
    written(catalogue, entry(1), entry(2))
    since = catalogue.seq()
    written(catalogue, entry(3))  # by somebody else, after this listing began
    assert catalogue.finish("hf:*", [0], [], since=since) == 1
    assert removed(catalogue) == [entry(2).name]
    assert catalogue.members(["hf:*"]).tolist() == [0, 2]


def test_roots_say_when_they_were_listed_to_their_end(catalogue):
    written(catalogue, entry(1))
    assert catalogue.roots() == [Root(spec="hf:*", indexed=None, n_models=1)]
    catalogue.finish("hf:*", [0], [], since=catalogue.seq())
    assert str(catalogue.roots()[0].indexed).startswith("20")


def test_failures_are_those_of_the_last_listing(catalogue):
    written(catalogue, _failure("hf:a"), _failure("hf:b", "old"))
    written(catalogue, _failure("hf:x"), spec="hf:other")
    written(catalogue, _failure("hf:b", "new"))
    catalogue.finish("hf:*", [], ["hf:b"], since=catalogue.seq())
    assert catalogue.failures(["hf:*"]) == [_failure("hf:b", "new")]
    assert [failure.model_id for failure in catalogue.failures()] == ["hf:b", "hf:x"]


# --- label names and concepts ------------------------------------------------------------------------------------


def test_a_set_of_labels_is_kept_once(catalogue):
    labels = tuple(f"Class {n}" for n in range(50))
    written(catalogue, entry(1, label_names=labels), entry(2, label_names=labels), entry(3, label_names=labels[::-1]))
    with open_catalogue(catalogue.folder) as other:
        written(other, entry(4, label_names=labels))
    assert catalogue.connection.execute("SELECT label_set FROM entry ORDER BY row").fetchall() == [
        (1,),
        (1,),
        (2,),
        (1,),
    ]
    assert catalogue.connection.execute("SELECT count(*) FROM label_set").fetchone() == (2,)
    assert [one.label_names for one in catalogue.entries(range(4))] == [labels, labels, labels[::-1], labels]


@pytest.mark.parametrize(
    ("first", "second"), [(("a\0", "b"), ("a", "\0b")), (("a", "b"), ("a\0b",)), (("",), ("", ""))]
)
def test_sets_that_only_look_alike_are_kept_apart(catalogue, first, second):
    written(catalogue, entry(1, label_names=first), entry(2, label_names=second))
    assert [one.label_names for one in catalogue.entries([0, 1])] == [first, second]


def test_label_sets_are_found_by_concept(catalogue):
    written(catalogue, entry(1, label_names=("Cat", "Dog")), entry(2, label_names=("cat",)), entry(3))
    assert sorted(catalogue.label_sets_with({"cat", "dog", "bird"})) == [("cat", 1), ("cat", 2), ("dog", 1)]


def test_concepts_of_another_version_are_made_anew(catalogue):
    written(catalogue, *(entry(n, label_names=(f"Cat {n}",)) for n in range(2_500)))
    assert catalogue.refresh_concepts(1, concepts) is True  # nobody said yet of which version they are
    assert catalogue.refresh_concepts(1, concepts) is False
    assert catalogue.refresh_concepts(2, lambda labels: [label.upper() for label in labels]) is True
    assert list(catalogue.label_sets_with({"cat 2499", "CAT 2499"})) == [("CAT 2499", 2_500)]
    assert catalogue.connection.execute("SELECT count(*) FROM concept").fetchone() == (2_500,)


def test_concepts_stay_as_they_are_if_making_them_fails(catalogue):
    written(catalogue, *(entry(n, label_names=(f"Cat {n}",)) for n in range(2_500)))
    catalogue.refresh_concepts(1, concepts)

    def broken(labels):
        if labels == ("Cat 2400",):
            raise RuntimeError
        return labels

    with pytest.raises(RuntimeError):
        catalogue.refresh_concepts(2, broken)
    assert catalogue.refresh_concepts(1, concepts) is False
    assert list(catalogue.label_sets_with({"cat 3"})) == [("cat 3", 4)]


# --- finding one -------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(catalogue):
    """Rows 0 to 6."""
    written(
        catalogue,
        entry(0, name="org/net_1", stamp="aaa"),
        entry(1, name="org/netx1", stamp="bbb"),
        entry(2, name="org/net%", stamp="ccc"),
        entry(3, name="Org/Net_1", stamp="ddd"),
        entry(4, name="sub/m.onnx", source="folder", location="/zoo/sub/m.onnx", model_id="folder:sub/m.onnx@eee"),
        entry(5, name="odd", model_id="odd id"),
        entry(6, name="back\\slash", stamp="fff"),
    )
    return catalogue


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        pytest.param("hf:org/net_1@aaa", [0], id="id"),
        pytest.param("folder:sub/m.onnx@eee", [4], id="id-of-a-file"),
        pytest.param("odd id", [5], id="own-id"),
        pytest.param("org/net_1", [0], id="name"),
        pytest.param("Org/Net_1", [3], id="name-in-its-case"),
        pytest.param("ORG/NET_1", [0, 3], id="name-in-no-case"),
        pytest.param("org/net", [0, 1, 2, 3], id="beginning-of-names"),
        pytest.param("org/net_", [0, 3], id="underscore-is-no-wildcard"),
        pytest.param("org/net%", [2], id="per-cent-is-no-wildcard"),
        pytest.param("back\\", [6], id="backslash"),
        pytest.param("hf:org/net", [0, 1, 2, 3], id="beginning-of-ids"),
        pytest.param("hf:org/net_1@a", [0], id="beginning-of-a-revision"),
        pytest.param("folder:sub", [4], id="beginning-of-the-id-of-a-file"),
        pytest.param("odd i", [5], id="beginning-of-an-own-id"),
        pytest.param("folder:org/net", [], id="other-source"),
        pytest.param("net", [], id="middle-of-a-name"),
        pytest.param("hf:org/net_1@zzz", [], id="other-revision"),
        pytest.param("\udcff", [], id="no-text"),
    ],
)
def test_a_model_is_found_by_id_name_or_beginning(shelf, key, rows):
    assert shelf.find(key) == rows


def test_models_that_are_there_are_found_before_removed_ones(shelf):
    shelf.finish("hf:*", [1, 2, 3, 4, 5, 6], [], since=shelf.seq())
    assert shelf.find("org/net") == [1, 2, 3, 0]
    assert shelf.find("org/net_1") == [0]


def test_at_most_fifty_are_found(catalogue):
    written(catalogue, *(entry(n) for n in range(500)))
    assert len(catalogue.find("org")) == 50
    assert len(catalogue.find("")) == 50


# --- measurements, changes, transactions -------------------------------------------------------------------------


def test_measured_seconds_stay_with_the_content_they_were_measured_on(catalogue):
    written(catalogue, entry(1), entry(2), entry(3))
    catalogue.connection.execute("UPDATE entry SET seconds_per_sample = 0.25")
    written(catalogue, entry(1, task="x"), entry(2, stamp="new"), entry(3, seconds_per_sample=0.5))
    assert [one.seconds_per_sample for one in catalogue.entries([0, 1, 2])] == [0.25, None, 0.5]


def test_every_write_has_a_number_of_its_own(catalogue):
    assert catalogue.seq() == 0
    written(catalogue, entry(1), entry(2))
    written(catalogue, Unchanged(location=entry(1).name))
    written(catalogue, entry(2, task="x"))
    assert catalogue.seq() == 3
    assert [row for row, _, _ in catalogue.changed_since(0)] == [0, 1]
    assert [row for row, _, _ in catalogue.changed_since(1)] == [1]
    assert [row for row, _, _ in catalogue.changed_since(3)] == []


def test_a_write_that_fails_leaves_nothing(catalogue):
    written(catalogue, entry(1))

    def broken(labels):
        if labels == ("bad",):
            raise RuntimeError
        return labels

    batch = [entry(1, task="x"), entry(2, label_names=("good",)), entry(3, label_names=("bad",))]
    with pytest.raises(RuntimeError):
        catalogue.write("hf:new", batch, concepts=broken)
    assert catalogue.seq() == 1
    assert catalogue.n_rows() == 1
    assert catalogue.entries([0])[0].task is None
    assert [root.spec for root in catalogue.roots()] == ["hf:*"]
    # The number of the label set that was rolled back is not remembered: the next one has it.
    written(catalogue, entry(4, label_names=("other",)), entry(2, label_names=("good",)))
    assert [one.label_names for one in catalogue.entries([1, 2])] == [("other",), ("good",)]


def test_a_full_file_is_one_sentence_and_loses_nothing(catalogue):
    written(catalogue, *random_entries(200))
    (n_pages,) = catalogue.connection.execute("PRAGMA page_count").fetchone()
    catalogue.connection.execute(f"PRAGMA max_page_count = {n_pages + 2}")
    with pytest.raises(CatalogueError) as caught:
        written(catalogue, *random_entries(2_000, seed=1))
    assert str(caught.value) == (
        f"The catalogue in {str(catalogue.folder)!r} could not be written. Got: database or disk is full. What was "
        "kept before is not lost. Free some space or mend the permissions, or name another folder with --catalogue."
    )
    assert [one for one, _ in catalogue.all_entries()] == random_entries(200)
    catalogue.connection.execute("PRAGMA max_page_count = 1000000")
    assert written(catalogue, *random_entries(2_000, seed=1)).n_new == 1_800


# --- opening -----------------------------------------------------------------------------------------------------


def test_a_catalogue_of_a_newer_version_is_refused(tmp_path):
    open_catalogue(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(CatalogueError) as caught:
        open_catalogue(tmp_path)
    assert str(caught.value) == (
        "The catalogue needs schema 2 or older. Got 7. A newer neuralrank wrote it: update this one, or name another "
        "folder with --catalogue."
    )


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError) as caught:
        open_catalogue(tmp_path / "file" / "catalogue")
    assert str(caught.value) == (
        f"The catalogue needs a folder it can write to. Got not a directory at {str(tmp_path / 'file/catalogue')!r}. "
        "Mend that, or name another folder with --catalogue."
    )


def test_a_catalogue_in_use_for_too_long_is_one_sentence(catalogue):
    written(catalogue, entry(1))
    with open_catalogue(catalogue.folder) as other:
        other.connection.execute("PRAGMA busy_timeout = 10")
        catalogue.connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogueError) as caught:
            written(other, entry(2))
        catalogue.connection.execute("ROLLBACK")
        assert "Got another process that kept it for 30 s. Try again when that has ended." in str(caught.value)
        assert written(other, entry(2)).n_new == 1


OPEN = """
import multiprocessing, sys
from neuralrank.storage.catalogue import open_catalogue

def run(barrier):
    for place in range(60):
        barrier.wait()
        try:
            open_catalogue(f"{sys.argv[1]}/{place}").close()
        except Exception as error:
            print(error, flush=True)

fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(6)
children = [fork.Process(target=run, args=(barrier,)) for _ in range(6)]
[child.start() for child in children]
[child.join() for child in children]
"""


def test_processes_that_make_the_same_catalogue_at_once_do_not_disturb_each_other(tmp_path):
    done = subprocess.run([sys.executable, "-c", OPEN, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
    assert len(list(tmp_path.iterdir())) == 60


def _result(**facts) -> ReportedResult:
    return ReportedResult(**{"task": "t", "data": "d", "metric": "accuracy", "value": 0.5, **facts})


def _failure(model_id: str, error: str = "broken") -> Failure:
    return Failure(model_id=model_id, stage="list", error=error)
