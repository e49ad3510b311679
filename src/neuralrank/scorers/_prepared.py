"""One preparation of features and labels for all scores.

Labels are re-encoded, features checked, cast to float64, centred, freed of columns that do not vary, and divided by
their root mean square; the singular value decomposition is made once, when the first score asks for it, and on the
device that the features came from. Nothing is written into the caller's arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import softmax

from neuralrank.errors import DataError
from neuralrank.scorers._arrays import Device, device_of, to_numpy
from neuralrank.scorers._labels import encode_groups, encode_labels
from neuralrank.scorers._spectrum import RANK_TOLERANCE, Spectrum, decompose
from neuralrank.types import Task

_SAFE_MAGNITUDES = (1e-100, 1e100)
_ROW_SUM_TOLERANCE = 1e-2
_BLOCK_ROWS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Features, labels and head outputs, ready for any score."""

    features: NDArray[np.float64]
    """X, shape (n_samples, n_features): centred, global root mean square 1; no columns where none were given."""
    labels: NDArray[np.int64] | NDArray[np.float64]
    """Shape (n_samples,), class index 0 … n_classes - 1 or regression target; (n_samples, n_targets) for regression
    with several targets; (n_samples, n_classes) of 0 and 1 for multilabel."""
    task: Task
    n_classes: int
    """0 for regression; the number of labels for multilabel."""
    groups: NDArray[np.int64] | None = None
    """Group index of each sample, None where every sample stands alone."""
    probabilities: NDArray[np.float64] | None = None
    """Of the model's own head, shape (n_samples, n_source_classes); rows sum to 1."""
    logits: NDArray[np.float64] | None = None
    """Of the model's own head, shape (n_samples, n_source_classes)."""
    seed: int = 0
    device: Device | None = None
    """Where the features came from and the decomposition runs; None: here."""

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def class_indices(self) -> NDArray[np.int64]:
        """The labels of a classification, shape (n_samples,)."""
        return self.labels.astype(np.int64, copy=False)

    @property
    def head_probabilities(self) -> NDArray[np.float64]:
        """The probabilities, where a score has said that it needs them."""
        assert self.probabilities is not None
        return self.probabilities

    @property
    def head_logits(self) -> NDArray[np.float64]:
        """The logits, where a score has said that it needs them."""
        assert self.logits is not None
        return self.logits

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """Y, shape (n_samples, n_targets): one-hot classes, labels, or regression targets; not centred."""
        if self.task != "classification":
            return self.labels.astype(np.float64).reshape(self.n_samples, -1)
        one_hot = np.zeros((self.n_samples, self.n_classes))
        one_hot[np.arange(self.n_samples), self.labels] = 1.0
        return one_hot

    @cached_property
    def target_means(self) -> NDArray[np.float64]:
        """Mean of each target column, shape (n_targets,): the class frequencies for classification."""
        return np.asarray(self.targets.mean(axis=0))

    @cached_property
    def target_squares(self) -> NDArray[np.float64]:
        """Sum of squares of each centred target column, shape (n_targets,)."""
        if self.task == "regression":
            return np.asarray(np.sum((self.targets - self.target_means) ** 2, axis=0))
        return np.asarray(self.n_samples * self.target_means * (1.0 - self.target_means))

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Samples of each class, shape (n_classes,)."""
        return np.bincount(self.class_indices, minlength=self.n_classes)

    @cached_property
    def rows_by_class(self) -> list[NDArray[np.int64]]:
        """Indices of the samples of each class."""
        return np.split(np.argsort(self.labels, kind="stable"), np.cumsum(self.class_counts)[:-1])

    @cached_property
    def class_means(self) -> NDArray[np.float64]:
        """Mean features of each class, shape (n_classes, n_features)."""
        return self.sum_by_class(self.features) / self.class_counts[:, None]

    @cached_property
    def squared_lengths(self) -> NDArray[np.float64]:
        """Squared length of each sample's features, shape (n_samples,)."""
        return np.asarray(np.einsum("ij,ij->i", self.features, self.features))

    @cached_property
    def inverse_lengths(self) -> NDArray[np.float64]:
        """1 over the length of each sample's features, shape (n_samples,); 0 at the mean, which has no direction."""
        lengths = np.sqrt(self.squared_lengths)
        return np.asarray(np.where(lengths > 0, 1.0 / np.where(lengths > 0, lengths, 1.0), 0.0))

    @cached_property
    def squares_within(self) -> NDArray[np.float64]:
        """Squared distance of each sample from the mean of its class, shape (n_samples,)."""
        squares = np.empty(self.n_samples)
        for start in range(0, self.n_samples, _BLOCK_ROWS):  # a block stays in the processor's cache
            block = slice(start, start + _BLOCK_ROWS)
            away = self.features[block] - self.class_means[self.class_indices[block]]
            squares[block] = np.einsum("ij,ij->i", away, away)
        return squares

    @cached_property
    def spectrum(self) -> Spectrum:
        """The one decomposition."""
        return decompose(self.features, self.device)

    @cached_property
    def compressed(self) -> Prepared:
        """The same samples with each column in units of its own standard deviation, large values compressed: asinh.

        Features of networks have columns of very different size and long tails, where few samples decide a linear fit.
        """
        deviations = np.sqrt(np.einsum("ij,ij->j", self.features, self.features) / self.n_samples)
        return replace(self, features=_as_matrix(np.arcsinh(self.features / deviations)))

    @cached_property
    def projected(self) -> NDArray[np.float64]:
        """U'Y, shape (rank, n_targets); U is centred, so Y need not be."""
        if self.task == "classification":
            return np.ascontiguousarray(self.sum_by_class(self.spectrum.left).T)
        return np.asarray(self.spectrum.left.T @ self.targets)

    def sum_by_class(
        self, rows: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the (weighted) sum over the samples of each class, shape (n_classes, n_columns)."""
        values = np.ones(self.n_samples) if weights is None else weights
        places = (self.class_indices, np.arange(self.n_samples))
        return np.asarray(csr_array((values, places), shape=(self.n_classes, self.n_samples)) @ rows)

    def subset(self, rows: NDArray[np.int64]) -> Prepared:
        """Return the preparation of some of the samples alone.

        Raises:
            DataError: they cannot be scored, for example because one class is left.
        """
        return prepare(
            self.features[rows] if self.features.size else None,
            self.labels[rows],
            None if self.probabilities is None else self.probabilities[rows],
            logits=None if self.logits is None else self.logits[rows],
            groups=None if self.groups is None else self.groups[rows],
            task=self.task,
            seed=self.seed,
        )


def prepare(
    features: ArrayLike | None,
    labels: ArrayLike,
    probabilities: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    task: Task | None = None,
    seed: int = 0,
) -> Prepared:
    """Check and prepare features, labels and head outputs; `task` None reads it off the labels.

    Raises:
        DataError: shapes do not fit, values are not finite, fewer than two classes, or no feature varies.
    """
    encoded = encode_labels(to_numpy(labels), task)
    matrix = None if features is None else _as_matrix(features)
    for what, rows in (("feature", matrix), ("probability", probabilities), ("logit", logits)):
        if rows is not None and _n_rows(rows) != len(encoded.labels):
            raise DataError(
                f"A score needs one label per {what} row. Got {_n_rows(rows)} rows and {len(encoded.labels)} labels. "
                "Build both from the same probe."
            )
    head = None if logits is None else _as_head(logits, "Logits")
    return Prepared(
        features=np.empty((len(encoded.labels), 0)) if matrix is None else matrix,
        labels=encoded.labels,
        task=encoded.task,
        n_classes=encoded.n_classes,
        groups=encode_groups(None if groups is None else to_numpy(groups), len(encoded.labels)),
        probabilities=_as_probabilities(probabilities, head),
        logits=head,
        seed=seed,
        device=device_of(features),
    )


def _n_rows(array: Any) -> int:
    return int(array.shape[0]) if getattr(array, "shape", None) else len(np.atleast_1d(array))


def _as_matrix(features: ArrayLike) -> NDArray[np.float64]:
    """Return features checked, centred and scaled; a new array."""
    given = to_numpy(features)
    if given.dtype.kind not in "fiub":
        raise DataError(f"Features need to be numbers. Got an array of type {given.dtype}. Convert them to float32.")
    if given.ndim != 2 or 0 in given.shape:
        raise DataError(
            f"Features need the shape (n_samples, n_features), neither of them 0. Got {given.shape}. "
            "Pool each sample to one row first."
        )
    matrix = np.array(given, dtype=np.float64, order="C")
    magnitude = _magnitudes(matrix, "Features")
    largest = float(magnitude.max()) or 1.0
    if not _SAFE_MAGNITUDES[0] < largest < _SAFE_MAGNITUDES[1]:
        matrix /= largest  # squares of very large or very small features stay in range
        magnitude = magnitude / largest
    matrix -= matrix.mean(axis=0)
    spread = np.sqrt(np.einsum("ij,ij->j", matrix, matrix) / len(matrix))
    # A constant column still shows rounding noise of its own magnitude after centring.
    live = spread > 1e-12 * magnitude
    live &= spread > RANK_TOLERANCE * 1e-3 * spread.max()
    if not live.any():
        raise DataError(
            "Features need to differ between samples. Got the same values for all. Check the model or the layer."
        )
    if not live.all():
        matrix = np.ascontiguousarray(matrix[:, live])
    matrix /= np.sqrt(np.mean(spread[live] ** 2))
    return matrix


def _magnitudes(matrix: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Return the largest absolute value of each column.

    Raises:
        DataError: some are not finite.
    """
    magnitude = np.maximum(matrix.max(axis=0), -matrix.min(axis=0))
    if not np.isfinite(magnitude).all():
        bad_rows = int(np.count_nonzero(~np.isfinite(matrix).all(axis=1)))
        raise DataError(
            f"{what} need to be finite. Got NaN or infinity in {bad_rows:,} of {len(matrix):,} rows. "
            "Check the model that made them."
        )
    return np.asarray(magnitude)


def _as_head(values: ArrayLike, what: str) -> NDArray[np.float64]:
    given = to_numpy(values)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or given.shape[1] < 2:
        raise DataError(
            f"{what} need the shape (n_samples, n_source_classes), numbers of at least 2 classes. "
            f"Got {given.dtype} of shape {given.shape}. Give one row of the model's head per sample."
        )
    matrix = given.astype(np.float64)
    _magnitudes(matrix, what)
    return matrix


def _as_probabilities(
    probabilities: ArrayLike | None, logits: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return the given probabilities with rows that sum to 1 exactly, or those that follow from the logits."""
    if probabilities is None:
        if logits is None:
            return None
        return np.asarray(softmax(logits, axis=1))
    matrix = _as_head(probabilities, "Probabilities")
    sums = matrix.sum(axis=1)
    if matrix.min() < 0 or np.abs(sums - 1.0).max() > _ROW_SUM_TOLERANCE:
        raise DataError(
            f"Probabilities need to be at least 0 with rows that sum to 1. Got values from {matrix.min():.3g} and row "
            f"sums from {sums.min():.3g} to {sums.max():.3g}. Pass the head's logits as logits= instead."
        )
    return np.asarray(matrix / sums[:, None])
