from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from neuralrank.entries import ModelEntry
from neuralrank.history import (
    History,
    KnownModel,
    TargetFacts,
    expected_order,
    prior_for,
    prior_text,
    similarity,
    target_facts,
)
from neuralrank.history._relatives import family, lineages
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.outcomes import Outcome, add_outcomes
from neuralrank.storage.runs import StoredTarget, store_ranking
from neuralrank.types import RankedModel, Ranking, Target, TargetSummary


def facts(name, classes=(), **changes):
    values = {"modality": "image", "task": "classification", **changes}
    return target_facts(fingerprint=name, name=name, class_names=classes, **values)


def outcome(model_id, data, accuracy):
    return Outcome(model_id=model_id, fingerprint=data, data=data, accuracy=accuracy)


def model(model_id, architecture=None, base_model=()):
    return KnownModel(model_id=model_id, name=model_id, architecture=architecture, base_model=base_model)


def rows(prior):
    return {row.model_id: row for row in prior.rows}


ASKED = facts("asked")
MODELS = [model("worse"), model("unknown"), model("cousin", "resnet50"), model("better", "resnet18")]


# --- similarity --------------------------------------------------------------------------------------------------


def test_similarity_adds_modality_task_classes_and_names():
    pets = facts("pets", ["cat", "dog"])
    assert similarity(pets, facts("pets 2", ["dogs", "Cat"])).value == pytest.approx(1.0)
    assert similarity(pets, facts("digits", ["one", "two"])).value == pytest.approx(0.8)
    assert similarity(pets, facts("half", ["cat", "cow"])).value == pytest.approx(0.8 + 0.2 / 3)
    eight = facts("eight", list("abcdefgh"))
    assert similarity(pets, eight).value == pytest.approx(0.4 + 0.2 + 0.2 * sqrt(2 / 8))
    assert similarity(pets, facts("many labels", ["cat", "dog"], task="multilabel")).value == pytest.approx(0.8)


def test_other_modalities_have_nothing_in_common_and_unknown_ones_count_half():
    pets = facts("pets", ["cat", "dog"])
    assert similarity(pets, facts("mails", ["cat", "dog"], modality="text")).value == 0.0
    assert similarity(pets, TargetFacts(fingerprint="x", name="x")).value == pytest.approx(0.2 + 0.1)


def test_regressions_have_no_classes_to_differ_in():
    assert similarity(facts("a", task="regression"), facts("b", task="regression")).value == pytest.approx(0.8)


def test_scores_take_over_as_common_models_grow():
    first, second = facts("a"), facts("b")
    few, many = (dict(zip(map(str, range(n)), range(n), strict=True)) for n in (5, 90))
    assert similarity(first, second, few, few).value == pytest.approx((10 * 0.8 + 5) / 15)
    turned = {key: -value for key, value in many.items()}
    found = similarity(first, second, many, turned)
    assert (found.value, found.correlation, found.n_common) == (pytest.approx(10 * 0.8 / 100), pytest.approx(-1.0), 90)


@pytest.mark.parametrize("scores", [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, {"x": 1.0}, {}])
def test_a_correlation_needs_three_models_that_differ(scores):
    other = {"a": 1.0, "b": 2.0, "c": 3.0}
    found = similarity(facts("a"), facts("b"), scores, other)
    assert (found.value, found.correlation) == (pytest.approx(0.8), None)


def test_the_correlation_is_that_of_ranks_with_ties():
    first = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 50.0}
    second = {"a": 0.0, "b": 3.0, "c": 1.0, "d": 2.0}
    ranks = np.corrcoef([1, 2.5, 2.5, 4], [1, 4, 2, 3])[0, 1]
    assert similarity(facts("a"), facts("b"), first, second).correlation == pytest.approx(ranks)


# --- relatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("ResNet8 wide (MLPerf Tiny large)", "resnet"),
        ("mobilenet_v1_0.5_160 (8-bit weights)", "mobilenet"),
        ("MobileNetV1 0.25", "mobilenet"),
        ("convnextv2_tiny", "convnext"),
        ("Tiny Darknet", "darknet"),
        ("Conv-64F encoder", "conv"),
        ("ViTForImageClassification", "vit"),
        ("resnext50_32x4d", "resnext"),
        ("tiny", "tiny"),
        ("", None),
        (None, None),
        ("64", None),
    ],
)
def test_a_family_is_the_first_word_of_the_architecture(architecture, expected):
    assert family(architecture) == expected


