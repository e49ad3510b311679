"""Choose the reader for what the user handed over, and read it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.readers._columns import image_suffix
from neuralrank.readers._metadata import METADATA_FILES
from neuralrank.readers._options import Groups, existing_path
from neuralrank.readers._splits import split_name
from neuralrank.readers.hugging_face import MARKERS
from neuralrank.readers.table import SUFFIXES
from neuralrank.types import Target, Task

_TABLE_FOLDERS = ("data", "train", "test", "validation", "val")


def open_target(
    data: Any,
    *,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    split: str | None = None,
    task: Task | None = None,
) -> Target:
    """Read a target from a path or a Python object.

    Labels become 0..k-1 with the original values as class names, samples without a label are left out, and
    groups are numbered; what was detected or left out stands in the notes of the target.

    Args:
        data: a folder of class folders, a table or folder of tables, an .npz file, a saved Hugging Face data set, or
            in Python: a pair (samples, labels), a mapping of arrays, a data frame, a Hugging Face or torch data set.
        input_column: the column of the samples.
        label_column: the column of the labels.
        group_column: the column of the groups: samples of one group belong together.
        groups: shape (n_samples,); the same, given as values.
        split: which split; None takes 'train' if there is one, else all.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target,
            all else classes.

    Raises:
        UsageError: no such path, column or split, or options that do not fit the data.
        DataError: the data cannot be used; the message says why and what to do.
    """
    note = None
    if isinstance(data, str | os.PathLike):
        data = Path(data) if not isinstance(data, str) else data
        named = label_column is not None or input_column is not None
        name, note = _reader_of_path(existing_path(data), str(data), named=named)
    else:
        name = _reader_of_object(data)
    read = registry.get("readers", name)
    try:
        target: Target = read(
            data, split=split, input_column=input_column, label_column=label_column, group_column=group_column,
            groups=groups, task=task,
        )  # fmt: skip
    except PermissionError as error:
        raise DataError(
            f"--data needs files that may be read. Got no permission for {error.filename!r}. Change its permissions."
        ) from None
    return target if note is None else replace(target, notes=(note, *target.notes))


def _reader_of_path(path: Path, name: str, *, named: bool) -> tuple[str, str | None]:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _reader_of_folder(path, name, named=named)
    if suffix in SUFFIXES:
        return "table", None
    if suffix == ".npz":
        return "npz", None
    raise DataError(
        f"--data needs a folder, or a file ending in {', '.join((*SUFFIXES, '.npz'))}. Got {name!r}. "
        "Convert it, or point --data at the folder it lies in."
    )


def _reader_of_folder(path: Path, name: str, *, named: bool) -> tuple[str, str | None]:
    """Return the reader of a folder and a note where it could be read in two ways.

    Args:
        path: the folder.
        name: what the user calls it.
        named: whether the user names columns, which class folders do not have.
    """
    if any((path / marker).is_file() for marker in MARKERS):
        return "hugging_face", None
    tables = [file for folder in (path, *(path / part for part in _TABLE_FOLDERS)) for file in _tables_in(folder)]
    if not tables:
        deep = not _holds_image(path) and any(_tables_in(Path(parent)) for parent, _, _ in os.walk(path))
        return "table" if deep else "image_folder", None
    has_metadata = any((path / file).is_file() for file in METADATA_FILES)
    if _n_class_folders(path) > 1 and (has_metadata or not named):
        first = tables[0].relative_to(path).as_posix()
        return (
            "image_folder",
            f"{name!r} was read as class folders; point --data at its {first!r} to read that table.",
        )
    return "table", None


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and file.name not in METADATA_FILES and file.name[0] not in "._"
    )  # fmt: skip


def _n_class_folders(path: Path) -> int:
    folders = [child for child in path.iterdir() if child.is_dir() and not split_name(child.name)]
    for split in path.iterdir():
        if split.is_dir() and split_name(split.name):
            folders += [child for child in split.iterdir() if child.is_dir()]
    return sum(map(_holds_image, folders))


def _holds_image(folder: Path) -> bool:
    return any(image_suffix(file) for _, _, files in os.walk(folder) for file in files)


def _reader_of_object(data: Any) -> str:
    origins = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
    if "datasets" in origins:
        return "hugging_face"
    if {"pandas", "polars", "pyarrow"} & origins or hasattr(data, "__arrow_c_stream__"):
        return "frame"
    torch_utils = sys.modules.get("torch.utils.data")
    if torch_utils is not None and isinstance(data, torch_utils.Dataset):
        return "torch_dataset"
    if isinstance(data, list) and data and isinstance(data[0], tuple | Mapping):
        return "torch_dataset"
    known = isinstance(data, Mapping | tuple | list) or hasattr(data, "dtype")
    if known or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return "arrays"
    return "torch_dataset"
