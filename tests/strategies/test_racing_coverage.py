"""Whether the confidence of a race holds, by simulation: models are made, so the right answer is known."""

import numpy as np
import pytest

from neuralrank.strategies.racing import racing

KINDS = ("normal", "skewed", "overconfident", "tied", "slow")


def share_right(run, made, *, kind, n_models, n_samples, gap, top, confidence, n_races):
    """Return the share of races whose best models are those of the whole probe, or as accurate but for 0.5 points."""
    n_right = 0
    for seed in range(n_races):
        rng = np.random.default_rng(seed)
        models = made(kind, n_models, n_samples, gap, rng)
        strategy = racing(confidence=confidence, top=top, tolerance=0.5)
        ended = run(strategy, n_samples, models.look, n_models, rng=rng, check=False)
        true = set(np.argsort(-models.terms.mean(axis=1), kind="stable")[:top].tolist())
        accuracy, found = models.correct.mean(axis=1), ended.best(top)
        n_right += all(accuracy[lost] - accuracy[held] <= 0.005 for lost in true - found for held in found - true)
    return n_right / n_races


@pytest.mark.parametrize("kind", KINDS)
def test_races_are_right_as_often_as_they_say(kind, run, made):
    for n_models, gap, top, confidence in ((10, 0.02, 1, 0.8), (10, 0.001, 1, 0.8), (20, 0.005, 3, 0.95)):
        share = share_right(
            run, made, kind=kind, n_models=n_models, n_samples=400, gap=gap, top=top, confidence=confidence, n_races=15
        )
        assert share >= confidence - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_many_races_are_right_as_often_as_they_say(kind, confidence, run, made):
    for n_models, gap, top in ((10, 0.02, 1), (30, 0.001, 1), (30, 0.004, 3), (100, 0.002, 1)):
        share = share_right(
            run, made, kind=kind, n_models=n_models, n_samples=1_000, gap=gap, top=top, confidence=confidence,
            n_races=200,
        )  # fmt: skip
        assert share >= confidence - 0.02