def test_a_lineage_is_followed_to_its_first_ancestor_and_a_circle_ends():
    found = lineages(
        [
            model("org/base"),
            model("tuned", base_model=("Org/Base",)),
            model("again", base_model=("tuned",)),
            model("a", base_model=("b",)),
            model("b", base_model=("a",)),
        ]
    )
    assert found["org/base"] == found["tuned"] == found["again"] == "org/base"
    assert set(found) == {"org/base", "tuned", "again", "a", "b"}


# --- the order ---------------------------------------------------------------------------------------------------


def test_a_case_worked_by_hand():
    """Two accuracies on one data set of similarity 0.8, a cousin of the better model, and a model without history.

    Mean 0.8, squares 0.02. Pooled variance (0.02 + 3 · 0.1²) / (1 + 3) = 0.0125; spread √((0.02 + 3 · 0.0125) / 4)
    = 0.11990; marks ±0.1 / 0.11990 = ±0.83406. Sums of weight 0.8: ±0.66725. Drawn towards 0 of weight 1:
    ±0.66725 / 1.8 = ±0.37069. The cousin: the family's sum drawn towards 0 of weight 2: 0.66725 / 2.8 = 0.23830.
    """
    history = History(
        outcomes=[outcome("better", "past", 0.9), outcome("worse", "past", 0.7)],
        targets={"past": facts("past")},
        models={each.model_id: each for each in MODELS},
    )
    prior = expected_order(MODELS, ASKED, history)
    assert [row.model_id for row in prior.rows] == ["better", "cousin", "worse", "unknown"]
    assert [row.advantage for row in prior.rows] == [
        pytest.approx(0.37069, abs=1e-5), pytest.approx(0.23830, abs=1e-5), pytest.approx(-0.37069, abs=1e-5), None,
    ]  # fmt: skip
    assert rows(prior)["better"].stderr == pytest.approx(0.65 * sqrt(1 + 1 / 1.8))
    assert rows(prior)["cousin"].stderr == pytest.approx(0.65 * sqrt(2))
    assert [row.reason for row in prior.rows] == [
        "1st of 2 on past (similarity 0.80)",
        "no past result; its relatives (resnet) did better than the average model",
        "2nd of 2 on past (similarity 0.80)",
        "no past result of it or a relative",
    ]
    assert [(row.n_outcomes, row.n_scores, row.known) for row in prior.rows] == [
        (1, 0, True), (0, 0, True), (1, 0, True), (0, 0, False),
    ]  # fmt: skip


def test_past_scores_count_half_where_no_accuracy_is_known():
    """Scores 1, 2, 3 are ±1.22474 and 0 standardised; 0.7 of that, of weight 0.8 · 0.5, is drawn towards 0."""
    history = History(
        scores={"past": {"a": 1.0, "b": 2.0, "c": 3.0}},
        score_names={"past": "neuralrank"},
        targets={"past": facts("past")},
    )
    prior = expected_order([model("a"), model("b"), model("c")], ASKED, history)
    assert [row.model_id for row in prior.rows] == ["c", "b", "a"]
    assert prior.rows[0].advantage == pytest.approx(0.4 * 0.7 * 1.22474 / 1.4, abs=1e-5)
    assert prior.rows[0].reason == "scored 1st of 3 on past (similarity 0.80)"
    assert (prior.rows[0].n_outcomes, prior.rows[0].n_scores) == (0, 1)


def test_accuracies_of_well_scored_models_start_above_the_mean():
    """One accuracy alone compares with nothing, but the score of that model places it."""
    scores = {"past": {"a": 1.0, "b": 2.0, "c": 3.0}}
    history = History(
        outcomes=[outcome("c", "past", 0.5)], scores=scores, score_names={"past": "s"}, targets={"past": facts("past")}
    )
    mark = expected_order([model("c")], ASKED, history).rows[0]
    assert mark.advantage == pytest.approx(0.8 * 0.7 * 1.22474 / 1.8, abs=1e-5)
    assert mark.reason == "the only one measured on past (similarity 0.80)"


