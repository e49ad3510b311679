"""What orders a ranking: combinations, scores of the head, scores of the record, and targets of several labels."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_zoo import CARD, Run, convolution, crafted_filters, draw_images, save

import neuralrank
from neuralrank import registry


def rows(outcome):
    return {row["name"]: row for row in outcome.ranking["ranking"]}


@pytest.fixture
def rank_json(run: Run, models: Path, photos: Path, warm_cache: Path):
    def rank(*options: str):
        outcome = run("rank", models, "--data", photos, "--format", "json", "--cache-dir", warm_cache, *options)
        assert outcome.code == 0, outcome.err
        return outcome

    return rank


@pytest.mark.parametrize("name", ["mean_rank", "borda"])
def test_a_combination_orders_by_the_places_of_its_scores(rank_json, name: str) -> None:
    outcome = rank_json("--score", f"{name}:neuralrank,log_me,parc", "--also", "knn")
    found = outcome.ranking
    assert found["score"] == f"{name}:neuralrank,log_me,parc"
    members = ("neuralrank", "log_me", "parc")
    table = np.array([[row["scores"][member] for member in members] for row in found["ranking"]])
    expected = registry.get("combinations", name)(table)
    assert [row["score"] for row in found["ranking"]] == pytest.approx(expected.tolist())
    assert sorted(expected, reverse=True) == expected.tolist()
    best = found["ranking"][0]
    assert best["name"] == "crafted.onnx"
    assert best["interval"][0] <= best["score"] <= best["interval"][1]
    assert sum(row["p_best"] for row in found["ranking"]) == pytest.approx(1)
    assert set(best["scores"]) == {*members, "knn"}


def test_the_members_of_a_combination_have_the_values_they_have_alone(rank_json) -> None:
    together = rows(rank_json("--score", "borda:neuralrank,knn", "--also", ""))
    alone = rows(rank_json("--score", "knn", "--also", ""))
    assert {name: row["scores"]["knn"] for name, row in together.items()} == {
        name: row["score"] for name, row in alone.items()
    }


def test_a_model_without_a_head_says_so_and_is_judged_by_the_other_scores(
    run: Run, own_models: Path, photos: Path, warm_cache: Path
) -> None:
    model = convolution(crafted_filters())
    model.graph.node.pop()  # the linear layer
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 7]))
    save(model, own_models / "headless.onnx", CARD)
    outcome = run("rank", own_models, "--data", photos, "--format", "json", "--cache-dir", warm_cache,
                  "--score", "mean_rank:neuralrank,leep", "--also", "energy")  # fmt: skip
    assert outcome.ranking["failures"] == []
    found = rows(outcome)
    headless = found.pop("headless.onnx")
    assert (headless["scores"]["leep"], headless["scores"]["energy"]) == (None, None)
    assert headless["score"] == 2.5 / 3  # of three others: two beaten, and a tie with the same features
    assert headless["warnings"][-2:] == [
        "leep and energy have no value: The model has no classifier of its own that could be used.",
        "mean_rank:neuralrank,leep rests on neuralrank alone for this model.",
    ]
    for row in found.values():
        assert row["scores"]["leep"] <= 0
        assert not any("rests on" in warning for warning in row["warnings"])


def test_a_score_that_no_model_has_is_a_failure_of_each(run: Run, models: Path, photos: Path, warm_cache: Path) -> None:
    outcome = run("rank", models, "--data", photos, "--format", "json", "--cache-dir", warm_cache,
                  "--score", "reported_accuracy", "--also", "")  # fmt: skip
    assert outcome.code == 1
    assert outcome.ranking["ranking"] == []
    assert {failure["error"] for failure in outcome.ranking["failures"]} == {"The model's record does not say it."}


def test_a_static_score_orders_without_intervals(rank_json) -> None:
    outcome = rank_json("--score", "size", "--also", "neuralrank")
    found = outcome.ranking["ranking"]
    assert [row["score"] for row in found] == sorted((row["size_bytes"] for row in found), reverse=True)
    assert {row["interval"] for row in found} == {None}
    assert {row["p_best"] for row in found} == {None}
    assert len({row["tie_group"] for row in found}) == len({row["score"] for row in found})
    assert outcome.ranking["baselines"]["size"] == [row["model_id"] for row in found]


@pytest.mark.parametrize("report", ["table", "csv", "markdown", "html"])
@pytest.mark.parametrize("score", ["size", "mean_rank:neuralrank,leep"])
def test_every_report_shows_such_an_order(
    run: Run, models: Path, photos: Path, warm_cache: Path, report: str, score: str
) -> None:
    outcome = run("rank", models, "--data", photos, "--cache-dir", warm_cache, "--score", score, "--also", "energy",
                  "--format", report)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "crafted.onnx" in outcome.out
    assert "nan" not in outcome.out.lower().replace("finance", "")


def test_scores_that_may_prefer_noise_are_named_where_samples_are_few(rank_json) -> None:
    few = rows(rank_json("--score", "neuralrank", "--also", "h_score,rank_me", "--probe", "16"))
    assert any("can prefer noise" in warning for warning in few["crafted.onnx"]["warnings"])
    none = rows(rank_json("--score", "neuralrank", "--also", "ridge_probe", "--probe", "16"))
    assert not any("noise" in warning for warning in none["crafted.onnx"]["warnings"])


def test_targets_of_several_labels_are_ranked_by_every_score_that_has_them(models: Path, warm_cache: Path) -> None:
    images, classes = draw_images(seed=3)
    labels = np.stack([classes < 2, classes % 2 == 0, classes == 3], axis=1).astype(np.int64)
    names = [name for name in registry.names("scorers") if "multilabel" in registry.get("scorers", name).tasks]
    ranking = neuralrank.rank(models, (images, labels), score="neuralrank", also=names, cache_dir=warm_cache)
    assert ranking.target.task == "multilabel"
    assert ranking.target.n_classes == 3
    assert ranking.target.chance_accuracy is None
    best = ranking.best()
    assert best is not None
    assert best.name == "crafted.onnx"
    assert best.score > 0.65
    assert best.expected_accuracy is not None
    assert best.expected_accuracy > 0.9
    assert len(best.per_class) == 3
    for name in ("log_me", "ridge_probe", "linear_cka", "parc", "knn", "linear_probe", "h_score"):
        assert best.scores[name] is not None, name
    assert "label" in ranking.to_html()


def test_several_regression_targets_are_ranked(models: Path, warm_cache: Path) -> None:
    images, _ = draw_images(seed=4)
    colours = images.mean(axis=(1, 2)) / 9.7
    ranking = neuralrank.rank(models, (images, colours), score="ridge_probe", cache_dir=warm_cache)
    assert ranking.target.task == "regression"
    best = ranking.best()
    assert best is not None
    assert best.name == "crafted.onnx"
    assert best.interval is not None
    assert best.score > ranking.models[-1].score
