"""One preparation of features and labels for all scores.

Labels are re-encoded, features checked, cast to float64, centred, freed of columns that do not vary, and divided by
their root mean square; the singular value decomposition is made once, through the smaller Gram matrix, when the first
score asks for it. Nothing is written into the caller's arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuralrank.errors import DataError
from neuralrank.types import Task

# Singular values below this share of the largest are numerical noise: float32 features carry about 1e-7 of relative
# precision, and a Gram matrix loses half the digits of float64.
RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """Thin singular value decomposition of the centred features, X = U diag(s) V'."""

    left: NDArray[np.float64]
    """U, shape (n_samples, rank)."""
    values: NDArray[np.float64]
    """s, shape (rank,), descending."""

    @cached_property
    def left_squares(self) -> NDArray[np.float64]:
        """U squared element by element: leverages are its products with the shrinkage."""
        return self.left**2


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Features and labels, ready for any score."""

    features: NDArray[np.float64]
    """X, shape (n_samples, n_live_features): centred, global root mean square 1."""
    labels: NDArray[np.int64] | NDArray[np.float64]
    """Class index 0 … n_classes - 1, or the regression target."""
    task: Task
    n_classes: int
    """0 for regression."""
    groups: NDArray[np.int64] | None
    """Group index of each sample, None where every sample stands alone."""

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """Y, shape (n_samples, n_targets): one-hot classes, or the regression target as one column; not centred."""
        if self.task == "regression":
            return self.labels.astype(np.float64)[:, None]
        one_hot = np.zeros((self.n_samples, self.n_classes))
        one_hot[np.arange(self.n_samples), self.labels.astype(np.int64)] = 1.0
        return one_hot

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Samples of each class, shape (n_classes,)."""
        return np.bincount(self.labels.astype(np.int64), minlength=self.n_classes)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The one decomposition."""
        return decompose(self.features)


def prepare(
    features: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None, task: Task | None = None
) -> Prepared:
    """Check and prepare features and labels; `task` None reads it off the labels (fractional floats: regression).

    Raises:
        DataError: shapes do not fit, values are not finite, fewer than two classes, or no feature varies.
    """
    matrix = _as_matrix(features)
    codes, task, n_classes = _as_labels(labels, task)
    if len(codes) != len(matrix):
        raise DataError(
            f"A score needs one label per feature row. Got {len(matrix)} rows and {len(codes)} labels. "
            "Build both from the same probe."
        )
    return Prepared(
        features=_centre_and_scale(matrix),
        labels=codes,
        task=task,
        n_classes=n_classes,
        groups=_as_groups(groups, len(codes)),
    )


def decompose(features: NDArray[np.float64]) -> Spectrum:
    """Return the thin SVD of centred features through the smaller of the two Gram matrices."""
    n_samples, n_features = features.shape
    if n_samples < n_features:
        squares, left = np.linalg.eigh(features @ features.T)
    else:
        squares, right = np.linalg.eigh(features.T @ features)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    rank = int(np.count_nonzero(values > RANK_TOLERANCE * values[0]))
    values = values[:rank]
    if n_samples < n_features:
        return Spectrum(left=np.ascontiguousarray(left[:, ::-1][:, :rank]), values=values)
    return Spectrum(left=features @ (right[:, ::-1][:, :rank] / values), values=values)


def _as_matrix(features: ArrayLike) -> NDArray[np.float64]:
    if hasattr(features, "detach"):  # a torch tensor, on whatever device
        features = features.detach().cpu()
    matrix = np.asarray(features)
    if matrix.dtype.kind not in "fiub":
        raise DataError(f"Features need to be numbers. Got an array of type {matrix.dtype}. Convert them to float32.")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(
            f"Features need the shape (n_samples, n_features), neither of them 0. Got {matrix.shape}. "
            "Pool each sample to one row first."
        )
    matrix = matrix.astype(np.float64)
    bad_rows = int(np.count_nonzero(~np.isfinite(matrix).all(axis=1)))
    if bad_rows:
        raise DataError(
            f"Features need to be finite. Got NaN or infinity in {bad_rows:,} of {len(matrix):,} rows. "
            "Check the model that made them."
        )
    return matrix


def _as_labels(labels: ArrayLike, task: Task | None) -> tuple[NDArray[np.int64] | NDArray[np.float64], Task, int]:
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu()
    given = np.asarray(labels)
    if given.ndim != 1:
        raise DataError(f"Labels need the shape (n_samples,). Got {given.shape}. Give one label per sample.")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise DataError("Labels need to be finite. Got NaN or infinity. Leave those samples out.")
    if task == "regression" and given.dtype.kind not in "fiu":
        raise DataError(f"Regression needs numeric labels. Got {given.dtype}. Choose --task classification.")
    fractional = given.dtype.kind == "f" and not np.array_equal(given, np.round(given))
    if task == "regression" or (task is None and fractional):
        if given.min() == given.max():
            raise DataError("Regression needs labels that differ. Got one value. Choose another label column.")
        return given.astype(np.float64), "regression", 0
    if given.dtype.kind == "O" and not all(isinstance(value, str | int | bool) for value in given):
        raise DataError("Labels need to be strings, whole numbers or floats. Got other objects. Convert them first.")
    classes, codes = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"A score needs at least 2 classes. Got {len(classes)}. Use data with more classes.")
    return codes.astype(np.int64), "classification", len(classes)


def _as_groups(groups: ArrayLike | None, n_samples: int) -> NDArray[np.int64] | None:
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (n_samples,):
        raise DataError(f"Groups need the shape ({n_samples},). Got {given.shape}. Give one group per sample.")
    codes = np.unique(given, return_inverse=True)[1].astype(np.int64)
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise DataError("Held-out scores need at least 2 groups. Got 1. Choose another group column.")
    return None if n_groups == n_samples else codes


def _centre_and_scale(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    magnitude = np.abs(matrix).max(axis=0)
    largest = float(magnitude.max()) or 1.0
    matrix = matrix / largest  # squares of very large or very small features stay in range
    mean = matrix.mean(axis=0)
    matrix -= mean
    spread = np.sqrt(np.mean(matrix**2, axis=0))
    # A constant column still shows rounding noise of its own magnitude after centring.
    live = spread > 1e-12 * magnitude / largest
    live &= spread > RANK_TOLERANCE * 1e-3 * spread.max(initial=0.0)
    if not live.any():
        raise DataError(
            "Features need to differ between samples. Got the same values for all. Check the model or the layer."
        )
    matrix = matrix[:, live]
    return np.asarray(matrix / np.sqrt(np.mean(matrix**2)))
