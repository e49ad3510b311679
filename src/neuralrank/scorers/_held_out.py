"""Closed-form held-out predictions of ridge regression, leaving out one sample, or one group of samples, at a time.

With the centred features X = U diag(s) V' and the hat matrix H = U diag(s²/(s² + λ)) U' + 11'/n, the residuals of the
samples of a group B, predicted by the fit without B, are (I - H_BB)⁻¹ (Y - HY)_B: exact, without a second fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._prepared import Spectrum


def held_out_ridge(
    spectrum: Spectrum,
    projected: NDArray[np.float64],
    targets: NDArray[np.float64],
    penalty: float,
    groups: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Return the prediction of every sample by the fit without its group.

    Args:
        spectrum: of the centred features.
        projected: U'Y, shape (rank, n_targets).
        targets: Y, shape (n_samples, n_targets), not centred; the intercept is fitted too.
        penalty: λ > 0, on the scale of the squared singular values.
        groups: group index of each sample, None to leave out single samples.

    Returns:
        Shape (n_samples, n_targets).
    """
    n_samples = len(targets)
    shrinkage = spectrum.values**2 / (spectrum.values**2 + penalty)
    fitted = targets.mean(axis=0) + spectrum.left @ (shrinkage[:, None] * projected)
    residuals = targets - fitted
    if groups is None:
        leverage = spectrum.left_squares @ shrinkage + 1.0 / n_samples
        return np.asarray(targets - residuals / (1.0 - leverage)[:, None])
    # H = A A' with A = [U sqrt(shrinkage), 1/sqrt(n)]
    root = np.column_stack([spectrum.left * np.sqrt(shrinkage), np.full(n_samples, n_samples**-0.5)])
    held_out = residuals.copy()
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size in np.unique(sizes[sizes > 0]):
        members = order[starts[sizes == size][:, None] + np.arange(size)]  # (n_groups_of_this_size, size)
        held_out[members] = _without_group(root, residuals, members)
    return np.asarray(targets - held_out)


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
