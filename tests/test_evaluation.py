import numpy as np
import pytest
from scipy.stats import spearmanr, weightedtau

from neuralrank.errors import DataError
from neuralrank.evaluation import (
    agreement,
    ceiling,
    draw_resamples,
    estimate,
    head_accuracy,
    hit_at_k,
    noise_variance,
    regret_at_k,
    regrets,
    spearman,
    weighted_tau,
    weighted_taus,
)


def repository(seed, n_models=136):
    """Expected accuracies of many models, denser towards the top."""
    return 0.1 + 0.85 * np.random.default_rng(seed).beta(3, 1.2, n_models)


def test_weighted_tau_is_scipys_with_its_defaults():
    rng = np.random.default_rng(0)
    scores, accuracies = rng.normal(size=12), rng.normal(size=12)
    assert weighted_tau(scores, accuracies) == pytest.approx(weightedtau(scores, accuracies).statistic)


def test_regret_is_what_following_the_ranking_costs():
    scores, accuracies = [0.9, 0.8, 0.1], [0.70, 0.74, 0.75]
    assert regret_at_k(scores, accuracies) == pytest.approx(0.05)
    assert regret_at_k(scores, accuracies, k=2) == pytest.approx(0.01)
    assert regret_at_k(scores, accuracies, k=3) == 0.0


def test_constant_scores_are_refused():
    with pytest.raises(DataError, match="weighted_tau needs values that differ"):
        weighted_tau([1.0, 1.0], [0.5, 0.6])