def test_one_accuracy_alone_says_nothing():
    history = History(outcomes=[outcome("a", "past", 0.99)], targets={"past": facts("past")})
    prior = expected_order([model("a")], ASKED, history)
    assert (prior.rows[0].known, prior.similar) == (False, ())


def test_accuracies_compare_within_their_data_set_only():
    history = History(
        outcomes=[
            outcome("best on hard", "hard", 0.30),
            outcome("worst on hard", "hard", 0.10),
            outcome("best on easy", "easy", 0.99),
            outcome("worst on easy", "easy", 0.79),
        ],
        targets={"hard": facts("hard"), "easy": facts("easy")},
    )
    names = ["worst on easy", "best on hard", "worst on hard", "best on easy"]
    found = rows(expected_order([model(name) for name in names], ASKED, history))
    assert found["best on hard"].advantage == pytest.approx(found["best on easy"].advantage)
    assert found["worst on easy"].advantage == pytest.approx(found["worst on hard"].advantage)
    assert found["best on hard"].advantage > found["worst on easy"].advantage


def test_repeated_accuracies_of_one_model_are_one_result():
    once = [outcome("a", "past", 0.9), outcome("b", "past", 0.7)]
    more = [outcome("a", "past", 0.88), outcome("a", "past", 0.92), outcome("b", "past", 0.7)]
    of = [
        expected_order([model("a"), model("b")], ASKED, History(outcomes=each, targets={"past": facts("past")}))
        for each in (once, more)
    ]
    assert [row.advantage for row in of[0].rows] == pytest.approx([row.advantage for row in of[1].rows])
    assert of[1].similar[0].n_outcomes == 2


def test_more_results_are_drawn_less_towards_the_mean_and_have_less_error():
    data = [f"d{n}" for n in range(4)]
    history = History(
        outcomes=[o for name in data for o in (outcome("a", name, 0.9), outcome("b", name, 0.7))],
        targets={name: facts(name) for name in data},
    )
    few = replace(history, outcomes=history.outcomes[:2])
    more, less = (rows(expected_order([model("a")], ASKED, each))["a"] for each in (history, few))
    assert more.advantage > less.advantage > 0
    assert more.stderr < less.stderr
    assert more.reason == "1st of 2 on d0 (similarity 0.80) and 3 more"


def test_the_more_similar_data_set_decides():
    pets = facts("asked", ["cat", "dog"])
    history = History(
        outcomes=[
            outcome("a", "near", 0.9), outcome("b", "near", 0.7), outcome("a", "far", 0.7), outcome("b", "far", 0.9),
        ],
        targets={"near": facts("near", ["cat", "dog"]), "far": facts("far", list("abcdefghijk"), task="multilabel")},
    )  # fmt: skip
    prior = expected_order([model("b"), model("a")], pets, history)
    assert [row.model_id for row in prior.rows] == ["a", "b"]
    assert [each.name for each in prior.similar] == ["near", "far"]


def test_data_of_another_modality_and_undescribed_data_do_not_count():
    both = [
        outcome("a", "mails", 0.9),
        outcome("b", "mails", 0.7),
        outcome("a", "lost", 0.9),
        outcome("b", "lost", 0.7),
    ]
    history = History(outcomes=both, targets={"mails": facts("mails", modality="text")})
    assert not any(row.known for row in expected_order([model("a"), model("b")], ASKED, history).rows)


def test_of_the_data_asked_about_accuracies_count_and_scores_do_not():
    scores = {"asked": {"a": 1.0, "b": 2.0, "c": 3.0}}
    history = History(scores=scores, score_names={"asked": "s"}, targets={"asked": ASKED})
    models = [model("a"), model("b"), model("c")]
    assert not any(row.known for row in expected_order(models, ASKED, history).rows)
    measured = replace(history, outcomes=[outcome("a", "asked", 0.9), outcome("b", "asked", 0.7)])
    prior = expected_order(models, ASKED, measured)
    assert rows(prior)["a"].reason == "1st of 2 on asked (similarity 1.00)"
    assert [row.known for row in prior.rows] == [True, True, False]


