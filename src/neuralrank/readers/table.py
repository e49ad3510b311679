"""Tables: Parquet as on the Hugging Face Hub, and plain Parquet, CSV, TSV or JSON lines.

Labels and groups are read whole; of a Parquet input column only the rows asked for are read. CSV and JSON-lines
files are loaded, so a large table of texts is better kept as Parquet.
"""

from pathlib import Path
from typing import Any

from neuralrank.errors import DataError
from neuralrank.readers._options import Groups, Options, existing_path, quoted
from neuralrank.readers._rows import MemoryRows, hub_features, open_parquet
from neuralrank.readers._splits import ALL, choose_splits, split_of
from neuralrank.readers._table_target import table_target
from neuralrank.readers._text_tables import READERS, read_text_tables
from neuralrank.types import Target, Task

PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = (*PARQUET_SUFFIXES, *READERS)


def table(
    path: str | Path,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read a table file, or a folder of table files whose names say their split.

    Args:
        path: a .parquet, .csv, .tsv or .jsonl file, or a folder with files like `train.parquet` or
            `data/test-00000-of-00003.parquet`. A folder's files of one kind are read: Parquet before CSV before JSON.
        split: which files of a folder; None takes 'train' if there is one, else all; 'all' takes all.
        input_column: images or audio (a struct of bytes and path, or encoded bytes), paths of images, or texts.
        label_column: one label, a list of labels or several numbers per row.
        group_column: rows of equal value belong together.
        groups: shape (n_rows,); the same, given as values.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        UsageError: no such column or split.
        DataError: the files cannot be read, or no label column was found.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    name, path = str(path), existing_path(path)
    files, notes = _find_files(path, name)
    splits = {file: split_of(file.relative_to(path if path.is_dir() else path.parent)) for file in files}
    chosen, note = choose_splits(filter(None, splits.values()), split, repr(name))
    everything = split == ALL or (split is None and "train" not in chosen)
    if len(files) == 1 and split is None:
        # A file named by the user is read whole, whatever split its name says.
        everything, note = True, None
    wanted = [file for file in files if everything or splits[file] in chosen]
    return table_target(_open(wanted, path, name), options, notes=(note, *notes))


def _find_files(path: Path, name: str) -> tuple[list[Path], list[str]]:
    """Return the table files of one kind, sorted, and notes on what was passed over."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"A table needs a suffix of {', '.join(SUFFIXES)}. Got {path.name!r}. Convert it to one of them."
            )
        return [path], []
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and _is_visible(file, path))
    kinds = (PARQUET_SUFFIXES, (".csv", ".tsv"), (".jsonl", ".ndjson"))
    for kind in kinds:
        files = [file for file in found if file.suffix.lower() in kind]
        if files:
            others = [str(file.relative_to(path)) for file in found if file not in files]
            return files, [f"Read the {kind[0]} files of {name!r}, not {quoted(others, 3)}."] if others else []
    raise DataError(
        f"A folder of tables needs a file ending in {', '.join(SUFFIXES)}. Got none in {name!r}. Check the path."
    )


def _is_visible(file: Path, root: Path) -> bool:
    return file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)


def _open(files: list[Path], path: Path, name: str) -> Any:
    root = path if path.is_dir() else path.parent
    named = [(file.relative_to(root).as_posix(), file) for file in files]
    # Paths in a table start at the table's own folder; of several files, at the folder they share.
    folders = {file.parent for file in files}
    folder = folders.pop() if len(folders) == 1 else root
    if files[0].suffix.lower() in PARQUET_SUFFIXES:
        return open_parquet(named, name=name, folder=folder)
    loaded = read_text_tables(named)
    return MemoryRows(
        name=name, table=loaded, folder=folder, features=hub_features(loaded.schema),
        files=tuple((f"file {number}", file) for number, file in enumerate(files)),
    )  # fmt: skip
