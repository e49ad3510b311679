import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from neuralrank.reports.page import page
from neuralrank.types import Ranking

Make = Callable[..., Any]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text).replace("\u00a0", " "))


def test_the_headline_is_the_answer(ranking: Ranking) -> None:
    words = Reader(page(ranking)).words()
    assert "Use cifar100_resnet56.onnx" in words
    assert (
        "Score 0.812 ± 0.014, expected accuracy 94.1 ± 1.2 %, tied with cifar100_resnet44.onnx and "
        "cifar100_resnet20.onnx. The smallest of the tied models is cifar100_resnet20.onnx: 270k parameters "
        "against 853k."
    ) in words


def test_every_part_is_there(ranking: Ranking) -> None:
    reader = Reader(page(ranking))
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", page(ranking))
    assert headings == [
        "Ranking",
        "Scores with their 95 % intervals",
        "What a better score costs",
        "Score by class",
        "What a static list would say",
        "Failed: 5",
        "Warnings",
        "Data",
        "Settings and versions",
    ]
    assert "by Kendall τ = 0.49" in reader.words()
    assert "<dt>versions.onnxruntime</dt><dd>1.32.0</dd>" in page(ranking)


@pytest.mark.parametrize("kind", ["realistic", "hostile", "none", "one"])
def test_the_page_asks_for_nothing_and_runs_nothing(
    ranking: Ranking, hostile: Ranking, make_ranking: Make, kind: str
) -> None:
    cases = {"realistic": ranking, "hostile": hostile, "none": make_ranking(0), "one": make_ranking(1)}
    html = page(cases[kind])
    reader = Reader(html)
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(reader.tags)
    assert {name for _, name, _ in reader.attributes if name.startswith("on") or name == "src"} == set()
    assert all(value.startswith("#w-") for _, name, value in reader.attributes if name == "href")
    assert "url(" not in html
    assert "@import" not in html
    assert (
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
        in html
    )


def test_hostile_names_are_text(hostile: Ranking) -> None:
    html = page(hostile)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    assert all(character.isprintable() or character == "\n" for character in html.replace("\u00a0", " "))
    html.encode("utf-8")


def test_ids_are_unique_and_every_reference_has_one(ranking: Ranking) -> None:
    reader = Reader(page(ranking))
    ids = Counter(value for _, name, value in reader.attributes if name == "id")
    assert max(ids.values()) == 1
    wanted = {part for _, name, value in reader.attributes if name == "aria-labelledby" for part in value.split()}
    wanted |= {value.removeprefix("#") for _, name, value in reader.attributes if name == "href"}
    assert wanted - set(ids) == set()


def test_tables_and_figures_can_be_read_aloud(ranking: Ranking) -> None:
    html = page(ranking)
    assert re.findall(r"<th(?![^>]*scope=)[\s>]", html) == []
    for picture in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        if 'aria-hidden="true"' not in picture:
            assert 'role="img"' in picture
            assert "<title" in picture
            assert "<desc" in picture


def test_colours_of_text_reach_a_contrast_of_4_5(ranking: Ranking) -> None:
    for block in re.findall(r":root \{(.*?)\}", page(ranking), flags=re.DOTALL):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block))
        for name in ("ink", "muted", "first", "bad", "warn"):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name


def test_the_rows_are_marked_as_in_the_text_report(ranking: Ranking) -> None:
    html = page(ranking)
    assert html.count('<tr role="row" class="first">') == 3
    assert '<sup><a href="#w-a">a</a><a href="#w-b">b</a></sup>' in html


def test_five_hundred_models_with_a_hundred_classes_stay_below_a_megabyte(make_ranking: Make, make_model: Make) -> None:
    classes = tuple(f"class number {i}" for i in range(100))
    models = tuple(
        make_model(
            i,
            name=f"organisation/a-rather-long-model-name-{i:03d}-patch16-224.in21k_ft_in1k",
            per_class={name: (i * k % 17) / 17 for k, name in enumerate(classes)},
        )
        for i in range(500)
    )
    ranking = make_ranking(1, models=models)
    html = page(replace(ranking, target=replace(ranking.target, class_names=classes, n_classes=100)))
    assert len(html.encode("utf-8")) < 1_000_000
    assert "The 12 best models and the 20 of 100 classes on which they differ most." in html
    assert "The first 30 of 500 models are drawn." in html


def test_nothing_ranked_shows_the_failures_alone(make_ranking: Make) -> None:
    html = page(make_ranking(0, baselines={}))
    assert '<h1 class="bad">No model could be ranked: 5 models failed.</h1>' in html
    assert "Ranking</h2>" not in html
    assert "Failed: 5" in html


def test_what_all_models_share_is_said_once(make_ranking: Make, make_model: Make) -> None:
    html = page(make_ranking(2, models=(make_model(1), make_model(2))))
    assert "All models: layer features, onnx." in html
    assert "· onnx" not in html


def test_regression_without_intervals_or_classes(make_ranking: Make, make_model: Make) -> None:
    models = tuple(make_model(i, interval=None, per_class={}, p_best=None) for i in range(4))
    ranking = make_ranking(4, models=models, score="log_me")
    target = replace(ranking.target, task="regression", n_classes=None, chance_accuracy=None, class_names=())
    words = Reader(page(replace(ranking, target=target))).words()
    assert "Expected R²" in words
    assert "±" not in words
    assert "Score by class" not in words


def contrast(first: str, second: str) -> float:
    low, high = sorted(luminance(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