def test_scores_of_different_kinds_say_nothing_of_similarity():
    scores = {name: {"a": 1.0, "b": 2.0, "c": 3.0} for name in ("asked", "past")}
    history = History(
        scores=scores, score_names={"asked": "knn", "past": "log_me"}, targets={"asked": ASKED, "past": facts("past")}
    )
    of = [replace(history, score_names={"asked": name, "past": "knn"}) for name in ("log_me", "knn")]
    different, same = (expected_order([model("a")], ASKED, each).similar[0].similarity for each in of)
    assert (different.value, different.correlation) == (pytest.approx(0.8), None)
    assert (same.value, same.correlation) == (pytest.approx((10 * 0.8 + 3) / 13), pytest.approx(1.0))


def test_lineage_counts_before_family():
    history = History(
        outcomes=[
            outcome("base", "past", 0.9),
            outcome("other resnet", "past", 0.5),
            outcome("vgg", "past", 0.7),
        ],
        targets={"past": facts("past")},
        models={
            each.model_id: each
            for each in (model("base", "resnet18"), model("other resnet", "resnet34"), model("vgg", "vgg11"))
        },
    )
    tuned, stranger = model("tuned", "resnet18", ("base",)), model("stranger", "resnet18")
    found = rows(expected_order([stranger, tuned], ASKED, history))
    assert found["tuned"].advantage > 0.1
    assert found["stranger"].advantage == pytest.approx(0.0, abs=1e-12)


def test_equal_models_keep_the_order_they_came_in():
    names = ["z", "b", "m"]
    assert [row.model_id for row in expected_order([model(n) for n in names], ASKED, History()).rows] == names


# --- from a catalogue --------------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(tmp_path):
    with open_catalogue(tmp_path / "catalogue") as opened:
        yield opened


def entry(name, **changes):
    values = {"model_id": f"folder:{name}@1", "source": "folder", "name": name, "location": name, "stamp": "s"}
    return ModelEntry(**{**values, **changes})


def ranking(data, scores, run_id, created="2026-01-01T00:00:00+00:00"):
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return Ranking(
        run_id=run_id, created=created, seed=0, score="neuralrank", failures=(), baselines={}, stopped="", settings={},
        target=TargetSummary(
            path=f"/data/{data}", modality="image", task="classification", n_samples=100, n_probe=100, n_classes=2,
            label_entropy_bits=1.0, fingerprint=data, class_names=("cat", "dog"),
        ),
        models=tuple(
            RankedModel(
                rank=place, model_id=f"folder:{name}@1", name=name, score=score, interval=None, p_best=None,
                tie_group=place, expected_accuracy=None, layer="pool", n_features=2, n_samples_used=100, scores={},
                per_class={}, params=None, size_bytes=1, extract_seconds=1.0, cached=False, architecture="resnet18",
                format="onnx", license=None,
            )
            for place, (name, score) in enumerate(ordered, start=1)
        ),
    )  # fmt: skip


def asked(fingerprint="asked", name="/data/asked"):
    return Target(
        name=name, modality="image", task="classification", samples=(), labels=np.array([0, 1]),
        class_names=("cat", "dog"), fingerprint=fingerprint,
    )  # fmt: skip


def test_a_prior_reads_rankings_and_outcomes_of_the_catalogue(catalogue):
    store_ranking(catalogue, ranking("pets", {"a": 0.1, "b": 0.2, "c": 0.3}, "r1"))
    add_outcomes(
        catalogue,
        [outcome("folder:a@1", "cows", 0.95), outcome("folder:b@1", "cows", 0.55)],
        [StoredTarget(fingerprint="cows", path="/data/cows", modality="image", task="classification")],
    )
    prior = prior_for(catalogue, asked(), [entry("b"), entry("c"), entry("new", architecture="resnet50")])
    assert [row.name for row in prior.rows] == ["c", "new", "b"]
    assert prior.rows[0].reason == "scored 1st of 3 on pets (similarity 1.00)"
    assert prior.rows[2].reason == "2nd of 2 on cows (similarity 0.60) and 1 more"
    assert (prior.data, [each.name for each in prior.similar]) == ("asked", ["pets", "cows"])


