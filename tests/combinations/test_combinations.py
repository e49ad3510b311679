"""What holds for every combination, and what each makes of ties, missing scores and a pool of one."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.combinations.borda import borda
from neuralrank.combinations.mean_rank import mean_rank

EVERY = pytest.mark.parametrize("name", registry.names("combinations"))


@EVERY
def test_a_monotone_change_of_one_score_changes_nothing(name):
    combine = registry.get("combinations", name)
    values = np.random.default_rng(0).normal(size=(8, 3))
    changed = values.copy()
    changed[:, 1] = np.exp(5 * values[:, 1])
    np.testing.assert_array_equal(combine(changed), combine(values))


@EVERY
def test_the_first_in_every_order_is_first_and_the_last_is_last(name):
    values = np.array([[0.3, 7.0], [0.9, 9.0], [0.1, -5.0]])
    combined = registry.get("combinations", name)(values)
    assert combined.tolist() == [0.5, 1.0, 0.0]


@EVERY
def test_the_order_of_the_models_does_not_matter(name):
    combine = registry.get("combinations", name)
    values = np.random.default_rng(1).integers(0, 4, size=(9, 3)).astype(float)
    order = np.random.default_rng(2).permutation(9)
    np.testing.assert_array_equal(combine(values[order]), combine(values)[order])


@EVERY
def test_many_draws_at_once_are_combined_like_each_alone(name):
    combine = registry.get("combinations", name)
    draws = np.random.default_rng(3).normal(size=(5, 6, 2))
    np.testing.assert_array_equal(combine(draws), np.stack([combine(draw) for draw in draws]))


def test_ties_get_the_mean_of_their_places():
    # Three equal models: each beats half of the two others.
    assert mean_rank(np.array([[1.0], [1.0], [1.0]])).tolist() == [0.5, 0.5, 0.5]
    assert borda(np.array([[2.0], [1.0], [1.0]])).tolist() == [1.0, 0.25, 0.25]


def test_mean_rank_judges_a_model_by_the_scores_it_has_and_borda_gives_no_points_for_a_missing_one():
    values = np.array([[3.0, np.nan], [2.0, 1.0], [1.0, 2.0]])
    assert mean_rank(values).tolist() == [1.0, (0.5 + 0.0) / 2, (0.0 + 1.0) / 2]
    assert borda(values).tolist() == [2 / 4, (1 + 0) / 4, (0 + 1) / 4]


def test_a_pool_of_one_has_a_value():
    assert mean_rank(np.array([[3.0, 1.0]])).tolist() == [0.5]
    assert borda(np.array([[3.0, 1.0]])).tolist() == [1.0]
