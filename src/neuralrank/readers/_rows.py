"""Rows of a table wherever they lie: Parquet files, or memory. Columns are read only when asked for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.readers._fingerprint import files_content
from neuralrank.readers._options import quoted
from neuralrank.readers._samples import row_name

_BATCH_ROWS = 256
Features = Mapping[str, Mapping[str, Any]]


class Rows(Protocol):
    """What detection and reading need of a table."""

    @property
    def name(self) -> str:
        """What the user calls the table, for messages."""
        ...

    @property
    def folder(self) -> Path:
        """Where relative paths in the table start."""
        ...

    @property
    def schema(self) -> Any:
        """The Arrow schema."""
        ...

    @property
    def features(self) -> Features:
        """What the Hugging Face metadata say of each column; empty without them."""
        ...

    def __len__(self) -> int: ...

    def column(self, name: str) -> Any:
        """Return a whole column as an Arrow array."""
        ...

    def head(self, name: str, n: int) -> list[Any]:
        """Return the first values of a column."""
        ...

    def values(self, name: str, indices: NDArray[np.int64]) -> Iterator[Any]:
        """Yield the values of a column at ascending indices."""
        ...

    def row_name(self, index: int) -> str:
        """Return what a person would call a row."""
        ...

    def content(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield what identifies the named columns, for the fingerprint."""
        ...


