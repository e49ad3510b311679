from collections.abc import Callable
from dataclasses import replace
from typing import Any

from neuralrank.reports.markdown import markdown
from neuralrank.types import Failure, Ranking

Make = Callable[..., Any]


def table(report: str) -> list[str]:
    return [line for line in report.splitlines() if line.startswith("|")]


def test_the_table_has_one_row_per_model(ranking: Ranking) -> None:
    lines = table(markdown(ranking))
    assert len(lines) == 22
    assert lines[0] == (
        "| # | Model | Score | Expected accuracy | P(best) | Parameters | Seconds "
        "| `log_me` | `h_score` | `knn` | Warnings |"
    )
    assert lines[6] == (
        "| 5= | `mobilenetv2_100_224_tf2ptq.onnx` | 0.731 ± 0.015 | 90.3 ± 1.2 % | &lt;1 % "
        "| 3.49M | 41.7 | 0.46 | 6.6 | 0.87 | a |"
    )


def test_every_row_has_the_same_number_of_cells(hostile: Ranking) -> None:
    assert {line.count("|") for line in table(markdown(hostile))} == {12}


def test_failures_stand_with_stage_and_sentence(ranking: Ranking) -> None:
    report = markdown(ranking)
    assert "## Failed\n" in report
    assert (
        "- `endless.onnx` (extract): The model made no progress for 300 seconds and was stopped. "
        "Raise --model-timeout if it is only slow.\n"
    ) in report
    assert report.endswith("\n20 models ranked, 5 failed. Stopped: all models scored.\n")


def test_hostile_names_become_neither_markup_nor_lines(hostile: Ranking) -> None:
    report = markdown(hostile)
    outside = "".join(part for index, part in enumerate(report.split("`")) if index % 2 == 0)
    assert "<script>" not in outside
    assert "\x1b" not in report
    assert "`<script>alert(1)</script><img src=x onerror=alert(2)>`" in report
    assert "&#91;red&#93;bold&#91;/red&#93; &#124; pipe" in report


def test_sentences_make_no_links_mentions_or_emphasis(make_ranking: Make) -> None:
    error = "Got *a* [link](https://x.org) <b> @someone #12 a|b `c` snake_case."
    failure = Failure(model_id="folder:m", stage="load", error=error)
    assert (
        r"Got \*a\* \[link\](http<!-- -->s://x.org) &lt;b&gt; @<!-- -->someone #<!-- -->12 a&#124;b \`c\` snake_case."
    ) in markdown(make_ranking(1, failures=(failure,)))


def test_a_note_cannot_become_a_heading(make_ranking: Make) -> None:
    ranking = make_ranking(1)
    report = markdown(replace(ranking, target=replace(ranking.target, notes=("# not a heading", "- nor a list"))))
    assert r"- \# not a heading" in report
    assert r"- \- nor a list" in report


def test_nothing_ranked_has_no_table(make_ranking: Make) -> None:
    report = markdown(make_ranking(0, baselines={}))
    assert "**No model could be ranked: 5 models failed.**" in report
    assert table(report) == []


def test_top_cuts_the_table_and_says_so(make_ranking: Make) -> None:
    report = markdown(make_ranking(500), top=3)
    assert len(table(report)) == 5
    assert "… and 497 more" in report
