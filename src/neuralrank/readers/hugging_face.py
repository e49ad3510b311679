"""Hugging Face `datasets`: a `Dataset` or `DatasetDict` in memory, or a folder written by `save_to_disk`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, MissingExtraError, UsageError
from neuralrank.readers._fingerprint import spaced
from neuralrank.readers._options import Groups, Options, existing_path, quoted
from neuralrank.readers._rows import Features, column_features
from neuralrank.readers._samples import row_name
from neuralrank.readers._splits import choose_splits
from neuralrank.readers._table_target import table_target
from neuralrank.types import Target, Task

MARKERS = ("dataset_dict.json", "state.json")
MAX_HASHED_BYTES = 2**32
MAX_HASHED_ROWS = 16_384
_BATCH_ROWS = 256


@dataclass(frozen=True)
class HubRows:
    """The rows of a `Dataset`, whose images stay encoded."""

    name: str
    dataset: Any
    """With the format "arrow"."""
    folder: Path = Path()

    @property
    def schema(self) -> Any:
        """The Arrow schema."""
        return self.dataset.features.arrow_schema

    @property
    def features(self) -> Features:
        """The type and class names of each column."""
        return column_features(self.dataset.features.to_dict())

    def __len__(self) -> int:
        return len(self.dataset)

    def column(self, name: str) -> Any:
        """Return a whole column."""
        return self.dataset.select_columns([name])[:].column(name)

    def head(self, name: str, n: int) -> list[Any]:
        """Return the first values of a column."""
        return list(self.dataset.select_columns([name])[:n].column(name).to_pylist())

    def values(self, name: str, indices: NDArray[np.int64]) -> Iterator[Any]:
        """Yield the values at `indices`."""
        column = self.dataset.select_columns([name])
        for start in range(0, len(indices), _BATCH_ROWS):
            yield from column[indices[start : start + _BATCH_ROWS].tolist()].column(name).to_pylist()

    def row_name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)

    def content(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the values of the columns: all below 4 GiB, above that 16,384 evenly spaced rows."""
        small = self.dataset.data.nbytes <= MAX_HASHED_BYTES
        indices = spaced(len(self), len(self) if small else MAX_HASHED_ROWS)
        for name in names:
            yield name.encode("utf-8", "surrogatepass")
            for value in self.values(name, indices):
                # A path inside the cache differs between machines; the bytes do not.
                value = value.get("bytes") or value if isinstance(value, dict) else value
                yield value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")


def hugging_face(
    data: Any,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read a data set of the `datasets` package; images and audio are not decoded.

    Args:
        data: a `Dataset`, a `DatasetDict`, or the path of a folder written by `save_to_disk`.
        split: of a `DatasetDict`; None takes 'train' if there is one.
        input_column: the column of the samples.
        label_column: one label, a list of labels or several numbers per row.
        group_column: rows of equal value belong together.
        groups: shape (n_rows,); the same, given as values.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        MissingExtraError: a saved data set, and `datasets` is not installed.
        UsageError: no such column or split, or a data set without a length.
        DataError: columns cannot be detected, or labels do not fit.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    name = str(data) if isinstance(data, str | Path) else type(data).__name__
    if isinstance(data, str | Path):
        data = _load(existing_path(data), name)
    note = None
    if isinstance(data, dict):
        chosen, note = choose_splits(data, split, repr(name))
        if len(chosen) != 1:
            raise UsageError(f"One split of {name!r} needs to be named. Got {quoted(chosen)}. Name one with --split.")
        data = data[chosen[0]]
    elif split is not None:
        choose_splits([str(data.split)] if getattr(data, "split", None) else [], split, repr(name))
    if not hasattr(data, "select_columns") or not hasattr(data, "__len__"):
        raise UsageError(
            f"A data set needs a known number of rows. Got a {type(data).__name__}. Load it without streaming."
        )
    return table_target(HubRows(name, data.with_format("arrow")), options, notes=(note,))


def _load(path: Path, name: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"The saved data set {name!r} needs the package 'datasets'. Got no such module. Run: pip install datasets"
        ) from None
    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(f"A saved data set needs to be whole. Got {name!r}: {reason}. Save it again.") from None