@dataclass(frozen=True, kw_only=True)
class MemoryRows:
    """A table in memory: read from text files, or handed over by the user."""

    name: str
    table: Any
    folder: Path = Path()
    features: Features = field(default_factory=dict)
    files: tuple[tuple[str, Path], ...] = ()
    """Name and path of the files it came from; empty for the user's own objects."""

    @property
    def schema(self) -> Any:
        """The Arrow schema."""
        return self.table.schema

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> Any:
        """Return a whole column."""
        return self.table.column(name)

    def head(self, name: str, n: int) -> list[Any]:
        """Return the first values of a column."""
        return list(self.table.column(name).slice(0, n).to_pylist())

    def values(self, name: str, indices: NDArray[np.int64]) -> Iterator[Any]:
        """Yield the values at `indices`."""
        column = self.table.column(name)
        for start in range(0, len(indices), _BATCH_ROWS):
            yield from column.take(pa.array(indices[start : start + _BATCH_ROWS])).to_pylist()

    def row_name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)

    def content(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the files the table came from, or its values."""
        yield from (name.encode("utf-8", "surrogatepass") for name in names)
        if self.files:
            yield from files_content([name for name, _ in self.files], [path for _, path in self.files])
            return
        for name in names:
            for value in self.values(name, np.arange(len(self), dtype=np.int64)):
                yield value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class ParquetFile:
    """One Parquet file: its path, and the number of rows of each row group."""

    name: str
    path: Path
    group_rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ParquetRows:
    """The rows of one or more Parquet files of the same columns, in the order of the files."""

    name: str
    folder: Path
    schema: Any
    features: Features
    files: tuple[ParquetFile, ...]

    def __len__(self) -> int:
        return sum(sum(file.group_rows) for file in self.files)

    def column(self, name: str) -> Any:
        """Return a whole column."""
        chunks = [chunk for file in self.files for chunk in _read(file, lambda open_file: _whole(open_file, name))]
        return pa.chunked_array(chunks, type=self.schema.field(name).type)

    def head(self, name: str, n: int) -> list[Any]:
        """Return the first values of a column."""
        return list(self.values(name, np.arange(min(n, len(self)), dtype=np.int64)))

    def values(self, name: str, indices: NDArray[np.int64]) -> Iterator[Any]:
        """Yield the values at `indices`, reading only the row groups that hold them."""
        start = 0
        for file in self.files:
            stop = start + sum(file.group_rows)
            inside = indices[(indices >= start) & (indices < stop)] - start
            if len(inside):
                yield from _read(file, lambda open_file, inside=inside, file=file: _pick(open_file, file, name, inside))
            start = stop

    def row_name(self, index: int) -> str:
        """Return 'row 17', with the file where there are several."""
        if len(self.files) == 1:
            return row_name(index)
        for file in self.files:
            if index < sum(file.group_rows):
                return f"{file.name} {row_name(index)}"
            index -= sum(file.group_rows)
        raise IndexError(index)

    def content(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of the files."""
        yield from (name.encode("utf-8", "surrogatepass") for name in names)
        yield from files_content([""] * len(self.files), [file.path for file in self.files])


def open_parquet(files: Sequence[tuple[str, Path]], *, name: str, folder: Path) -> ParquetRows:
    """Return the rows of Parquet files, given as (name below the root, path).

    Raises:
        DataError: a file cannot be read, or does not have the columns of the first.
    """
    opened: list[ParquetFile] = []
    schema: Any = None
    for file_name, path in files:
        found, group_rows = _describe(file_name, path)
        if schema is None:
            schema = found
        elif found.names != schema.names or found.types != schema.types:
            raise DataError(
                f"The files of a table need the same columns. Got {quoted(schema.names)} in {files[0][0]!r} and "
                f"{quoted(found.names)} in {file_name!r}. Point --data at one file, or name one --split."
            )
        opened.append(ParquetFile(name=file_name, path=path, group_rows=group_rows))
    return ParquetRows(name=name, folder=folder, schema=schema, features=hub_features(schema), files=tuple(opened))


def hub_features(schema: Any) -> Features:
    """Return what the Hugging Face metadata of a schema say of its columns."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return column_features(features) if isinstance(features, dict) else {}


def column_features(features: Mapping[str, Any]) -> Features:
    """Return the features that describe one column each; of a list, those of its entries under 'feature'."""
    # A list is written as {"_type": "Sequence" or "List", "feature": …} or, by old versions, as […].
    plain = {
        name: {"feature": entry[0]} if isinstance(entry, list) and entry else entry for name, entry in features.items()
    }
    return {name: feature for name, feature in plain.items() if isinstance(feature, dict)}


def class_label_names(feature: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """Return the class names of a ClassLabel feature or of a list of them, None for another feature."""
    feature = feature or {}
    inner = feature.get("feature")
    if isinstance(inner, dict):
        feature = inner
    names = feature.get("names")
    if feature.get("_type") != "ClassLabel" or not names:
        return None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return tuple(str(name) for name in names)


def _describe(name: str, path: Path) -> tuple[Any, tuple[int, ...]]:
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            return file.schema_arrow, tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise damaged(name, error) from None


def _read(file: ParquetFile, read: Any) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file.path) as open_file:
            yield from read(open_file)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file.name, error) from None


def damaged(name: str, error: Exception) -> DataError:
    """Return the error for a Parquet file that cannot be read."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DataError(f"A Parquet file needs to be whole. Got {name!r}: {reason}. Copy or download it again.")


def _whole(open_file: Any, name: str) -> Iterator[Any]:
    yield from open_file.read(columns=[name]).column(name).chunks


def _pick(open_file: Any, file: ParquetFile, name: str, inside: NDArray[np.int64]) -> Iterator[Any]:
    """Yield the values at ascending rows of one file; memory holds one batch of rows at a time."""
    bounds = np.concatenate([[0], np.cumsum(file.group_rows)])
    groups = np.unique(np.searchsorted(bounds, inside, side="right") - 1)
    rows = np.concatenate([np.arange(bounds[group], bounds[group + 1]) for group in groups])
    start = 0
    for batch in open_file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups.tolist(), columns=[name]):
        batch_rows = rows[start : start + batch.num_rows]
        wanted = np.searchsorted(batch_rows, inside[(inside >= batch_rows[0]) & (inside <= batch_rows[-1])])
        if len(wanted):
            # Not pa.array(wanted), which imports pandas where it is installed.
            places = pa.Array.from_buffers(pa.int64(), len(wanted), [None, pa.py_buffer(wanted.astype(np.int64))])
            yield from batch.column(0).take(places).to_pylist()
        start += batch.num_rows
        if inside[-1] <= batch_rows[-1]:
            return