def test_arrays_have_to_fit():
    with pytest.raises(DataError, match=r"Got shapes \(2,\) and \(3,\)"):
        regret_at_k([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_head_reaches_what_the_classes_allow_and_chance_on_noise(blobs):
    features, labels = blobs
    assert head_accuracy(features.astype(np.float32), labels) > 0.7
    noise = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)
    assert head_accuracy(noise, labels) < 0.5


# --- many rankings and resamples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_values", [3, 12, 10_000], ids=["many-ties", "some-ties", "no-ties"])
def test_many_weighted_taus_are_scipys(n_values):
    rng = np.random.default_rng(n_values)
    scores, accuracies = rng.integers(0, n_values, (20, 40)).astype(float), rng.integers(0, n_values, 40).astype(float)
    expected = [weightedtau(row, accuracies).statistic for row in scores]
    np.testing.assert_allclose(weighted_taus(scores, accuracies)[:, 0], expected, atol=1e-12)


def test_weighted_taus_of_resamples_are_scipys_of_the_repeated_models():
    rng = np.random.default_rng(0)
    scores, accuracies = rng.integers(0, 15, (2, 30)).astype(float), rng.integers(0, 20, 30).astype(float)
    counts = draw_resamples(30, n_resamples=25)
    expected = [
        [weightedtau(np.repeat(row, count), np.repeat(accuracies, count)).statistic for count in counts]
        for row in scores
    ]
    np.testing.assert_allclose(weighted_taus(scores, accuracies, counts), expected, atol=1e-12)


def test_a_weighted_tau_by_hand():
    # ranks 0, 1, 2 weigh 1, 1/2, 1/3; only the pair at places 1 and 2 is the wrong way round
    # (3/2 + 4/3 - 5/6) / (3/2 + 4/3 + 5/6) = 6/11, by scores and by accuracies alike
    assert weighted_taus([3.0, 1.0, 2.0], [3.0, 2.0, 1.0])[0, 0] == pytest.approx(6 / 11, abs=1e-15)


def test_counts_of_zero_leave_models_out():
    scores, accuracies = np.array([0.4, 0.9, 0.3, 0.5]), np.array([0.5, 0.6, 0.7, 0.4])
    assert weighted_taus(scores, accuracies, [[1, 1, 0, 1]])[0, 0] == pytest.approx(
        weighted_tau(scores[[0, 1, 3]], accuracies[[0, 1, 3]])
    )


def test_models_without_a_score_stand_last_and_tie():
    scores, accuracies = np.array([np.nan, 0.2, np.nan, 0.1]), np.array([0.9, 0.8, 0.7, 0.6])
    lowest = np.where(np.isnan(scores), -5.0, scores)
    assert weighted_taus(scores, accuracies)[0, 0] == pytest.approx(weightedtau(lowest, accuracies).statistic)
    assert spearman(scores, accuracies) == pytest.approx(spearmanr(lowest, accuracies).statistic)
    assert regret_at_k(scores, accuracies) == pytest.approx(0.1)
    assert regret_at_k(scores, accuracies, k=3) == pytest.approx(0.05)  # one of the two others is third


def test_a_constant_list_has_no_weighted_tau_and_no_spearman():
    assert np.isnan(weighted_taus([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])).all()
    assert np.isnan(spearman([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]))


def test_spearman_is_scipys_with_ties():
    rng = np.random.default_rng(1)
    scores, accuracies = rng.integers(0, 5, 30), rng.integers(0, 9, 30)
    assert spearman(scores, accuracies) == pytest.approx(spearmanr(scores, accuracies).statistic)


def test_ties_at_place_k_count_as_the_mean_over_ways_to_break_them():
    scores, accuracies = [0.9, 0.5, 0.5, 0.5], [0.60, 0.75, 0.70, 0.65]
    assert regret_at_k(scores, accuracies, k=2) == pytest.approx((0.0 + 0.05 + 0.10) / 3)
    assert regret_at_k(scores, accuracies, k=3) == pytest.approx((0.0 + 0.0 + 0.05) / 3)
    assert hit_at_k(scores, accuracies, k=2) == pytest.approx(1 / 3)
    assert hit_at_k(scores, accuracies, k=3) == pytest.approx(2 / 3)


def test_each_of_several_most_accurate_models_is_a_hit():
    assert hit_at_k([0.1, 0.9, 0.5], [0.8, 0.8, 0.7]) == 1.0
    assert hit_at_k([0.1, 0.5, 0.9], [0.8, 0.8, 0.7]) == 0.0
    assert hit_at_k([0.1, 0.5, 0.9], [0.8, 0.8, 0.7], k=2) == 1.0


def test_k_above_the_number_of_models_takes_all():
    assert hit_at_k([0.1, 0.9], [0.8, 0.7], k=5) == 1.0
    with pytest.raises(DataError, match="hit_at_k needs k >= 1"):
        hit_at_k([0.1, 0.9], [0.8, 0.7], k=0)


def test_regrets_of_resamples_are_those_of_the_repeated_models():
    rng = np.random.default_rng(2)
    scores, accuracies = rng.integers(0, 4, (2, 12)).astype(float), rng.random(12)
    counts = draw_resamples(12, n_resamples=20)
    expected = [
        [regret_at_k(np.repeat(row, count), np.repeat(accuracies, count)) for count in counts] for row in scores
    ]
    np.testing.assert_allclose(regrets(scores, accuracies, counts), expected, atol=1e-12)


def test_resamples_hold_as_many_models_and_whole_groups():
    counts = draw_resamples(6, n_resamples=50)
    assert counts.shape == (50, 6)
    assert (counts.sum(axis=1) == 6).all()
    grouped = draw_resamples(4, n_resamples=50, groups=["a", "b", "a", "c"])
    assert (grouped[:, 0] == grouped[:, 2]).all()
    assert (grouped[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_counts_have_to_fit_the_models():
    with pytest.raises(DataError, match="one count for each of 3 models"):
        weighted_taus([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [[1, 1]])
    with pytest.raises(DataError, match=r"Got shapes \(1, 2\) and \(3,\)"):
        regrets([1.0, 2.0], [1.0, 2.0, 3.0])


def test_an_interval_covers_what_other_repositories_give():
    def drawn(seed, n_models):
        accuracies = repository(seed, n_models)
        return accuracies + np.random.default_rng([seed, 1]).normal(0, 0.1, n_models), accuracies

    real = np.mean([weighted_taus(*drawn(seed, 50))[0, 0] for seed in range(1_000, 1_300)])
    covered = []
    for seed in range(80):
        found = estimate(0.0, weighted_taus(*drawn(seed, 50), draw_resamples(50, n_resamples=200, seed=seed))[0])
        covered.append(found.low <= real <= found.high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_a_difference_on_the_same_resamples_is_narrower_than_on_others():
    accuracies = repository(0)
    noise = np.random.default_rng(1).normal(0, 0.15, (2, len(accuracies)))
    first, second = accuracies + noise[0], accuracies + noise[0] + 0.1 * noise[1]
    counts, others = (draw_resamples(len(accuracies), n_resamples=300, seed=seed) for seed in (0, 1))
    paired = estimate(0.0, weighted_taus(first, accuracies, counts)[0] - weighted_taus(second, accuracies, counts)[0])
    loose = estimate(0.0, weighted_taus(first, accuracies, counts)[0] - weighted_taus(second, accuracies, others)[0])
    assert paired.high - paired.low < 0.5 * (loose.high - loose.low)


def test_without_resamples_there_is_no_interval():
    assert np.isnan(estimate(0.5, np.array([])).low)
    assert (estimate(0.5, np.array([0.4, 0.6])) / 2).value == 0.25


# --- how exact the truth is --------------------------------------------------------------------------------------


def measured(seed, *, share_repeated=1.0, seed_std=0.01, common=0.004):
    """Expected accuracies, accuracies of shape (n_models, 3, 2), and the mean variance of their mean."""
    rng, expected = np.random.default_rng([seed, 2]), repository(seed)
    test_variance = 0.3 * expected * (1 - expected) / 1_000  # of each of two sources on half of the test set
    images = np.sqrt(test_variance)[:, None] * rng.normal(size=(len(expected), 2)) + common * np.array([1, -1])
    both = np.sqrt(test_variance)[:, None, None] * rng.normal(size=(len(expected), 3, 2))
    found = expected[:, None, None] + images[:, None] + seed_std * rng.normal(size=(len(expected), 3, 1)) + both
    n_seeds = np.where(rng.random(len(expected)) < share_repeated, 3, 1)
    found[n_seeds == 1, 1:] = np.nan
    variance = seed_std**2 / n_seeds + test_variance / 2 + test_variance / (2 * n_seeds)
    return expected, found, float(variance.mean())


@pytest.mark.parametrize("share_repeated", [1.0, 0.33], ids=["all-repeated", "a-third-repeated"])
def test_the_noise_of_the_truth_and_the_ceiling_are_found(share_repeated):
    worlds = [measured(seed, share_repeated=share_repeated) for seed in range(8)]
    variances = [noise_variance(found) for _, found, _ in worlds]
    assert np.mean([each.mean() for each in variances]) == pytest.approx(
        np.mean([real for *_, real in worlds]), rel=0.1
    )
    means = [np.nanmean(found, axis=(1, 2)) for _, found, _ in worlds]
    real = np.mean([weighted_taus(world[0], mean)[0, 0] for world, mean in zip(worlds, means, strict=True)])
    ceilings = [ceiling(mean, each, n_simulations=30) for mean, each in zip(means, variances, strict=True)]
    assert np.mean(ceilings) == pytest.approx(real, abs=0.01)
    assert np.mean([agreement(found) for _, found, _ in worlds]) < np.mean(ceilings)


def test_one_failed_training_does_not_make_the_whole_truth_uncertain():
    _, found, real = measured(0)
    found[5, 0] = 0.1
    found[5, 1:] = 0.9
    assert noise_variance(found).mean() < 2 * real


def test_where_no_model_has_two_seeds_only_the_test_images_are_uncertain():
    _, found, _ = measured(0)
    test_variance = 0.3 * np.mean(repository(0) * (1 - repository(0))) / 1_000
    assert noise_variance(found[:, :1]).mean() == pytest.approx(test_variance, rel=0.3)
    assert np.isnan(agreement(found[:, :1]))


def test_an_exact_truth_has_a_ceiling_of_one_and_one_of_noise_of_nothing():
    expected = repository(0)
    assert ceiling(expected, np.zeros(len(expected))) == 1.0
    assert ceiling(expected, np.full(len(expected), 2 * expected.var())) == 0.0


def test_agreement_is_between_other_seeds_and_other_halves():
    first, second = np.array([0.3, 0.2, 0.1]), np.array([0.3, 0.1, 0.2])
    # seed 0: both halves order as `first`; seed 1: as `second`; only unlike seeds are compared
    accuracies = np.stack([np.stack([first, first], axis=1), np.stack([second, second], axis=1)], axis=1)
    assert agreement(accuracies) == pytest.approx(weightedtau(first, second).statistic)
