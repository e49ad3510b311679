"""Columns and text index follow the catalogue, one process at a time, and are opened once."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from neuralrank.errors import CatalogueError
from neuralrank.queries.words import parse_words
from neuralrank.storage import _connection
from neuralrank.storage import derived as module
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.storage.derived import derived, indexed_text

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import concepts, entry, random_entries


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def write(catalogue: Catalogue, *entries) -> None:
    catalogue.write("hf:*", entries, concepts=concepts)


def found(catalogue: Catalogue, text: str) -> list[int]:
    return sorted(derived(catalogue).texts.matching_rows(parse_words(text)).tolist())


def test_columns_and_texts_follow_every_change(catalogue):
    write(catalogue, entry(1, task="alpha"), entry(2, task="alpha"), entry(3, task="beta"))
    assert (found(catalogue, "alpha"), found(catalogue, "beta")) == ([0, 1], [2])
    write(catalogue, entry(2, task="beta"), entry(4, description="alpha"))
    catalogue.finish("hf:*", [1, 2, 3], [], since=catalogue.seq())
    assert (found(catalogue, "alpha"), found(catalogue, "beta")) == ([3], [1, 2])
    made = derived(catalogue)
    assert made.columns.seq == made.texts.seq == catalogue.seq() == 3
    assert made.columns.present().tolist() == [False, True, True, True]
    assert made.repaired is None


def test_texts_are_those_of_the_entries(catalogue):
    labels = tuple(f"class {n}" for n in range(module.MAX_INDEXED_LABELS + 1))
    entries = [
        *random_entries(200),
        entry(200, label_names=labels),
        entry(201, label_names=labels[1:]),
        entry(202, tags=("a\nb", "[c", "d"), languages=("[",), base_model=("", "")),
    ]
    write(catalogue, *entries)
    catalogue.finish("hf:*", set(range(203)) - {7}, [], since=catalogue.seq())
    read = dict(module._texts_since(catalogue, 0))
    assert read.pop(7) is None
    assert read == {row: indexed_text(row, entries[row]) for row in range(203) if row != 7}
    assert (read[200].labels, read[201].labels[:7]) == ("", "class 1")
    assert [row for row, _ in module._texts_since(catalogue, 1)] == [7]


def test_what_is_current_is_opened_once(catalogue):
    write(catalogue, *random_entries(20))
    first = derived(catalogue)
    assert derived(catalogue).columns is first.columns
    with open_catalogue(catalogue.folder) as other:
        assert derived(other).columns.n_rows == 20
        write(other, entry(20))
        derived(other)
    assert derived(catalogue).columns.n_rows == 21


@pytest.mark.parametrize("n_changes", [1, 2, 3])
def test_what_belongs_to_another_catalogue_is_made_anew(catalogue, tmp_path, n_changes):
    """Somebody deletes the database and not what lies beside it: earlier, at, or after its number of changes."""
    write(catalogue, entry(1, task="old"), entry(2, task="old"))
    write(catalogue, entry(3, task="old"))
    derived(catalogue)
    with open_catalogue(tmp_path / "other") as other:
        write(other, entry(7, task="new"), entry(8, task="new"), entry(9, task="new"))
        for _ in range(n_changes - 1):
            write(other, entry(9, task="new"))
        for name in ("columns", "text"):
            shutil.copytree(catalogue.folder / name, other.folder / name)
        assert (found(other, "new"), found(other, "old")) == ([0, 1, 2], [])
        columns = derived(other).columns
        assert columns.values("name", np.arange(3)).to_pylist() == [entry(n).name for n in (7, 8, 9)]


@pytest.mark.parametrize("part", ["columns", "text"])
def test_what_was_deleted_is_made_again(catalogue, part):
    write(catalogue, *random_entries(20))
    derived(catalogue)
    shutil.rmtree(catalogue.folder / part)
    catalogue.kept.clear()
    assert len(found(catalogue, "net*")) == 20
    assert derived(catalogue).columns.n_rows == 20


def test_the_progress_is_said(catalogue):
    write(catalogue, *random_entries(20))
    said = []
    derived(catalogue, say=lambda *what: said.append(what))
    assert said == [("columns", 20, 20), ("text", 0, 20)]
    said.clear()
    derived(catalogue, say=lambda *what: said.append(what))
    assert said == []


@pytest.mark.parametrize(("column", "value"), [("card", b"damage"), ("label_set", 77), ("tags", b"x")])
def test_damaged_rows_are_one_sentence(catalogue, column, value):
    write(catalogue, *(replace(one, label_names=("a",)) for one in random_entries(20)))
    catalogue.connection.execute(f"UPDATE entry SET {column} = ? WHERE row = 3", (value,))
    with pytest.raises(
        CatalogueError, match=r"Run `neuralrank catalogue repair`: it keeps all that can still be read\.$"
    ):
        derived(catalogue)


def test_a_process_that_is_at_it_for_too_long_is_one_sentence(catalogue, monkeypatch):
    write(catalogue, *random_entries(20))
    monkeypatch.setattr(_connection, "LOCK_SECONDS", 0.05)
    with FileLock(catalogue.folder / "derived.lock"), pytest.raises(CatalogueError) as caught:
        derived(catalogue)
    assert str(caught.value) == (
        f"The catalogue in {str(catalogue.folder)!r} needs to be brought up to date. "
        "Got another process that has been at it for 0 s. Try again when that has ended."
    )
    assert derived(catalogue).columns.n_rows == 20
