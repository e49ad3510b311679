"""What is exported is imported again elsewhere, merged by when it was listed; anything else is refused whole."""

import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuralrank.errors import OutputError, UsageError
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.storage.exchange import SCHEMA, Merged, export_models, import_models

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import concepts, entry, random_entries


@pytest.fixture
def here(tmp_path):
    with open_catalogue(tmp_path / "here") as opened:
        yield opened


@pytest.fixture
def there(tmp_path):
    with open_catalogue(tmp_path / "there") as opened:
        yield opened


@pytest.fixture
def file(tmp_path):
    return tmp_path / "models.parquet"


def write(catalogue: Catalogue, *entries, spec="hf:*", listed=1_000) -> None:
    seq = catalogue.seq()
    catalogue.write(spec, entries, concepts=concepts)
    catalogue.connection.execute("UPDATE entry SET listed = ? WHERE seq > ?", (listed, seq))


def import_into(catalogue: Catalogue, file: Path) -> Merged:
    return import_models(catalogue, file, concepts=concepts)


def state(catalogue: Catalogue):
    return list(catalogue.all_entries()), catalogue.roots(), catalogue.seq(), catalogue.members(["hf:*"]).tolist()


def test_an_export_is_the_same_catalogue_elsewhere(here, there, file):
    entries = random_entries(500)
    write(here, *entries[:300], spec="hf:a")
    write(here, *entries[200:], spec="hf:b")
    here.finish("hf:b", set(range(200, 490)), [], since=here.seq())
    assert export_models(here, file) == 500
    assert import_into(there, file) == Merged(n_new=500, n_newer=0, n_kept=0)
    assert list(there.all_entries()) == list(here.all_entries())
    assert [moment is not None for _, moment in there.all_entries()] == [False] * 490 + [True] * 10
    for specs in (["hf:a"], ["hf:b"]):
        assert there.members(specs).tolist() == here.members(specs).tolist()
    assert [(root.spec, root.n_models) for root in there.roots()] == [("hf:a", 300), ("hf:b", 290)]
    assert there.seq() == 1
    assert [root.indexed for root in there.roots()] == [None, None]
    assert sorted(there.label_sets_with({"beta 1"})) == sorted(here.label_sets_with({"beta 1"}))
    assert import_into(there, file) == Merged(n_new=0, n_newer=0, n_kept=500)


def test_an_empty_catalogue_is_exported_too(here, there, file):
    assert export_models(here, file) == 0
    assert import_into(there, file) == Merged(n_new=0, n_newer=0, n_kept=0)


def test_other_programs_can_read_the_file(here, file):
    write(here, entry(1, params=7, tags=("a", "b"), label_names=("cat",)))
    export_models(here, file)
    (row,) = pq.read_table(file).to_pylist()
    assert (row["model_id"], row["params"], row["tags"], row["n_labels"], row["loadable"]) == (
        entry(1).model_id, 7, ["a", "b"], 1, True,
    )  # fmt: skip
    assert row["roots"] == ["hf:*"]


def test_of_a_model_known_to_both_the_one_that_was_listed_last_counts(here, there, file):
    write(here, entry(1, task="there"), entry(2, task="there"), entry(3, task="there"), entry(4), listed=2_000)
    export_models(here, file)
    write(there, entry(2, task="here"), listed=1_999)
    write(there, entry(1, task="here"), listed=2_000)
    write(there, entry(3, task="here"), entry(9), listed=2_001)
    assert import_into(there, file) == Merged(n_new=1, n_newer=1, n_kept=2)
    found = {one.name: one.task for one, _ in there.all_entries()}
    assert found == {entry(n).name: task for n, task in ((1, "here"), (2, "there"), (3, "here"), (4, None), (9, None))}
    assert there.n_rows() == 5


def test_measured_seconds_survive_a_merge_of_the_same_content(here, there, file):
    write(here, entry(1), entry(2, stamp="new"), listed=2_000)
    export_models(here, file)
    write(there, entry(1, seconds_per_sample=0.5), entry(2, seconds_per_sample=0.5))
    import_into(there, file)
    assert [one.seconds_per_sample for one in there.entries([0, 1])] == [0.5, None]


def test_a_model_stays_until_every_repository_that_has_it_lost_it(here, there, file):
    write(here, entry(1), spec="hf:a")
    export_models(here, file)
    write(there, entry(1), spec="hf:b")
    import_into(there, file)
    assert there.finish("hf:b", [], [], since=there.seq()) == 0
    assert there.finish("hf:a", [], [], since=there.seq()) == 1


