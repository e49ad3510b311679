"""What a search looks like: for people, as JSON in its schema, as CSV and Markdown."""

import csv
import io
import json
import re
from importlib.resources import files

import jsonschema
import pytest

from neuralrank.entries import FoundModel, ModelEntry, ReportedResult, SearchResult
from neuralrank.fields import FIELDS
from neuralrank.reports._found import entry_text, found_csv, found_json, found_markdown, found_text

SCHEMA = json.loads((files("neuralrank") / "schemas" / "search-1.json").read_text("utf-8"))


def entry(name="owner/model", **facts):
    return ModelEntry(model_id=f"hf:{name}@1", source="hf", name=name, location=name, stamp="1", **facts)


def result(*models, **facts):
    given = {"n_models": 10, "n_matches": len(models), "n_unknown": 0, "unknown": "drop", "sorted_by": "relevance"}
    return SearchResult(models=models, **{**given, **facts})


@pytest.fixture
def two():
    first = entry(
        "owner/first",
        params=25_600_000,
        size_bytes=102_000_000,
        license="apache-2.0",
        task="image-classification",
        label_names=("cat", "dog"),
        results=(ReportedResult(task="t", data="d", metric="accuracy", value=0.9),),
    )
    return result(
        FoundModel(rank=1, entry=first, relevance=1.0, snippet="sees a cat here", marks=((7, 10),), n_copies=2),
        FoundModel(
            rank=2,
            entry=entry("owner/second-model", refusal="x.pkl needs safetensors. Got a pickle. Convert it."),
            coverage=0.5,
            covered={"cat": "tabby (narrower)", "zebra": None},
        ),
        n_full=1,
        n_unknown=3,
        corrections={"ctas": "cats"},
    )


def test_columns_align_and_numbers_have_units(two):
    lines = found_text(two, columns=110).splitlines()
    (head,) = (line for line in lines if line.startswith("#"))
    (first,) = (line for line in lines if line.startswith("1  "))
    (second,) = (line for line in lines if line.startswith("2  "))
    assert first.index("owner/first") == head.index("model") == second.index("owner/second-model")
    assert head.index("params") + len("params") == first.index("25.6M") + len("25.6M")
    assert "102 MB" in first
    assert second.index("50.0 %") + len("50.0 %") == head.index("labels") + len("labels")


def test_why_a_model_was_found_stands_below_it(two):
    lines = found_text(two, columns=110).splitlines()
    assert "   + 2 copies · sees a cat here" in lines
    assert "   1 of 2 labels (cat: tabby (narrower); without zebra) · listed only: x.pkl needs safetensors" in lines


def test_the_hit_is_marked_by_bold_and_nothing_else_changes(two):
    plain, colored = found_text(two, columns=110), found_text(two, columns=110, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
    assert re.search(r"\x1b\[1m[^\x1b]*cat", colored)


def test_counts_corrections_and_unknowns_are_said(two):
    text = found_text(two, columns=110)
    assert text.startswith("2 of 10 models match, sorted by relevance.")
    assert "No model has 'ctas': looked for 'cats'." in text
    assert "3 models of which the condition is unknown: left out; --unknown keep shows them." in text
    assert "Only the first 1 have all these words" in text


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(two, columns):
    table = found_text(two, columns=columns).split("\n\n", 1)[1]
    assert max(map(len, table.splitlines())) <= columns


def test_control_characters_of_strangers_do_not_reach_the_terminal():
    evil = "\x1b[31mred\x07\u202e"
    model = FoundModel(
        rank=1,
        entry=entry(f"owner/{evil}", license=evil, task=evil, refusal=evil, description=evil, tags=(evil,)),
        snippet=f"{evil} cat",
        marks=((len(evil) + 1, len(evil) + 4),),
        covered={evil: evil},
        reasons=(evil,),
    )
    for text in (found_text(result(model), columns=100), found_markdown(result(model)), entry_text(model.entry)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


def test_json_fits_its_schema_and_has_every_field(two):
    content = json.loads(found_json(two))
    jsonschema.validate(content, SCHEMA)
    assert content["models"][0]["params"] == 25_600_000
    assert {field.name for field in FIELDS} <= content["models"][1].keys()
    assert found_json(two).isascii()


def test_the_schema_knows_every_field_of_the_catalogue():
    known = SCHEMA["properties"]["models"]["items"]["properties"]
    assert {field.name for field in FIELDS} <= known.keys()


def test_csv_cells_are_no_formulas():
    text = found_csv(result(FoundModel(rank=1, entry=entry("=1+1", tags=("a", "b")))))
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["name"], row["tags"], row["params"]) == ("'=1+1", "a b", "")


def test_markdown_escapes_names():
    text = found_markdown(result(FoundModel(rank=1, entry=entry("a|b*c"))))
    assert r"| 1 | a\|b\*c |" in text


def test_an_entry_is_written_field_by_field(two):
    text = entry_text(two.models[0].entry, removed="2026-01-01")
    said = dict(line.split(None, 1) for line in text.splitlines())
    assert said["params"] == "25,600,000"
    assert said["label_names"] == "cat, dog"
    assert said["reported"] == "accuracy 0.9000 on d (t)"
    assert said["removed"] == "2026-01-01"
    assert "base_model" not in said
