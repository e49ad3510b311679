"""Labels of several values per sample: lists of labels, rows of 0 and 1, texts with separators, several numbers.

Integers are the one ambiguous case: [0, 1] may be two class indices or one indicator per label. Lists of integers are
indicators if all have one length above 1, hold only 0 and 1, and no class names are stated for them; as class indices
such lists would repeat a label or give every sample the same two. All other lists of integers are class indices.
An array, or a list of arrays that are alike, is a table of numbers and never of class indices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.readers._labels import Labels, as_list, is_missing, no_labels
from neuralrank.readers._pixels import as_array, is_tensor
from neuralrank.types import Task

SEPARATORS = (";", "|")
_SEQUENCES = (list, tuple, set, frozenset)


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """The values of the samples that have some: either a table of numbers, or lists of labels."""

    where: str
    kept: NDArray[np.int64]
    n_samples: int
    table: NDArray[Any] | None = None
    """Shape (n_kept, n_columns)."""
    lists: Sequence[list[Any]] = ()
    what: str = ""
    """What the values are, for the note on the task."""
    notes: tuple[str, ...] = ()


def find_label_rows(labels: Labels, task: Task | None) -> LabelRows | None:
    """Return the values of samples that have any number of them, None where each sample has one.

    Raises:
        DataError: rows of several lengths, lists beside single values, or texts that cannot be split.
    """
    array = _as_table(labels.values)
    if array is not None and array.ndim > 2:
        raise DataError(
            f"Labels need one value, or one row of values, per sample. Got an array of shape {array.shape} in "
            f"{labels.where}. Reshape it."
        )
    if array is not None and array.ndim == 2 and array.dtype.kind in "biuf":
        # A single column is how many keep single values.
        return _whole_table(array, labels) if array.shape[1] != 1 or task == "multilabel" else None
    items = _plain_rows(labels)
    if items is None:
        return _split_texts(labels) if task == "multilabel" else None
    _check_entries(items, labels.where)
    known = np.array([item is not None for item in items], dtype=bool)
    rows = LabelRows(
        where=labels.where,
        kept=np.flatnonzero(known).astype(np.int64),
        n_samples=len(items),
        lists=[item for item in items if item is not None],
    )
    return _told_apart(rows, labels, task)


def as_indicators(labels: Labels) -> Labels:
    """Return lists of 0 and 1 as an array where they have one entry per name; all other labels unchanged.

    For names that stand beside the labels. Names in the schema of a column say that its integers are class indices.
    """
    n_names = len(labels.names or ())
    items = _plain_rows(labels) if n_names and not hasattr(labels.values, "dtype") else None
    if not items or any(item is None or len(item) != n_names or not set(item) <= {0, 1} for item in items):
        return labels
    return replace(labels, values=np.array(items))


def _as_table(values: Any) -> NDArray[Any] | None:
    """Return an array, a tensor, or the rows of a list of arrays that are alike; None for other values."""
    if isinstance(values, np.ndarray) or is_tensor(values):
        array = as_array(values)
        return None if array.dtype.kind == "O" else array
    if not isinstance(values, list | tuple) or not values or not all(_is_array(value) for value in values):
        return None
    arrays = [as_array(value) for value in values]
    if len({array.shape for array in arrays}) > 1 or arrays[0].dtype.kind not in "biuf":
        return None
    stacked = np.stack(arrays)
    alike = stacked.dtype.kind in "bf" or stacked.shape[1] == 1 or bool(np.isin(stacked, (0, 1)).all())
    return stacked if alike else None


def _is_array(value: Any) -> bool:
    return (isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim > 0


def _plain_rows(labels: Labels) -> list[list[Any] | None] | None:
    """Return one list per sample, None for a missing one; None if the samples have single values."""
    values = labels.values
    if hasattr(values, "to_pylist"):
        kind = values.type
        nested = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
        if not any(is_kind(kind) for is_kind in nested):
            return None
        return list(values.to_pylist())
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind != "O":
        return None
    items = as_list(values)
    if not any(isinstance(item, _SEQUENCES) or _is_array(item) for item in items):
        return None
    return [_plain_row(item, row, labels.where) for row, item in enumerate(items)]


def _plain_row(item: Any, row: int, where: str) -> list[Any] | None:
    if _is_array(item):
        return list(as_array(item).tolist())
    if isinstance(item, _SEQUENCES):
        return [
            as_array(entry).tolist() if is_tensor(entry) or isinstance(entry, np.generic) else entry for entry in item
        ]
    if is_missing(item):
        return None
    raise DataError(
        f"Labels need to be all lists or all single values. Got the single value {item!r} in row {row} of {where}, "
        "beside lists. Write them all alike."
    )


def _whole_table(array: NDArray[Any], labels: Labels) -> LabelRows:
    kept = np.arange(len(array), dtype=np.int64)
    return LabelRows(where=labels.where, kept=kept, n_samples=len(array), table=array, what="rows of 0 and 1")


def _split_texts(labels: Labels) -> LabelRows:
    """Return the labels of texts like 'a;b', for whoever asked for the task."""
    items = as_list(labels.values)
    texts = [None if is_missing(item) else item for item in items]
    example = next((text for text in texts if text is not None), None)
    if not all(text is None or isinstance(text, str) for text in texts):
        raise DataError(
            "Multi-label samples need a list of labels, or a row of 0 and 1, each. Got single values such as "
            f"{example!r} in {labels.where}. Use --task classification, or name another column with --label-column."
        )
    separator = next((mark for mark in SEPARATORS if any(mark in (text or "") for text in texts)), None)
    if separator is None and example is not None:
        raise DataError(
            f"Multi-label texts need ';' or '|' between their labels. Got {example!r} and no separator in "
            f"{labels.where}. Separate them so, or leave --task out."
        )
    parts = [[part.strip() for part in text.split(separator)] for text in texts if text is not None]
    return LabelRows(
        where=labels.where,
        kept=np.array([row for row, text in enumerate(texts) if text is not None], dtype=np.int64),
        n_samples=len(items),
        lists=[[part for part in row if part] for row in parts],
        notes=(f"Texts in {labels.where} were split at {separator!r} into labels.",),
    )


def _check_entries(items: Sequence[list[Any] | None], where: str) -> None:
    """Return if all entries are texts, or all numbers."""
    kinds = {_kind(entry_type) for entry_type in {type(entry) for item in items for entry in item or ()}}
    if kinds <= {"a number"} or (kinds == {"a text"} and not any("" in (item or ()) for item in items)):
        return
    first = None
    for row, item in enumerate(items):
        for entry in item or ():
            if is_missing(entry) and not isinstance(entry, float):  # NaN is a number that went wrong: see check_finite
                raise DataError(
                    f"Lists of labels need a value in every entry. Got {entry!r} in row {row} of {where}. "
                    "Remove the entry; an empty list is a sample without labels."
                )
            kind = _kind(type(entry))
            first = first or kind
            if kind not in ("a text", "a number") or kind != first:
                raise DataError(
                    f"Lists of labels need to be all texts or all numbers. Got {kind} in row {row} of {where}. "
                    "Write them all alike, or name another column with --label-column."
                )


def _kind(entry_type: type) -> str:
    if issubclass(entry_type, str | bytes):
        return "a text"
    is_number = issubclass(entry_type, Number) and not issubclass(entry_type, complex)
    return "a number" if is_number else f"a {entry_type.__name__}"


def _told_apart(rows: LabelRows, labels: Labels, task: Task | None) -> LabelRows:
    """Say whether lists are a table of numbers, class indices or texts."""
    entries = [entry for item in rows.lists for entry in item]
    if not entries:
        raise no_labels(rows.n_samples, rows.where)
    if isinstance(entries[0], str | bytes):
        return replace(rows, what="lists of texts")
    lengths = sorted({len(item) for item in rows.lists})
    if all(type(entry) is int for entry in entries) and task != "regression":
        binary = set(entries) <= {0, 1}
        if labels.names is None and binary and len(lengths) == 1 and lengths[0] > 1:
            note = (
                f"The lists in {rows.where} have one length, {lengths[0]}, and hold only 0 and 1: "
                "each entry says whether the sample has a label, and none is a class index."
            )
            return replace(rows, table=np.array(rows.lists), what="rows of 0 and 1", notes=(note,))
        repeats = any(len(set(item)) < len(item) for item in rows.lists)
        if labels.names is not None or not binary or not repeats:
            return replace(rows, what="lists of class indices", notes=_why_indices(rows, labels, lengths, binary))
    if len(lengths) > 1:
        raise DataError(
            f"Rows of numbers need one length. Got rows of {lengths[0]} and of {lengths[-1]} in {rows.where}. "
            "Give every sample the same columns, or its labels as a list of texts."
        )
    whole = all(isinstance(entry, int) for entry in entries)
    table = np.array(rows.lists) if whole else np.array([[float(entry) for entry in item] for item in rows.lists])
    return replace(rows, table=table, what="rows of 0 and 1")


def _why_indices(rows: LabelRows, labels: Labels, lengths: Sequence[int], binary: bool) -> tuple[str, ...]:
    if not binary:
        return ()
    why = "they have class names" if labels.names else "their lengths differ" if len(lengths) > 1 else "each holds one"
    return (f"The lists in {rows.where} were read as class indices, not as rows of 0 and 1: {why}.",)
