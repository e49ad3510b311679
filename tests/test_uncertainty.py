import numpy as np
import pytest

from neuralrank import registry
from neuralrank.scorers import score
from neuralrank.uncertainty import combined_confidence, confidence, jackknife_terms


def test_the_interval_of_independent_terms_is_the_usual_one():
    terms = np.random.default_rng(0).normal(0.5, 1.0, size=(1, 400))
    expected = 1.966 * terms.std(ddof=1) / np.sqrt(400)
    assert confidence(terms, None).half_width[0] == pytest.approx(expected, rel=1e-3)


def test_intervals_hold_the_true_mean_as_often_as_stated():
    rng = np.random.default_rng(1)
    terms = rng.exponential(size=(2000, 200))
    covered = np.abs(terms.mean(axis=1) - 1.0) < confidence(terms, None).half_width
    assert 0.92 < covered.mean() < 0.97


def test_samples_of_one_group_count_once():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(100), 9)
    means = rng.normal(size=(1, 100))
    grouped = confidence(means[:, groups], groups).half_width
    alone = confidence(means, None).half_width
    assert grouped == pytest.approx(alone, rel=1e-9)


def test_models_of_unequal_groups_get_the_interval_of_the_ratio():
    rng = np.random.default_rng(3)
    groups = np.concatenate([np.repeat(np.arange(60), 5), 60 + np.arange(100)])
    covered = 0
    for _ in range(400):
        effects = rng.normal(size=160)
        terms = effects[groups][None] + 0.1 * rng.normal(size=(1, 400))
        covered += abs(terms.mean()) < confidence(terms, groups).half_width[0]
    assert 0.91 < covered / 400 < 0.98


def test_a_paired_difference_tells_apart_what_intervals_do_not():
    rng = np.random.default_rng(4)
    shared = rng.normal(size=500)
    terms = np.stack([shared + 0.05, shared + 0.001 * rng.normal(size=500)])
    sure = confidence(terms, None)
    assert terms[0].mean() - sure.half_width[0] < terms[1].mean()  # the intervals overlap
    assert sure.tie_group.tolist() == [1, 2]
    assert sure.p_best[0] > 0.99


def test_exact_copies_tie_and_share_the_probability_of_being_best():
    terms = np.repeat(np.random.default_rng(5).normal(size=(1, 300)), 4, axis=0)
    sure = confidence(terms, None)
    assert sure.tie_group.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(sure.p_best, 0.25)


def test_probabilities_of_being_best_add_up_and_repeat():
    terms = np.random.default_rng(6).normal(size=(5, 200))
    first, second = confidence(terms, None, seed=1), confidence(terms, None, seed=1)
    assert first.p_best.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(first.p_best, second.p_best)


def test_the_jackknife_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(7).normal(size=1000)
    terms = jackknife_terms(
        lambda rows: float(values[rows].mean()), float(values.mean()), np.zeros(1000, dtype=np.int64), None
    )
    assert len(terms) == 20
    assert terms.mean() == pytest.approx(values.mean())
    assert terms.std(ddof=1) / np.sqrt(20) == pytest.approx(values.std() / np.sqrt(1000), rel=0.5)


def test_jackknife_blocks_hold_whole_groups_and_every_class():
    labels = np.repeat(np.arange(4), 60)
    groups = np.repeat(np.arange(80), 3)
    left = []

    def value(rows):
        left.append((set(groups[rows]) & set(np.delete(groups, rows)), set(labels[rows])))
        return 0.0

    jackknife_terms(value, 0.0, labels, groups)
    assert all(not shared for shared, _ in left)
    assert all(classes == {0, 1, 2, 3} for _, classes in left)


def test_the_jackknife_of_log_me_is_close_to_its_spread_over_new_data():
    rng = np.random.default_rng(8)

    def draw():
        labels = np.arange(300) % 3
        return np.eye(3)[labels] + rng.normal(size=(300, 3)), labels

    spread = np.std([score("log_me", *draw()).value for _ in range(60)])
    features, labels = draw()
    whole = score("log_me", features, labels).value
    terms = jackknife_terms(lambda rows: score("log_me", features[rows], labels[rows]).value, whole, labels, None)
    assert terms.std(ddof=1) / np.sqrt(len(terms)) == pytest.approx(spread, rel=0.6)


def share_beaten(values):
    """Mean over the scores of the share of other models beaten, for values (n_draws, n_models, n_scores)."""
    return registry.get("combinations", "mean_rank")(values)


def test_a_combination_of_one_score_twice_is_as_sure_as_the_score():
    rng = np.random.default_rng(9)
    terms = np.array([0.3, 0.2, 0.19, 0.0])[:, None] + 0.5 * rng.normal(size=(4, 400))
    alone = confidence(terms, None)
    both = combined_confidence([terms, terms], [None, None], share_beaten)
    np.testing.assert_allclose(both.p_best, alone.p_best, atol=0.01)
    assert both.tie_group[0] < both.tie_group[-1]
    values = share_beaten(np.stack([terms.mean(axis=1)] * 2, axis=-1))
    assert np.all(both.low <= values)
    assert np.all(values <= both.high)


def test_scores_that_contradict_each_other_leave_a_combination_undecided():
    rng = np.random.default_rng(10)
    up = np.array([1.0, 0.0])[:, None] + 0.1 * rng.normal(size=(2, 300))
    sure = combined_confidence([up, -up], [None, None], share_beaten)
    np.testing.assert_allclose(sure.p_best, 0.5)
    assert sure.tie_group.tolist() == [1, 1]


def test_a_model_without_one_of_the_scores_is_judged_by_the_others():
    rng = np.random.default_rng(11)
    first = np.array([1.0, 0.5, 0.0])[:, None] + 0.1 * rng.normal(size=(3, 300))
    second = np.array([np.nan, 0.0, 1.0])[:, None] + 0.1 * rng.normal(size=(3, 20))
    sure = combined_confidence([first, second], [None, None], share_beaten)
    assert sure.p_best[0] > 0.99  # alone at the top of the only order it is in
    assert np.isfinite([*sure.low, *sure.high]).all()
