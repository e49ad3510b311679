"""Bring into a new catalogue what can be read of a damaged one.

Twice over: table by table through SQLite up to the first page it cannot read, then page by page without it. What
follows from the rest (concepts, which repository has which model) is made anew; what was damaged inside a row is left
out, and the row is marked so that the next listing reads the model again.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from neuralrank.errors import CatalogueError
from neuralrank.storage._label_sets import digest_of, read_names
from neuralrank.storage._pages import PageRow, page_rows
from neuralrank.storage._rows import DAMAGE, LISTS, MAX_INTEGER, MOMENTS, iso_date, read_card, read_list

_NUMBERED = {"root": "id", "label_set": "id", "entry": "row"}
_KEYED = ("failure", "target", "run", "trial", "outcome", "member")
_ON_PAGES = (*_NUMBERED, "failure", "target", "run", "trial", "outcome")
"""Tables whose rows are told by their shape. An index over two numbers looks like `member`, which is made anew."""
_SECOND_COPY = "INDEXED BY sqlite_autoindex_root_1"
"""Which repositories there are stands in an index too. Without them nobody would notice that a model is gone."""
_KINDS: Mapping[str, tuple[type, ...]] = {"INTEGER": (int,), "REAL": (int, float), "TEXT": (str,), "BLOB": (bytes, str)}

Row = dict[str, Any]


def salvage(path: Path, fresh: Path) -> None:
    """Copy what can be read.

    Args:
        path: damaged SQLite file.
        fresh: SQLite file of an empty catalogue.

    Raises:
        sqlite3.Error: the new file cannot be written.
    """
    with closing(sqlite3.connect(fresh, isolation_level=None)) as new:
        new.execute("BEGIN")
        tables = {table: _columns(new, table) for table in (*_NUMBERED, *_KEYED)}
        for table in tables:
            for row in _through_sqlite(path, table, tables[table]):
                _keep(new, table, row)
        for row in _through_sqlite(path, f"root {_SECOND_COPY}", ("id", "spec")):
            _keep(new, "root", row)
        for table, row in _from_pages(path, tables):
            _keep(new, table, row)
        _complete(new)
        new.execute("COMMIT")


def is_sound_row(table: str, row: Row) -> bool:
    """Say whether a row of `entry` or `label_set` holds what was written."""
    mended = _mended(row) if table == "entry" else row
    return mended == row and (table != "label_set" or _is_label_set(row))


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the types of a table's columns in the order its rows have them: without numbers, the key first."""
    found = [(key, name, kind) for _, name, kind, _, _, key in connection.execute(f"PRAGMA table_info({table})")]
    if table not in _NUMBERED:
        found.sort(key=lambda column: (column[0] == 0, column[0]))
    return {name: kind for _, name, kind in found}


