"""Labels of one value per sample become class indices or values, and groups become numbers.

Samples with any number of labels, or several numbers, are for `_row_encoding`.
A label is missing where it is None, null, an empty text, a NaN among classes, or -1 in a column that names its
classes. NaN among the values of a regression is an error instead: there it is a number that went wrong.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.readers._options import counted, quoted
from neuralrank.readers._pixels import as_array, is_tensor
from neuralrank.types import Task

MAX_CLASSES = 10_000


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels as their reader found them."""

    values: Any
    """One value per sample: a sequence, an array, a tensor or an Arrow column."""
    where: str
    """For messages: "column 'label' of 'x.csv'"."""
    remedy: str = "Add samples of a second class, or name another column with --label-column."
    """What to do about a single class."""
    names: tuple[str, ...] | None = None
    """Names of the classes 0, 1, … where the data states them."""


@dataclass(frozen=True, kw_only=True)
class EncodedLabels:
    """Labels as a target holds them."""

    task: Task
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    kept: NDArray[np.int64]
    """Ascending indices of the samples that have a label."""
    notes: tuple[str, ...]


def encode_labels(labels: Labels, task: Task | None = None) -> EncodedLabels:
    """Return class indices 0..k-1, or float values, of the samples that have a label.

    Raises:
        DataError: one class, too many classes, or values that do not fit the task.
    """
    values, known = _plain(labels)
    if labels.names is not None and values.dtype.kind in "iu":
        known &= values != -1
    is_float = values.dtype.kind == "f"
    numbers = values[np.isfinite(values)] if is_float else values
    fractional = is_float and not np.array_equal(numbers, np.trunc(numbers))
    regression = task == "regression" or (task is None and fractional)
    if is_float and not regression:
        known &= ~np.isnan(values)
    kept = np.flatnonzero(known).astype(np.int64)
    if len(kept) == 0:
        raise no_labels(len(values), labels.where)
    notes = [f"{counted(len(values) - len(kept), 'sample')} without a label in {labels.where}: left out."]
    values = values[kept]
    encoded: NDArray[Any]
    names: tuple[str, ...] = ()
    if is_float:
        check_finite(values, kept, labels.where)
    if regression:
        if task is None:
            notes.append(f"Labels in {labels.where} have fractions, so the task is regression; --task overrides.")
        encoded = _regression(values, labels.where)
    else:
        encoded, names, more = _classes(values, labels)
        notes += more
    return EncodedLabels(
        task="classification" if names else "regression",
        labels=encoded,
        class_names=names,
        kept=kept,
        notes=tuple(notes[1:] if len(kept) == len(known) else notes),
    )


