"""The catalogue's fields as columns, for filtering and sorting a million models in milliseconds.

Arrow files of 65,536 rows each, mapped into memory, beside the SQLite file they are made from. A change writes the
files anew whose rows it touched; readers of the older ones are not disturbed. All of it can be deleted: it is made
again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuralrank.errors import CatalogueError
from neuralrank.storage._column_arrays import SELECT, columns_of, plain, with_rows
from neuralrank.storage._column_files import (
    ChunkFile,
    Manifest,
    open_chunk,
    open_chunks,
    read_manifest,
    remove_others,
    write_chunk,
    write_manifest,
)
from neuralrank.storage._column_order import first_places, flags, known_flags, ranks
from neuralrank.storage._connection import reading, told
from neuralrank.storage._label_sets import LabelSets

CHUNK_ROWS = 2**16
_FEW_CHANGED = 0.25
"""Up to this share of changed rows they are put into the columns that are there; reading all is as quick for more."""

Say = Callable[[int, int], None]
"""Called with the number of rows done and of all."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of the catalogue in a row."""

    start: int
    """Row of the first."""
    table: pa.RecordBatch
    """`present`, `label_set`, and a column for each field; `label_names` as a dictionary of lists."""

    def column(self, name: str) -> pa.Array:
        """Return a column by name."""
        return self.table.column(self.table.schema.get_field_index(name))


@dataclass(frozen=True, kw_only=True)
class Columns:
    """All chunks, as they were at one change of the catalogue."""

    seq: int
    chunks: tuple[Chunk, ...]

    @property
    def n_rows(self) -> int:
        """Return the number of rows, removed models included."""
        return sum(chunk.table.num_rows for chunk in self.chunks)

    def masks(
        self, evaluate: Callable[[pa.RecordBatch], pa.BooleanArray], *, fields: Collection[str] | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Evaluate a condition on all rows.

        Args:
            evaluate: the condition; it sees `label_names` as a dictionary of lists.
            fields: that it reads; None shows it all.

        Returns:
            Where it holds, and where it is unknown, each of shape (n_rows,); removed models are in neither.
        """
        holds, unknown = np.zeros(self.n_rows, dtype=bool), np.zeros(self.n_rows, dtype=bool)
        for chunk in self.chunks:
            rows = slice(chunk.start, chunk.start + chunk.table.num_rows)
            found = evaluate(chunk.table if fields is None else chunk.table.select(list(fields)))
            known = known_flags(found)
            holds[rows] = flags(found) & known
            unknown[rows] = ~known
        return holds & self._present, unknown & self._present

    def present(self) -> NDArray[np.bool_]:
        """Return, of shape (n_rows,), which models are not removed."""
        return self._present.copy()

    def label_sets(self) -> NDArray[np.int64]:
        """Return, of shape (n_rows,), the number of each model's label set; 0 where it has none."""
        return self._label_sets

    def _sorted_by(self, chunk: Chunk, name: str) -> pa.Array:
        """Return a field, texts of which there are few and lists as their places in the alphabet of the chunk."""
        values = chunk.column(name)
        if not (pa.types.is_dictionary(values.type) or pa.types.is_list(values.type)):
            return values
        key = (chunk.start, name)
        if key not in self._ranks:
            self._ranks[key] = ranks(values)
        return self._ranks[key]

    @cached_property
    def _ranks(self) -> dict[tuple[int, str], pa.Array]:
        return {}

    @cached_property
    def _present(self) -> NDArray[np.bool_]:
        return np.concatenate([np.zeros(0, dtype=bool), *(flags(chunk.column("present")) for chunk in self.chunks)])

    @cached_property
    def _label_sets(self) -> NDArray[np.int64]:
        found = [pc.fill_null(chunk.column("label_set"), 0).to_numpy() for chunk in self.chunks]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found])

    def values(self, name: str, rows: NDArray[np.int64]) -> pa.Array:
        """Return a field of some rows, in their order; any field but `label_names`."""
        parts, places = [], []
        numbers = rows // CHUNK_ROWS
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            taken = self.chunks[number].column(name).take(pa.array(rows[chosen] - self.chunks[number].start))
            parts.append(plain(taken))
            places.append(chosen)
        if not parts:
            return pa.nulls(0)
        back = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_arrays(parts).take(pa.array(back))

    def best(self, name: str, among: NDArray[np.bool_], n: int, *, descending: bool) -> NDArray[np.int64]:
        """Return the first `n` rows of those allowed, sorted by a field; unknown values come last, ties by row."""

        def first(chunk: Chunk) -> NDArray[np.int64]:
            allowed = np.flatnonzero(among[chunk.start : chunk.start + chunk.table.num_rows])
            if not len(allowed):
                return allowed
            values = self._sorted_by(chunk, name)
            if len(allowed) < len(values):
                values = values.take(pa.array(allowed))
            return allowed[first_places(values, n, descending=descending)] + chunk.start

        found = map(first, self.chunks)
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *found])
        return rows[first_places(self.values(name, rows), n, descending=descending)] if len(rows) else rows


