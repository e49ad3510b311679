"""Data frames: pandas, and whatever else speaks Arrow (polars, pyarrow)."""

from typing import Any

import numpy as np
import pyarrow as pa

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._options import Groups, Options, refuse_options
from neuralrank.readers._rows import MemoryRows, hub_features
from neuralrank.readers._table_target import table_target
from neuralrank.types import Target, Task


def frame(
    data: Any,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read a data frame with a column of texts, paths of images, encoded files, Pillow images or arrays.

    Args:
        data: a pandas frame, an Arrow table, or an object that exports one.
        split: a frame has none.
        input_column: the column of the samples; relative paths start at the working folder.
        label_column: one label, a list of labels or several numbers per row; a missing one (None, NaN) leaves the row
            out.
        group_column: rows of equal value belong together.
        groups: shape (n_rows,); the same, given as values.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        UsageError: no such column, or no frame.
        DataError: columns cannot be detected, or labels do not fit.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    refuse_options(options, ("split",), "a data frame")
    objects: dict[str, list[Any]] = {}
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        columns = {}
        for position, label in enumerate(data.columns):
            values = data.iloc[:, position]
            if _holds_images(values):
                objects[str(label)] = list(values)
            else:
                columns[str(label)] = _column(values, str(label))
        if len(columns) + len(objects) < len(data.columns):
            raise DataError("A data frame needs columns of different names. Got some twice. Rename them.")
        loaded = pa.table(columns)
    elif hasattr(data, "__arrow_c_stream__"):
        loaded = pa.table(data)
    else:
        raise UsageError(
            f"A data frame needs columns. Got a {type(data).__name__}. Pass a pandas frame or an Arrow table."
        )
    rows = MemoryRows(name=type(data).__name__, table=loaded, features=hub_features(loaded.schema))
    return table_target(rows, options, objects=objects)


def _holds_images(values: Any) -> bool:
    """Return whether a column holds Pillow images or arrays, which Arrow has no place for."""
    if values.dtype != object:
        return False
    first = next((value for value in values if value is not None), None)
    return (isinstance(first, np.ndarray) and first.ndim in (2, 3)) or hasattr(first, "getpixel")


def _column(values: Any, label: str) -> Any:
    if values.dtype == object:
        # Path objects are texts to Arrow once they are spelled out.
        values = values.map(lambda value: value.__fspath__() if hasattr(value, "__fspath__") else value)
    try:
        return pa.Array.from_pandas(values)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"A column needs values of one type. Got column {label!r}: {reason}. Convert it.") from None
