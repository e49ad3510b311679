"""Racing: who leaves, when it ends, in which order passes are made."""

import numpy as np
import pytest

from neuralrank.errors import UsageError
from neuralrank.strategies import Contender, History, Look
from neuralrank.strategies._evidence import read_rung
from neuralrank.strategies.racing import racing


def looks_of(models, place, rungs, n_looks):
    return tuple(models.look(place, rungs[at]) for at in range(n_looks))


def test_it_does_not_depend_on_the_order_of_completion_nor_on_costs(run, made):
    ends = set()
    for seed in range(6):
        models = made("skewed", 12, 1_000, 0.01, np.random.default_rng(7))
        rng = np.random.default_rng(seed)
        ended = run(racing(), 1_000, models.look, 12, rng=rng, n_workers=seed + 1, seconds=rng.random(12))
        ends.add((ended.plan.ended, tuple(sorted(ended.plan.out.items()))))
    assert len(ends) == 1


def test_fewer_passes_where_models_differ_more(run, made):
    passes = []
    for gap in (0.2, 0.05, 0.002):
        rng = np.random.default_rng(0)
        models = made("normal", 10, 2_000, gap, rng)
        passes.append(run(racing(), 2_000, models.look, 10, rng=rng).n_passes)
    assert passes[0] < passes[1] < passes[2]
    assert passes[0] < 0.2 * 20_000


def test_nothing_is_decided_at_the_first_rung(run, made):
    rng = np.random.default_rng(0)
    models = made("normal", 5, 2_000, 0.5, rng)
    ended = run(racing(), 2_000, models.look, 5, rng=rng)
    assert all(len(each.looks) == 2 for each in ended.history.contenders)
    assert ended.plan.ended == "decided: the best model is known with 0.95 confidence after 100 samples"
    assert ended.plan.out == dict.fromkeys(range(1, 5), "not the best with 0.95 confidence after 100 samples")


@pytest.mark.parametrize("noise", [0.0, 1e-5], ids=["exact", "rounded"])
def test_copies_of_the_best_end_the_race(noise, run, made):
    rng = np.random.default_rng(0)
    models = made("normal", 6, 2_000, 0.2, rng)
    models.terms[1], models.correct[1] = models.terms[0] + noise * rng.normal(size=2_000), models.correct[0]
    ended = run(racing(tolerance=0.0), 2_000, models.look, 6, rng=rng)
    assert set(ended.plan.out) == {2, 3, 4, 5}
    assert ended.plan.ended.startswith("decided: no other model is better by more than 0 points of accuracy")
    assert ended.n_passes < 0.3 * 12_000


def test_near_equal_models_end_the_race_within_the_tolerance(run, made):
    rng = np.random.default_rng(0)
    models = made("tied", 4, 5_000, 0.0, rng)
    passes = [
        run(racing(tolerance=points), 5_000, models.look, 4, rng=np.random.default_rng(0)).n_passes
        for points in (0.5, 5.0)
    ]
    assert passes[1] < passes[0] <= 20_000


def test_the_race_goes_to_the_end_where_terms_are_not_known(run):
    ended = run(racing(), 1_000, lambda place, _: Look(value=float(place)), 4, rng=np.random.default_rng(0))
    assert ended.n_passes == 4_000
    assert ended.plan.out == {}
    assert ended.plan.ended == "decided: the best model is found on all 1,000 samples"


def test_a_model_without_terms_is_neither_out_nor_puts_others_out(run, made):
    rng = np.random.default_rng(0)
    models = made("normal", 5, 2_000, 0.2, rng)

    def look(place, size):
        known = models.look(place, size)
        return Look(value=known.value) if place == 2 else known

    ended = run(racing(), 2_000, look, 5, rng=rng)
    assert set(ended.plan.out) == {1, 3, 4}
    assert len(ended.history.contenders[2].looks) == len(ended.history.rungs)


def test_a_leader_that_fails_late_brings_back_those_that_lost_to_it_alone(made):
    models = made("normal", 4, 2_000, 0.004, np.random.default_rng(0))
    models.terms[0] += 0.6
    strategy = racing()
    rungs = strategy.rungs(2_000)
    seen = [Contender(looks=looks_of(models, place, rungs, 2)) for place in range(4)]
    assert set(strategy.next_trials(History(rungs=rungs, contenders=tuple(seen))).out) == {1, 2, 3}
    seen[0] = Contender(looks=seen[0].looks, failed=True)
    plan = strategy.next_trials(History(rungs=rungs, contenders=tuple(seen)))
    assert plan.out == {}
    assert {trial.model for trial in plan.trials} == {1, 2, 3}
    assert {trial.rung for trial in plan.trials} == {2}


