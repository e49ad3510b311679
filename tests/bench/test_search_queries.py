"""The queries that search is judged by: consistent, not copied from what is searched, and measured as documented."""

import importlib
import json
import math
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "search"
MODULES = ("entries", "make_queries", "baselines", "quality")


@pytest.fixture(scope="module")
def scripts():
    """The scripts of the benchmark, which import each other by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def rows(scripts):
    return scripts["entries"].read_rows()


@pytest.fixture(scope="module")
def queries(scripts):
    return scripts["entries"].read_queries()


def test_there_are_hundreds_of_models_and_no_name_twice(rows):
    assert len(rows) >= 350
    assert max(Counter(row["name"] for row in rows).values()) == 1


def test_what_was_written_by_hand_is_in_the_file(rows):
    by_hand = [json.loads(line) for line in (FOLDER / "models_by_hand.jsonl").read_text().splitlines()]
    assert rows[: len(by_hand)] == by_hand


def test_every_row_is_an_entry_of_a_catalogue_without_its_facts(scripts, rows):
    entries = scripts["entries"].read_entries(None)
    assert [entry.name for entry in entries] == [row["name"] for row in rows]
    assert all(not hasattr(entry, "facts") for entry in entries)
    assert entries[0].pretraining_data == ("bookcorpus", "wikipedia")


def test_names_of_large_label_sets_come_from_the_zoo(scripts, tmp_path):
    for card in scripts["entries"].LABEL_SETS.values():
        (tmp_path / f"{card}.json").write_text(json.dumps({"class_names": [card, "goldfish"]}))
    named = {entry.name: entry.label_names for entry in scripts["entries"].read_entries(tmp_path)}
    assert named["microsoft/resnet-50"] == ("squeezenet10_deepcompression", "goldfish")
    assert named["mobilenetv2_inat_bird.onnx"] == ("mobilenetv2_inat_bird", "goldfish")
    assert named["ProsusAI/finbert"] == ("positive", "negative", "neutral")


def test_there_are_many_queries_of_many_kinds_and_none_twice(queries):
    assert len(queries) >= 60
    kinds = Counter(query.kind for query in queries)
    assert len(kinds) >= 10
    assert min(kinds.values()) >= 5
    assert max(Counter(query.text.casefold() for query in queries).values()) == 1
    assert len({query.id for query in queries}) == len(queries)


def test_each_kind_is_split_into_halves(queries):
    for kind in {query.kind for query in queries}:
        counts = Counter(query.half for query in queries if query.kind == kind)
        assert set(counts) == {"tune", "report"}
        assert abs(counts["tune"] - counts["report"]) <= 1


def test_judgements_name_models_and_every_query_has_a_best_answer(queries, rows):
    names = {row["name"] for row in rows}
    for query in queries:
        assert set(query.relevant) <= names, query.text
        assert set(query.relevant.values()) <= {1, 2, 3}, query.text
        assert 3 in query.relevant.values(), query.text


def test_no_query_is_a_copy_of_a_sentence_of_a_card(queries, rows):
    sentences = {
        " ".join(re.findall(r"\w+", sentence.lower()))
        for row in rows
        for sentence in re.split(r"[.;?!](?:\s|$)", row.get("description", ""))
    }
    assert not {" ".join(re.findall(r"\w+", query.text.lower())) for query in queries} & sentences


def test_the_file_holds_what_the_rules_say(scripts, queries, rows):
    assert list(scripts["make_queries"].judge(rows)) == queries


def test_a_term_no_model_has_is_refused(scripts, rows):
    without = [{**row, "facts": []} for row in rows]
    with pytest.raises(ValueError, match="No model has the fact"):
        list(scripts["make_queries"].judge(without))


@pytest.mark.parametrize(
    ("rule", "grade"),
    [
        ("vit lang:de || cnn ||", 3),
        ("cnn || vit -lang:de | label:cat || vit", 2),
        ("cnn || set:s || <3M", 1),
        ("~*b || base:x* || data:d*", 3),
        ("cnn || lang:fr || label:dog", 0),
    ],
)
def test_the_highest_grade_with_an_alternative_that_holds_counts(scripts, rule, grade):
    row = {"name": "A/B", "facts": ["vit"], "languages": ["de"], "label_names": ["Cat"], "params": 2_000_000}
    _, _, rules = scripts["make_queries"].parse(f"kind | text | {rule}")
    assert scripts["make_queries"].grade_of(row, rules) == grade


def test_ndcg_is_what_hand_arithmetic_gives(scripts):
    ndcg = scripts["quality"].ndcg
    relevant = {"a": 3, "b": 1}
    ideal = 7 + 1 / math.log2(3)
    assert ndcg([["a"], ["b"]], relevant) == 1
    assert ndcg([["b"], ["x"], ["a"]], relevant) == pytest.approx((1 + 7 / 2) / ideal)
    assert ndcg([], relevant) == 0
    assert ndcg([["x"]] * 10 + [["a"]], relevant) == 0


def test_models_on_one_place_get_the_mean_over_their_orders(scripts):
    ndcg = scripts["quality"].ndcg
    relevant = {"a": 2, "b": 1}
    orders = [["a", "b", "x"], ["a", "x", "b"], ["b", "a", "x"], ["b", "x", "a"], ["x", "a", "b"], ["x", "b", "a"]]
    mean = sum(ndcg([[name] for name in order], relevant, 2) for order in orders) / 6
    assert ndcg([["a", "b", "x"]], relevant, 2) == pytest.approx(mean)


def test_the_baselines_find_what_they_say(scripts):
    make_entry, baselines = scripts["entries"].make_entry, scripts["baselines"]
    cards = {"x/resnet-50": "A residual network", "y/bird": "Residual, a network of ResNet-50", "z/other": "Nothing"}
    entries = [make_entry({"name": n, "source": "hf", "description": d}, {}) for n, d in cards.items()]
    assert baselines.substring(entries)("ResNet-50") == [["x/resnet-50", "y/bird"]]
    assert baselines.substring(entries)("residual network") == [["x/resnet-50"], ["y/bird"]]
    assert baselines.name_substring(entries)('"resnet"*') == [["x/resnet-50"]]
    assert baselines.name_substring(entries)("residual") == []
    assert baselines.bm25(entries)("nothing bird")[0] in (["z/other"], ["y/bird"])


def test_neuralrank_is_asked_over_a_catalogue_that_holds_the_entries(scripts, queries):
    (query,) = (query for query in queries if query.text == "resnet50")
    answers = scripts["quality"].search_with_neuralrank([query], scripts["entries"].read_entries(None))
    places = answers["resnet50"]
    assert len(places) == scripts["quality"].DEPTH
    assert query.relevant[places[0][0]] == 3
