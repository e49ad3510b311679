"""Label rows become a table: one column of 0 and 1 per label, or one column of values per target of a regression.

A label that no sample has, or every sample, keeps its column here: what carries information depends on the probe.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.readers._label_rows import LabelRows, find_label_rows
from neuralrank.readers._labels import (
    MAX_CLASSES,
    EncodedLabels,
    Labels,
    check_finite,
    check_in_range,
    no_labels,
    unique_values,
)
from neuralrank.readers._options import counted
from neuralrank.types import Task

Names = tuple[str, ...]


def encode_label_rows(labels: Labels, task: Task | None = None) -> EncodedLabels | None:
    """Return 0 or 1 per sample and label, or several numbers per sample; None where each sample has one value.

    Raises:
        DataError: rows of several lengths, values other than 0 and 1, too many labels, or another task was asked for.
    """
    rows = find_label_rows(labels, task)
    if rows is None:
        return None
    if len(rows.kept) == 0 or (rows.table is None and not any(rows.lists)):
        raise no_labels(rows.n_samples, rows.where)
    if task == "classification":
        got, keep = "lists", "keep one label of each sample"
        if rows.table is not None:
            got, keep = f"rows of {rows.table.shape[1]} values", "turn one-hot rows into class numbers with argmax"
        raise DataError(
            f"A classification needs one label per sample. Got {got} in {rows.where}. Use --task multilabel, or {keep}."
        )
    notes = [*rows.notes]
    n_missing = rows.n_samples - len(rows.kept)
    if n_missing:
        notes.append(f"{counted(n_missing, 'sample')} without a label in {rows.where}: left out.")
    regression = _is_regression(rows, task)
    if task is None:
        what, found = ("rows of fractions", "regression") if regression else (rows.what, "multilabel")
        override = "" if rows.table is None else "; --task overrides"
        notes.append(f"The task is {found}, by the {what} in {rows.where}{override}.")
    names: Names = ()
    encoded: NDArray[Any]
    if regression:
        encoded = _targets(rows)
    else:
        encoded, names = (
            _from_lists(rows, labels) if rows.table is None else _from_table(rows.table, rows, labels, task)
        )
        notes += _notes(encoded, rows.where)
    return EncodedLabels(
        task="regression" if regression else "multilabel",
        labels=encoded,
        class_names=names,
        kept=rows.kept,
        notes=tuple(notes),
    )


def _is_regression(rows: LabelRows, task: Task | None) -> bool:
    if rows.table is None:
        if task == "regression":
            raise DataError(
                f"A regression needs numbers as labels. Got {next(chain.from_iterable(rows.lists))!r} in {rows.where}. "
                "Name another column with --label-column, or use --task multilabel."
            )
        return False
    fractional = False
    if rows.table.dtype.kind == "f":
        check_finite(rows.table, rows.kept, rows.where)
        fractional = not np.array_equal(rows.table, np.trunc(rows.table))
    return task == "regression" or (task is None and fractional)


def _targets(rows: LabelRows) -> NDArray[np.float64]:
    numbers = np.asarray(rows.table, dtype=np.float64)
    if np.array_equal(numbers.min(axis=0), numbers.max(axis=0)):
        raise DataError(
            f"A regression needs labels that differ. Got the same {counted(numbers.shape[1], 'value')} in every row of "
            f"{rows.where}. Name another column with --label-column."
        )
    return numbers


def _from_table(
    table: NDArray[Any], rows: LabelRows, labels: Labels, task: Task | None
) -> tuple[NDArray[np.int64], Names]:
    odd = np.argwhere((table != 0) & (table != 1))
    if len(odd):
        row, column = odd[0]
        need = "0 or 1 for every label" if task else "0 and 1 for labels, or fractions for a regression"
        raise DataError(
            f"Rows of numbers need {need}. Got {table.item(row, column)!r} in row {rows.kept[row]} of {rows.where}. "
            "Use --task regression if the numbers are to be predicted, or correct them."
        )
    n_labels = table.shape[1]
    if labels.names is not None and len(labels.names) != n_labels:
        raise DataError(
            f"Rows of 0 and 1 need one column per class name. Got {counted(n_labels, 'column')} and "
            f"{counted(len(labels.names), 'name')} in {rows.where}. Correct the rows or the names."
        )
    _check_n_labels(n_labels, rows.where)
    return table.astype(np.int64), labels.names or tuple(str(column) for column in range(n_labels))


def _from_lists(rows: LabelRows, labels: Labels) -> tuple[NDArray[np.int64], Names]:
    entries = list(chain.from_iterable(rows.lists))
    if isinstance(entries[0], str | bytes):
        texts = [entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry for entry in entries]
        originals, places = unique_values(np.array(texts, dtype=object))
    else:
        originals, places = unique_values(np.array(entries))
    names = tuple(str(value) for value in originals)
    if labels.names is not None and not isinstance(entries[0], str | bytes):
        check_in_range(originals, labels)
        names, places = labels.names, np.array(entries, dtype=np.int64)
    _check_n_labels(len(names), rows.where)
    encoded = np.zeros((len(rows.lists), len(names)), dtype=np.int64)
    encoded[np.repeat(np.arange(len(rows.lists)), [len(row) for row in rows.lists]), places] = 1
    return encoded, names


def _check_n_labels(n_labels: int, where: str) -> None:
    if n_labels > MAX_CLASSES:
        raise DataError(
            f"A multi-label target needs at most {MAX_CLASSES:,} labels. Got {n_labels:,} in {where}. "
            "Name another column with --label-column, or keep the frequent labels."
        )


def _notes(encoded: NDArray[np.int64], where: str) -> Sequence[str]:
    """Return what the labels per sample give away."""
    per_sample = encoded.sum(axis=1)
    n_without = int(np.count_nonzero(per_sample == 0))
    if n_without == len(encoded):
        raise no_labels(len(encoded), where)
    if np.all(per_sample == 1) and encoded.shape[1] > 1:
        return [
            "Every sample has exactly one label. If the labels exclude each other, give single values instead of lists "
            "or rows: they make a classification."
        ]
    if n_without:
        return [f"{counted(n_without, 'sample')} {'has' if n_without == 1 else 'have'} none of the labels."]
    return []
