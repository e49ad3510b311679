"""What the reports call labels, where a classification has classes."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from neuralrank.reports._sentences import chance_score
from neuralrank.reports.document import document
from neuralrank.reports.figure import figure
from neuralrank.reports.markdown import markdown
from neuralrank.reports.page import page
from neuralrank.reports.spreadsheet import spreadsheet
from neuralrank.reports.text import text
from neuralrank.types import Ranking

Make = Callable[..., Any]
TAGS = ("dark", "fog", "rain")


@pytest.fixture
def tagged(make_ranking: Make, make_model: Make) -> Ranking:
    models = tuple(make_model(i, per_class=dict.fromkeys(TAGS, 0.3 + 0.1 * i)) for i in range(3))
    base: Ranking = make_ranking(3, models=models)
    target = replace(
        base.target, task="multilabel", n_classes=3, label_entropy_bits=0.62, class_names=TAGS, chance_accuracy=None
    )
    return replace(base, target=target)


def test_the_table_names_labels_and_their_accuracy(tagged: Ranking) -> None:
    report = text(tagged, width=200)
    assert "        image, 10,000 samples, multi-label, 3 labels\n" in report
    assert "  label acc. %  " in report
    assert "label acc. %: held-out label accuracy of a linear head, the mean over the labels · " in report
    assert "expected label accuracy 94.1 ± 1.2 %" in report
    assert "chance  score 0\n" in report
    assert "class" not in report.split("Data")[0]


def test_one_label_is_counted_as_one(tagged: Ranking) -> None:
    assert ", multi-label, 1 label\n" in text(replace(tagged, target=replace(tagged.target, n_classes=1)))


def test_markdown_names_labels_and_their_accuracy(tagged: Ranking) -> None:
    report = markdown(tagged)
    assert "- Target: image, 10,000 samples, multi-label, 3 labels\n" in report
    assert "| Expected label accuracy |" in report
    assert "94.1 ± 1.2 %" in report


def test_the_page_names_labels_and_their_accuracy(tagged: Ranking, ranking: Ranking) -> None:
    html = page(tagged)
    assert "Expected label accuracy is that of a linear head on samples it was not fitted to, the mean over the" in html
    assert ">Score by label</h2>" in html
    assert "A dark cell is a label whose samples the model cannot tell from others." in html
    assert "image, 10,000 samples, multi-label, 3 labels" in html
    html = page(ranking)
    assert "Expected accuracy is that of a linear head trained on as many samples. P(best)" in html
    assert ">Score by class</h2>" in html
    assert "A dark cell is a class whose samples the model cannot tell from others." in html


def test_the_page_counts_the_labels_it_leaves_out(tagged: Ranking, make_model: Make) -> None:
    model = make_model(per_class={f"tag {number}": number / 30 for number in range(30)})
    assert "and the 20 of 30 labels on which they differ most." in page(replace(tagged, models=(model,)))


def test_the_json_fits_the_schema(tagged: Ranking) -> None:
    schema = json.loads((files("neuralrank") / "schemas" / "ranking-1.json").read_text("utf-8"))
    content = json.loads(document(tagged))
    jsonschema.Draft202012Validator(schema).validate(content)
    target = content["target"]
    assert (target["task"], target["n_classes"], target["chance_accuracy"]) == ("multilabel", 3, None)


def test_figure_and_spreadsheet_need_no_classes(tagged: Ranking) -> None:
    assert len(figure(tagged).axes[0].get_yticklabels()) == 3
    assert spreadsheet(tagged).count("\r\n") == 4


def test_the_accuracy_of_neighbours_has_no_chance_level_over_labels(tagged: Ranking, ranking: Ranking) -> None:
    assert chance_score(replace(tagged, score="knn")) is None
    assert chance_score(replace(ranking, score="knn")) == 0.1004
    assert chance_score(tagged) == 0.0