def _through_sqlite(path: Path, table: str, columns: Iterable[str]) -> Iterator[Row]:
    """Yield rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError), closing(sqlite3.connect(path, timeout=30)) as old:
        old.text_factory = lambda text: text.decode(errors="replace")
        for values in old.execute(f"SELECT {', '.join(columns)} FROM {table}"):
            yield dict(zip(columns, values, strict=True))


def _from_pages(path: Path, tables: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, Row]]:
    for found in page_rows(path):
        for table in _ON_PAGES:
            row = _as_row(found, table, tables[table])
            if row is not None:
                yield table, row


def _as_row(found: PageRow, table: str, columns: Mapping[str, str]) -> Row | None:
    """Return what stands on a page as a row of a table, None if it cannot be one."""
    key = _NUMBERED.get(table)
    if (found.number is None) != (key is None) or len(found.values) != len(columns):
        return None
    row = dict(zip(columns, found.values, strict=True))
    if key is not None:
        if row[key] is not None:
            return None
        row[key] = found.number
    fits = all(value is None or isinstance(value, _KINDS[columns[name]]) for name, value in row.items())
    return row if table == "entry" or fits else None


def _keep(new: sqlite3.Connection, table: str, row: Row) -> None:
    """Insert a row, if it holds what was written; of two copies of a model the later counts."""
    kept: Row | None = row
    if table == "entry":
        kept = _mended(row)
        if kept is not None:
            had = new.execute("SELECT seq FROM entry WHERE row = ?", (kept["row"],)).fetchone()
            if had is not None and had[0] >= kept["seq"]:
                return
            new.execute("DELETE FROM entry WHERE row = ?", (kept["row"],))
    elif table in _CHECKS and not _CHECKS[table](row):
        kept = None
    if kept is not None:
        marks = ", ".join("?" * len(kept))
        with suppress(sqlite3.IntegrityError, OverflowError):
            new.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(kept)}) VALUES ({marks})", tuple(kept.values()))


def _mended(row: Row) -> Row | None:
    """Return the row of a model without what was damaged in it, None if it cannot be told which model it is."""
    if any(not isinstance(row[name], int) or not 0 <= row[name] <= MAX_INTEGER for name in ("row", "seq")):
        return None
    if any(not isinstance(row[name], str) for name in ("source", "name", "stamp")) or not row["source"]:
        return None
    damaged = [name for name, value in row.items() if value is not None and not _fits(name, value)]
    if not damaged:
        return row
    mended = {**row, **dict.fromkeys(damaged), "stamp": "", "revision": row["revision"] or row["stamp"]}
    return mended | {name: 0 for name in ("listed", "loadable") if name in damaged}


def _fits(name: str, value: Any) -> bool:
    try:
        if name in LISTS:
            return all(isinstance(member, str) for member in read_list(value))
        if name == "card":
            read_card(value)
            return True
    except DAMAGE:
        return False
    if name in ("created", "updated"):
        return isinstance(value, int) and value in MOMENTS
    return isinstance(value, _KINDS[_ENTRY_KINDS.get(name, "TEXT")])


_ENTRY_KINDS = {
    **dict.fromkeys(
        (
            "row", "seq", "listed", "loadable", "label_set", "n_labels", "params", "size_bytes", "memory_bytes",
            "downloads", "likes",
        ),
        "INTEGER",
    ),
    **dict.fromkeys(("accuracy", "seconds_per_sample"), "REAL"),
}  # fmt: skip


def _is_label_set(row: Row) -> bool:
    try:
        return bool(row["digest"] == digest_of(read_names(row["labels"])))
    except CatalogueError:
        return False


def _is_run(row: Row) -> bool:
    try:
        return isinstance(json.loads(zlib.decompress(row["ranking"])), dict)
    except (TypeError, ValueError, RecursionError, zlib.error):
        return False


def _is_target(row: Row) -> bool:
    try:
        return row["class_names"] is None or isinstance(json.loads(row["class_names"]), list)
    except (TypeError, ValueError, RecursionError):
        return False


def _is_outcome(row: Row) -> bool:
    return isinstance(row["created"], str) and iso_date(row["created"]) is not None and 0 <= row["accuracy"] <= 1


_CHECKS: Mapping[str, Callable[[Row], bool]] = {
    "label_set": _is_label_set,
    "run": _is_run,
    "target": _is_target,
    "outcome": _is_outcome,
}


def _complete(new: sqlite3.Connection) -> None:
    """Make anew what follows from the rows that were kept."""
    new.execute(
        "UPDATE entry SET label_set = NULL, n_labels = NULL, revision = coalesce(revision, stamp), stamp = '' "
        "WHERE label_set IS NOT NULL AND label_set NOT IN (SELECT id FROM label_set)"
    )
    new.execute("DELETE FROM trial WHERE run_id NOT IN (SELECT run_id FROM run)")
    # What no repository lists any more leaves the ones it is given here when they are listed again.
    new.execute(
        "INSERT INTO member (root, row) SELECT root.id, entry.row FROM entry "
        "JOIN root ON substr(root.spec, 1, length(source) + 1) = source || ':' "
        "WHERE removed IS NULL AND NOT EXISTS (SELECT 1 FROM member WHERE member.row = entry.row)"
    )
    new.execute("DELETE FROM member WHERE row NOT IN (SELECT row FROM entry) OR root NOT IN (SELECT id FROM root)")
    # Rows are numbered without gaps. Each moves to a place that is free already.
    rows = [row for (row,) in new.execute("SELECT row FROM entry ORDER BY row")]
    moves = [(place, row) for place, row in enumerate(rows) if place != row]
    for table in ("entry", "member"):
        new.executemany(f"UPDATE {table} SET row = ? WHERE row = ?", moves)
    new.execute("UPDATE meta SET value = (SELECT coalesce(max(seq), 0) FROM entry) + 1 WHERE key = 'seq'")
    new.execute("DELETE FROM meta WHERE key = 'concepts'")
