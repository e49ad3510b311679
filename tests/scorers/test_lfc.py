import numpy as np
import pytest

from neuralrank import registry
from neuralrank.scorers import score

LFC = registry.get("scorers", "lfc")
FLOAT64 = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P10_relu_sparse"]


def over_all_pairs(features, labels):
    """The correlation of two n × n matrices, entry by entry."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    agreement = np.where(labels[:, None] == labels, 1.0, -1.0)
    return np.corrcoef((units @ units.T).ravel(), agreement.ravel())[0, 1]


def test_a_case_worked_out_by_hand():
    # Cosines ±1 equal the agreement of the labels.
    assert score("lfc", [[-1.0], [-2.0], [1.0], [2.0]], [0, 0, 1, 1]).value == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("shape", [(70, 5), (20, 50)], ids=["tall", "wide"])
def test_equals_the_correlation_over_all_pairs(shape):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=shape) + 3.0, rng.integers(0, 4, size=shape[0])
    expected = over_all_pairs(features - features.mean(axis=0), labels)
    assert score("lfc", features, labels).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("problem", FLOAT64)
def test_agrees_with_the_public_code_on_features_that_are_not_centred(golden, unscaled, problem):
    features, labels, value = golden(problem, "lfc_cos@airtran")
    assert LFC.of(unscaled(features, labels, centred=False)).value == pytest.approx(value, rel=1e-9)


def test_an_offset_hides_the_labels_from_the_public_code_and_not_from_ours(golden):
    features, labels, wrong = golden("P7_f32_offset", "lfc_cos@airtran")
    exact = features.astype(np.float64)
    expected = over_all_pairs(exact - exact.mean(axis=0), labels)
    assert abs(wrong) < 0.1 * expected
    assert score("lfc", features, labels).value == pytest.approx(expected, rel=1e-6)
