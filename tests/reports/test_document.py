import json
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from neuralrank.errors import DataError, OutputError
from neuralrank.reports.document import document, ranking_from_json
from neuralrank.types import Failure, RankedModel, Ranking, TargetSummary

Make = Callable[..., Any]
SCHEMA = json.loads((files("neuralrank") / "schemas" / "ranking-1.json").read_text("utf-8"))
DOCS = Path(__file__).resolve().parents[2] / "docs" / "json.md"


def check(text: str) -> Any:
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    return content


def test_the_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_realistic_ranking_fits_the_schema(ranking: Ranking) -> None:
    content = check(document(ranking))
    assert list(content)[:6] == ["schema", "run_id", "created", "seed", "score", "target"]
    assert content["schema"] == "neuralrank/ranking/1"
    assert len(content["ranking"]) == 20
    assert content["ranking"][0]["interval"] == [0.7975476, 0.826462304]
    assert content["ranking"][18]["params"] is None
    assert content["ranking"][19]["scores"]["h_score"] is None
    assert [failure["stage"] for failure in content["failures"]] == ["list", "list", "match", "load", "extract"]
    assert content["settings"]["versions"]["numpy"] == "2.4.6"


def test_hostile_names_come_back_unchanged_and_the_text_is_ascii(hostile: Ranking) -> None:
    text = document(hostile)
    assert text.isascii()
    assert [row["name"] for row in check(text)["ranking"]] == [model.name for model in hostile.models]


@pytest.mark.parametrize("n_models", [0, 1, 500])
def test_any_number_of_models_fits_the_schema(make_ranking: Make, n_models: int) -> None:
    assert len(check(document(make_ranking(n_models)))["ranking"]) == n_models


def test_floats_read_back_as_the_same_number(make_ranking: Make, make_model: Make) -> None:
    score = 0.1 + 0.2
    model = make_model(score=score, scores={"a": np.float32(0.1), "b": np.float64(1e-300)}, extract_seconds=2)
    row = check(document(make_ranking(1, models=(model,))))["ranking"][0]
    assert row["score"] == score
    assert row["scores"] == {"a": float(np.float32(0.1)), "b": 1e-300}


def test_a_score_that_is_not_defined_is_null(make_ranking: Make, make_model: Make) -> None:
    model = make_model(
        scores={"log_me": float("nan"), "knn": float("inf")}, per_class={"cat": float("nan")}, p_best=None
    )
    row = check(document(make_ranking(1, models=(model,))))["ranking"][0]
    assert row["scores"] == {"log_me": None, "knn": None}
    assert row["per_class"] == {"cat": None}
    assert row["p_best"] is None


def test_a_ranking_score_of_nan_is_refused(make_ranking: Make, make_model: Make) -> None:
    model = make_model(score=float("nan"), model_id="folder:a@00")
    with pytest.raises(OutputError) as raised:
        document(make_ranking(1, models=(model,)))
    assert str(raised.value) == (
        "The JSON of a ranking needs finite numbers. Got score nan for 'folder:a@00'. "
        "Report this: a model without a score belongs under the failures."
    )


def test_settings_of_any_python_type_are_written(make_ranking: Make) -> None:
    settings = {"path": Path("data"), "n": np.int64(3), "limit": float("inf"), "tags": {"b", "a"}, "shape": np.zeros(2)}
    content = check(document(make_ranking(1, settings=settings)))
    assert content["settings"] == {"path": "data", "n": 3, "limit": None, "tags": ["a", "b"], "shape": [0.0, 0.0]}


def test_regression_without_classes_fits_the_schema(make_ranking: Make, make_model: Make) -> None:
    target = replace(
        make_ranking().target,
        task="regression",
        n_classes=None,
        label_entropy_bits=None,
        class_names=(),
        n_groups=None,
        chance_accuracy=None,
    )
    model = make_model(per_class={}, interval=None, p_best=None, expected_accuracy=-0.2, architecture=None)
    assert check(document(make_ranking(1, target=target, models=(model,))))["target"]["n_classes"] is None


def test_the_schema_refuses_a_field_it_does_not_name(ranking: Ranking) -> None:
    content = json.loads(document(ranking))
    content["ranking"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'surprise' was unexpected"):
        jsonschema.Draft202012Validator(SCHEMA).validate(content)


@pytest.mark.parametrize(
    ("value", "schema"),
    [(RankedModel, "model"), (TargetSummary, "target"), (Failure, "failure")],
    ids=["model", "target", "failure"],
)
def test_the_schema_has_every_field_of_the_types(value: Any, schema: str) -> None:
    known = {field.name for field in fields(value)} - {"features_key"}  # of this machine's cache
    assert known == set(SCHEMA["$defs"][schema]["properties"])


def test_every_field_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    parts = [SCHEMA, *SCHEMA["$defs"].values()]
    rows = [f"| `{name}` |" for part in parts for name in part["properties"]]
    assert [row for row in rows if row not in text] == []


def test_one_line_is_written_without_indent(ranking: Ranking) -> None:
    assert "\n" not in document(ranking, indent=None)


# --- and back ----------------------------------------------------------------------------------------------------


def test_a_ranking_reads_back_equal(ranking: Ranking) -> None:
    assert ranking_from_json(document(ranking)) == ranking


def test_hostile_names_read_back_equal(hostile: Ranking) -> None:
    back = ranking_from_json(document(hostile))
    assert (back.models, back.failures, back.target) == (hostile.models, hostile.failures, hostile.target)
    assert document(back) == document(hostile)


def test_what_has_no_value_is_written_again_as_it_was(make_ranking: Make, make_model: Make) -> None:
    nothing = float("nan")
    model = make_model(
        interval=None,
        per_class={"cat": nothing},
        scores={"log_me": nothing},
        expected_accuracy=None,
        expected_accuracy_interval=(nothing, 0.5),
    )
    text = document(make_ranking(1, models=(model,)))
    assert document(ranking_from_json(text)) == text


def test_a_ranking_of_another_schema_is_refused(ranking: Ranking) -> None:
    with pytest.raises(DataError) as raised:
        ranking_from_json(document(ranking).replace("neuralrank/ranking/1", "neuralrank/ranking/2"))
    assert str(raised.value) == (
        "A ranking needs the schema neuralrank/ranking/1. Got 'neuralrank/ranking/2'. "
        "Read it with the version of neuralrank that wrote it."
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": "neuralrank/ranking/1", "target": 1}'])
def test_what_is_no_ranking_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^A ranking needs JSON in the schema neuralrank/ranking/1\. Got"):
        ranking_from_json(text)
