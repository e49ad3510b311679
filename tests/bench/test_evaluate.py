"""A synthetic world of which everything is known: what each network is worth, and how well each score sees it."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from neuralrank.bench._cells import Question, Regime, ScoreBook, make_cells
from neuralrank.bench.evaluate import evaluate
from neuralrank.bench.tables import Tables, join_scores, read_tables, read_truth, scores_from_rows, write_table
from neuralrank.combinations.mean_rank import mean_rank
from neuralrank.errors import DataError, UsageError
from neuralrank.evaluation import regret_at_k, weighted_tau

N_MODELS, N_BASE = 42, 36
TARGETS = ("cifar", "kmnist", "mnist")
REGIMES = (Regime(kind="head", n_train=500), Regime(kind="finetune", n_train=500))
MODELS = [f"m{place:02d}" for place in range(N_MODELS)]
QUESTION = Question(regimes=REGIMES, n_resamples=100, details=False)


def expected(target):
    """Expected accuracies of the networks; no target says anything about another."""
    return 0.2 + 0.75 * np.random.default_rng([1, TARGETS.index(target)]).permutation(N_MODELS) / (N_MODELS - 1)


def networks():
    rows = []
    for place, model in enumerate(MODELS):
        parent = None if place < N_BASE else MODELS[place - N_BASE]
        rows.append({
            "model": model, "lineage": parent or model, "parent": parent, "damage": "none",
            "half": ("development", "confirmation")[(place if parent is None else place - N_BASE) % 2],
            "pretraining_data": ("mnist", "cifar", "digits", "none")[place % 4], "n_classes": 10, "n_samples": 500,
            "label_noise": 0.0, "corruption": "none", "algorithm": ("sgd", "simclr")[place // 3 % 2],
            "architecture": ("vgg", "resnet", "mlp")[place % 3], "width": 8, "depth": 1,
            "n_params": int(1e6 * expected("cifar")[place]), "learning_rate": 0.1, "weight_decay": 0.0, "n_steps": 200,
            "augmentation": "none", "source_accuracy": None if place % 4 == 3 else 0.5, "seed": place,
            "build_seconds": 1.0,
        })  # fmt: skip
    return rows


@functools.cache
def truth():
    rng, rows = np.random.default_rng(2), []
    for target in TARGETS:
        for regime in REGIMES:
            for place, accuracy in enumerate(expected(target)):
                for seed in range(3 if regime.kind == "head" or place % 3 == 0 else 1):
                    correct = rng.binomial(1_000, np.clip(accuracy + rng.normal(0, 0.01), 0, 1), size=2)
                    rows.append({
                        "target": target, "model": MODELS[place], "regime": regime.kind, "n_train": regime.n_train,
                        "n_used": 500, "seed": seed, "learning_rate": None, "accuracy": correct.sum() / 2_000,
                        "n_correct_a": correct[0], "n_test_a": 1_000, "n_correct_b": correct[1], "n_test_b": 1_000,
                        "seconds": 1.0,
                    })  # fmt: skip
    return rows


def score_rows(name, values, *, targets=TARGETS, n_probe=500, n_draws=3):
    """Rows of a score that is `values(target, generator)`, once for each draw."""
    rows = []
    for target in targets:
        for draw in range(n_draws):
            generator = np.random.default_rng([3, len(name), TARGETS.index(target), draw, n_probe])
            rows += [
                {
                    "target": target, "model": model, "score": name, "n_probe": n_probe, "draw": draw,
                    "value": None if np.isnan(value) else float(value), "seconds": 0.25, "extract_seconds": 2.0,
                }
                for model, value in zip(MODELS, values(target, generator), strict=True)
            ]  # fmt: skip
    return rows


def noisy(std):
    return lambda target, generator: expected(target) + generator.normal(0, std, N_MODELS)


def blind(target, generator):
    return generator.normal(size=N_MODELS)


def biased(target, generator):
    """Right within an architecture, wrong across them."""
    return expected(target) + np.array([0.0, 1.0, 2.0])[np.arange(N_MODELS) % 3]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    write_table(folder / "networks.parquet", "networks", networks())
    write_table(folder / "truth.parquet", "truth", truth())
    scores = [
        *score_rows("perfect", noisy(0.0)), *score_rows("neuralrank", noisy(0.03)), *score_rows("good", noisy(0.1)),
        *score_rows("blind", blind), *score_rows("biased", biased),
    ]  # fmt: skip
    write_table(folder / "scores.parquet", "scores", scores)
    return read_tables(folder)


@pytest.fixture(scope="module")
def evaluation(tables):
    return evaluate(tables, QUESTION)


def with_scores(tables, *rows):
    return Tables(
        networks=tables.networks, truth=tables.truth, scores=join_scores(tables.scores, scores_from_rows(*rows))
    )


def only(evaluation, score, target="kmnist", regime="head 500"):
    (found,) = [cell for cell in evaluation.cells if (cell.score, cell.target, cell.regime) == (score, target, regime)]
    return found


def measured(target, kind):
    """The mean over seeds and halves of every network."""
    rows = [row for row in truth() if (row["target"], row["regime"]) == (target, kind)]
    return np.array([np.mean([row["accuracy"] for row in rows if row["model"] == model]) for model in MODELS])


# --- what is known comes out -------------------------------------------------------------------------------------


def test_scores_stand_in_the_order_of_what_they_see(evaluation):
    order = [standing.score for standing in evaluation.standings]
    assert order[:3] == ["perfect", "neuralrank", "good"]
    assert evaluation.standing("perfect").kind == "published"
    assert evaluation.standing("neuralrank").kind == "ours"
    assert evaluation.standing("log_params").kind == "static"


def test_a_perfect_score_reaches_the_ceiling_and_a_blind_one_nothing(evaluation):
    share = evaluation.standing("perfect").summaries["all"].share_of_ceiling
    assert share.value == pytest.approx(1.0, abs=0.015)
    tau = evaluation.standing("blind").summaries["all"].weighted_tau
    assert tau.low < 0 < tau.high
    assert abs(tau.value) < 0.2
    for cell in evaluation.truths:
        assert cell.agreement < cell.ceiling < 1
        assert cell.n_repeated == (N_MODELS if cell.regime == "head 500" else 14)


def test_the_numbers_of_a_cell_are_those_of_the_mean_truth(evaluation, tables):
    accuracies = measured("kmnist", "finetune")
    book = ScoreBook(tables)
    (cell,) = [c for c in make_cells(tables, QUESTION) if (c.target, c.regime.kind) == ("kmnist", "finetune")]
    values = book.values("good", cell, 500).values
    found = only(evaluation, "good", regime="finetune 500")
    by_draw = [weighted_tau(row, accuracies) for row in values]
    assert found.weighted_tau.value == pytest.approx(np.mean(by_draw))
    assert found.draw_std == pytest.approx(np.std(by_draw, ddof=1))
    assert found.regret_at_3 == pytest.approx(np.mean([regret_at_k(row, accuracies, k=3) for row in values]))
    assert (found.n_models, found.n_missing, found.seconds, found.extract_seconds) == (N_MODELS, 0, 0.25, 2.0)


def test_summaries_are_means_over_their_cells(evaluation):
    summaries = evaluation.standing("good").summaries
    assert list(summaries) == ["all", "head", "finetune", "head 500", "finetune 500", *TARGETS]
    taus = {(cell.target, cell.regime): cell.weighted_tau.value for cell in evaluation.cells if cell.score == "good"}
    assert summaries["all"].weighted_tau.value == pytest.approx(np.mean(list(taus.values())))
    assert summaries["mnist"].weighted_tau.value == pytest.approx(
        (taus["mnist", "head 500"] + taus["mnist", "finetune 500"]) / 2
    )
    assert summaries["head"] == summaries["head 500"]


def test_differences_are_paired_and_tell_who_is_better(evaluation):
    found = {(one.against, one.scope): one for one in evaluation.standing("good").differences}
    assert found["default", "all"].opponent == "neuralrank"
    assert found["default", "all"].weighted_tau.high < 0
    assert found["published score", "finetune"].opponent == "perfect"
    assert found["static list", "all"].weighted_tau.low > 0
    wide = evaluation.standing("good").summaries["all"].weighted_tau
    assert found["published score", "all"].weighted_tau.high < wide.high - wide.value
    assert not [one for one in evaluation.standing("neuralrank").differences if one.against == "default"]


def test_a_static_list_that_is_the_truth_wins(tables):
    found = evaluate(tables, Question(targets=("cifar",), regimes=REGIMES, n_resamples=50, details=False))
    lists = {one.score: one for one in found.standings if one.kind == "static"}
    perfect = found.standing("perfect").summaries["all"].weighted_tau
    assert lists["log_params"].summaries["all"].weighted_tau.value == pytest.approx(perfect.value)
    (against,) = [d for d in found.standing("neuralrank").differences if (d.against, d.scope) == ("static list", "all")]
    assert against.opponent == "log_params"
    assert against.weighted_tau.value < 0


def test_the_mean_elsewhere_is_over_the_other_targets_in_the_same_regime(evaluation):
    elsewhere = (measured("cifar", "finetune") + measured("mnist", "finetune")) / 2
    found = only(evaluation, "mean_accuracy_elsewhere", regime="finetune 500")
    assert found.weighted_tau.value == pytest.approx(weighted_tau(elsewhere, measured("kmnist", "finetune")))
    ranks = mean_rank(np.stack([measured("cifar", "finetune"), measured("mnist", "finetune")], axis=1))
    found = only(evaluation, "mean_rank_elsewhere", regime="finetune 500")
    assert found.weighted_tau.value == pytest.approx(weighted_tau(ranks, measured("kmnist", "finetune")))


def test_leaving_out_an_architecture_leaves_the_others(evaluation):
    assert list(evaluation.standing("biased").without) == ["mlp", "resnet", "vgg"]
    kept = np.arange(N_MODELS) % 3 != 0
    by_cell = [
        weighted_tau(biased(target, None)[kept], measured(target, regime.kind)[kept])
        for target in TARGETS
        for regime in REGIMES
    ]
    assert evaluation.standing("biased").without["vgg"] == pytest.approx(np.mean(by_cell))


def test_there_is_no_share_of_a_ceiling_that_is_not_above_zero(tables, tmp_path):
    flat = [{**row, "n_correct_a": 700, "n_correct_b": 700} if row["target"] == "mnist" else row for row in truth()]
    write_table(tmp_path / "truth.parquet", "truth", flat)
    changed = replace(tables, truth=read_truth(tmp_path / "truth.parquet"))
    found = evaluate(changed, replace(QUESTION, scores=("good",), details=True))
    assert {one.target: np.isnan(one.ceiling) for one in found.truths} == {
        "cifar": False, "kmnist": False, "mnist": True,
    }  # fmt: skip
    summaries = found.standing("good").summaries
    assert summaries["kmnist"].share_of_ceiling.value > 0.5
    for scope in ("all", "head", "finetune", "mnist"):
        share = summaries[scope].share_of_ceiling
        assert np.isnan([share.value, share.low, share.high]).all()
    assert all(np.isnan(row.share_of_ceiling.value) for row in found.sizes)


def test_two_networks_that_cannot_be_told_apart_are_judged(tables, tmp_path):
    few = [row for row in truth() if row["model"] in ("m01", "m02")]
    write_table(tmp_path / "truth.parquet", "truth", [{**row, "n_correct_a": 5, "n_correct_b": 5} for row in few])
    found = evaluate(replace(tables, truth=read_truth(tmp_path / "truth.parquet")), QUESTION)
    assert {one.n_models for one in found.truths} == {2}
    assert found.standing("good").summaries["all"].weighted_tau.value == 0.0
    assert np.isnan(found.standing("good").summaries["all"].share_of_ceiling.value)


def test_a_network_without_a_truth_on_a_target_is_left_out_there(tables, tmp_path):
    rows = [row for row in truth() if (row["model"], row["target"]) != ("m05", "mnist")]
    rows = [row for row in rows if row["target"] != "kmnist" or row["regime"] == "head" or row["model"] == "m03"]
    write_table(tmp_path / "truth.parquet", "truth", rows)
    found = evaluate(replace(tables, truth=read_truth(tmp_path / "truth.parquet")), QUESTION)
    sizes = {(one.target, one.regime): one.n_models for one in found.truths}
    assert sizes == {
        ("cifar", "head 500"): N_MODELS, ("cifar", "finetune 500"): N_MODELS, ("kmnist", "head 500"): N_MODELS,
        ("mnist", "head 500"): N_MODELS - 1, ("mnist", "finetune 500"): N_MODELS - 1,
    }  # fmt: skip


def test_the_same_seed_gives_the_same_evaluation(tables, evaluation):
    assert repr(evaluate(tables, QUESTION)) == repr(evaluation)


# --- scores ------------------------------------------------------------------------------------------------------


def test_networks_without_a_score_rank_last(tables):
    def partial(target, generator):
        return np.where(np.arange(N_MODELS) < 4, np.nan, expected(target))

    question = Question(scores=("partial",), regimes=REGIMES, n_resamples=20, details=False)
    found = evaluate(with_scores(tables, score_rows("partial", partial)), question)
    filled = np.where(np.arange(N_MODELS) < 4, -1.0, expected("kmnist"))
    assert only(found, "partial").n_missing == 4
    assert only(found, "partial").weighted_tau.value == pytest.approx(weighted_tau(filled, measured("kmnist", "head")))
    assert {one.score for one in found.standings if one.kind != "static"} == {"partial", "neuralrank"}


def test_a_score_that_no_network_can_get_orders_nothing(tables):
    rows = score_rows("nothing", lambda target, generator: np.full(N_MODELS, np.nan))
    found = evaluate(
        with_scores(tables, rows), Question(scores=("nothing",), regimes=REGIMES, n_resamples=20, details=False)
    )
    assert found.standing("nothing").summaries["all"].weighted_tau.value == 0.0
    assert only(found, "nothing").n_missing == N_MODELS
    assert only(found, "nothing").hit_at_1 == pytest.approx(1 / N_MODELS)


def test_a_combination_is_made_of_the_ranks_of_its_members(tables):
    name = "mean_rank:good,blind,log_params"
    found = evaluate(tables, Question(scores=(name,), regimes=REGIMES, n_resamples=20, details=False))
    (cell,) = [c for c in make_cells(tables, QUESTION) if (c.target, c.regime.kind) == ("kmnist", "head")]
    members = [ScoreBook(tables).values(each, cell, 500).values for each in ("good", "blind", "log_params")]
    stacked = np.stack([np.broadcast_to(values, (3, N_MODELS)) for values in members], axis=-1)
    by_draw = [weighted_tau(row, cell.accuracy) for row in mean_rank(stacked)]
    assert only(found, name).weighted_tau.value == pytest.approx(np.mean(by_draw))
    assert found.standing(name).kind == "combination"
    assert found.standing(name).seconds == 0.5


def test_a_score_of_records_is_a_static_list(tables):
    rows = score_rows("size", lambda target, generator: np.arange(N_MODELS, dtype=float), n_probe=0, n_draws=1)
    found = evaluate(with_scores(tables, rows), Question(regimes=REGIMES, n_resamples=20, details=False))
    assert found.standing("size").kind == "static"
    assert found.standing("size").extract_seconds == 0.0


def test_later_rows_replace_earlier_ones(tables):
    changed = with_scores(tables, score_rows("blind", noisy(0.0)))
    found = evaluate(changed, Question(scores=("blind", "perfect"), regimes=REGIMES, n_resamples=20, details=False))
    assert found.standing("blind").summaries == found.standing("perfect").summaries


def test_draws_of_the_probe_widen_the_interval(tables):
    fixed = with_scores(
        tables,
        [
            {**row, "score": "fixed", "draw": draw}
            for row in score_rows("loose", noisy(0.4), n_draws=1)
            for draw in range(3)
        ],
    )
    both = with_scores(fixed, score_rows("loose", noisy(0.4)))
    found = evaluate(both, Question(scores=("fixed", "loose"), regimes=REGIMES, n_resamples=200, details=False))
    assert only(found, "fixed").draw_std == 0.0
    assert only(found, "loose").draw_std > 0.02


# --- which networks ----------------------------------------------------------------------------------------------


def test_a_half_holds_whole_lineages(tables):
    for half in ("development", "confirmation"):
        for cell in make_cells(tables, Question(half=half, regimes=REGIMES)):
            assert {tables.networks.half[place] for place in cell.networks} == {half}
            assert len(cell.networks) == N_MODELS // 2


def test_unrelated_networks_have_no_ancestor_that_saw_the_target(tables):
    cells = {cell.target: cell for cell in make_cells(tables, Question(unrelated=True, regimes=REGIMES[:1]))}
    assert len(cells["kmnist"].networks) == N_MODELS
    kept = [MODELS[place] for place in cells["mnist"].networks]
    # every fourth saw mnist; of the six children m36 to m41, m36 and m40 did, and m36 and m40 come from m00 and m04
    assert len(kept) == N_MODELS - 11
    kept = [MODELS[place] for place in cells["cifar"].networks]
    assert not {"m37", "m41", "m01", "m05"} & set(kept)


def test_a_child_on_other_data_is_still_related(tables):
    rows = networks()
    rows[37]["pretraining_data"], rows[37]["parent"] = "digits", "m38"  # its parent's parent is m02 …
    rows[38]["parent"], rows[38]["pretraining_data"] = "m00", "digits"  # … or m00, which saw mnist
    assert rows[37]["lineage"] == "m01"
    changed = Tables(networks=_read_networks(rows), truth=tables.truth, scores=tables.scores)
    (cell,) = make_cells(changed, Question(unrelated=True, targets=("mnist",), regimes=REGIMES[:1]))
    assert not {37, 38} & set(cell.networks.tolist())


def _read_networks(rows):
    import tempfile
    from pathlib import Path

    from neuralrank.bench.tables import read_networks

    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "networks.parquet", "networks", rows)
        return read_networks(Path(folder) / "networks.parquet")


# --- details -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detailed(tables):
    more = [
        *score_rows("neuralrank", noisy(0.3), n_probe=50),
        *score_rows("neuralrank", noisy(0.01), n_probe=2_000, n_draws=1, targets=("mnist",)),
    ]
    question = Question(scores=("neuralrank", "biased", "perfect"), regimes=REGIMES, n_resamples=250)
    return evaluate(with_scores(tables, more), question)


def test_more_samples_rank_better_and_targets_without_them_are_left_out(detailed):
    found = [row for row in detailed.sizes if (row.score, row.scope) == ("neuralrank", "all")]
    assert [row.n_probe for row in found] == [50, 500, 2_000]
    assert found[0].share_of_ceiling.value < 0.85 < found[1].share_of_ceiling.value
    assert found[1].targets == TARGETS
    assert found[2].targets == ("mnist",)
    assert np.isnan(found[2].draw_std)
    assert found[1].weighted_tau.value == detailed.standing("neuralrank").summaries["all"].weighted_tau.value


def test_a_score_that_fails_across_architectures_drops_and_a_perfect_one_does_not(detailed):
    found = {(one.score, one.grouping): one for one in detailed.groups if one.scope == "all"}
    drop = found["biased", "architecture"]
    assert drop.within.value > 0.9
    assert drop.across.value < 0.6
    assert drop.drop.low > 0.2
    assert drop.n_groups == 3 * len(TARGETS) * len(REGIMES)
    fair = found["perfect", "architecture"].drop
    assert fair.low < 0.0 < fair.high or abs(fair.value) < 0.01
    assert abs(found["biased", "algorithm"].drop.value) < 0.15


def test_groups_of_fewer_than_five_networks_are_left_out(tables):
    rows = networks()
    for place, row in enumerate(rows):
        row["architecture"] = "rare" if place < 4 else "vgg"
    changed = Tables(networks=_read_networks(rows), truth=tables.truth, scores=tables.scores)
    found = evaluate(changed, Question(scores=("perfect",), targets=("mnist",), regimes=REGIMES[:1], n_resamples=20))
    assert [one.n_groups for one in found.groups if (one.score, one.grouping) == ("perfect", "architecture")] == [1, 1]


# --- what cannot be asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        pytest.param(Question(half="third"), UsageError, "The half needs to be development or confirmation", id="half"),
        pytest.param(Question(targets=("svhn",)), UsageError, "Unknown target 'svhn'. Available: cifar, ", id="target"),
        pytest.param(Question(regimes=(Regime(kind="head", n_train=7),)), DataError, "at least 2 networks", id="truth"),
        pytest.param(Question(scores=("hscor",)), DataError, r"needs 'hscor' on 500 samples of 'cifar'", id="score"),
        pytest.param(Question(n_probe=70), DataError, r"on 70 samples .* Got values on \[500\] samples", id="size"),
        pytest.param(Question(scores=("borda:good",)), UsageError, "borda needs at least 2", id="combination"),
    ],
)  # fmt: skip
def test_what_is_not_there_cannot_be_asked(tables, question, error, message):
    with pytest.raises(error, match=message):
        evaluate(tables, question)


def test_a_network_without_a_row_is_told(tables):
    rows = [row for row in score_rows("late", noisy(0.1)) if row["model"] != "m07"]
    with pytest.raises(DataError, match=r"or null\. Got none for 'm07' and 0 more"):
        evaluate(with_scores(tables, rows), Question(scores=("late",), regimes=REGIMES))


def test_a_score_that_was_not_asked_about_has_no_standing(evaluation):
    with pytest.raises(DataError, match="holds no score 'parc'"):
        evaluation.standing("parc")