def test_first_passes_are_of_the_cheapest_models():
    seconds = (3.0, 1.0, 0.01, 2.0)
    rungs = racing().rungs(1_000)
    contenders = tuple(Contender(seconds_per_sample=each, start_seconds=1.0) for each in seconds)
    plan = racing().next_trials(History(rungs=rungs, contenders=contenders))
    assert [trial.model for trial in plan.trials] == [2, 1, 3, 0]
    assert {trial.rung for trial in plan.trials} == {1}


def test_later_passes_are_first_of_the_best_then_of_those_that_decide_most_per_second(made):
    models = made("normal", 4, 2_000, 0.01, np.random.default_rng(3))
    rungs = racing().rungs(2_000)
    order = {}
    for name, seconds in {"alike": (1, 1, 1, 1), "dear": (1, 1e6, 1, 1)}.items():
        contenders = tuple(
            Contender(looks=looks_of(models, place, rungs, 2), seconds_per_sample=float(seconds[place]))
            for place in range(4)
        )
        order[name] = [
            trial.model for trial in racing().next_trials(History(rungs=rungs, contenders=contenders)).trials
        ]
    by_value = sorted(range(4), key=lambda place: -models.look(place, rungs[1]).value)
    assert order["alike"] == by_value
    assert order["dear"][0 if by_value[0] == 1 else -1] == 1


def test_one_of_the_best_three_leaves_only_if_three_others_are_ahead(made):
    models = made("normal", 6, 2_000, 0.0, np.random.default_rng(0))
    models.terms[:2] += 0.8
    models.terms[5] -= 0.8
    rungs = racing().rungs(2_000)
    contenders = tuple(Contender(looks=looks_of(models, place, rungs, 2)) for place in range(6))
    for top, out in ((1, {2, 3, 4, 5}), (2, {2, 3, 4, 5}), (3, {5})):
        assert set(racing(top=top).next_trials(History(rungs=rungs, contenders=contenders)).out) == out


def test_the_least_lead_is_that_of_the_formula():
    terms = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    history = History(
        rungs=(4, 16), contenders=tuple(Contender(looks=(Look(value=float(row.mean()), terms=row),)) for row in terms)
    )
    lead = read_rung(history, [0, 1], 0).leads(0, 0.025)[1]
    unit = np.median(terms.std(axis=1))
    deviation = np.sqrt((1.0 + unit**2) / (3 * 4))  # differences 1, 0, 0, 1: squares about the mean sum to 1
    assert lead == pytest.approx(0.5 - 3.182446 * deviation * np.sqrt(1 - 4 / 16), abs=1e-6)


def test_growth_that_is_left_is_a_series_that_falls_by_the_root_of_two():
    flat = [np.zeros(100), np.zeros(200)]
    rising = [np.full(100, -0.3), np.full(200, -0.2)]
    history = History(
        rungs=(100, 200, 800),
        contenders=tuple(
            Contender(looks=tuple(Look(value=float(terms.mean()), terms=terms) for terms in each))
            for each in (flat, rising)
        ),
    )
    rung = read_rung(history, [0, 1], 1)
    assert rung.growth_left == pytest.approx(2**-0.5 + 2**-1)  # two doublings are left
    assert rung.score.growth.tolist() == pytest.approx([0.0, 0.1])
    assert rung.leads(0, 0.01)[1] == pytest.approx(0.2 - 0.1 * (2**-0.5 + 2**-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.0}, "--confidence needs a share from 0.5 to below 1. Got 1. Use 0.95 if unsure."),
        ({"confidence": 0.4}, "--confidence needs a share from 0.5 to below 1. Got 0.4. Use 0.95 if unsure."),
        ({"top": 0}, "--top needs at least 1 model. Got 0. Use 1 if unsure."),
        ({"tolerance": -1.0}, "--tolerance needs 0 to 100 points of accuracy. Got -1. Use 0.5 if unsure."),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError) as caught:
        racing(**options)
    assert str(caught.value) == message