def encode_groups(groups: Any, n_samples: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return a number per sample, equal within a group, and notes; a sample without a group stands alone.

    Raises:
        DataError: not one group per sample.
    """
    values = as_list(groups)
    if len(values) != n_samples:
        raise DataError(
            f"Groups need one entry per sample. Got {counted(n_samples, 'sample')} and "
            f"{counted(len(values), 'group entry', 'group entries')}. Build both from the same rows."
        )
    odd = next((value for value in values if not isinstance(value, Hashable)), None)
    if odd is not None:
        raise DataError(f"Groups need one value per sample. Got a {type(odd).__name__}. Pass texts or numbers.")
    numbers: dict[Hashable, int] = {}
    alone = [is_missing(value) for value in values]
    keys: Iterable[Hashable] = (
        ("alone", row) if missing else ("group", value)
        for row, (value, missing) in enumerate(zip(values, alone, strict=True))
    )
    encoded = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    n_alone = sum(alone)
    return encoded, (f"{counted(n_alone, 'sample')} without a group: each stands alone.",) if n_alone else ()


def no_labels(n_samples: int, where: str) -> DataError:
    """Return the error for samples none of which has a label."""
    return DataError(
        f"A target needs labelled samples. Got {counted(n_samples, 'sample')} and no label in {where}. "
        "Name another column with --label-column, or add labels."
    )


def as_list(values: Any) -> list[Any]:
    """Return plain Python values of a sequence, array, tensor, pandas series or Arrow column."""
    if hasattr(values, "to_pylist"):
        return list(values.to_pylist())
    if is_tensor(values):
        return list(as_array(values).tolist())
    return list(values.tolist() if hasattr(values, "tolist") else values)


def is_missing(value: Any) -> bool:
    """Return whether a single value says that there is none: None, NaN, an empty text."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return bool(value == "") if isinstance(value, str) else isinstance(value, float) and value != value


def _plain(labels: Labels) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values as one typed array and where they are known; unknown entries hold a filler."""
    values = labels.values
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values.reshape(len(values)), np.ones(len(values), dtype=bool)
    if is_tensor(values):
        array = as_array(values).reshape(len(values))
        return array, np.ones(len(array), dtype=bool)
    if hasattr(values, "null_count") and values.null_count == 0 and str(values.type).startswith(("int", "uint")):
        # Not `to_numpy`, which imports pandas where it is installed: half a second for nothing.
        chunks = [np.from_dlpack(chunk) for chunk in getattr(values, "chunks", [values]) if len(chunk)]
        return np.concatenate(chunks), np.ones(len(values), dtype=bool)
    items = [_plain_value(item) for item in as_list(values)]
    known = np.array([not is_missing(item) for item in items], dtype=bool)
    typed = _typed([item for item, is_known in zip(items, known, strict=True) if is_known], labels.where)
    nans = np.array([item != item for item in items], dtype=bool) & np.array(
        [isinstance(item, float) for item in items]
    )
    if nans.any() and typed.dtype.kind in "if":
        # Among numbers a NaN is kept for now: it is a missing class, but a fault in a regression.
        known |= nans
        typed = np.array([float(item) for item, is_known in zip(items, known, strict=True) if is_known])
    filled = np.full(len(items), typed[0] if len(typed) else 0, dtype=typed.dtype)
    filled[known] = typed
    return filled, known


def _plain_value(item: Any) -> Any:
    if not is_tensor(item) and not isinstance(item, np.generic | np.ndarray):
        return item
    array = as_array(item)
    return array.item() if array.size == 1 else array.tolist()


def _typed(items: Sequence[Any], where: str) -> NDArray[Any]:
    for item in items:
        if not isinstance(item, Hashable):
            raise DataError(
                f"Labels need one value per sample. Got a {type(item).__name__} in {where}. "
                "Keep one label of each sample, or name another column with --label-column."
            )
    kinds = {type(item) for item in items}
    if kinds <= {bool}:
        return np.array(items, dtype=bool)
    if all(issubclass(kind, Number) and not issubclass(kind, complex) for kind in kinds):
        whole = all(issubclass(kind, int) for kind in kinds)
        return np.array([item if whole else float(item) for item in items], dtype=np.int64 if whole else np.float64)
    array = np.empty(len(items), dtype=object)
    array[:] = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
    return array


def check_finite(values: NDArray[Any], kept: NDArray[np.int64], where: str) -> None:
    """Return if all numbers are finite; `values` has shape (n_kept,) or (n_kept, n_columns).

    Raises:
        DataError: a row holds NaN or infinity.
    """
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        raise DataError(
            f"Labels need finite numbers. Got {counted(len(bad), 'row')} with NaN or infinity in {where}, "
            f"the first is row {kept[bad[0]]}. Remove or correct {'it' if len(bad) == 1 else 'them'}."
        )


def _regression(values: NDArray[Any], where: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"A regression needs numbers as labels. Got {values[0]!r} in {where}. "
            "Name another column with --label-column, or use --task classification."
        )
    numbers = values.astype(np.float64)
    if numbers.min() == numbers.max():
        raise DataError(
            f"A regression needs labels that differ. Got the value {float(numbers[0])!r} in every row of {where}. "
            "Name another column with --label-column."
        )
    return numbers


def _classes(values: NDArray[Any], labels: Labels) -> tuple[NDArray[np.int64], tuple[str, ...], list[str]]:
    if values.dtype.kind == "f":
        whole = np.array_equal(values, np.trunc(values)) and np.abs(values).max() < 2**53
        values = values.astype(np.int64) if whole else values.astype(object)
    originals, encoded = unique_values(values)
    _check_n_classes(originals, labels)
    notes: list[str] = []
    numeric = isinstance(originals[0], int) and not isinstance(originals[0], bool)
    if labels.names is not None and numeric:
        check_in_range(originals, labels)
        names = tuple(labels.names[value] for value in originals)
        absent = [name for index, name in enumerate(labels.names) if index not in set(originals)]
        if absent:
            have = "has" if len(absent) == 1 else "have"
            notes.append(f"{len(absent)} of {len(labels.names)} stated classes {have} no sample: {quoted(absent, 5)}.")
    else:
        names = tuple(str(value) for value in originals)
        if len(set(names)) < len(names):
            names = tuple(repr(value) for value in originals)
        if numeric and originals != list(range(len(originals))):
            notes.append(
                f"Labels run from {originals[0]} to {originals[-1]} with {len(originals)} distinct values; "
                "they keep these values as their names."
            )
    sizes = np.bincount(encoded, minlength=len(names))
    notes += _lonely(names, sizes)
    return encoded, names, notes


def unique_values(values: NDArray[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the distinct values in order, and the index of each value among them."""
    if values.dtype.kind != "O":
        distinct, encoded = np.unique(values, return_inverse=True)
        return distinct.tolist(), encoded.astype(np.int64).reshape(-1)
    # Values of several types cannot be compared; within a type they can, or their texts can.
    distinct_set = set(values.tolist())
    try:
        ordered = sorted(distinct_set)
    except TypeError:
        ordered = sorted(distinct_set, key=lambda value: (type(value).__name__, str(value)))
    index = {value: number for number, value in enumerate(ordered)}
    return ordered, np.array([index[value] for value in values.tolist()], dtype=np.int64)


def _check_n_classes(originals: Sequence[Any], labels: Labels) -> None:
    if len(originals) == 1:
        name = originals[0]
        if labels.names is not None and isinstance(name, int) and 0 <= name < len(labels.names):
            name = labels.names[name]
        raise DataError(
            f"A ranking needs at least 2 classes. Got 1 class, {str(name)!r}, in {labels.where}. {labels.remedy}"
        )
    if len(originals) > MAX_CLASSES:
        numeric = all(isinstance(value, int | float) for value in originals)
        raise DataError(
            f"A classification needs at most {MAX_CLASSES:,} classes. Got {len(originals):,} distinct values in "
            f"{labels.where}. Name another column with --label-column"
            f"{', or use --task regression' if numeric else ''}."
        )


def check_in_range(originals: Sequence[int], labels: Labels) -> None:
    """Return if all class indices have a stated name.

    Raises:
        DataError: an index is below 0 or above the last name.
    """
    stated = labels.names or ()
    outside = [value for value in originals if not 0 <= value < len(stated)]
    if outside:
        raise DataError(
            f"Labels need to be below the {len(stated)} class names stated for them. Got {outside[0]} in "
            f"{labels.where}. Correct the labels or the names."
        )


def _lonely(names: Sequence[str], sizes: NDArray[np.int64]) -> list[str]:
    lonely = [name for name, size in zip(names, sizes, strict=True) if size == 1]
    if not lonely:
        return []
    need = "a class needs at least 2 to be held out, so the probe leaves"
    if len(lonely) == 1:
        return [f"Class {lonely[0]!r} has 1 sample; {need} it out."]
    return [f"{len(lonely)} classes have 1 sample each ({quoted(lonely, 5)}); {need} them out."]
