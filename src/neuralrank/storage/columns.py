"""The catalogue's fields as columns, for filtering and sorting a million models in milliseconds.

Arrow files of 65,536 rows each, mapped into memory, beside the SQLite file they are made from. A change rewrites the
files whose rows it touched; readers of the older ones are not disturbed. All of it can be deleted: it is made again.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from neuralrank.fields import BY_NAME, FIELDS
from neuralrank.storage._connection import told
from neuralrank.storage._rows import DATES, LISTS

CHUNK_ROWS = 2**16
_VERSION = 1
_MANIFEST = "manifest.json"
_TYPES = {"text": pa.string(), "number": pa.float64(), "integer": pa.int64(), "date": pa.timestamp("us", "UTC")}
_FEW = 0.3
"""A text column is kept as a dictionary if this share of its values, at most, are distinct."""

_STORED = [name for name in BY_NAME if name not in ("label_names", "loadable")]
_SELECT = f"SELECT row, removed IS NULL, refusal IS NULL, label_set, {', '.join(_STORED)} FROM entry"

Say = Callable[[int, int], None]
"""Called with the number of rows done and of all."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of the catalogue in a row."""

    start: int
    """Row of the first."""
    table: pa.RecordBatch
    """`present`, `label_set`, and a column for each field but `label_names`."""

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
        self, evaluate: Callable[[pa.RecordBatch], pa.BooleanArray]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Evaluate a condition on all rows.

        Returns:
            Where it holds, and where it is unknown, each of shape (n_rows,); removed models are in neither.
        """
        holds, unknown = np.zeros(self.n_rows, dtype=bool), np.zeros(self.n_rows, dtype=bool)
        for chunk in self.chunks:
            rows = slice(chunk.start, chunk.start + chunk.table.num_rows)
            present = _flags(chunk.column("present"))
            found = evaluate(chunk.table)
            holds[rows] = _flags(pc.fill_null(found, False)) & present
            unknown[rows] = _flags(pc.is_null(found)) & present
        return holds, unknown

    def present(self) -> NDArray[np.bool_]:
        """Return, of shape (n_rows,), which models are not removed."""
        return np.concatenate([np.zeros(0, dtype=bool), *(_flags(chunk.column("present")) for chunk in self.chunks)])

    def label_sets(self) -> NDArray[np.int64]:
        """Return, of shape (n_rows,), the number of each model's label set; 0 where it has none."""
        found = [pc.fill_null(chunk.column("label_set"), 0).to_numpy() for chunk in self.chunks]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found])

    def values(self, name: str, rows: NDArray[np.int64]) -> pa.ChunkedArray | pa.Array:
        """Return a field of some rows, in their order."""
        parts, places = [], []
        numbers = rows // CHUNK_ROWS
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            taken = self.chunks[number].column(name).take(pa.array(rows[chosen] - self.chunks[number].start))
            parts.append(taken.dictionary_decode() if pa.types.is_dictionary(taken.type) else taken)
            places.append(chosen)
        if not parts:
            return pa.nulls(0)
        back = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_arrays(parts).take(pa.array(back))

    def best(self, name: str, among: NDArray[np.bool_], n: int, *, descending: bool) -> NDArray[np.int64]:
        """Return the first `n` rows of those allowed, sorted by a field; unknown values come last, ties by row."""
        found = []
        for chunk in self.chunks:
            allowed = np.flatnonzero(among[chunk.start : chunk.start + chunk.table.num_rows])
            if len(allowed):
                values = chunk.column(name).take(pa.array(allowed))
                found.append(allowed[_first(values, n, descending=descending)] + chunk.start)
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *found])
        return rows[_first(self.values(name, rows), n, descending=descending)] if len(rows) else rows


