from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from neuralrank.reports._axes import cost_axis, score_axis
from neuralrank.reports._charts import bar, letter, pareto_front, scatter
from neuralrank.reports._heat_map import heat_map
from neuralrank.types import Ranking

Make = Callable[..., Any]


def test_the_pareto_front_holds_what_nothing_beats_in_both(make_model: Make) -> None:
    models = [make_model(score=score) for score in (0.9, 0.8, 0.85, 0.7, 0.8)]
    assert pareto_front(models, {0: 100.0, 1: 10.0, 2: 50.0, 3: 10.0, 4: 20.0}) == (1, 2, 0)


def test_the_front_of_the_realistic_ranking(ranking: Ranking) -> None:
    axis = score_axis(ranking.models, 0.0)
    names = [model.name for model in ranking.models]
    chart = scatter(ranking.models, names, [model.params for model in ranking.models], axis, str)
    assert chart is not None
    assert [names[i].removesuffix(".onnx") for i in chart.front] == [
        "untrained_tiny", "face_mini_xception_kdef", "mlperf/resnet8",
        "cifar100_resnet20", "cifar100_resnet44", "cifar100_resnet56",
    ]  # fmt: skip
    assert chart.n_unknown == 1
    assert len(chart.points) == 19
    assert [text for _, text in chart.x_ticks] == ["10k", "100k", "1M"]
    assert all(0 <= point.x <= 100 and 0 <= point.y <= 300 for point in chart.points)


def test_one_known_cost_makes_no_scatter(make_model: Make) -> None:
    models = [make_model(0), make_model(1)]
    assert scatter(models, ["a", "b"], [3.0, None], score_axis(models, None), str) is None


def test_equal_costs_and_scores_still_have_an_axis(make_model: Make) -> None:
    models = [make_model(score=0.5, interval=None), make_model(score=0.5, interval=None)]
    chart = scatter(models, ["a", "b"], [7.0, 7.0], score_axis(models, None), str)
    assert chart is not None
    assert [point.x for point in chart.points] == [50.0, 50.0]


def test_bars_begin_at_chance_on_either_side(make_model: Make) -> None:
    models = [make_model(score=1.0, interval=(0.9, 1.0)), make_model(score=-1.0, interval=None)]
    axis = score_axis(models, 0.0)
    assert bar(models[0], axis, 0.0).start == pytest.approx(50.0)
    below = bar(models[1], axis, 0.0)
    assert below.start + below.size == pytest.approx(50.0, abs=0.02)
    assert (below.low, below.high) == (None, None)


def test_one_score_far_below_does_not_squeeze_the_others(make_model: Make) -> None:
    models = [make_model(score=score, interval=None) for score in (0.9, 0.8, 0.7, -50.0)]
    axis = score_axis(models, 0.0)
    assert axis.low > -1
    assert axis.place(-50.0) == 0.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4_000.0, 3e6], ["10k", "100k", "1M"]),
        ([200.0, 900.0], ["200", "500", "1k"]),
        ([0.05, 40.0], ["0.1", "1", "10"]),
    ],
)
def test_cost_ticks_are_round(values: list[float], expected: list[str]) -> None:
    assert [text for _, text in cost_axis(values).ticks] == expected


def test_letters_go_on_after_z() -> None:
    assert [letter(i) for i in (0, 25, 26, 51, 52)] == ["A", "Z", "AA", "AZ", "BA"]


def test_the_heat_map_keeps_the_classes_that_differ_most(make_model: Make) -> None:
    names = [f"c{i}" for i in range(100)]
    wide = {f"c{i}" for i in range(0, 100, 5)}
    models = [
        make_model(per_class={name: 0.5 + (0.1 * k if name in wide else 0.001 * k) for name in names})
        for k in range(15)
    ]
    heat = heat_map(models, names)
    assert heat is not None
    assert heat.classes == tuple(name for name in names if name in wide)
    assert (len(heat.rows), heat.n_classes, heat.printed) == (12, 100, False)


def test_few_classes_have_their_values_printed(ranking: Ranking) -> None:
    heat = heat_map(ranking.models, ranking.target.class_names)
    assert heat is not None
    assert heat.printed
    assert heat.classes == ranking.target.class_names
    assert {len(cells) for _, cells in heat.rows} == {10}


def test_ink_and_cell_reach_a_contrast_of_4_5(make_model: Make) -> None:
    heat = heat_map([make_model(per_class={f"c{i}": i / 19 for i in range(20)})], [])
    assert heat is not None
    for cell in heat.rows[0][1]:
        assert cell is not None
        light = sorted((luminance(cell.background), luminance({"#fff": "#ffffff", "#000": "#000000"}[cell.ink])))
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.5


def test_a_missing_class_is_an_empty_cell(make_model: Make) -> None:
    heat = heat_map([make_model(per_class={"a": 1.0}), make_model(per_class={"b": 0.0})], ["a", "b"])
    assert heat is not None
    assert [[cell is None for cell in cells] for _, cells in heat.rows] == [[False, True], [True, False]]


def test_no_scores_per_class_make_no_heat_map(ranking: Ranking) -> None:
    assert heat_map([replace(model, per_class={}) for model in ranking.models], ["a"]) is None


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
