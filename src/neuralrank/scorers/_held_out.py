"""Closed-form held-out predictions of ridge regression, leaving out one sample, or one group of samples, at a time.

With the centred features X = U diag(s) V' and the hat matrix H = U diag(s²/(s² + λ)) U' + 11'/n, the residuals of the
samples of a group B, predicted by the fit without B, are (I - H_BB)⁻¹ (Y - HY)_B: exact, without a second fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers._prepared import Prepared


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Some of the samples, and what their predictions at many penalties share."""

    indices: NDArray[np.int64]
    left: NDArray[np.float64]
    """U at these samples, shape (n_rows, rank)."""
    left_squares: NDArray[np.float64]


def take_rows(prepared: Prepared, indices: NDArray[np.int64]) -> Rows:
    """Return some of the samples."""
    left = prepared.spectrum.left[indices]
    return Rows(indices=indices, left=left, left_squares=left**2)


def held_out_ridge(prepared: Prepared, penalty: float, rows: Rows | None = None) -> NDArray[np.float64]:
    """Return the prediction of every sample by the fit without its group, less the mean of the targets.

    Args:
        prepared: features and labels; the fit has an intercept.
        penalty: λ > 0, on the scale of the squared singular values.
        rows: the samples to predict, None for all; each by the fit to all others. With groups, None.

    Returns:
        Shape (n_rows, n_targets).
    """
    return held_out_ridges(prepared, [penalty], rows)[0]


def held_out_ridges(
    prepared: Prepared, penalties: Sequence[float], rows: Rows | None = None
) -> list[NDArray[np.float64]]:
    """Return the predictions at each of several penalties, in one pass over the samples."""
    spectrum, squares = prepared.spectrum, prepared.spectrum.values**2
    shrinkages = [squares / (squares + penalty) for penalty in penalties]
    if prepared.groups is not None:
        return [_held_out_groups(prepared, shrinkage) for shrinkage in shrinkages]
    coefficients = np.hstack([shrinkage[:, None] * prepared.projected for shrinkage in shrinkages])
    weights = np.column_stack(shrinkages)
    if rows is None:
        fitted, leverages = spectrum.left @ coefficients, spectrum.weighted_squares(weights)
    else:
        fitted, leverages = rows.left @ coefficients, rows.left_squares @ weights
    leverages += 1.0 / prepared.n_samples
    parts = zip(np.split(fitted, len(penalties), axis=1), leverages.T, strict=True)
    return [_held_out(prepared, np.ascontiguousarray(part), leverage, rows) for part, leverage in parts]


def _held_out(
    prepared: Prepared, fitted: NDArray[np.float64], leverage: NDArray[np.float64], rows: Rows | None
) -> NDArray[np.float64]:
    """Return Y - (Y - HY) / (1 - h) - m, with m the means of the targets; overwrites `fitted`, HY - m.

    It is (HY - m + h m - h Y) / (1 - h), where Y itself counts at few places.
    """
    fitted += np.outer(leverage, prepared.target_means)
    chosen = slice(None) if rows is None else rows.indices
    if prepared.task == "classification":
        fitted[np.arange(len(fitted)), prepared.class_indices[chosen]] -= leverage
    else:
        fitted -= leverage[:, None] * prepared.targets[chosen]
    fitted /= (1.0 - leverage)[:, None]
    return fitted


def _held_out_groups(prepared: Prepared, shrinkage: NDArray[np.float64]) -> NDArray[np.float64]:
    assert prepared.groups is not None
    left, centred = prepared.spectrum.left, prepared.targets - prepared.target_means
    residuals = centred - left @ (shrinkage[:, None] * prepared.projected)
    return centred - _held_out_residuals(left * np.sqrt(shrinkage), residuals, prepared.groups)


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
