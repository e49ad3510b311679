"""The catalogue's models as a Parquet file, and back: to carry them to another machine, or to query them elsewhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neuralrank.errors import OutputError, UsageError
from neuralrank.fields import FIELDS
from neuralrank.storage._connection import writing
from neuralrank.storage._rows import MAX_INTEGER, values_of
from neuralrank.storage.catalogue import UPSERT, Catalogue, Concepts
from neuralrank.types import ModelEntry, ReportedResult

_BATCH = 5_000
_TYPES = {
    "text": pa.string(),
    "list": pa.list_(pa.string()),
    "number": pa.float64(),
    "integer": pa.int64(),
    "date": pa.string(),
    "boolean": pa.bool_(),
}
SCHEMA = pa.schema(
    [
        *((field.name, _TYPES[field.kind]) for field in FIELDS),
        ("location", pa.string()),
        ("stamp", pa.string()),
        ("refusal", pa.string()),
        ("results", pa.string()),
        ("description", pa.string()),
        ("removed", pa.string()),
        ("listed", pa.int64()),
        ("roots", pa.list_(pa.string())),
    ],
    metadata={"schema": "neuralrank/models/1"},
)
_DERIVED = ("loadable", "n_labels")


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What an import changed."""

    n_new: int
    n_newer: int
    """Known here already, and listed more recently there."""
    n_kept: int
    """Known here already, as recently or more."""


def export_models(catalogue: Catalogue, path: Path) -> int:
    """Write all models, removed ones included, to one Parquet file; it appears whole or not at all.

    Returns:
        The number of models.

    Raises:
        OutputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    n_models = 0
    try:
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            for rows in _batches(_exported(catalogue)):
                writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
                n_models += len(rows)
        part.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"The export needs a file that can be written. Got {reason} at {str(path)!r}. Choose another place."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return n_models


def import_models(catalogue: Catalogue, path: Path, *, concepts: Concepts) -> Merged:
    """Merge the models of an exported file: of a model known to both, what was listed last counts.

    Args:
        catalogue: to write to; all of the file or nothing of it.
        path: Parquet file of `export_models`.
        concepts: under which a label set is found.

    Raises:
        UsageError: the file is not there, or is none of ours.
        CatalogueError: the catalogue cannot be written.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "something else"
        raise UsageError(
            f"An import needs a Parquet file that `neuralrank catalogue export` wrote. Got {reason} at {str(path)!r}. "
            "Check the path."
        ) from error
    missing = [name for name in SCHEMA.names if name not in file.schema_arrow.names]
    if missing:
        raise _foreign(path, f"a file without the column {missing[0]!r}")
    counts = {"new": 0, "newer": 0, "kept": 0}
    with writing(catalogue.connection, catalogue.folder) as seq:
        (free,) = catalogue.connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
        for number, values in enumerate(_read(file, path)):
            try:
                entry = _entry(values)
                told = _merge_one(catalogue, entry, values, seq=seq, free=free, concepts=concepts)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise _foreign(path, f"row {number + 1} with a value of another kind") from error
            counts[told] += 1
            free += told == "new"
    return Merged(n_new=counts["new"], n_newer=counts["newer"], n_kept=counts["kept"])


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    waiting = iter(items)
    return iter(lambda: list(islice(waiting, _BATCH)), [])


def _exported(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    roots = {
        int(row): json.loads(specs)
        for row, specs in catalogue.connection.execute(
            "SELECT row, json_group_array(spec) FROM member JOIN root ON root.id = root GROUP BY row"
        )
    }
    extra = catalogue.connection.execute("SELECT row, removed, listed FROM entry ORDER BY row").fetchall()
    for rows in _batches(extra):
        entries = catalogue.entries([row for row, _, _ in rows])
        for (row, removed, listed), entry in zip(rows, entries, strict=True):
            yield {
                **{field.name: _plain(getattr(entry, field.name)) for field in FIELDS},
                "location": entry.location,
                "stamp": entry.stamp,
                "refusal": entry.refusal,
                "results": json.dumps([[r.task, r.data, r.metric, r.value] for r in entry.results]),
                "description": entry.description,
                "removed": removed,
                "listed": listed,
                "roots": roots.get(int(row), []),
            }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read(file: pq.ParquetFile, path: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in file.iter_batches(_BATCH, columns=SCHEMA.names):
            yield from pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _foreign(path, "a damaged file or other types") from error


def _entry(values: dict[str, Any]) -> ModelEntry:
    """Return the entry of one row; raises TypeError or ValueError where it cannot be one."""
    stored = {field.name: values[field.name] for field in FIELDS if field.name not in _DERIVED}
    for field in FIELDS:
        if field.kind == "list":
            stored[field.name] = tuple(str(text) for text in values[field.name] or ())
    for name in ("model_id", "source", "name"):
        if not stored[name]:
            raise ValueError(name)
    return ModelEntry(
        **stored,
        location=str(values["location"] or ""),
        stamp=str(values["stamp"] or ""),
        refusal=values["refusal"],
        results=tuple(
            ReportedResult(task=str(task), data=str(data), metric=str(metric), value=float(value))
            for task, data, metric, value in json.loads(values["results"] or "[]")
        ),
        description=values["description"] or "",
    )


def _merge_one(
    catalogue: Catalogue, entry: ModelEntry, values: dict[str, Any], *, seq: int, free: int, concepts: Concepts
) -> str:
    run = catalogue.connection.execute
    listed = min(max(int(values["listed"] or 0), 0), MAX_INTEGER)
    place = (entry.source, entry.location)
    had = run("SELECT row, listed FROM entry WHERE source = ? AND location = ?", place).fetchone()
    row = free if had is None else had[0]
    if had is None or had[1] < listed:
        label_set = catalogue.label_set_id(entry.label_names, concepts)
        run(UPSERT, (row, seq, listed, values["removed"], *values_of(entry, label_set)))
    for spec in values["roots"] or ():
        run("INSERT OR IGNORE INTO member VALUES (?, ?)", (catalogue.root_id(str(spec)), row))
    return "new" if had is None else "newer" if had[1] < listed else "kept"


def _foreign(path: Path, got: str) -> UsageError:
    return UsageError(
        f"An import needs a Parquet file that `neuralrank catalogue export` wrote. Got {got} at {str(path)!r}. "
        "Export it again."
    )
