"""What every strategy keeps to, whatever happens in a run; `check_plan` of the fixture looks at each plan."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.strategies import Contender, History, Look

NAMES = registry.names("strategies")
RANDOM = {
    "terms": lambda rng, size: Look(value=float(rng.normal()), terms=rng.normal(size=size), correct=None),
    "values": lambda rng, _: Look(value=float(rng.normal())),
    "ties": lambda rng, size: Look(value=0.5, terms=np.full(size, 0.5), correct=np.ones(size)),
    "few-values": lambda rng, size: Look(
        value=float(rng.integers(3)), terms=rng.integers(3, size=size) * 1.0, correct=rng.integers(2, size=size) * 1.0
    ),
}


def strategy(name, **options):
    return registry.get("strategies", name)(**options)


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("name", NAMES)
def test_it_ends_and_plans_only_what_can_run(name, kind, run):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n_models = int(rng.choice([1, 2, 3, 9, 17]))
        options = {} if name == "full" else {"top": int(rng.choice([1, 3, 20]))}
        run(
            strategy(name, **options),
            int(rng.choice([2, 19, 50, 100, 2_000, 5_000])),
            lambda _, size, rng=rng: RANDOM[kind](rng, size),
            n_models,
            rng=rng,
            n_workers=int(rng.choice([1, 2, 5])),
            failure_rate=float(rng.choice([0.0, 0.1, 0.5])),
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_samples", [*range(2, 60), 100, 409, 999, 2_000, 5_000])
def test_rungs_ascend_to_the_whole_probe(name, n_samples):
    rungs = strategy(name).rungs(n_samples)
    assert rungs[-1] == n_samples
    assert list(rungs) == sorted(set(rungs))
    assert rungs[0] >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_run_without_a_living_model_is_over(name):
    rungs = strategy(name).rungs(500)
    for contenders in ((), (Contender(failed=True), Contender(looks=(Look(value=1.0),), failed=True))):
        plan = strategy(name).next_trials(History(rungs=rungs, contenders=contenders))
        assert plan.ended is not None
        assert not plan.trials
        assert not plan.out


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_waits_for_workers_plans_nothing_and_goes_on(name):
    rungs = strategy(name).rungs(500)
    plan = strategy(name).next_trials(History(rungs=rungs, contenders=(Contender(running=0), Contender(running=0))))
    assert plan.trials == ()
    assert plan.ended is None


@pytest.mark.parametrize("name", NAMES)
def test_the_best_model_is_found_where_it_is_clear(name, run, made):
    rng = np.random.default_rng(0)
    models = made("normal", 12, 1_000, 0.1, rng)
    assert run(strategy(name), 1_000, models.look, 12, rng=rng).best(1) == {0}
