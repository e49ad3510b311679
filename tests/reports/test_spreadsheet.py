import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from neuralrank.reports.spreadsheet import spreadsheet
from neuralrank.types import Ranking

Make = Callable[..., Any]
HEADER = (
    "rank,tie_group,model_id,name,score,interval_low,interval_high,p_best,expected_accuracy,expected_accuracy_low,"
    "expected_accuracy_high,layer,n_features,"
    "n_samples_used,params,size_bytes,extract_seconds,cached,architecture,format,license,pretraining_data,warnings"
)


def rows(report: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report, newline=""), strict=True))


def test_the_header_is_stable(make_ranking: Make) -> None:
    assert spreadsheet(make_ranking(0)) == HEADER + "\r\n"
    assert spreadsheet(make_ranking(1)).split("\r\n")[0] == HEADER + ",score_log_me,score_h_score,score_knn"


def test_one_line_per_model_ended_by_carriage_return_and_newline(ranking: Ranking) -> None:
    report = spreadsheet(ranking)
    assert report.count("\r\n") == report.count("\n") == 21


def test_numbers_keep_their_full_precision(make_ranking: Make, make_model: Make) -> None:
    row = rows(spreadsheet(make_ranking(1, models=(make_model(score=-(0.1 + 0.2), interval=None, params=None),))))[0]
    assert (row["score"], row["interval_low"], row["params"]) == ("-0.30000000000000004", "", "")
    assert (row["cached"], row["n_features"]) == ("false", "64")


def test_hostile_names_keep_to_one_line_each(hostile: Ranking) -> None:
    report = spreadsheet(hostile)
    assert report.count("\n") == len(hostile.models) + 1
    assert all(character.isprintable() for character in report.replace("\r\n", ""))
    assert rows(report)[5]["name"] == "\"quoted\", 'twice', & ampersand"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "＝", "＠"])
def test_a_formula_gets_an_apostrophe(make_ranking: Make, make_model: Make, start: str) -> None:
    model = make_model(name=f"{start}1+1", license=f"{start}2", warnings=(f"{start}3",))
    row = rows(spreadsheet(make_ranking(1, models=(model,))))[0]
    assert (row["name"], row["license"], row["warnings"]) == (f"'{start}1+1", f"'{start}2", f"'{start}3")


def test_a_hostile_score_name_is_no_formula_in_the_header(make_ranking: Make, make_model: Make) -> None:
    report = spreadsheet(make_ranking(1, models=(make_model(scores={"a,b": 1.0}),)))
    assert rows(report)[0]["score_a,b"] == "1.0"
