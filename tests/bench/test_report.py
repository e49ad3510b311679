"""The write-up says what the evaluation found, whatever that is."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))

from evidence_world import JUDGED, MODELS, NOISE, network_rows, truth_rows, write_world

from neuralrank.bench import _report_words as words
from neuralrank.bench._figures import FIGURES
from neuralrank.bench._report_bars import answer, bars
from neuralrank.bench.report import draw_figures, gather, read_costs, write_files, write_text
from neuralrank.bench.tables import read_tables, write_table
from neuralrank.errors import DataError, OutputError
from neuralrank.evaluation import Estimate

DEVELOPMENT = ("fashion_mnist", "kmnist_10k")


def material_of(folder, **world):
    tables = write_world(folder, **world)
    return gather(tables, read_costs(folder), development_targets=DEVELOPMENT, n_resamples=60)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The default is nearly perfect."""
    return material_of(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """The default is bad, the more so across architectures; knn is nearly perfect."""
    return material_of(tmp_path_factory.mktemp("bad"), noise={**NOISE, "neuralrank": 0.05, "knn": 0.01}, bias=-1.0)


@pytest.fixture(scope="module")
def text(good):
    return write_text(good, folder="evidence")


@pytest.fixture(scope="module")
def bad_text(bad):
    return write_text(bad, folder="evidence")


def bracketed(estimate, decimals=3, scale=1.0, sign=""):
    value, low, high = (f"{scale * x:{sign}.{decimals}f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


# --- numbers -----------------------------------------------------------------------------------------------------


def test_the_answer_says_what_the_evaluation_found(good):
    said, ours = answer(good), good.judged.standing("neuralrank").summaries
    assert said.startswith("On 20 networks and 2 targets (cifar10_jpeg and mnist) that had no part in choosing it")
    assert f"for heads at a mean weighted τ of {bracketed(ours['head'].weighted_tau)}" in said
    assert f"for full fine-tuning at a mean weighted τ of {bracketed(ours['finetune'].weighted_tau)}" in said
    share = ours["head"].share_of_ceiling
    assert f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}] of the ceiling" in said
    few = next(row for row in good.detailed.sizes if (row.score, row.n_probe, row.scope) == ("neuralrank", 100, "head"))
    assert f"With 100 samples it is {words.share(few.share_of_ceiling)} of the ceiling for heads" in said
    regret = bracketed(ours["all"].regret_at_1, 2, 100).replace("-0.00", "0.00")
    assert f"loses {regret} points of accuracy against the best, on average" in said


def test_what_a_network_taken_at_random_loses_is_counted_on_what_is_judged(good):
    confirmation = [model for place, model in enumerate(MODELS) if place % 2]
    lost = []
    for target in JUDGED:
        for regime, n_train in (("head", 500), ("head", 5_000), ("finetune", 500), ("finetune", 2_000)):
            rows = [
                row
                for row in truth_rows()
                if (row["target"], row["regime"], row["n_train"]) == (target, regime, n_train)
            ]
            means = [np.mean([row["accuracy"] for row in rows if row["model"] == model]) for model in confirmation]
            lost.append(max(means) - np.mean(means))
    assert good.random_regret == pytest.approx(np.mean(lost))
    assert f"a network taken at random loses {100 * np.mean(lost):.1f}." in answer(good)


def test_every_score_and_static_list_has_a_row_with_its_numbers(good, text):
    for name in ("knn", "parc", "log_params", "mean_accuracy_elsewhere", "source_accuracy"):
        one = good.judged.standing(name)
        (row,) = re.findall(
            rf"^\| \*?`{name}`\*? \| (-?\d\.\d+ \[.*) \|$", text.split("## Score and acc")[0], re.MULTILINE
        )
        cells = row.split(" | ")
        assert cells[0] == words.tau(one.summaries["all"].weighted_tau)
        assert cells[2] == bracketed(one.summaries["head"].weighted_tau)
        (against,) = [d for d in one.differences if (d.against, d.scope) == ("default", "all")]
        assert cells[4] == bracketed(against.weighted_tau, sign="+")


