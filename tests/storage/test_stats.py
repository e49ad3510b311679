"""Counts of a catalogue."""

import sys
from pathlib import Path

import pytest

from neuralrank.entries import Unchanged
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.derived import derived
from neuralrank.storage.stats import catalogue_stats
from neuralrank.types import Failure

sys.path.insert(0, str(Path(__file__).parent))

from made_entries import concepts, entry


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def test_models_are_counted_by_what_they_are_and_removed_ones_apart(catalogue):
    entries = [
        entry(1, task="a", license="mit", label_names=("x",)),
        entry(2, task="a", refusal="no"),
        entry(3, task="b", license="mit", label_names=("x",)),
        entry(4, task="c", license="mit", source="folder"),
        entry(5, task="gone"),
    ]
    catalogue.write("hf:*", [*entries, Failure(model_id="hf:x", stage="list", error="e")], concepts=concepts)
    catalogue.write("hf:b", [Unchanged(location=entries[0].name)], concepts=concepts)
    catalogue.finish("hf:*", {0, 1, 2, 3}, {"hf:x"}, since=catalogue.seq())
    found = catalogue_stats(catalogue)
    assert (found.n_models, found.n_loadable, found.n_removed, found.n_label_sets) == (4, 3, 1, 1)
    assert list(found.groups["task"].items()) == [("a", 2), ("b", 1), ("c", 1)]
    assert list(found.groups["license"].items()) == [("mit", 3), (None, 1)]
    assert list(found.groups["source"].items()) == [("hf", 3), ("folder", 1)]
    assert found.failures == {"hf:*": 1}
    assert [(root.spec, root.n_models) for root in found.roots] == [("hf:*", 4), ("hf:b", 1)]


def test_sizes_are_those_of_the_files(catalogue):
    catalogue.write("hf:*", [entry(n) for n in range(50)], concepts=concepts)
    derived(catalogue)
    sizes = catalogue_stats(catalogue).size_bytes
    assert {"catalogue.sqlite", "columns", "text"} <= set(sizes)
    files = (catalogue.folder / "columns").iterdir()
    assert sizes["columns"] == sum(path.stat().st_size for path in files) > 1_000


def test_an_empty_catalogue_has_nothing_to_count(catalogue):
    found = catalogue_stats(catalogue)
    assert (found.n_models, found.n_removed, found.roots, found.groups["task"]) == (0, 0, (), {})
