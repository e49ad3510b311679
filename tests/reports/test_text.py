import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from neuralrank.reports._names import width as cells
from neuralrank.reports.text import text
from neuralrank.types import Failure, Ranking

Make = Callable[..., Any]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def row(report: str, start: str) -> str:
    return next(line for line in report.splitlines() if line.strip().startswith(start))


def test_eighty_columns_show_the_main_facts(ranking: Ranking) -> None:
    report = text(ranking, width=80)
    lines = report.splitlines()
    assert lines[:5] == [
        "target  photos/cifar10",
        "        image classification, 10,000 samples, 10 classes",
        "probe   2,000 samples drawn with seed 0, in 1,987 groups, 3 unreadable",
        "score   neuralrank",
        "chance  score 0, accuracy 10.0 %",
    ]
    assert lines[6].split() == ["#", "model", "score", "acc.", "%", "best", "%", "params", "sec"]
    assert lines[7].split() == ["1=", "cifar100_resnet56.onnx", "0.812", "±", "0.014", "94.1", "71", "853k", "11.2"]
    assert row(report, "5=").split()[:3] == ["5=", "mobilenet…224_tf2ptq.onnx", "a"]
    assert row(report, "20").split()[-4:] == ["10.4", "<1", "4.12k", "0.06"]


def test_wide_terminals_show_the_further_scores(ranking: Ranking) -> None:
    header = row(text(ranking, width=160), "#")
    assert header.split()[-5:] == ["size", "sec", "log_me", "h_score", "knn"]
    assert row(text(ranking, width=210), "#").split()[-3:] == ["licence", "format", "layer"]


def test_columns_are_dropped_in_the_stated_order(ranking: Ranking) -> None:
    wanted = [
        "layer",
        "format",
        "licence",
        "dim",
        "-0.03",
        "knn",
        "h_score",
        "log_me",
        "size",
        "sec",
        "params",
        "best",
        "acc.",
    ]
    left = [row(text(ranking, width=width), "#").split() for width in range(210, 40, -1)]
    dropped = []
    for header in left:
        dropped += [title for title in wanted if title not in header and title not in dropped]
    assert dropped == wanted


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, 250])
@pytest.mark.parametrize("kind", ["realistic", "hostile", "none"])
def test_no_line_is_wider_than_the_terminal(
    ranking: Ranking, hostile: Ranking, make_ranking: Make, width: int, kind: str
) -> None:
    report = text({"realistic": ranking, "hostile": hostile, "none": make_ranking(0)}[kind], width=width)
    assert max(map(cells, report.splitlines())) <= width


def test_columns_are_aligned_in_every_row(ranking: Ranking) -> None:
    lines = text(ranking, width=80).splitlines()[7:27]
    assert {line.index("±") for line in lines} == {lines[0].index("±")}
    assert {len(line) for line in lines} == {len(lines[0])}


def test_the_answer_names_the_best_the_ties_and_the_smallest_of_them(ranking: Ranking) -> None:
    assert (
        "Use cifar100_resnet56.onnx: score 0.812 ± 0.014, expected accuracy 94.1 ± 1.2 %, tied with "
        "cifar100_resnet44.onnx and cifar100_resnet20.onnx. "
        "The smallest of the tied models is cifar100_resnet20.onnx: 270k parameters against 853k."
    ) in text(ranking, width=300)


def test_the_remarks_explain_ties_cache_and_baseline(ranking: Ranking) -> None:
    report = text(ranking, width=300)
    assert (
        "Models of one rank marked = are tied: their differences on the same samples do not tell them apart.\n"
        "The features of 2 models were cached; the seconds are what they cost when made.\n"
        "By log parameters alone the order would begin: mobilenetv2_100_224_tf2ptq.onnx, mobilenetv2_inat_bird.onnx, "
        "mobilenetv1_050_160_q.onnx. Agreement with this ranking: Kendall τ = 0.49.\n"
    ) in report


def test_failures_show_stage_and_sentence_with_a_hanging_indent(ranking: Ranking) -> None:
    report = text(ranking, width=80)
    start = report.index("Failed (5)")
    assert report[start:].splitlines()[1:6] == [
        "  list     old/vgg16.pth and old/alexnet.pth: A pickle can run any code when it",
        "           is loaded. Got '…'. Save the weights as safetensors beside a",
        "           config.json, or export the model to ONNX.",
        "  match    sentiment: The target holds images. Got a text model. Rank it on a",
        "           text data set.",
    ]


def test_warnings_are_grouped_by_sentence(ranking: Ranking) -> None:
    report = text(ranking, width=300)
    assert (
        "  a  Only 2,000 samples for 512 to 1,280 features: the score leans on its regularisation. 6 models: "
        "mobilenetv2_100_224_tf2ptq.onnx, mobilenetv2_inat_bird.onnx, mobilenetv1_050_160_q.onnx, "
        "squeezenet10_deepcompression.onnx and 2 more\n"
    ) in report
    assert "  c  The score is no better than chance. 1 model: untrained_tiny.onnx\n" in report


