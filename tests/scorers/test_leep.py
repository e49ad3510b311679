import numpy as np
import pytest

from neuralrank.scorers import score

PROBLEMS = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P7_f32_offset"]


def test_a_case_worked_out_by_hand():
    # p(y|z): z = 0 holds 1.5 of a and 0.5 of b, z = 1 holds 0.5 of a and 1.5 of b.
    head = [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    result = score("leep", None, ["a", "a", "b", "b"], head)
    assert result.terms == pytest.approx(np.log([0.75, 0.5, 0.5, 0.75]), rel=1e-12)
    assert result.value == pytest.approx(np.log(0.75 * 0.5) / 2, rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_agrees_with_the_public_code(golden_head, problem):
    probabilities, labels, value = golden_head(problem, "leep@tllib")
    assert score("leep", None, labels, probabilities).value == pytest.approx(value, rel=1e-9)


def test_a_source_class_of_no_probability_changes_nothing():
    head = np.random.default_rng(0).dirichlet(np.ones(4), size=30)
    labels = np.arange(30) % 3
    padded = np.hstack([head, np.zeros((30, 1))])  # the public code divides 0 by 0
    assert score("leep", None, labels, padded).value == score("leep", None, labels, head).value


def test_labels_with_gaps_are_classes_like_any(golden_head):
    probabilities, labels, value = golden_head("P1_balanced", "leep@tllib")
    assert score("leep", None, 5 * labels - 7, probabilities).value == pytest.approx(value, rel=1e-9)


def test_a_head_that_knows_nothing_gives_the_entropy_of_the_labels():
    labels = np.repeat([0, 1], (10, 30))
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert score("leep", None, labels, np.full((40, 5), 0.2)).value == pytest.approx(-entropy, rel=1e-12)


def test_probabilities_rounded_by_half_precision_are_made_to_sum_to_one():
    rng = np.random.default_rng(0)
    head, labels = rng.dirichlet(np.ones(4), size=30), np.arange(30) % 3
    off = head * rng.uniform(0.995, 1.005, size=(30, 1))
    assert score("leep", None, labels, off).value == pytest.approx(score("leep", None, labels, head).value, rel=1e-12)


def test_logits_give_the_probabilities_of_their_softmax():
    rng = np.random.default_rng(0)
    logits, labels = 5 * rng.normal(size=(40, 6)), np.arange(40) % 3
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    from_logits = score("leep", None, labels, logits=logits + 900.0).value  # exp(900) overflows
    assert from_logits == pytest.approx(score("leep", None, labels, softmax).value, rel=1e-9)