def read_columns(folder: Path, connection: sqlite3.Connection, *, say: Say = lambda _done, _all: None) -> Columns:
    """Return the columns at the catalogue's last change, rewriting first the files that are older.

    The caller holds the lock of the derived files. Damaged files are made again.

    Args:
        folder: where the files are.
        connection: to the catalogue.
        say: progress of the rewriting.

    Raises:
        CatalogueError: the catalogue cannot be read, or the files cannot be written.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        connection.execute("BEGIN")  # one state of the catalogue for all that is read
        try:
            return _refreshed(folder, connection, say)
        finally:
            connection.execute("COMMIT")


def current_columns(folder: Path, seq: int) -> Columns | None:
    """Return the columns if they are those of change `seq` and sound, else None."""
    manifest = _read_manifest(folder)
    chunks = _open_all(folder, manifest["files"]) if manifest["seq"] == seq else None
    return Columns(seq=seq, chunks=chunks) if chunks is not None else None


def _refreshed(folder: Path, connection: sqlite3.Connection, say: Say) -> Columns:
    manifest = _read_manifest(folder)
    (seq,) = connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()
    (n_rows,) = connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
    files: list[str] = manifest["files"]
    if manifest["seq"] > seq:  # of another catalogue
        files, manifest["seq"] = [], 0
    numbers = -(-n_rows // CHUNK_ROWS)
    statement = f"SELECT DISTINCT row / {CHUNK_ROWS} FROM entry WHERE seq > ?"
    stale = {int(number) for (number,) in connection.execute(statement, (manifest["seq"],))}
    kept: list[str] = []
    for number in range(numbers):
        if number >= len(files) or number in stale or _open(folder / files[number]) is None:
            kept.append(_write_chunk(folder, connection, number))
        else:
            kept.append(files[number])
        say(min((number + 1) * CHUNK_ROWS, n_rows), n_rows)
    if kept != manifest["files"] or seq != manifest["seq"]:
        _write_manifest(folder, {"version": _VERSION, "seq": seq, "files": kept})
    for path in folder.glob("*.arrow"):
        if path.name not in kept:
            with suppress(OSError):  # on some systems a file that is mapped cannot be removed
                path.unlink()
    chunks = _open_all(folder, kept)
    assert chunks is not None  # each was opened or written above
    return Columns(seq=seq, chunks=chunks)


def _write_chunk(folder: Path, connection: sqlite3.Connection, number: int) -> str:
    start = number * CHUNK_ROWS
    statement = f"{_SELECT} WHERE row >= ? AND row < ? ORDER BY row"
    rows = connection.execute(statement, (start, start + CHUNK_ROWS)).fetchall()
    name = f"{number:05}-{secrets.token_hex(6)}.arrow"
    part = folder / f".{name}"
    batch = _batch(rows)
    try:
        with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        part.replace(folder / name)
    finally:
        with suppress(OSError):
            part.unlink()
    return name


def _batch(rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    row, present, loadable, label_set, *stored = zip(*rows, strict=True)
    assert row[-1] - row[0] + 1 == len(row)  # rows are never deleted, so that a place is a row
    columns = {
        "present": pa.array(map(bool, present), pa.bool_()),
        "loadable": pa.array(map(bool, loadable), pa.bool_()),
        "label_set": pa.array(label_set, pa.int64()),
    }
    for name, values in zip(_STORED, stored, strict=True):
        columns[name] = _column(name, values)
    return pa.RecordBatch.from_pydict(columns)


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if name in LISTS:
        read = {text: json.loads(text) for text in set(values) if text is not None}
        lists = [read.get(value) for value in values]
        members = pa.array([member for found in lists if found for member in found], pa.string()).dictionary_encode()
        ends = np.cumsum([0, *(len(found or ()) for found in lists)], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), members, mask=pa.array([found is None for found in lists]))
    kind = _TYPES[BY_NAME[name].kind]
    if name in DATES:
        return (
            pa.array([None if value is None else value.removesuffix("Z") for value in values])
            .cast(pa.timestamp("us"))
            .cast(kind)
        )
    array = pa.array(values, kind)
    if BY_NAME[name].kind == "text":
        encoded = array.dictionary_encode()
        return encoded if len(encoded.dictionary) <= _FEW * len(array) else array
    return array


def _first(values: pa.Array, n: int, *, descending: bool) -> NDArray[np.int64]:
    """Return the places of the first `n` values in order, nulls last, ties in the order given."""
    values = _sortable(values)
    missing = _flags(values.is_null())
    places = np.flatnonzero(~missing)
    known = values.drop_null()
    if pa.types.is_string(known.type):
        places = places[_first_texts(known, n, descending=descending)]
    else:
        numbers = known.to_numpy(zero_copy_only=False)
        places = places[_first_numbers(-numbers if descending else numbers, n)]
    return np.concatenate([places, np.flatnonzero(missing)])[:n]


def _first_numbers(values: NDArray[Any], n: int) -> NDArray[np.int64]:
    if len(values) <= 8 * n:
        return np.argsort(values, kind="stable")[:n]
    close = np.flatnonzero(values <= np.partition(values, n - 1)[n - 1])
    return close[np.argsort(values[close], kind="stable")[:n]]


def _first_texts(values: pa.Array, n: int, *, descending: bool) -> NDArray[np.int64]:
    direction = "descending" if descending else "ascending"
    close = np.arange(len(values))
    if len(values) > 8 * n:  # all up to the n-th: ties are not told apart before the last sort
        last = pc.select_k_unstable(values, k=n, sort_keys=[("", direction)])[-1]
        reaches = pc.greater_equal if descending else pc.less_equal
        close = np.flatnonzero(_flags(reaches(values, values[last.as_py()])))
    table = pa.table({"value": values.take(pa.array(close)), "place": close})
    order: NDArray[np.int64] = pc.sort_indices(table, [("value", direction), ("place", "ascending")]).to_numpy()
    return close[order[:n]]


def _sortable(values: pa.Array) -> pa.Array:
    """Return values whose order is that of the field: texts without regard to case, lists by their first member."""
    if pa.types.is_dictionary(values.type):
        return _ranks(values)
    if pa.types.is_string(values.type):
        return pc.utf8_lower(values)
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64())
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8())
    if pa.types.is_list(values.type):
        members = values.cast(pa.list_(pa.string()))
        return pc.utf8_lower(pc.list_element(members, 0)) if len(members) else pa.array([], pa.string())
    return values


def _ranks(values: pa.DictionaryArray) -> pa.Array:
    """Return for each value the place of its text in the alphabet."""
    order = pc.sort_indices(pc.utf8_lower(values.dictionary)).to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return pa.array(ranks).take(values.indices) if len(order) else pa.nulls(len(values), pa.int64())


def _flags(values: pa.BooleanArray) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return flags.astype(bool)


def _open_all(folder: Path, names: Sequence[str]) -> tuple[Chunk, ...] | None:
    tables = [_open(folder / name) for name in names]
    if any(table is None for table in tables):
        return None
    return tuple(Chunk(start=number * CHUNK_ROWS, table=table) for number, table in enumerate(tables))


def _open(path: Path) -> pa.RecordBatch | None:
    """Map one file, None if it is not what was written."""
    try:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        batch.validate()
    except (OSError, pa.ArrowException, ValueError, IndexError):
        return None
    wanted = {"present", "label_set", *(field.name for field in FIELDS)} - {"label_names"}
    return batch if wanted <= set(batch.schema.names) else None


def _read_manifest(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"version": _VERSION, "seq": 0, "files": []}
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        sound = manifest["version"] == _VERSION and isinstance(manifest["seq"], int)
        names = [name for name in manifest["files"] if isinstance(name, str) and Path(name).name == name]
    except (OSError, ValueError, TypeError, KeyError):
        return empty
    return {**manifest, "files": names} if sound and len(names) == len(manifest["files"]) else empty


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    part = folder / f".{_MANIFEST}-{secrets.token_hex(6)}"
    try:
        part.write_text(json.dumps(manifest), encoding="utf-8")
        part.replace(folder / _MANIFEST)
    finally:
        with suppress(OSError):
            part.unlink()
