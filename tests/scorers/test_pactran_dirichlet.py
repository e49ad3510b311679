import numpy as np
import pytest
from scipy.special import digamma, gammaln, logsumexp

from neuralrank.errors import DataError
from neuralrank.scorers import score

PROBLEMS = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P7_f32_offset"]


def bound(probabilities, labels, concentration, n_steps=10):
    """The variational bound with every array of samples, labels and source classes formed."""
    one_hot = np.eye(labels.max() + 1)[labels]
    prior = concentration * one_hot.mean(axis=0)[:, None] + 1e-10
    assignments = probabilities
    for _ in range(n_steps):
        counts = prior + np.einsum("iy,iz->yz", one_hot, assignments)
        expected = digamma(counts) - digamma(counts.sum(axis=0))
        logits = np.log(probabilities + 1e-10) + np.einsum("iy,yz->iz", one_hot, expected)
        assignments = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    wide = np.broadcast_to(prior, counts.shape)
    log_evidence = np.sum(gammaln(wide.sum(axis=0)) - gammaln(wide).sum(axis=0))
    log_evidence -= np.sum(gammaln(counts.sum(axis=0)) - gammaln(counts).sum(axis=0))
    return (log_evidence - np.sum(assignments * np.log(assignments / (probabilities + 1e-10)))) / one_hot.size


@pytest.mark.parametrize("problem", PROBLEMS)
def test_is_the_negative_of_the_public_loss(golden_head, problem):
    probabilities, labels, loss = golden_head(problem, "pac_dir_1.0@pactran")
    assert score("pactran_dirichlet", None, labels, probabilities).value == pytest.approx(-loss, rel=1e-9)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 30.0])
def test_equals_the_bound_written_out(concentration):
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(5), size=60), np.repeat([0, 1, 2], (40, 15, 5))
    value = score("pactran_dirichlet", None, labels, probabilities, concentration=concentration).value
    assert value == pytest.approx(bound(probabilities, labels, concentration), rel=1e-9)


def test_a_source_class_a_label_is_better_than_one_for_all():
    labels = np.arange(60) % 3
    head = 0.05 + 0.85 * np.eye(3)[labels]
    one = np.tile([0.9, 0.05, 0.05], (60, 1))
    values = [score("pactran_dirichlet", None, labels, each).value for each in (head, one)]
    assert values[0] > values[1]


def test_a_concentration_of_zero_is_refused():
    with pytest.raises(DataError) as error:
        score("pactran_dirichlet", None, [0, 1], [[0.5, 0.5], [0.5, 0.5]], concentration=0.0)
    assert str(error.value) == "pactran_dirichlet needs concentration > 0. Got 0.0. Use 1.0 if unsure."