def test_the_last_line_says_how_the_run_ended(ranking: Ranking) -> None:
    assert text(ranking).endswith("\n20 models ranked, 5 failed. Stopped: all models scored.\n")


def test_colour_changes_nothing_but_colour(ranking: Ranking) -> None:
    plain, coloured = text(ranking), text(ranking, color=True)
    assert "\x1b[" not in plain
    assert "\x1b[32m" in coloured
    assert re.sub(r" +$", "", ANSI.sub("", coloured), flags=re.MULTILINE) == plain


def test_the_environment_has_no_say(ranking: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = text(ranking), text(ranking, color=True)
    for name, value in {"NO_COLOR": "1", "FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert (text(ranking), text(ranking, color=True)) == expected


def test_hostile_names_cannot_steer_the_terminal(hostile: Ranking) -> None:
    report = text(hostile, width=200)
    assert all(character.isprintable() for character in report.replace("\n", ""))
    assert "[red]bold[/red] | pipe" in report
    assert r"line one\nline two\r\n\x1b[31mred\x1b[0m\x07\u202egnp.exe" in report


def test_nothing_ranked_is_said_first(make_ranking: Make) -> None:
    report = text(make_ranking(0, baselines={}))
    assert "No model could be ranked: 5 models failed.\n" in report
    assert "#" not in report


def test_no_models_at_all_is_said(make_ranking: Make) -> None:
    assert "No model could be ranked: there was none.\n" in text(make_ranking(0, baselines={}, failures=()))


def test_one_model_has_no_ties_and_no_baseline(make_ranking: Make) -> None:
    report = text(make_ranking(1))
    assert row(report, "1").split()[:2] == ["1", "cifar100_resnet56.onnx"]
    assert "tied" not in report
    assert "Kendall" not in report


def test_a_best_model_at_chance_is_not_recommended(make_ranking: Make, make_model: Make) -> None:
    report = text(make_ranking(1, models=(make_model(19, rank=1, interval=(-0.02, 0.03)),)), width=200)
    assert "No model is told from chance on this data; the highest score is untrained_tiny.onnx's: score" in report
    assert "Use " not in report


def test_top_cuts_the_table_and_says_so(make_ranking: Make) -> None:
    report = text(make_ranking(500), top=5)
    assert "… and 495 more\n" in report
    assert "doodlenet" not in report.split("Use ")[0]


def test_many_failures_are_counted(make_ranking: Make) -> None:
    failures = tuple(Failure(model_id=f"folder:m{i}", stage="load", error=f"Reason {i}.") for i in range(200))
    report = text(make_ranking(1, failures=failures))
    assert "Failed (200)" in report
    assert "and 180 more, all of them in the JSON and HTML reports" in report


def test_regression_is_reported_as_r_squared(make_ranking: Make) -> None:
    ranking = make_ranking()
    target = replace(ranking.target, task="regression", n_classes=None, chance_accuracy=None)
    report = text(replace(ranking, target=target), width=120)
    assert "image regression, 10,000 samples\n" in report
    assert "chance  score 0\n" in report
    assert row(report, "#").split()[3] == "R²"
    assert "expected R² 0.941" in report


def test_a_score_without_interval_has_no_plus_minus(make_ranking: Make, make_model: Make) -> None:
    models = tuple(make_model(i, interval=None, p_best=None) for i in range(3))
    report = text(make_ranking(3, models=models, score="log_me"), width=160)
    assert "±" not in report.partition("\nUse ")[0]
    assert "chance  accuracy 10.0 %\n" in report


def test_models_of_one_name_show_what_tells_them_apart(make_ranking: Make, make_model: Make) -> None:
    layers = (make_model(0, layer="pool"), make_model(1, name="cifar100_resnet56.onnx", layer="stem"))
    layers = (layers[0], replace(layers[1], model_id=layers[0].model_id))
    report = text(make_ranking(2, models=layers), width=120)
    assert "cifar100_resnet56.onnx [pool]" in report
    assert "cifar100_resnet56.onnx [stem]" in report


def test_the_score_of_the_ranking_is_not_repeated_as_a_further_one(make_ranking: Make, make_model: Make) -> None:
    model = make_model(scores={"neuralrank": 0.8123, "knn": 0.91})
    assert row(text(make_ranking(1, models=(model,)), width=200), "#").count("neuralrank") == 0


def test_a_failure_that_begins_with_its_name_is_not_named_twice(make_ranking: Make) -> None:
    failure = Failure(model_id="folder:a/b.onnx@0123456789", stage="load", error="a/b.onnx ends early. Copy it again.")
    assert "  load  a/b.onnx ends early. Copy it again.\n" in text(make_ranking(1, failures=(failure,)))


def test_table_and_answer_write_the_score_alike(make_ranking: Make, make_model: Make) -> None:
    models = (make_model(0, interval=(0.8, 0.82)), *(make_model(i, interval=(0.4, 0.9)) for i in range(3, 9)))
    report = text(make_ranking(7, models=models))
    assert "0.81 ± 0.01 " in report
    assert "score 0.81 ± 0.01," in report
