import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neuralrank import registry
from neuralrank.scorers import score

NCTI = registry.get("scorers", "ncti")


def public_terms(details, counts, n_axes):
    """The three terms as the public code writes them, from ours, which are divided by those of a reference geometry."""
    return (
        np.exp(details["log_spread"]) * np.sqrt(counts.sum()) * n_axes,
        details["posterior"],
        details["log_compactness"] + np.log(np.sqrt(counts).sum()),
    )


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100"])
@pytest.mark.parametrize(
    ("place", "implementation"),
    [(0, "ncti_seli_nuc_all@ncti"), (1, "ncti_ncc_ldaprob@ncti"), (2, "ncti_vc_log_nuc_cls@ncti")],
    ids=["spread", "posterior", "compactness"],
)
def test_the_terms_agree_with_the_public_code_on_unscaled_features(golden, unscaled, problem, place, implementation):
    features, labels, value = golden(problem, implementation)
    counts = np.bincount(labels)
    found = NCTI.of(unscaled(features, labels)).details
    assert public_terms(found, counts, min(len(counts) - 1, 64))[place] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("n_noise", "intensity"),
    # Variances have the mean 1: the sum of the first 32 is 6 of 6, 20 of 20, and of 46 so much that the floor is met.
    [(0, np.exp(-6.0)), (14, np.exp(-20.0)), (40, 1e-10)],
    ids=["6 dimensions", "20", "46"],
)
def test_the_posterior_is_the_one_of_scikit_learn(blobs, n_noise, intensity):
    features, labels = blobs
    features = np.hstack([features, np.random.default_rng(0).normal(size=(150, n_noise))])
    centred = features - features.mean(axis=0)
    scaled = centred / np.sqrt(np.mean(centred**2))
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=intensity)
    posteriors = model.fit(scaled, labels).predict_proba(scaled)
    found = score("ncti", features, labels).details
    assert found["posterior"] == pytest.approx(posteriors[np.arange(150), labels].mean(), rel=1e-9)
    nuclear = sum(np.linalg.norm(posteriors[labels == c], ord="nuc") for c in range(3))
    assert found["log_compactness"] == pytest.approx(np.log(nuclear / (3 * np.sqrt(50))), rel=1e-9)


def test_the_value_is_the_sum_of_its_terms(blobs):
    result = score("ncti", *blobs)
    terms = result.details
    assert result.value == terms["log_spread"] + terms["posterior"] - terms["log_compactness"]


def test_another_call_gives_the_same_bits_where_the_public_code_draws_anew(golden):
    features, labels, _ = golden("P4_n_lt_d", "ncti_seli_nuc_all@ncti")
    assert score("ncti", features, labels).value == score("ncti", features, labels).value


def test_features_that_say_nothing_have_no_spread():
    # Both class means are one: the coordinates keep variance 1 in all, so the singular values are √n.
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    result = score("ncti", features, [0, 0, 1, 1])
    assert result.details["log_spread"] == pytest.approx(0.0, abs=1e-6)
    assert result.details["posterior"] == pytest.approx(0.5, abs=1e-9)
