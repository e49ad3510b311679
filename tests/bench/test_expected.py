"""Expected accuracies against reached ones, on tables whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from neuralrank.bench._expected import Pairs, coverage, coverages, fitted


def drawn(shift: float, spread: float, *, n_samples: int = 500, n_pairs: int = 20_000) -> Pairs:
    """Networks whose heads reach a known log-odds above what a probe of so many samples shows."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.3, 0.9, n_pairs)
    reached = expit(logit(share) + rng.normal(shift, spread, n_pairs))
    return Pairs(
        target="any", n_samples=n_samples, held_out=rng.binomial(n_samples, share) / n_samples, reached=reached
    )


def test_the_fit_finds_the_shift_and_the_spread():
    shift, spread = fitted([drawn(0.3, 0.2), drawn(0.3, 0.2, n_samples=5_000)])
    assert shift == pytest.approx(0.3, abs=0.01)
    assert spread == pytest.approx(0.2, abs=0.01)


def test_intervals_of_the_right_shift_and_spread_hold_what_they_say():
    found = coverage(drawn(0.1, 0.15), 0.1, 0.15)
    assert found.held == pytest.approx(0.95, abs=0.01)
    assert found.mean_error == pytest.approx(0.0, abs=0.002)
    assert 0.02 < found.mean_half < 0.08


def test_heads_that_fall_short_are_seen():
    right = drawn(0.1, 0.15)
    found = coverage(replace(right, reached=right.reached - 0.1), 0.1, 0.15)
    assert found.held < 0.4
    assert found.mean_error == pytest.approx(0.1, abs=0.01)


def test_a_target_is_judged_by_the_fit_on_the_others():
    alike = [replace(drawn(0.1, 0.05), target=target) for target in ("a", "b", "c")]
    other = replace(drawn(1.0, 0.05), target="other")
    found = {one.target: one.held for one in coverages([*alike, other])}
    assert found["other"] < 0.5
    assert found["a"] > 0.9
    assert coverage(other, *fitted([other])).held > 0.9