def test_of_several_rankings_of_one_data_set_the_newest_score_counts(catalogue):
    store_ranking(catalogue, ranking("pets", {"a": 0.9, "b": 0.5, "c": 0.1}, "r1"))
    store_ranking(catalogue, ranking("pets", {"a": 0.1, "b": 0.9}, "r2", "2026-01-02T00:00:00+00:00"))
    prior = prior_for(catalogue, asked(), [entry("a"), entry("b"), entry("c")])
    assert prior.rows[0].name == "b"
    assert prior.similar[0].n_scores == 3


def test_an_outcome_under_a_bare_name_is_that_of_the_one_model_of_that_name(catalogue):
    about = [StoredTarget(fingerprint="pets", path="pets", modality="image", task="classification")]
    add_outcomes(catalogue, [outcome("a", "pets", 0.9), outcome("twice", "pets", 0.7)], about)
    entries = [entry("twice"), entry("twice", model_id="folder:twice@2"), entry("a")]
    prior = prior_for(catalogue, asked(), entries)
    assert [(row.model_id, row.n_outcomes) for row in prior.rows] == [
        ("folder:a@1", 1), ("folder:twice@1", 0), ("folder:twice@2", 0),
    ]  # fmt: skip
    assert prior.rows[1].known  # revisions of the model of that name are its relatives


def test_the_catalogue_tells_the_relatives_of_models_with_results(catalogue):
    catalogue.write("folder:/nets", [entry("a", base_model=("org/root",))], concepts=list)
    about = [StoredTarget(fingerprint="pets", path="pets", modality="image", task="classification")]
    add_outcomes(catalogue, [outcome("folder:a@1", "pets", 0.9), outcome("folder:b@1", "pets", 0.7)], about)
    prior = prior_for(catalogue, asked(), [entry("sibling", base_model=("org/root",))])
    assert prior.rows[0].advantage > 0
    assert prior.rows[0].reason == "no past result; its relatives did better than the average model"


def test_an_empty_catalogue_gives_no_prior(catalogue):
    prior = prior_for(catalogue, asked(), [entry("a"), entry("b")])
    assert [(row.name, row.known) for row in prior.rows] == [("a", False), ("b", False)]
    assert prior_text(prior) == (
        "Prior from history for asked\n"
        "  The catalogue has no result on a similar data set. Report one with `neuralrank outcome add`.\n"
    )


# --- text --------------------------------------------------------------------------------------------------------


def test_the_text_says_what_it_rests_on_and_that_it_stands_apart():
    history = History(
        outcomes=[outcome("better", "past", 0.9), outcome("worse", "past", 0.7)],
        targets={"past": facts("past")},
        models={each.model_id: each for each in MODELS},
    )
    assert prior_text(expected_order(MODELS, ASKED, history)) == (
        "Prior from history for asked\n"
        "  past: similarity 0.80 (by description), 2 reported accuracies\n"
        "  Nothing is known of 1 of 4 models; they come last.\n"
        "\n"
        "#  model       advantage  why\n"
        "1  better   +0.37 ± 0.81  1st of 2 on past (similarity 0.80)\n"
        "2  cousin   +0.24 ± 0.92  no past result; its relatives (resnet) did better than the average model\n"
        "3  worse    -0.37 ± 0.81  2nd of 2 on past (similarity 0.80)\n"
        "–  unknown             –  no past result of it or a relative\n"
        "\n"
        "advantage: expected, in standard deviations of accuracy above the average model ± standard error\n"
        "From other data sets: it has no part in the ranking, which rests on your data alone.\n"
    )


def test_the_text_fits_its_width_and_makes_names_safe():
    evil = "\x1b[31m" + "x" * 200
    history = History(
        outcomes=[outcome(evil, "past", 0.9), outcome("worse", "past", 0.7)],
        scores={name: {"a": 1.0, "b": 2.0, evil: 3.0} for name in ("past", "asked")},
        score_names={"past": "s", "asked": "s"},
        targets={"past": facts("past\n" + "y" * 100), "asked": ASKED},
    )
    text = prior_text(expected_order([model(evil), model("worse"), model("a")], ASKED, history), top=2, width=80)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "rank correlation 1.00 of 3 models" in " ".join(text.split())
    assert "… and 1 more" in text
