"""The section on networks that other people published says what was measured and what was not."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from evidence_world import MODELS, NOISE, TARGETS, network_rows, score_rows, truth_rows, write_world

from neuralrank.bench import _report_words as words
from neuralrank.bench._cells import Question
from neuralrank.bench._report_lacks import Lack, lacking
from neuralrank.bench._report_material import ceiling
from neuralrank.bench._report_published import COMMAND, published, read_published
from neuralrank.bench.evaluate import evaluate
from neuralrank.bench.report import gather, read_costs, write_text
from neuralrank.bench.tables import read_tables, write_table
from neuralrank.errors import DataError

DEVELOPMENT = ("fashion_mnist",)
TUNED = MODELS[:12]
AT_96 = {"m10": "m10@96", "m11": "m11@96"}
"""Networks that are fine-tuned at 96 pixels alone."""
OPERATORS = "{}.onnx needs operators that can be trained: Add, Conv. Got the operator {}. Export it without."
STEP = "A training step on 32 images needs at most 0.6 s. Got {} s."
REMARKS = [
    {"model": "gone", "kind": "not measured", "target": None, "reason": "gone.onnx needs a card. Got none. Write it."},
    *(
        {"model": model, "kind": "not fine-tuned", "target": None, "reason": OPERATORS.format(model, operator)}
        for model, operator in zip(MODELS[12:17], ("Elu", "LSTM", "Elu", "Mod", "Gelu"), strict=True)
    ),
    *(
        {"model": model, "kind": "not fine-tuned", "target": None, "reason": STEP.format(place)}
        for place, model in enumerate(MODELS[17:39], 1)
    ),
    *(
        {"model": "m05", "kind": kind, "target": "mnist", "reason": "Features need to be finite. Got NaN. Leave it."}
        for kind in ("not measured", "not fine-tuned")
    ),
]


def networks():
    """Ten lineages; two networks have a child at 96 pixels; every other group of four saw mnist."""
    rows = [
        {**row, "half": "confirmation", "algorithm": "published", "lineage": f"family{place % 10}"}
        for place, row in enumerate(network_rows())
    ]
    return rows + [
        {**row, "model": AT_96[row["model"]], "parent": row["model"]} for row in rows if row["model"] in AT_96
    ]


def at_96(rows):
    """Add the rows of the children: their own heads and scores, alike."""
    return rows + [{**row, "model": AT_96[row["model"]]} for row in rows if row["model"] in AT_96]


def truth():
    """Heads of two seeds, fine-tuning of one; m05 has nothing on mnist, and m39 nothing but heads on mnist."""
    rows = []
    for row in at_96(truth_rows()):
        model, target, is_head = row["model"], row["target"], row["regime"] == "head"
        is_tuned = (row["n_train"], row["seed"]) == (500, 0) and model in {*TUNED, *AT_96.values()} - set(AT_96)
        is_left_out = (model, target) == ("m05", "mnist") or (model == "m39" and target != "mnist")
        if (is_head or is_tuned) and not is_left_out:
            rows.append(row)
    return rows


def write_zoo(folder, *, networks=networks, truth=truth, noise=NOISE, remarks=REMARKS):
    write_table(folder / "networks.parquet", "networks", networks())
    write_table(folder / "truth.parquet", "truth", truth())
    write_table(folder / "scores.parquet", "scores", at_96(score_rows(noise, 0.0)))
    (folder / "remarks.json").write_text(json.dumps(remarks))
    return read_published(folder, n_resamples=60)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return gather(write_world(folder), read_costs(folder), development_targets=DEVELOPMENT, n_resamples=20)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return write_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def section(found):
    return section_of(found)


def section_of(found):
    return published(found, DEVELOPMENT)


def rows_of(section):
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith(("| `", "| *"))]


# --- what was measured -------------------------------------------------------------------------------------------


def test_networks_are_counted_at_their_own_size(section):
    sizes = [row["n_params"] for row in network_rows()]
    assert section.startswith(
        "40 networks of 10 lineages (family0 4, family1 4, family2 4, family3 4, family4 4, family5 4, family6 4, "
        f"family7 4 and 8 of 2 others), with {min(sizes):,} to {max(sizes):,} parameters. "
        "12 networks were fine-tuned, 27 were not, 1 waits for it and 1 more network could not be used at all. "
        "2 networks stand twice: made for larger images, they are fine-tuned at 96 pixels, and there each is a network "
        "of its own, NAME@96"
    )


def test_reasons_are_grouped(section):
    lines = section.split("\n\n")[1].splitlines()
    assert lines[2:] == [
        "| not fine-tuned | 22: `m17`, `m18`, `m19` and 19 more | A training step on 32 images needs at most 0.6 s; "
        "got 1 s, 2 s, 3 s, … |",
        "| not fine-tuned | 5: `m12`, `m13`, `m14` and 2 more | Needs operators that can be trained; "
        "got the operator Elu, the operator LSTM, the operator Mod, … |",
        "| not measured | 1: `gone` | Needs a card; got none |",
        "| not measured on mnist | 1: `m05` | Features need to be finite; got NaN |",
    ]


def test_a_reason_cannot_break_the_table_or_the_page():
    reason = "x.onnx could not be run by torch. Got: " + "a|b <c> " * 40 + ". Export it again."
    lacks = [Lack(model="x@96", kind="not fine-tuned", target=target, reason=reason) for target in ("b", "a")]
    (row,) = lacking(lacks).splitlines()[2:]
    assert row.startswith(
        "| not fine-tuned on a and b | 1: `x@96` | Could not be run by torch; got a\\|b &lt;c> a\\|b &lt;c> "
    )
    assert row.endswith(" … |")
    assert len(row) < 180


def test_no_remarks_need_no_table(found):
    section = section_of(replace(found, lacks=()))
    assert "| why |" not in section
    assert "12 networks were fine-tuned and 28 wait for it." in section


# --- how exact that is -------------------------------------------------------------------------------------------


def test_a_ceiling_is_told_for_what_was_repeated_alone(found, section):
    assert {one.n_repeated > 0 for one in found.judged.truths if "head" in one.regime} == {True}
    assert {one.n_repeated for one in found.judged.truths if "finetune" in one.regime} == {0}
    assert f"The mean ceiling for heads is {ceiling(found.judged, 'head'):.3f}." in section
    assert "For full fine-tuning no network was trained with more than one seed, so how much" in section
    assert f"that of the evaluation, {ceiling(found.judged, 'finetune'):.3f}, holds the noise of the test" in section
    assert "seeds share all of them at that size" in section


def test_the_ceiling_of_single_trainings_is_too_high(tmp_path):
    """What the section says of it: with the seeds of the same world, it is lower."""

    def noisy():
        generator, rows = np.random.default_rng(0), []
        for row in truth():
            shift = int(generator.normal(0, 60))
            a, b = (int(np.clip(row[name] + shift, 0, 1_000)) for name in ("n_correct_a", "n_correct_b"))
            rows.append({**row, "n_correct_a": a, "n_correct_b": b})
        return rows

    def once():
        return [row for row in noisy() if row["seed"] == 0]

    write_zoo(tmp_path, truth=noisy)
    question = Question(n_resamples=2, details=False)
    repeated = ceiling(evaluate(read_tables(tmp_path), question), "head")
    write_table(tmp_path / "truth.parquet", "truth", once())
    assert ceiling(evaluate(read_tables(tmp_path), question), "head") > repeated + 0.01


def test_fine_tuning_that_was_repeated_has_its_ceiling(tmp_path):
    def twice():
        return [*truth(), *({**row, "seed": 1} for row in truth() if row["regime"] == "finetune")]

    section = section_of(write_zoo(tmp_path, truth=twice))
    assert "The mean ceiling for full fine-tuning is" in section
    assert "more than one seed" not in section


# --- how well scores rank them -----------------------------------------------------------------------------------


def test_the_table_holds_the_default_published_scores_and_lists_best_first(found, section):
    rows = rows_of(section)
    names = [row[0].strip("*`") for row in rows]
    assert names == [one.score for one in found.judged.standings]
    assert {"neuralrank", "knn", "parc", "log_params", "source_accuracy", "mean_rank_elsewhere"} < set(names)
    for row, one in zip(rows, found.judged.standings, strict=True):
        summaries = one.summaries
        assert row[1] == words.tau(summaries["all"].weighted_tau)
        assert row[2] == words.tau(summaries["head"].weighted_tau)
        assert row[3] == f"{100 * summaries['head'].share_of_ceiling.value:.1f}".replace("-0.0", "0.0")
        assert row[4] == words.tau(summaries["finetune"].weighted_tau)
        assert row[5] == words.points(summaries["all"].regret_at_1)
    assert rows[0][0] == "**`neuralrank`**"
    assert rows[0][6] == "–"
    assert [row[0] for row in rows if "log_params" in row[0]] == ["*`log_params`*"]


def test_of_many_published_scores_the_best_are_shown(tmp_path):
    noise = {"neuralrank": 0.05, "a": 0.1, "be": 0.15, "see": 0.2, "four": 0.5, "fifth": 3.0, "sixth_": 4.0}
    found = write_zoo(tmp_path, noise=noise)
    shown = {one.score for one in found.judged.standings if one.kind == "published"}
    assert shown == set(noise) - {"neuralrank"}
    names = {row[0].strip("*`") for row in rows_of(section_of(found))}
    assert {"a", "be", "see"} < names
    assert not {"fifth", "sixth_"} & names
    assert "the best of 6 published scores (chosen in hindsight)" in section_of(found)


def test_networks_without_a_truth_are_left_out_of_that_target_alone(found, section):
    sizes = {(one.target, one.regime): one.n_models for one in found.judged.truths}
    assert sizes == {
        **{(target, f"head {n}"): 41 for target in TARGETS for n in (500, 5_000)},
        **{(target, "finetune 500"): 12 - (target == "mnist") for target in TARGETS},
    }  # fmt: skip
    assert "41 networks a target for heads and 11 to 12 networks a target for full fine-tuning" in section


def test_it_is_said_where_the_default_stands(found, section):
    ours = found.judged.standing("neuralrank")
    for scope, what in (("head", "heads"), ("finetune", "full fine-tuning")):
        said = [
            words.stands(one.weighted_tau, f"the best {against}, `{one.opponent}`")
            for against in ("published score", "static list")
            for one in ours.differences
            if (one.against, one.scope) == (against, scope)
        ]
        assert f"`neuralrank` {said[0]} and {said[1]} for {what}." in section
    assert "on cifar10_jpeg, fashion_mnist and mnist (the default was chosen on fashion_mnist), where" in section
    assert f"loses {words.points(ours.summaries['all'].regret_at_1)} points of accuracy" in section
    assert f"a network taken at random loses {100 * found.random_regret:.1f}." in section
    assert "there is one draw of the probe" not in section, "there are two in this world"


def test_a_single_draw_of_the_probe_is_said(tmp_path):
    write_zoo(tmp_path)
    single = [row for row in at_96(score_rows(NOISE, 0.0)) if row["draw"] == 0]
    write_table(tmp_path / "scores.parquet", "scores", single)
    assert "there is one draw of the probe" in section_of(read_published(tmp_path, n_resamples=20))


def test_networks_that_saw_the_target_are_left_out_in_the_end(found, section, tmp_path):
    sizes = {(one.target, one.regime): one.n_models for one in found.unrelated.truths}
    assert sizes["cifar10_jpeg", "head 500"] == 41
    assert sizes["mnist", "head 500"] < 25
    tau = found.unrelated.standing("neuralrank").summaries["head"].weighted_tau
    assert f"`neuralrank` has a mean weighted τ of {words.tau(tau)} for heads, where it" in section
    others = [{**row, "pretraining_data": "unknown"} for row in networks()]
    elsewhere = section_of(write_zoo(tmp_path, networks=lambda: others))
    assert elsewhere.endswith("No network is known to have been trained on one of the targets.")


# --- partial and lacking tables ----------------------------------------------------------------------------------


def test_a_run_that_has_no_fine_tuning_yet_has_asection_of(tmp_path):
    section = section_of(write_zoo(tmp_path, truth=lambda: [row for row in truth() if row["regime"] == "head"]))
    assert "0 networks were fine-tuned" in section
    assert "No target has two networks with an accuracy for full fine-tuning yet." in section
    assert {row[4] for row in rows_of(section)} == {"–"}
    assert "nan" not in section


def test_networks_are_counted_by_samples_where_that_differs(tmp_path):
    more = [{**row, "n_train": 2_000} for row in truth() if row["model"] in ("m00", "m01", "m10@96")]
    section = section_of(
        write_zoo(tmp_path, truth=lambda: [*truth(), *(row for row in more if row["regime"] != "head")])
    )
    assert "12 networks were fine-tuned (12 with 500 samples and 3 with 2,000 samples), 27 were not" in section


def test_two_networks_are_enough(tmp_path):
    few = [row for row in truth() if row["model"] in ("m00", "m02") and row["target"] == "mnist"]
    section = section_of(write_zoo(tmp_path, truth=lambda: few))
    assert "Scores are judged on mnist" in section
    assert "2 networks a target for heads" in section
    assert "Too few networks are left" in section
    assert "nan" not in section


def test_networks_that_were_not_measured_are_one_sentence(tmp_path, material):
    assert read_published(tmp_path / "nowhere") is None
    assert section_of(None) == (
        "Networks that other people published were not measured; "
        "`neuralrank bench zoo --models FOLDER --data FOLDER` does it."
    )
    page = write_text(material, folder="evidence")
    assert "## Networks that other people published\n\nNetworks that other people published were not measured" in page
    assert page.count(COMMAND) == 1


def test_the_page_has_the_section_after_the_development_half(found, material, section):
    page = write_text(material, folder="evidence", published=found)
    titles = re.findall(r"^## (.*)", page, re.MULTILINE)
    place = titles.index("Networks that other people published")
    assert titles[place - 1] == "The half on which the default was chosen"
    assert section in page
    assert COMMAND not in page


@pytest.mark.parametrize(
    ("content", "got"),
    [
        pytest.param(None, "No such file", id="none"),
        pytest.param("{", "something else", id="json"),
        pytest.param('[{"model": "a"}]', "something else", id="columns"),
        pytest.param("7", "something else", id="number"),
    ],
)
def test_remarks_are_needed(tmp_path, content, got):
    write_zoo(tmp_path)
    (tmp_path / "remarks.json").unlink()
    if content is not None:
        (tmp_path / "remarks.json").write_text(content)
    with pytest.raises(DataError, match=rf"remarks\.json' to list what was not measured\. Got: {got}"):
        read_published(tmp_path, n_resamples=2)


def test_the_default_is_needed(tmp_path):
    with pytest.raises(DataError, match=r"the score 'neuralrank' of published networks on 500 samples\. Got knn"):
        write_zoo(tmp_path, noise={"knn": 0.1})


def test_tables_without_any_truth_are_told(tmp_path):
    with pytest.raises(DataError, match="needs at least 2 networks with a truth"):
        write_zoo(tmp_path, truth=list)
