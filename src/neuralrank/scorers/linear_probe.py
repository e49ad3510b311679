"""A logistic classifier as a probe: its accuracy on the folds it was not fitted to."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers import scorer
from neuralrank.scorers._folds import draw_folds
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_MAX_STEPS = 300


@scorer(
    family="probe",
    tasks={"classification", "multilabel"},
    paper="Cox 1958; as a transferability score: Renggli et al. 2022, CVPR",
    invariances={"rotation"},
)
def linear_probe(prepared: Prepared, *, n_folds: int = 5, penalty: float = 1.0) -> Score:
    """Score the k-fold accuracy of multinomial logistic regression (multilabel: the mean over one for each label).

    Folds are stratified by class, keep groups together, and are the same for every model.

    Args:
        prepared: features and labels.
        n_folds: number of folds, at least 2.
        penalty: weight of half the squared coefficients beside the summed log loss, for features of root mean square 1.

    Returns:
        Score in [0, 1]; `terms` are per sample.

    Cost: n_folds fits of O(steps · n · rank · k).
    """
    if n_folds < 2:
        raise DataError(f"linear_probe needs n_folds >= 2. Got {n_folds}. Use 5 if unsure.")
    if not penalty > 0:
        raise DataError(f"linear_probe needs penalty > 0. Got {penalty}. Use 1.0 if unsure.")
    columns = [prepared.labels] if prepared.task == "classification" else list(prepared.labels.T)
    points, folds = prepared.spectrum.coordinates(), draw_folds(prepared, n_folds)
    right = np.empty((prepared.n_samples, len(columns)))
    converged = True
    for place, labels in enumerate(columns):
        for fold in np.unique(folds):
            test = folds == fold
            predicted, done = _predict(points, labels, ~test, test, penalty)
            right[test, place] = predicted == labels[test]
            converged &= done
    notes = () if converged else (f"linear_probe stopped after {_MAX_STEPS} steps in some fold, before its optimum.",)
    terms = right.mean(axis=1)
    return Score(value=float(terms.mean()), terms=terms, warnings=notes)


def _predict(
    points: NDArray[np.float64],
    labels: NDArray[np.float64] | NDArray[np.int64],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    penalty: float,
) -> tuple[NDArray[np.int64], bool]:
    """Return the predicted labels of the samples of a fold, and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels[train])
    if len(present) == 1:
        return np.full(int(test.sum()), present[0], dtype=np.int64), True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # scikit-learn doubts labels of many classes
        warnings.simplefilter("always", ConvergenceWarning)
        fit = LogisticRegression(C=1.0 / penalty, max_iter=_MAX_STEPS, tol=1e-4).fit(points[train], labels[train])
    converged = not any(issubclass(item.category, ConvergenceWarning) for item in caught)
    return np.asarray(fit.predict(points[test])).astype(np.int64), converged
