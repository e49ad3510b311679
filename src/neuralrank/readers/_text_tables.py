"""CSV, TSV and JSON-lines files as Arrow tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from neuralrank.errors import DataError
from neuralrank.readers._options import quoted


def read_delimited(path: Path, *, name: str) -> Any:
    """Return a CSV or TSV file; a CSV whose header has semicolons and no comma is split at semicolons.

    Raises:
        DataError: the file is not UTF-8, or not a table.
    """
    try:
        with path.open("rb") as file:
            header = file.readline().decode("utf-8-sig")
        if "\0" in header:
            raise _not_utf8(name)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
        table = arrow_csv.read_csv(
            path, parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        )
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"A table needs a header and rows of equal length. Got {name!r}: {str(error).splitlines()[0].rstrip('.')}. "
            "Correct the file."
        ) from None
    # Arrow reads a column that is not UTF-8 as bytes.
    if any(pa.types.is_binary(field.type) for field in table.schema):
        raise _not_utf8(name)
    return table


def read_json_lines(path: Path, *, name: str) -> Any:
    """Return a file of one JSON object per line; a key missing from a line is null there.

    Raises:
        DataError: the file is not UTF-8, or a line is not a JSON object.
    """
    columns: dict[str, list[Any]] = {}
    n_rows = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                for key, value in _json_object(line, number, name).items():
                    columns.setdefault(key, [None] * n_rows).append(value)
                n_rows += 1
                for values in columns.values():
                    if len(values) < n_rows:
                        values.append(None)
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    except OSError as error:
        raise DataError(f"{name!r} needs to be readable. Got: {error.strerror}. Check its permissions.") from None
    return pa.table({key: _arrow_column(key, values, name) for key, values in columns.items()})


READERS: Mapping[str, Callable[..., Any]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


def read_text_tables(files: Sequence[tuple[str, Path]]) -> Any:
    """Return the rows of files, given as (name, path), one after the other.

    Raises:
        DataError: a file cannot be read, or does not have the columns of the first.
    """
    tables = [READERS[path.suffix.lower()](path, name=name) for name, path in files]
    for (name, _), table in zip(files, tables, strict=True):
        if set(table.column_names) != set(tables[0].column_names):
            raise DataError(
                f"The files of a table need the same columns. Got {quoted(tables[0].column_names)} in {files[0][0]!r} "
                f"and {quoted(table.column_names)} in {name!r}. Point --data at one file, or name one --split."
            )
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The files of a table need columns of the same type. Got: {str(error).splitlines()[0].rstrip('.')}. "
            "Point --data at one file, or name one --split."
        ) from None


def _json_object(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DataError(
            f"A JSON-lines file needs one JSON object per line. Got {line.strip()[:40]!r} in line {number} of "
            f"{name!r}. Correct that line."
        )
    return value


def _arrow_column(key: str, values: list[Any], name: str) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        if kinds == ["list"]:
            kinds = sorted({f"lists of {type(entry).__name__}" for value in values for entry in value or ()})
        raise DataError(
            f"A column needs values of one type. Got {' and '.join(kinds)} in column {key!r} of {name!r}. "
            "Write them all alike."
        ) from None


def _not_utf8(name: str) -> DataError:
    return DataError(f"A text table needs the encoding UTF-8. Got other bytes in {name!r}. Save it as UTF-8.")
