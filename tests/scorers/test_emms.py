import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from neuralrank.scorers import score

TALL = ["P1_balanced", "P2_imbalanced", "P3_dup_const", "P5_k100", "P6_digits", "P10_relu_sparse"]


def unexplained(features, targets):
    return LinearRegression().fit(features, targets).score(features, targets) - 1.0


def test_a_case_worked_out_by_hand():
    # A line through (0, 0), (2, 0), (2, 1), (4, 1) explains half of the variance.
    assert score("emms", [[0.0], [2.0], [2.0], [4.0]], [0, 0, 1, 1]).value == pytest.approx(-0.5, rel=1e-12)


@pytest.mark.parametrize("problem", ["P1_balanced", "P2_imbalanced", "P6_digits"])
def test_equals_the_residual_of_scikit_learn_averaged_over_the_columns(golden, problem):
    features, labels, _ = golden(problem, "emms_onehot@emms")
    one_hot = np.eye(labels.max() + 1)[labels]
    assert score("emms", features, labels).value == pytest.approx(unexplained(features, one_hot), rel=1e-9)


@pytest.mark.parametrize("problem", TALL)
def test_the_public_code_multiplies_by_the_number_of_columns_it_means_to_divide_by(golden, problem):
    features, labels, public = golden(problem, "emms_onehot@emms")
    n_classes = labels.max() + 1
    # Its `/ N * D2`; the residual of each standardised column is what is left of its variance.
    assert score("emms", features, labels).value * n_classes**2 == pytest.approx(public, rel=1e-6)


def test_fewer_samples_than_dimensions_leave_no_residual_for_any_labels(golden):
    features, labels, _ = golden("P4_n_lt_d", "emms_onehot@emms")
    result = score("emms", features, np.random.default_rng(0).permutation(labels))
    assert result.value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_targets_are_reached_column_by_column(task):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4))
    targets = features[:, :2] + rng.normal(size=(60, 2)) * [0.1, 3.0]
    if task == "multilabel":
        targets = (targets > 0).astype(int)
    assert score("emms", features, targets).value == pytest.approx(unexplained(features, targets), rel=1e-9)
