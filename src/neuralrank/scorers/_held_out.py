"""Closed-form held-out predictions of ridge regression, leaving out one sample, or one group of samples, at a time.

With the centred features X = U diag(s) V' and the hat matrix H = U diag(s²/(s² + λ)) U' + 11'/n, the residuals of the
samples of a group B, predicted by the fit without B, are (I - H_BB)⁻¹ (Y - HY)_B: exact, without a second fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._spectrum import Spectrum


def held_out_ridge(prepared: Prepared, penalty: float, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Return the prediction of every sample by the fit without its group, less the mean of the targets.

    Args:
        prepared: features and labels; the fit has an intercept.
        penalty: λ > 0, on the scale of the squared singular values.
        rows: the samples to predict, None for all; each by the fit to all others. With groups, None.

    Returns:
        Shape (n_rows, n_targets).
    """
    spectrum = prepared.spectrum
    shrinkage = spectrum.values**2 / (spectrum.values**2 + penalty)
    coefficients = shrinkage[:, None] * prepared.projected
    if prepared.groups is not None:
        residuals = prepared.targets - prepared.target_means - spectrum.left @ coefficients
        held_out = _held_out_residuals(spectrum.left * np.sqrt(shrinkage), residuals, prepared.groups)
        return np.asarray(prepared.targets - prepared.target_means - held_out)
    part = spectrum if rows is None else Spectrum(left=spectrum.left[rows], values=spectrum.values)
    leverage = part.weighted_squares(shrinkage) + 1.0 / prepared.n_samples
    # Y - (Y - HY) / (1 - h) - m = (UA + h m - h Y) / (1 - h) with m the means: Y itself counts at few places.
    predictions = part.left @ coefficients
    predictions += np.outer(leverage, prepared.target_means)
    if prepared.task == "classification":
        own = prepared.labels if rows is None else prepared.labels[rows]
        predictions[np.arange(len(predictions)), own] -= leverage
    else:
        predictions -= leverage[:, None] * (prepared.targets if rows is None else prepared.targets[rows])
    predictions /= (1.0 - leverage)[:, None]
    return predictions


def _held_out_residuals(
    root: NDArray[np.float64], residuals: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (I - H_BB)⁻¹ e_B of every group B, with H = root root' + 11'/n."""
    n_samples = len(residuals)
    root = np.column_stack([root, np.full(n_samples, n_samples**-0.5)])
    held_out = residuals.copy()
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size in np.unique(sizes[sizes > 0]):
        members = order[starts[sizes == size][:, None] + np.arange(size)]  # (n_groups_of_this_size, size)
        held_out[members] = _without_group(root, residuals, members)
    return held_out


def _without_group(
    root: NDArray[np.float64], residuals: NDArray[np.float64], members: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (I - H_BB)⁻¹ e_B for groups of one size, shape (n_groups, size, n_targets)."""
    size = members.shape[1]
    if size == 1:
        leverage = np.sum(root[members[:, 0]] ** 2, axis=1)
        return np.asarray(residuals[members] / (1.0 - leverage)[:, None, None])
    solved = np.empty((*members.shape, residuals.shape[1]))
    for index, group in enumerate(members):
        rows = root[group]
        if size <= root.shape[1]:
            solved[index] = np.linalg.solve(np.eye(size) - rows @ rows.T, residuals[group])
        else:  # Woodbury: the smaller system lives in feature space
            inner = np.linalg.solve(np.eye(root.shape[1]) - rows.T @ rows, rows.T @ residuals[group])
            solved[index] = residuals[group] + rows @ inner
    return solved