def test_costs_are_the_sums_of_the_seconds(good, text):
    assert good.costs.build_hours == pytest.approx(40 * 900 / 3_600)
    assert "Summed over processes, training the networks took 10.0 hours" in text
    assert f"measuring what they are worth {len(truth_rows()) * 36 / 3_600:.1f};" in text
    assert f"The truth is {len(truth_rows()):,} trainings" in text


def test_the_correlation_with_size_is_that_of_all_networks(text):
    sizes = [row["n_params"] for row in network_rows()]
    found = []
    for regime, n_train in (("head", 500), ("head", 5_000), ("finetune", 500), ("finetune", 2_000)):
        rows = [r for r in truth_rows() if (r["target"], r["regime"], r["n_train"]) == ("mnist", regime, n_train)]
        means = [np.mean([row["accuracy"] for row in rows if row["model"] == model]) for model in MODELS]
        found.append(spearmanr(sizes, means).statistic)
    assert f"| mnist | {np.mean(found):.2f} |" in text


def test_factors_are_counted(text):
    assert "| architecture | mlp 20 and vgg 20 |" in text
    assert "20 networks and the targets fashion_mnist were used to choose the default" in text


def test_half_the_networks_were_repeated(text):
    assert "samples and 2 seeds for 50 % of the networks of a target and one for the others" in text
    assert "| mnist | finetune 500 | 20 of 40 |" in text


# --- words -------------------------------------------------------------------------------------------------------


def test_words_flip_when_the_numbers_do(good, bad, text, bad_text):
    assert "is above the best published score, `knn` (+" in answer(good)
    assert "is below the best published score, `knn` (-" in answer(bad)
    assert "predicts heads and full fine-tuning about equally well" in text
    assert "no other score is both cheaper and better" not in bad_text
    assert "cheaper and better: `knn`" in bad_text
    assert "0 of" not in answer(bad)


def test_equal_scores_are_not_told_apart(tmp_path):
    # the noise of a score follows from the length of its name
    found = material_of(tmp_path, noise={"neuralrank": 0.1, "log_energy": 0.1})
    assert "cannot be told from the best published score, `log_energy` (0.000 [0.000, 0.000])" in answer(found)


def test_claim_1_flips_with_a_bias_across_architectures(text, bad_text):
    assert "Claim 1, that ranking does not depend on architecture, training set and algorithm, holds as far" in text
    (claim,) = re.findall(r"Claim 1, .*", bad_text)
    assert "holds in part" in claim
    assert "it is harder across than within one architecture (+" in claim
    assert "architecture: ranking across is harder, by +" in bad_text


def test_bars_are_held_against_the_numbers(good, bad):
    for material in (good, bad):
        found = {bar.what: bar for bar in bars(material)}
        ours = material.judged.standing("neuralrank")
        assert len(found) == 7
        heads = ours.summaries["head"].share_of_ceiling.value
        assert found["Heads, 500 samples: at least 97 % of the ceiling"].met == (heads >= 0.97)
        for difference in ours.differences:
            where = {"finetune": "Full fine-tuning", "all": "All targets and regimes"}.get(difference.scope)
            if where and difference.against != "default":
                bar = found[f"{where}: above the best {difference.against}, interval without zero"]
                assert bar.met == (difference.weighted_tau.low > 0)
                assert f"against `{difference.opponent}`" in bar.found
        regret = found["Regret of the network ranked first: at most 1 point of accuracy on average"]
        assert regret.met == (ours.summaries["all"].regret_at_1.value <= 0.01)
        n_met = sum(bar.met for bar in found.values())
        page = write_text(material, folder="evidence")
        assert page.count("| met |") == n_met
        assert page.count("| **not met** |") == 7 - n_met
    assert sum(bar.met for bar in bars(good)) > sum(bar.met for bar in bars(bad))


def test_a_bar_just_missed_is_not_rounded_to_met(good):
    summary = good.ours.summaries["head"]
    close = replace(summary, share_of_ceiling=Estimate(value=0.96997, low=0.95, high=0.98))
    standings = tuple(
        replace(one, summaries={**one.summaries, "head": close}) if one.score == "neuralrank" else one
        for one in good.judged.standings
    )
    (bar, *_) = bars(replace(good, judged=replace(good.judged, standings=standings)))
    assert not bar.met
    assert bar.by == "0.003 points below"


