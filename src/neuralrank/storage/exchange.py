"""The catalogue's models as a Parquet file, and back: to carry them to another machine, or to query them elsewhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neuralrank.entries import ModelEntry, ReportedResult
from neuralrank.errors import CatalogueError, OutputError, UsageError
from neuralrank.fields import FIELDS
from neuralrank.storage._connection import damaged, reading, reason_of
from neuralrank.storage._rows import MAX_INTEGER, clean, values_of
from neuralrank.storage._writing import INSERT, UPDATE, batches, find_places, root_id
from neuralrank.storage.catalogue import Catalogue, Concepts

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
        CatalogueError: the catalogue cannot be read.
    """
    part = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    n_models = 0
    try:
        with (
            pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer,
            reading(catalogue.connection, catalogue.folder),
        ):
            for rows in batches(_exported(catalogue), _BATCH):
                writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
                n_models += len(rows)
        part.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise CatalogueError(damaged(f"rows that do not belong together ({error})", catalogue.folder)) from error
    except CatalogueError as error:
        if isinstance(error.__cause__, OSError):  # the file of the export, not that of the catalogue
            raise _unwritten(path, error.__cause__) from error
        raise
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
    with catalogue.transaction() as seq:
        merge = _Merge(catalogue, seq, concepts)
        n_read = 0
        for rows in _read(file, path):
            try:
                stored = [_stored(values) for values in rows]
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                raise _foreign(path, f"a value of another kind in rows {n_read + 1} to {n_read + len(rows)}") from error
            for told_of in merge.rows(stored):
                counts[told_of] += 1
            n_read += len(rows)
    return Merged(n_new=counts["new"], n_newer=counts["newer"], n_kept=counts["kept"])


def _exported(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    specs = dict(catalogue.connection.execute("SELECT id, spec FROM root"))
    listed = catalogue.connection.execute("SELECT row, listed FROM entry ORDER BY row")
    members = catalogue.connection.execute(
        "SELECT row, root FROM member WHERE typeof(row) = 'integer' ORDER BY row, root"
    )
    member = members.fetchone()
    for (row, moment), (entry, removed) in zip(listed, catalogue.all_entries(), strict=True):
        roots = []
        while member is not None and member[0] <= row:
            roots += [specs[member[1]]] if member[0] == row and member[1] in specs else []
            member = members.fetchone()
        yield {
            **{field.name: _plain(getattr(entry, field.name)) for field in FIELDS},
            "location": entry.location,
            "stamp": entry.stamp,
            "refusal": entry.refusal,
            "results": json.dumps([[r.task, r.data, r.metric, r.value] for r in entry.results]),
            "description": entry.description,
            "removed": removed,
            "listed": moment,
            "roots": roots,
        }


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The export needs a file that can be written. Got {reason_of(error)} at {str(path)!r}. Choose another place."
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read(file: pq.ParquetFile, path: Path) -> Iterator[list[dict[str, Any]]]:
    try:
        for batch in file.iter_batches(_BATCH, columns=SCHEMA.names):
            yield pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _foreign(path, "a damaged file or other types") from error


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """One row of the file."""

    entry: ModelEntry
    listed: int
    removed: str | None
    roots: tuple[str, ...]


def _stored(values: dict[str, Any]) -> _Stored:
    return _Stored(
        entry=_entry(values),
        listed=min(max(int(values["listed"] or 0), 0), MAX_INTEGER),
        removed=values["removed"],
        roots=tuple(str(spec) for spec in values["roots"] or ()),
    )


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


class _Merge:
    """Brings rows of a file into the catalogue, inside one write transaction."""

    def __init__(self, catalogue: Catalogue, seq: int, concepts: Concepts) -> None:
        self.connection, self.label_sets = catalogue.connection, catalogue.label_sets
        self.seq, self.concepts = seq, concepts
        (self.free,) = self.connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
        self.roots: dict[str, int] = {}

    def rows(self, batch: Sequence[_Stored]) -> list[str]:
        """Merge rows and say of each whether it is new here, newer than here, or kept as it is here."""
        latest = {(clean(stored.entry.source), clean(stored.entry.location)): stored for stored in batch}
        had = find_places(self.connection, latest)
        members, counted = [], []
        for place, stored in latest.items():
            before = had.get(place)
            told_of = "new" if before is None else "newer" if before.listed < stored.listed else "kept"
            row = self.free if before is None else before.row
            if told_of != "kept":
                label_set = self.label_sets.id_of(stored.entry.label_names, self.concepts)
                entry = stored.entry
                if before is not None and before.model_id == clean(entry.model_id) and entry.seconds_per_sample is None:
                    entry = replace(entry, seconds_per_sample=before.seconds_per_sample)
                values = (self.seq, stored.listed, stored.removed, *values_of(entry, label_set), row)
                self.connection.execute(INSERT if before is None else UPDATE, values)
                self.free += before is None
            members += [(self._root(spec), row) for spec in stored.roots]
            counted.append(told_of)
        self.connection.executemany("INSERT OR IGNORE INTO member (root, row) VALUES (?, ?)", members)
        return counted

    def _root(self, spec: str) -> int:
        if spec not in self.roots:
            self.roots[spec] = root_id(self.connection, spec)
        return self.roots[spec]


def _foreign(path: Path, got: str) -> UsageError:
    return UsageError(
        f"An import needs a Parquet file that `neuralrank catalogue export` wrote. Got {got} at {str(path)!r}. "
        "Export it again."
    )