def changed(file: Path, **columns) -> Path:
    table = pq.read_table(file)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, [values])
    pq.write_table(table, file)
    return file


def half(file: Path) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


def spoilt(file: Path) -> Path:
    """Damage the pages and leave what describes them."""
    content = bytearray(file.read_bytes())
    content[4:3_000] = bytes(2_996)
    file.write_bytes(content)
    return file


TEXTS = pa.array(["x"] * 100)
BROKEN = {
    "missing": (lambda file: file.with_name("none"), "Got no such file at"),
    "a folder": (lambda file: file.parent, "Got something else at"),
    "no Parquet": (lambda file: file.write_text("hello") and file, "Got something else at"),
    "empty": (lambda file: file.write_bytes(b"") or file, "Got something else at"),
    "cut": (half, "Got something else at"),
    "spoilt": (spoilt, "Got a damaged file or other types at"),
    "foreign": (lambda f: pq.write_table(pa.table({"a": [1]}), f) or f, "a file without the column 'model_id' at"),
    "text for a number": (lambda file: changed(file, params=TEXTS), "Got a damaged file or other types at"),
    "lists for texts": (lambda file: changed(file, name=pa.array([["x"]] * 100)), "a damaged file or other types at"),
    "results that are none": (lambda file: changed(file, results=TEXTS), "a value of another kind in rows 1 to 100"),
    "deep results": (lambda file: changed(file, results=pa.array(["[" * 99_999] * 100)), "a value of another kind in"),
    "results of other shape": (lambda f: changed(f, results=pa.array(["[[1, 2]]"] * 100)), "value of another kind in"),
    "no names": (lambda file: changed(file, name=pa.nulls(100, pa.string())), "a value of another kind in rows 1 to"),
    "one empty id": (lambda f: changed(f, model_id=pa.array(["a"] * 99 + [""])), "a value of another kind in rows"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_export_is_refused_and_changes_nothing(here, there, file, kind):
    write(here, *random_entries(100))
    export_models(here, file)
    write(there, entry(1, task="mine"))
    before = state(there)
    damage, got = BROKEN[kind]
    with pytest.raises(UsageError) as caught:
        import_into(there, damage(file))
    assert str(caught.value).startswith("An import needs a Parquet file that `neuralrank catalogue export` wrote. Got ")
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state(there) == before


def test_values_at_the_edge_of_their_types_are_taken_or_clipped(here, there, file):
    write(here, entry(1))
    export_models(here, file)
    changed(
        file,
        listed=pa.array([-5]),
        created=pa.array(["no date"]),
        accuracy=pa.array([float("nan")]),
        params=pa.array([2**63 - 1]),
        tags=pa.array([None], pa.list_(pa.string())),
        roots=pa.array([None], pa.list_(pa.string())),
    )
    assert import_into(there, file).n_new == 1
    assert there.entries([0]) == [replace(entry(1), params=2**63 - 1)]
    assert there.roots() == []


def test_a_file_that_names_a_place_twice_gives_one_model(here, there, file):
    write(here, entry(1))
    export_models(here, file)
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table] * 3), file)
    assert import_into(there, file).n_new == 1
    assert there.n_rows() == 1


def test_an_export_appears_whole_or_not_at_all(here, file, monkeypatch):
    write(here, *random_entries(10))
    file.write_text("before")
    monkeypatch.setattr(pq.ParquetWriter, "write_batch", _full)
    with pytest.raises(OutputError) as caught:
        export_models(here, file)
    assert str(caught.value) == (
        f"The export needs a file that can be written. Got no space left on device at {str(file)!r}. "
        "Choose another place."
    )
    assert file.read_text() == "before"
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []
    assert here.write("hf:*", [entry(99)], concepts=concepts).n_new == 1  # no transaction was left open


def _full(*_args, **_options):
    raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device")


@pytest.mark.parametrize("place", ["none/models.parquet", "folder"])
def test_a_place_that_cannot_be_written_is_one_sentence(here, tmp_path, place):
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(
        OutputError, match=r"^The export needs a file that can be written\. Got [a-z ]+ at '.*'\. Choose"
    ):
        export_models(here, tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "here"]


def test_the_columns_of_the_file_are_those_that_are_documented():
    assert SCHEMA.names[:3] == ["model_id", "source", "name"]
    assert SCHEMA.metadata == {b"schema": b"neuralrank/models/1"}