def test_how_few_samples_suffice(good, text, bad_text):
    (sentence,) = re.findall(r"^Share of the ceiling in per cent.*", text, re.MULTILINE)
    rows = {(r.n_probe, r.scope): r for r in good.detailed.sizes if r.score == "neuralrank"}
    assert f"With 100 samples `neuralrank` reaches {words.share(rows[100, 'head'].share_of_ceiling)}" in sentence
    assert "93 % is reached from 100 samples on" in sentence
    assert "From 1,000 samples on, mnist is left out" in sentence
    assert "93 % is not reached at the largest of these" in bad_text


def test_a_page_on_a_ceiling_that_is_not_known_says_so(tmp_path):
    write_world(tmp_path)
    flat = [
        {**row, "n_correct_a": 700, "n_correct_b": 700} if row["target"] == "mnist" else row for row in truth_rows()
    ]
    write_table(tmp_path / "truth.parquet", "truth", flat)
    found = gather(read_tables(tmp_path), read_costs(tmp_path), development_targets=DEVELOPMENT, n_resamples=10)
    page = write_text(found, folder="evidence")
    assert "nan" not in page
    assert "| Heads, 500 samples: at least 97 % of the ceiling | not known | **not met** | – |" in page
    assert "With 100 samples it is" not in page
    assert "`neuralrank` reaches a share that is not known, with 500 a share that is not known. For heads, 97 %" in page
    assert "97 % is not reached at the largest of these and 93 % is not reached" in page
    assert "cannot be said to predict one way of training better: a ceiling is not known (– and – of" in page
    assert "reaches a share of the ceiling that cannot be held against that on the half on which it was chosen" in page
    assert set(draw_figures(found)) == set(FIGURES)


def test_numbers_are_written_alike():
    estimate = Estimate(value=-0.0001, low=-0.02, high=0.03)
    assert words.difference(estimate) == "0.000 [-0.020, +0.030]"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.counted(1, "target") == "1 target"
    assert words.number(float("nan")) == "–"


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(good, tmp_path_factory):
    return write_files(good, tmp_path_factory.mktemp("docs") / "evidence.md")


def test_figures_are_the_same_bytes_each_time_and_hold_no_date(good, written):
    first, second = draw_figures(good), {path.stem: path.read_bytes() for path in written[1:]}
    assert list(first) == list(FIGURES) == ["scores", "accuracy", "samples", "groups", "cost"]
    for name, drawn in first.items():
        assert drawn == second[name]
        assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"date>" not in drawn


def test_the_page_shows_the_figures_that_are_written(written):
    page = written[0].read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert sorted(shown) == sorted(str(path.relative_to(written[0].parent)) for path in written[1:])
    assert "nan" not in page
    assert page.endswith("is in [benchmarks.md](benchmarks.md).\n")


def test_a_page_that_cannot_be_written_is_told(good, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="The report could not be written to"):
        write_files(good, tmp_path / "file" / "evidence.md")


# --- what the report needs ---------------------------------------------------------------------------------------


def test_targets_of_both_kinds_are_needed(tmp_path):
    tables = write_world(tmp_path)
    for development, lacking in (
        ((), "on which the default was chosen"),
        (tables.truth.target.names, "on which it was"),
    ):
        with pytest.raises(DataError, match=rf"The report needs targets {lacking}"):
            gather(tables, read_costs(tmp_path), development_targets=development)


def test_the_default_and_published_scores_are_needed(tmp_path):
    for noise in ({"knn": 0.1}, {"neuralrank": 0.1}):
        tables = write_world(tmp_path, noise=noise)
        with pytest.raises(DataError, match="needs the score 'neuralrank' and published scores on 500 samples"):
            gather(tables, read_costs(tmp_path), development_targets=DEVELOPMENT, n_resamples=10)


def test_both_ways_of_training_are_needed(tmp_path):
    write_world(tmp_path)
    write_table(tmp_path / "truth.parquet", "truth", [row for row in truth_rows() if row["regime"] == "head"])
    with pytest.raises(DataError, match="needs accuracies of the kind 'finetune'"):
        gather(read_tables(tmp_path), read_costs(tmp_path), development_targets=DEVELOPMENT)


def test_costs_need_their_columns(tmp_path):
    with pytest.raises(DataError, match="The report needs the column 'build_seconds'"):
        read_costs(tmp_path)
