import numpy as np
import pytest

from neuralrank.expectation import expected_head_accuracy


@pytest.mark.parametrize("held_out", [0.0, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("n_samples", [20, 500, 50_000])
def test_the_interval_holds_the_value_and_both_are_accuracies(held_out, n_samples):
    found = expected_head_accuracy(held_out, n_samples)
    assert 0 < found.low < found.value < found.high < 1


def test_a_head_is_expected_a_little_above_the_held_out_accuracy():
    for held_out in (0.2, 0.5, 0.9):
        assert held_out < expected_head_accuracy(held_out, 1_000).value < held_out + 0.03


def test_more_samples_make_the_interval_shorter_down_to_the_spread_over_networks():
    widths = [
        found.high - found.low for found in (expected_head_accuracy(0.7, n_samples) for n_samples in (50, 500, 5_000))
    ]
    assert widths[0] > widths[1] > widths[2]
    assert expected_head_accuracy(0.7, 10**9).high - expected_head_accuracy(0.7, 10**9).low > 0.05


def test_the_interval_of_few_samples_holds_the_accuracy_that_they_were_drawn_from():
    rng = np.random.default_rng(0)
    shares = rng.binomial(40, 0.8, size=2_000) / 40
    found = [expected_head_accuracy(share, 40) for share in shares]
    held = np.mean([one.low <= 0.8 <= one.high for one in found])
    assert 0.93 < held <= 1.0