def read_columns(folder: Path, connection: sqlite3.Connection, *, say: Say = lambda _done, _all: None) -> Columns:
    """Return the columns at the catalogue's last change, bringing the files up to it first.

    The caller holds the lock of the derived files. Damaged files are made again.

    Args:
        folder: where the files are.
        connection: to the catalogue.
        say: progress of the rewriting.

    Raises:
        CatalogueError: the catalogue cannot be read, or the files cannot be written.
    """
    with reading(connection, folder):
        folder.mkdir(parents=True, exist_ok=True)
        return _refreshed(folder, connection, say)


def current_columns(folder: Path, connection: sqlite3.Connection) -> Columns | None:
    """Return the columns if they are those of the catalogue's last change and sound, else None.

    Raises:
        CatalogueError: the catalogue cannot be read.
    """
    with told(folder):
        owner, seq = _state(connection)
    manifest = read_manifest(folder)
    if (manifest.owner, manifest.seq) != (owner, seq):
        return None
    tables = open_chunks(folder, manifest.files)
    return None if tables is None else _columns(seq, tables)


def are_foreign(folder: Path, connection: sqlite3.Connection) -> bool:
    """Say whether the columns are not known to be of this catalogue: it may be another one in the place of an old."""
    return read_manifest(folder).owner != _state(connection)[0]


def _state(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the id of the catalogue and the number of its last change."""
    found = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('id', 'seq')").fetchall())
    return int(found.get("id", 0)), int(found.get("seq", 0))


def _columns(seq: int, tables: Collection[pa.RecordBatch]) -> Columns:
    return Columns(
        seq=seq, chunks=tuple(Chunk(start=number * CHUNK_ROWS, table=table) for number, table in enumerate(tables))
    )


def _refreshed(folder: Path, connection: sqlite3.Connection, say: Say) -> Columns:
    owner, seq = _state(connection)
    (n_rows,) = connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
    manifest = read_manifest(folder)
    if manifest.owner != owner or manifest.seq > seq:
        manifest = Manifest()
    remove_others(folder, manifest)
    writer = _Writer(folder, connection, manifest)
    kept: list[ChunkFile] = []
    for number in range(-(-n_rows // CHUNK_ROWS)):
        kept.append(writer.chunk(number, min(CHUNK_ROWS, n_rows - number * CHUNK_ROWS)))
        say(min((number + 1) * CHUNK_ROWS, n_rows), n_rows)
    if (owner, seq, tuple(kept)) != (manifest.owner, manifest.seq, manifest.files):
        manifest = Manifest(owner=owner, seq=seq, files=tuple(kept))
        write_manifest(folder, manifest)
        remove_others(folder, manifest)
    tables = open_chunks(folder, kept)
    if tables is None:
        raise OSError(f"{folder.name} could not be read back")
    return _columns(seq, tables)


class _Writer:
    """Brings one chunk after the other up to the state of the catalogue that a transaction sees."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, manifest: Manifest) -> None:
        self.folder, self.connection, self.manifest = folder, connection, manifest
        self.names = LabelSets(connection).names_of
        statement = f"SELECT row / {CHUNK_ROWS}, count(*) FROM entry WHERE seq > ? GROUP BY 1"
        self.n_changed: dict[int, int] = dict(connection.execute(statement, (manifest.seq,)).fetchall())

    def chunk(self, number: int, n_rows: int) -> ChunkFile:
        """Return a file that holds a chunk, written if the one that is there does not."""
        before = self.manifest.files[number] if number < len(self.manifest.files) else None
        old = open_chunk(self.folder, before) if before is not None else None
        n_changed = self.n_changed.get(number, 0)
        if before is not None and old is not None and not n_changed and old.num_rows == n_rows:
            return before
        start = number * CHUNK_ROWS
        table = None
        if old is not None and 0 < n_changed <= _FEW_CHANGED * n_rows and old.num_rows <= n_rows:
            table = self._changed(old, start, n_rows)
        if table is None:
            rows = self.connection.execute(f"{SELECT} WHERE row >= ? AND row < ? ORDER BY row", (start, start + n_rows))
            table = self._table(rows.fetchall())
        if table.num_rows != n_rows:
            raise _damaged(f"rows {start} to {start + n_rows - 1} with gaps")
        return write_chunk(self.folder, number, table)

    def _changed(self, old: pa.RecordBatch, start: int, n_rows: int) -> pa.RecordBatch | None:
        """Return a chunk with what changed; None if the rest of it is not as the catalogue would have it."""
        statement = f"{SELECT} WHERE row IN (SELECT row FROM entry WHERE seq > ?) AND row >= ? AND row < ? ORDER BY row"
        rows = self.connection.execute(statement, (self.manifest.seq, start, start + n_rows)).fetchall()
        places = np.array([row[0] - start for row in rows], dtype=np.int64)
        if np.count_nonzero(places >= old.num_rows) != n_rows - old.num_rows:
            return None
        return with_rows(old, self._table(rows), places)

    def _table(self, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
        try:
            return columns_of(rows, self.names)
        except (ValueError, TypeError, OverflowError, RecursionError, pa.ArrowException) as error:
            raise _damaged(str(error)) from error


def _damaged(got: str) -> CatalogueError:
    return CatalogueError(
        f"The models of the catalogue need to be as they were written. Got damaged rows ({got}). "
        "Run `neuralrank catalogue repair`: it keeps all that can still be read."
    )
