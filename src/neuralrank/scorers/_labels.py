"""Labels and groups of any kind become arrays that every score understands."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, UsageError
from neuralrank.types import Task


@dataclass(frozen=True, kw_only=True)
class EncodedLabels:
    """Labels as `Prepared` holds them."""

    labels: NDArray[np.int64] | NDArray[np.float64]
    task: Task
    n_classes: int


def encode_labels(given: NDArray[Any], task: Task | None) -> EncodedLabels:
    """Return class indices, regression targets, or 0 and 1 of each label.

    One-dimensional labels are classes unless they have fractions; two-dimensional ones are the columns of a multilabel
    target if they are all 0 or 1, and several regression targets otherwise. `task` overrides both.

    Raises:
        DataError: they are not labels, or do not differ.
        UsageError: there is no such task.
    """
    if task is not None and task not in get_args(Task):
        near = difflib.get_close_matches(task, get_args(Task), n=1)
        suggestion = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"Unknown task {task!r}.{suggestion} Available: {', '.join(sorted(get_args(Task)))}.")
    if given.ndim not in (1, 2) or 0 in given.shape:
        raise DataError(
            f"Labels need the shape (n_samples,), or (n_samples, n_targets) for several. Got {given.shape}. "
            "Give one label per sample."
        )
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.dtype.kind == "O":
        given = _of_one_kind(given, "Labels")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise DataError("Labels need to be finite. Got NaN or infinity. Leave those samples out.")
    found = _task(given) if task is None else task
    if found == "regression":
        return _regression(given)
    if found == "multilabel":
        return _multilabel(given)
    if given.ndim == 2:
        raise DataError(
            f"Classification needs labels of shape (n_samples,). Got {given.shape}. Choose --task multilabel."
        )
    return _classes(given)


def encode_groups(given: NDArray[Any] | None, n_samples: int) -> NDArray[np.int64] | None:
    """Return a group index per sample, None where every sample stands alone.

    Raises:
        DataError: not one group per sample, or one group for all.
    """
    if given is None:
        return None
    if given.shape != (n_samples,):
        raise DataError(f"Groups need the shape ({n_samples},). Got {given.shape}. Give one group per sample.")
    if given.dtype.kind == "O":
        given = _of_one_kind(given, "Groups")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise DataError("Groups need to be finite. Got NaN or infinity. Leave those samples out.")
    codes = np.unique(given, return_inverse=True)[1].astype(np.int64)
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        raise DataError("Held-out scores need at least 2 groups. Got 1. Choose another group column.")
    return None if n_groups == n_samples else codes


def _of_one_kind(given: NDArray[Any], what: str) -> NDArray[Any]:
    """Return an array of Python objects as one of strings or numbers."""
    values = given.ravel().tolist()
    if any(value is None or (isinstance(value, float) and value != value) for value in values):
        raise DataError(f"{what} need a value for every sample. Got None or NaN for some. Leave those samples out.")
    if not all(isinstance(value, str | int | float | np.generic) for value in values):
        raise DataError(f"{what} need to be strings, whole numbers or floats. Got other objects. Convert them first.")
    if 0 < sum(isinstance(value, str) for value in values) < len(values):
        raise DataError(f"{what} need to be of one kind. Got strings and numbers mixed. Convert them first.")
    return np.array(values).reshape(given.shape)


def _task(given: NDArray[Any]) -> Task:
    if given.ndim == 2:
        return "multilabel" if given.dtype.kind in "biuf" and np.isin(given, (0, 1)).all() else "regression"
    fractional = given.dtype.kind == "f" and not np.array_equal(given, np.round(given))
    return "regression" if fractional else "classification"


def _regression(given: NDArray[Any]) -> EncodedLabels:
    if given.dtype.kind not in "fiu":
        raise DataError(f"Regression needs numeric labels. Got {given.dtype}. Choose --task classification.")
    values = given.astype(np.float64)
    if (values.max(axis=0) == values.min(axis=0)).any():
        raise DataError("Regression needs labels that differ. Got one value. Choose another label column.")
    return EncodedLabels(labels=values, task="regression", n_classes=0)


def _multilabel(given: NDArray[Any]) -> EncodedLabels:
    if given.ndim != 2 or given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise DataError(
            f"Multilabel needs labels of shape (n_samples, n_labels), each 0 or 1. Got {given.dtype} of shape "
            f"{given.shape}. Give one column per label."
        )
    columns = given.astype(np.int64)
    constant = np.flatnonzero(columns.max(axis=0) == columns.min(axis=0))
    if len(constant):
        raise DataError(
            f"Every label needs samples with and without it. Got {len(constant)} of {columns.shape[1]} labels that all "
            "or none have. Leave those out."
        )
    return EncodedLabels(labels=columns, task="multilabel", n_classes=columns.shape[1])


def _classes(given: NDArray[Any]) -> EncodedLabels:
    classes, codes = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"A score needs at least 2 classes. Got {len(classes)}. Use data with more classes.")
    return EncodedLabels(labels=codes.astype(np.int64), task="classification", n_classes=len(classes))
