"""The table beside the images of a folder: `metadata.csv` or `metadata.jsonl`, as on the Hugging Face Hub."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from neuralrank.errors import DataError
from neuralrank.readers._options import Options, check_name, quoted
from neuralrank.readers._rows import MemoryRows
from neuralrank.readers._table_target import table_target
from neuralrank.readers._text_tables import read_text_tables
from neuralrank.types import Target

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"


def find_metadata(folders: Sequence[Path], root: Path) -> MemoryRows | None:
    """Return the metadata of the folders read, else of the root, None if there are none.

    File names in the metadata of a folder start at that folder.
    """
    files = [folder / name for folder in folders for name in METADATA_FILES if (folder / name).is_file()]
    if not files:
        files = [root / name for name in METADATA_FILES if (root / name).is_file()][:1]
    if not files:
        return None
    tables = []
    for file in files:
        table = read_text_tables([(file.relative_to(root).as_posix(), file)])
        table = _with_prefix(table, file.parent.relative_to(root))
        tables.append(_below(table, [folder.relative_to(root).as_posix() for folder in folders if folder != root]))
    names = tuple((file.relative_to(root).as_posix(), file) for file in files)
    return MemoryRows(
        name=names[0][0], table=pa.concat_tables(tables, promote_options="default"), folder=root, files=names
    )


def metadata_target(metadata: MemoryRows, options: Options, *, name: str, note: str | None) -> Target:
    """Return the target of the images and labels listed in the metadata.

    Raises:
        UsageError: no such column.
        DataError: no column of file names, or no label column.
    """
    column = _file_column(metadata, options)
    notes = (note, f"Samples and labels come from {metadata.name!r}.")
    target = table_target(metadata, replace(options, input_column=column), notes=notes)
    return replace(target, name=name)


def group_values(metadata: MemoryRows, options: Options, paths: Sequence[Path], name: str) -> list[Any]:
    """Return the group of every image, None for one that the metadata do not list."""
    column = _file_column(metadata, options)
    group = check_name(
        options.group_column or "", metadata.schema.names, "group_column", f"a column of {metadata.name!r}"
    )
    files = metadata.column(column).to_pylist()
    by_file = dict(zip(files, metadata.column(group).to_pylist(), strict=True))
    found = [by_file.get(path.relative_to(metadata.folder).as_posix()) for path in paths]
    if all(value is None for value in found):
        raise DataError(
            f"The column {column!r} of {metadata.name!r} needs paths of images below {name!r}. Got {files[:1]!r}, and "
            "no image of that name. Correct the paths."
        )
    return found


def _file_column(metadata: MemoryRows, options: Options) -> str:
    column = options.input_column or FILE_COLUMN
    if column not in metadata.schema.names:
        raise DataError(
            f"{metadata.name!r} needs a column {column!r} that names the images. Got the columns "
            f"{quoted(metadata.schema.names)}. Name it with --input-column."
        )
    return column


def _below(table: Any, folders: Sequence[str]) -> Any:
    """Return the rows whose files lie in the folders read: those of the chosen split."""
    if not folders or FILE_COLUMN not in table.column_names:
        return table
    names = table.column(FILE_COLUMN).to_pylist()
    return table.filter(pa.array([str(name).startswith(tuple(f"{folder}/" for folder in folders)) for name in names]))


def _with_prefix(table: Any, folder: Path) -> Any:
    """Return the table with file names that start at the root instead of at its own folder."""
    if folder == Path() or FILE_COLUMN not in table.column_names:
        return table
    names = [
        None if name is None else (folder / str(name)).as_posix() for name in table.column(FILE_COLUMN).to_pylist()
    ]
    return table.set_column(table.column_names.index(FILE_COLUMN), FILE_COLUMN, pa.array(names, pa.string()))
