"""Columns say what the entries say, sort like Python does, and are made again where they are damaged."""

import json
import os
import random
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from neuralrank.errors import CatalogueError
from neuralrank.fields import BY_NAME, FIELDS
from neuralrank.queries.where import parse_where
from neuralrank.storage import columns as module
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.storage.columns import Columns, current_columns, read_columns

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import concepts, entry, random_entries, random_entry

CHUNK = 64


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", CHUNK)


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def write(catalogue: Catalogue, entries) -> None:
    catalogue.write("hf:*", entries, concepts=concepts)


def refreshed(catalogue: Catalogue) -> Columns:
    return read_columns(catalogue.folder / "columns", catalogue.connection)


def files(catalogue: Catalogue) -> list[Path]:
    return sorted((catalogue.folder / "columns").glob("*.arrow"))


def python_value(value):
    """Return a value of a column as an entry has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def assert_equal(columns: Columns, catalogue: Catalogue) -> None:
    """Compare every field of every row with the entries."""
    stored = list(catalogue.all_entries())
    assert columns.n_rows == len(stored)
    assert columns.present().tolist() == [moment is None for _, moment in stored]
    for field in FIELDS:
        found = [python_value(value) for chunk in columns.chunks for value in chunk.column(field.name).to_pylist()]
        given = [getattr(one, field.name) for one, _ in stored]
        assert found == [list(value) or None if field.kind == "list" else value for value in given], field.name


# --- what they say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK - 7])
def test_columns_say_what_the_entries_say(catalogue, n):
    write(catalogue, random_entries(n))
    columns = refreshed(catalogue)
    assert_equal(columns, catalogue)
    assert [chunk.start for chunk in columns.chunks] == list(range(0, n, CHUNK))
    assert len(files(catalogue)) == -(-n // CHUNK)


@pytest.mark.parametrize("n", [0, CHUNK, 3 * CHUNK + 5])
def test_columns_are_opened_without_reading_the_catalogue(catalogue, n):
    write(catalogue, random_entries(n))
    assert current_columns(catalogue.folder / "columns", catalogue.connection) is None
    refreshed(catalogue)
    again = current_columns(catalogue.folder / "columns", catalogue.connection)
    assert again is not None
    assert_equal(again, catalogue)
    write(catalogue, [])
    assert current_columns(catalogue.folder / "columns", catalogue.connection) is None


@pytest.mark.parametrize("seed", range(5))
def test_columns_follow_every_kind_of_change(catalogue, seed):
    """Rows are put into the columns that are there; these must be those that would be made anew."""
    rng = random.Random(seed)
    entries = random_entries(rng.randrange(1, 3 * CHUNK), seed)
    write(catalogue, entries)
    refreshed(catalogue)
    for _ in range(5):
        changed = rng.sample(range(len(entries)), rng.randrange(min(12, len(entries))))
        added = range(len(entries), len(entries) + rng.randrange(CHUNK))
        entries += [random_entry(rng, row) for row in added]
        for row in changed:
            entries[row] = random_entry(rng, row)
        write(catalogue, [entries[row] for row in (*changed, *added)])
        gone = set(rng.sample(range(len(entries)), rng.randrange(4)))
        catalogue.finish("hf:*", set(range(len(entries))) - gone, [], since=catalogue.seq())
        assert_equal(refreshed(catalogue), catalogue)
    after = refreshed(catalogue)
    shutil.rmtree(catalogue.folder / "columns")
    for chunk, anew in zip(after.chunks, refreshed(catalogue).chunks, strict=True):
        for name in chunk.table.schema.names:
            assert chunk.column(name).to_pylist() == anew.column(name).to_pylist(), name


def test_texts_that_become_distinct_stay_right(catalogue):
    write(catalogue, [entry(n, task="one", architecture=f"a{n}") for n in range(40)])
    columns = refreshed(catalogue)
    assert pa.types.is_dictionary(columns.chunks[0].column("task").type)
    assert pa.types.is_string(columns.chunks[0].column("architecture").type)
    for start in range(0, 40, 8):
        write(catalogue, [entry(n, task=f"t{n}", architecture="one") for n in range(start, start + 8)])
        assert_equal(refreshed(catalogue), catalogue)
    assert pa.types.is_string(refreshed(catalogue).chunks[0].column("task").type)


def test_a_shared_label_set_is_kept_once_in_a_chunk(catalogue):
    labels = tuple(f"class {n}" for n in range(1_000))
    write(catalogue, [entry(n, label_names=labels) for n in range(50)])
    refreshed(catalogue)
    write(catalogue, [entry(n, label_names=labels, task="x") for n in range(5)])
    column = refreshed(catalogue).chunks[0].column("label_names")
    assert len(column.dictionary) == 1
    assert files(catalogue)[0].stat().st_size < 60_000


def test_label_sets_of_rows(catalogue):
    write(
        catalogue, [entry(1, label_names=("a",)), entry(2), entry(3, label_names=("b",)), entry(4, label_names=("a",))]
    )
    assert refreshed(catalogue).label_sets().tolist() == [1, 0, 2, 1]


# --- only what changed is written --------------------------------------------------------------------------------


def test_only_files_with_changed_rows_are_written_and_the_old_ones_go(catalogue):
    write(catalogue, random_entries(4 * CHUNK + 3))
    refreshed(catalogue)
    before = files(catalogue)
    write(catalogue, [entry(0, task="x"), entry(2 * CHUNK, task="x")])
    columns = refreshed(catalogue)
    after = files(catalogue)
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, False, True, True]
    assert columns.seq == 2
    refreshed(catalogue)
    assert files(catalogue) == after


def test_a_change_without_rows_writes_no_file(catalogue):
    write(catalogue, random_entries(10))
    refreshed(catalogue)
    before = files(catalogue)
    write(catalogue, [])
    assert refreshed(catalogue).seq == 2
    assert files(catalogue) == before


def test_few_changed_rows_are_read_and_no_others(catalogue, monkeypatch):
    write(catalogue, random_entries(CHUNK))
    refreshed(catalogue)
    write(catalogue, [entry(5, task="x"), entry(CHUNK), entry(CHUNK + 1)])
    read = []
    made = module.columns_of
    monkeypatch.setattr(module, "columns_of", lambda rows, names: read.append(len(rows)) or made(rows, names))
    assert_equal(refreshed(catalogue), catalogue)
    assert read == [1, 2]


def test_the_progress_ends_at_all_rows(catalogue):
    write(catalogue, random_entries(3 * CHUNK - 1))
    said = []
    read_columns(catalogue.folder / "columns", catalogue.connection, say=lambda done, n: said.append((done, n)))
    assert said == [(64, 191), (128, 191), (191, 191)]


# --- damage ------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "flipped": flip,
    "of another kind": lambda path: path.write_text("hello"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_made_again(catalogue, damage):
    write(catalogue, random_entries(3 * CHUNK))
    refreshed(catalogue)
    before = files(catalogue)
    DAMAGES[damage](before[1])
    assert current_columns(catalogue.folder / "columns", catalogue.connection) is None
    assert_equal(refreshed(catalogue), catalogue)
    after = files(catalogue)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert current_columns(catalogue.folder / "columns", catalogue.connection) is not None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_the_ground_for_a_change(catalogue, damage):
    write(catalogue, random_entries(CHUNK))
    refreshed(catalogue)
    DAMAGES[damage](files(catalogue)[0])
    write(catalogue, [entry(5, task="x")])
    assert_equal(refreshed(catalogue), catalogue)


MANIFESTS = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "no object": lambda path: path.write_text("[1, 2"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "of another version": lambda path: path.write_text(path.read_text().replace('"version": ', '"version": 9')),
    "without files": lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "files": []})),
    "with paths": lambda path: path.write_text(path.read_text().replace('"0000', '"../0000')),
    "deep": lambda path: path.write_text("[" * 100_000),
    "of a later change": lambda path: path.write_text(path.read_text().replace('"seq": 1', '"seq": 99')),
    "of another catalogue": lambda path: path.write_text(path.read_text().replace('"owner": ', '"owner": 9')),
    "of no catalogue": lambda path: path.write_text(path.read_text().replace('"owner": ', '"owner": null, "x": ')),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", MANIFESTS)
def test_a_damaged_manifest_is_made_again(catalogue, damage):
    write(catalogue, random_entries(2 * CHUNK))
    refreshed(catalogue)
    MANIFESTS[damage](catalogue.folder / "columns" / "manifest.json")
    assert_equal(refreshed(catalogue), catalogue)
    assert len(files(catalogue)) == 2
    again = current_columns(catalogue.folder / "columns", catalogue.connection)
    assert again is not None
    assert again.n_rows == 2 * CHUNK


def test_a_copied_folder_needs_no_writing(catalogue, tmp_path):
    write(catalogue, random_entries(CHUNK))
    refreshed(catalogue)
    shutil.copytree(catalogue.folder / "columns", tmp_path / "copy", copy_function=shutil.copyfile)
    assert current_columns(tmp_path / "copy", catalogue.connection) is not None


def test_what_killed_writers_left_is_removed(catalogue):
    write(catalogue, random_entries(10))
    refreshed(catalogue)
    folder = catalogue.folder / "columns"
    for name in (".00000-abc.arrow-def", ".manifest.json-123", "00007-abc.arrow"):
        (folder / name).write_bytes(b"x")
    (folder / "notes.txt").write_text("of the user")
    write(catalogue, [entry(3, task="x")])
    refreshed(catalogue)
    assert sorted(path.name for path in folder.iterdir())[1:] == ["manifest.json", "notes.txt"]
    assert len(files(catalogue)) == 1


def test_damaged_rows_of_the_catalogue_are_one_sentence(catalogue):
    write(catalogue, random_entries(10))
    catalogue.connection.execute("UPDATE entry SET tags = '[1', seq = 9 WHERE row = 3")
    with pytest.raises(CatalogueError, match=r"Got damaged rows \(.*\)\. Run `neuralrank catalogue repair`") as caught:
        refreshed(catalogue)
    assert str(caught.value).count("\n") == 0


# --- order -------------------------------------------------------------------------------------------------------


def order_of(values: list, *, descending: bool) -> list[int]:
    """Return the rows as Python sorts them: nulls last, ties by row."""

    def key(value):
        value = value[0] if isinstance(value, tuple | list) else value
        return value.lower() if isinstance(value, str) else value

    known = [row for row, value in enumerate(values) if value not in (None, ())]
    known.sort(key=lambda row: key(values[row]), reverse=descending)
    if descending:  # a reversed sort keeps the order of ties
        known = sorted(known, key=lambda row: key(values[row]), reverse=True)
    return known + [row for row, value in enumerate(values) if value in (None, ())]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", [field.name for field in FIELDS if field.name != "label_names"])
def test_every_field_sorts_as_python_sorts_it(catalogue, field, descending):
    entries = random_entries(300)
    write(catalogue, entries)
    columns = refreshed(catalogue)
    expected = order_of([getattr(one, field) for one in entries], descending=descending)
    everywhere = np.ones(300, dtype=bool)
    for n in (1, 7, 299, 300, 1_000):
        assert columns.best(field, everywhere, n, descending=descending).tolist() == expected[:n], n
    among = np.random.default_rng(0).random(300) < 0.2
    allowed = [row for row in expected if among[row]]
    assert columns.best(field, among, 20, descending=descending).tolist() == allowed[:20]
    assert columns.best(field, np.zeros(300, dtype=bool), 20, descending=descending).tolist() == []


@pytest.mark.parametrize("descending", [False, True])
def test_texts_that_differ_only_in_case_are_ties(catalogue, descending):
    names = ["mit", "MIT", "Apache", "apache", "mit", "Mit"] * 10
    write(catalogue, [entry(n, license=name) for n, name in enumerate(names)])
    columns = refreshed(catalogue)
    assert pa.types.is_dictionary(columns.chunks[0].column("license").type)
    found = columns.best("license", np.ones(60, dtype=bool), 60, descending=descending)
    assert found.tolist() == order_of(names, descending=descending)


@pytest.mark.parametrize("descending", [False, True])
def test_the_largest_and_smallest_integers_sort_where_they_belong(catalogue, descending):
    values = [0, 2**63 - 1, -(2**63) + 1, None, -1, 1, 2**53 + 1, 2**53]
    write(catalogue, [entry(n, params=value) for n, value in enumerate(values)])
    catalogue.connection.execute("UPDATE entry SET params = ? WHERE row = 0", (-(2**63),))
    values[0] = -(2**63)
    found = refreshed(catalogue).best("params", np.ones(8, dtype=bool), 8, descending=descending)
    assert found.tolist() == order_of(values, descending=descending)


@pytest.mark.parametrize("field", [field.name for field in FIELDS if field.name != "label_names"])
def test_values_of_rows_come_in_the_order_asked_for(catalogue, field):
    entries = random_entries(3 * CHUNK)
    write(catalogue, entries)
    rows = np.random.default_rng(1).integers(0, 3 * CHUNK, 100)
    found = [python_value(value) for value in refreshed(catalogue).values(field, rows).to_pylist()]
    given = [getattr(entries[row], field) for row in rows]
    assert found == [list(value) or None if BY_NAME[field].kind == "list" else value for value in given]
    assert refreshed(catalogue).values(field, rows[:0]).to_pylist() == []


# --- conditions --------------------------------------------------------------------------------------------------


def test_conditions_hold_fail_or_are_unknown_and_removed_models_are_neither(catalogue):
    write(catalogue, [entry(n, likes=None if n % 3 == 0 else n) for n in range(200)])
    catalogue.finish("hf:*", set(range(200)) - {0, 100}, [], since=catalogue.seq())
    holds, unknown = refreshed(catalogue).masks(parse_where("likes > 90").evaluate)
    assert np.flatnonzero(holds).tolist() == [n for n in range(91, 200) if n % 3 and n != 100]
    assert np.flatnonzero(unknown).tolist() == [n for n in range(1, 200) if n % 3 == 0]


@pytest.mark.parametrize(
    "condition",
    ["label_names = 'beta 1'", "label_names IS NULL", "NOT label_names LIKE 'a%' OR likes > 3", "n_labels = 2"],
)
def test_conditions_on_label_names_are_right(catalogue, condition):
    entries = random_entries(2 * CHUNK + 9)
    write(catalogue, entries)
    write(catalogue, [replace(one, task="x") for one in entries[:9]])
    parsed = parse_where(condition)
    holds, unknown = refreshed(catalogue).masks(parsed.evaluate, fields=parsed.fields)
    table = pa.table(
        {
            "label_names": pa.array([list(one.label_names) or None for one in entries], pa.list_(pa.string())),
            "likes": pa.array([one.likes for one in entries], pa.int64()),
            "n_labels": pa.array([one.n_labels for one in entries], pa.int64()),
        }
    )
    expected = parsed.evaluate(table).to_pylist()
    assert holds.tolist() == [value is True for value in expected]
    assert unknown.tolist() == [value is None for value in expected]
    assert 0 < holds.sum() < len(entries)
