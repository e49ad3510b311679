import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from neuralrank.errors import DataError
from neuralrank.scorers import score


def test_two_clusters_far_apart_give_the_entropy_of_the_labels_in_each():
    # One Gaussian for each; by hand: 30 of a and 10 of b in the first cluster, 60 of b in the second.
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(40, 2)), 100 + rng.normal(size=(60, 2))])
    labels = ["a"] * 30 + ["b"] * 70
    result = score("nleep", features, labels, components_per_class=1)
    assert result.value == pytest.approx((30 * np.log(0.75) + 10 * np.log(0.25)) / 100, rel=1e-9)


def test_one_component_gives_the_entropy_of_the_labels():
    features = np.random.default_rng(0).normal(size=(19, 3))  # under 20 samples there is one component
    expected = (9 * np.log(9 / 19) + 10 * np.log(10 / 19)) / 19
    assert score("nleep", features, np.arange(19) % 2).value == pytest.approx(expected, rel=1e-9)


def test_is_the_expected_prediction_of_a_mixture_in_the_principal_axes(blobs):
    features, labels = blobs
    centred = features - features.mean(axis=0)
    points = PCA(0.8, svd_solver="full").fit_transform(centred / np.sqrt(np.mean(centred**2)))
    points *= np.sign(np.sum(points**3, axis=0))
    points, ordered = points[np.argsort(points[:, 0])], labels[np.argsort(points[:, 0])]
    mixture = GaussianMixture(
        15, covariance_type="diag", init_params="k-means++", max_iter=50, random_state=np.random.RandomState(3)
    )
    clusters = mixture.fit(points).predict_proba(points)
    joint = np.stack([clusters[ordered == c].sum(axis=0) for c in range(3)])
    terms = np.log(np.sum(clusters * (joint / joint.sum(axis=0))[ordered], axis=1))
    assert score("nleep", features, labels, seed=3).value == pytest.approx(terms.mean(), rel=1e-8)


def test_the_seed_alone_decides_where_the_public_code_is_not_seeded(blobs):
    values = [score("nleep", *blobs, seed=seed).value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_more_components_do_not_lower_the_score_in_sample(golden):
    features, labels, _ = golden("P6_digits", "nleep_neg@pactran(seed0)")
    few, many = (score("nleep", features[:600], labels[:600], components_per_class=c).value for c in (1, 5))
    assert many > few + 0.1


def test_no_component_for_a_class_is_refused(blobs):
    with pytest.raises(DataError) as error:
        score("nleep", *blobs, components_per_class=0)
    assert str(error.value) == "nleep needs components_per_class >= 1. Got 0. Use 5 if unsure."
