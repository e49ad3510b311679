"""The synthetic records and queries of the search benchmark: the same for the same seed, shaped as documented."""

import importlib
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from statistics import median

import pytest

from neuralrank.fields import FIELDS
from neuralrank.queries.where import parse_where

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "search"
MODULES = ("synthetic_tables", "synthetic_queries", "synthetic")
N = 10_000


@pytest.fixture(scope="module")
def synthetic():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in MODULES:
            module = importlib.import_module(name)
        yield module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def made(synthetic):
    return list(synthetic.records(N, seed=0))


@pytest.fixture(scope="module")
def asked(synthetic):
    return synthetic.queries(1_000, seed=0)


def share(rows, has):
    return sum(bool(has(row)) for row in rows) / len(rows)


def test_the_same_seed_makes_the_same_records_and_another_one_others(synthetic, made):
    assert list(synthetic.records(100, seed=0)) == made[:100]
    assert list(synthetic.records(100, seed=1)) != made[:100]


def test_a_smaller_catalogue_is_the_beginning_of_a_larger_one(synthetic, made):
    assert len(made) == N
    block = synthetic.BLOCK
    assert list(islice(synthetic.records(block + 5), block - 5, None)) == made[block - 5 : block + 5]


def test_no_two_records_have_one_name_or_key(made):
    assert len({entry.name for entry in made}) == len({entry.model_id for entry in made}) == N
    assert all(entry.model_id == f"hf:{entry.name}@{entry.stamp[:12]}" for entry in made)
    assert all(entry.name.count("/") == 1 for entry in made)


@pytest.mark.parametrize(
    ("low", "high", "has"),
    [
        pytest.param(0.38, 0.42, lambda entry: not entry.description, id="no card"),
        pytest.param(0.33, 0.37, lambda entry: entry.license is None, id="no licence"),
        pytest.param(0.28, 0.32, lambda entry: entry.task is None, id="no task"),
        pytest.param(0.37, 0.43, lambda entry: entry.params is None, id="no parameters"),
        pytest.param(0.65, 0.80, lambda entry: not entry.label_names, id="no labels"),
        pytest.param(0.25, 0.38, lambda entry: entry.base_model, id="adapted from another"),
        pytest.param(0.03, 0.07, lambda entry: entry.results, id="results"),
        pytest.param(0.25, 0.45, lambda entry: entry.downloads == 0, id="no downloads"),
        pytest.param(0.0005, 0.02, lambda entry: entry.downloads > 10_000, id="many downloads"),
        pytest.param(0.7, 0.8, lambda entry: entry.likes == 0, id="no likes"),
        pytest.param(0.25, 0.6, lambda entry: not entry.loadable, id="not loadable"),
        pytest.param(0.03, 0.09, lambda entry: entry.name.endswith(("-GGUF", "-onnx")), id="copies"),
        pytest.param(0.18, 0.35, lambda entry: entry.task == "text-generation", id="text generation"),
        pytest.param(0.01, 0.06, lambda entry: entry.created < "2022", id="old"),
        pytest.param(0.4, 0.7, lambda entry: entry.created >= "2025-06", id="new"),
    ],
)
def test_shares_are_roughly_those_of_the_hub(made, low, high, has):
    assert low <= share(made, has) <= high


def test_cards_have_some_25_words_and_a_long_tail(made):
    lengths = [len(entry.description.split()) for entry in made if entry.description]
    assert 22 <= median(lengths) <= 33
    assert max(lengths) > 200


def test_words_and_owners_follow_zipf(made):
    words = Counter(word for entry in made for word in entry.description.split())
    assert len(words) > 15_000
    assert [word for word, _ in words.most_common(2)] == ["the", "of"]
    owners = Counter(entry.name.split("/")[0] for entry in made)
    assert 0.002 < owners.most_common(1)[0][1] / N < 0.05
    assert len(owners) > N / 3


def test_few_label_sets_are_shared_by_many(made):
    sets = Counter(entry.label_names for entry in made if entry.label_names)
    assert len(sets) <= 3_000
    assert sets.most_common(1)[0][1] > 20
    assert any(labels[:2] == ("LABEL_0", "LABEL_1") for labels in sets)


def test_adapted_models_name_an_earlier_one_and_make_chains(made):
    place = {entry.name: number for number, entry in enumerate(made)}
    derived = [entry for entry in made if entry.base_model]
    assert all(place[entry.base_model[0]] < place[entry.name] for entry in derived)
    assert share(derived, lambda entry: made[place[entry.base_model[0]]].base_model) > 0.1


def test_a_copy_is_named_after_what_it_copies(made):
    copies = [entry for entry in made if entry.base_model and entry.name.endswith("-GGUF")]
    assert copies
    assert all(entry.name.split("/")[1].startswith(entry.base_model[0].split("/")[1]) for entry in copies)


def test_moments_are_utc_and_in_order(made):
    assert all(entry.created.endswith("Z") and entry.created <= entry.updated for entry in made)


def test_the_same_seed_asks_the_same(synthetic, asked):
    assert synthetic.queries(50, seed=0) == asked[:50]
    assert synthetic.queries(50, seed=1) != asked[:50]


def test_a_fifth_of_the_queries_is_of_each_kind(asked):
    assert Counter(query["kind"] for query in asked) == dict.fromkeys(("where", "text", "both", "sort", "labels"), 200)


def test_queries_have_what_their_kind_says(asked):
    for query in asked:
        kind = query["kind"]
        assert bool(query["text"]) == (kind in ("text", "both"))
        assert bool(query["labels"]) == (kind == "labels")
        assert bool(query["sort"]) == (kind == "sort")
        assert query["where"] or kind not in ("where", "both")
        assert kind != "labels" or 2 <= len(query["labels"]) <= 10
    words = Counter(len(query["text"].replace('"', "").split()) for query in asked if query["text"])
    assert set(words) == {1, 2, 3, 4}


def test_every_condition_is_one_and_every_field_is_asked_for(asked):
    conditions = [parse_where(query["where"]) for query in asked if query["where"]]
    names = {field.name for field in FIELDS}
    assert {name for condition in conditions for name in condition.fields} == names
    assert {query["sort"].lstrip("-") for query in asked if query["sort"]} == names - {"label_names"}
    for word in (
        " AND ",
        " OR ",
        "NOT (",
        " IN (",
        " LIKE ",
        " BETWEEN ",
        " IS NULL",
        " IS NOT NULL",
        "30M",
        "4GB",
        "'20",
    ):
        assert any(word in condition.text for condition in conditions), word
