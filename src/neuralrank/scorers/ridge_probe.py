"""Ridge regression as a probe: how much of the target variance it explains on samples it was not fitted to.

The held-out predictions are in closed form. The penalty is the best of generalised cross-validation (Golub, Heath and
Wahba 1979), which needs the spectrum alone; with groups, of a grid of exact leave-group-out fits. For classes the score
is the explained variance of the one-hot columns, not the accuracy: leaving one out moves the fit away from the class
that was left out, so that for labels that say nothing the accuracy is 0 instead of chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._held_out import held_out_ridge
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_LOG10_PENALTIES = np.arange(-6.0, 4.01, 0.25)
_LOG10_PENALTIES_OF_GROUPS = np.arange(-6.0, 4.0)


@scorer(
    family="probe",
    tasks={"classification", "regression", "multilabel"},
    paper="Hoerl and Kennard 1970; leaving one out: Allen 1974, Technometrics",
)
def ridge_probe(prepared: Prepared) -> Score:
    """Score the held-out R² of ridge regression onto the target columns, averaged over the columns.

    Returns:
        Score <= 1, no unit; about 0 for labels that say nothing. `terms` are per sample; the `penalty`, relative to the
        mean squared singular value, and for classes the held-out `accuracy`, are in the details.

    Cost: the one decomposition plus O(n · rank · k).
    """
    unit = float(np.mean(prepared.spectrum.values**2))
    if prepared.groups is None:
        penalties = unit * 10.0**_LOG10_PENALTIES
        penalty = float(penalties[np.argmin([_generalised_loss(prepared, penalty) for penalty in penalties])])
        terms, predictions = _explained(prepared, penalty)
    else:
        penalties = unit * 10.0**_LOG10_PENALTIES_OF_GROUPS
        fits = [(penalty, *_explained(prepared, penalty)) for penalty in penalties]
        penalty, terms, predictions = max(fits, key=lambda fit: float(fit[1].mean()))
    details = {"penalty": penalty / unit}
    if prepared.task == "classification":
        details["accuracy"] = float(np.mean(predictions.argmax(axis=1) == prepared.labels))
    return Score(value=float(terms.mean()), terms=terms, details=details)


def _generalised_loss(prepared: Prepared, penalty: float) -> float:
    """Return ||Y - H Y||² / (1 - tr(H)/n)², over the standardised target columns."""
    squares = prepared.spectrum.values**2
    kept = penalty / (squares + penalty)
    reached = prepared.projected**2 / prepared.target_squares
    rest = float(np.sum(np.maximum(1.0 - reached.sum(axis=0), 0.0))) + float(np.sum(kept**2 @ reached))
    freedom = 1.0 - (1.0 + float(np.sum(1.0 - kept))) / prepared.n_samples
    return rest / max(freedom, 1e-9) ** 2


def _explained(prepared: Prepared, penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the variance that each sample's held-out prediction explains, and the predictions."""
    predictions = prepared.target_means + held_out_ridge(prepared, penalty)
    errors = (prepared.targets - predictions) ** 2
    terms = 1.0 - errors @ (prepared.n_samples / prepared.target_squares) / errors.shape[1]
    return terms, predictions
