import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from neuralrank.scorers import score

PROBLEMS = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P4_n_lt_d", "P5_k100", "P6_digits", "P7_f32_offset"]


def test_a_case_worked_out_by_hand():
    # The head names z = 0 for a, a, b and z = 1 for b.
    head = [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]]
    result = score("nce", None, ["a", "a", "b", "b"], head)
    assert result.terms == pytest.approx(np.log([2 / 3, 2 / 3, 1 / 3, 1]), rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_agrees_with_the_public_code(golden_head, problem):
    probabilities, labels, value = golden_head(problem, "nce@tllib")
    assert score("nce", None, labels, probabilities).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("problem", ["P2_imbalanced", "P6_digits"])
def test_is_the_mutual_information_less_the_entropy_of_the_labels(golden_head, problem):
    probabilities, labels, _ = golden_head(problem, "nce@tllib")
    shares = np.bincount(labels) / len(labels)
    expected = mutual_info_score(labels, probabilities.argmax(axis=1)) + shares @ np.log(shares)
    assert score("nce", None, labels, probabilities).value == pytest.approx(expected, rel=1e-9)


def test_an_epsilon_in_every_cell_moves_public_code_of_many_classes(golden_head):
    probabilities, labels, wrong = golden_head("P5_k100", "nce_eps@parc")
    assert wrong < score("nce", None, labels, probabilities).value - 0.08
