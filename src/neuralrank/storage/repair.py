"""Save what can be read of a damaged catalogue.

SQLite reads past a damaged page by reading from both ends of a table and, where rows have numbers, asking for each
between. What is lost of the models is listed again by the next `neuralrank index`; outcomes have a journal of their
own.
The damaged file is kept.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neuralrank.errors import UsageError
from neuralrank.storage._connection import FILE_NAME, connect, told

COLUMNS_FOLDER, TEXT_FOLDER = "columns", "text"
_NUMBERED = {"root": "id", "label_set": "id", "entry": "row"}
_KEYED = ("concept", "failure", "target", "run", "trial", "outcome")
_MAX_GAP = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair found and kept."""

    was_sound: bool
    n_models: int
    n_runs: int
    n_outcomes: int
    kept_as: Path | None
    """Where the damaged file is now."""


def repair(folder: Path) -> Repaired:
    """Check the catalogue in a folder, and if it is damaged make a sound one of what can be read.

    Columns and text index are removed in any case: they are made again from the catalogue.

    Raises:
        UsageError: there is no catalogue.
        CatalogueError: the folder cannot be written.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise UsageError(f"A repair needs a catalogue. Got none in {str(folder)!r}. Name its folder with --catalogue.")
    with told(folder):
        for name in (COLUMNS_FOLDER, TEXT_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
        if _is_sound(path):
            return _counted(folder, kept_as=None)
        fresh = folder / "repairing"
        shutil.rmtree(fresh, ignore_errors=True)
        connect(fresh).close()
        with suppress(sqlite3.DatabaseError):  # not even a database: nothing can be read
            _salvage(path, fresh / FILE_NAME)
        kept_as = _put_in_place(path, fresh)
    return _counted(folder, kept_as=kept_as)


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def _counted(folder: Path, *, kept_as: Path | None) -> Repaired:
    with closing(connect(folder)) as connection:
        n_models, n_runs, n_outcomes = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("entry", "run", "outcome")
        )
    return Repaired(was_sound=kept_as is None, n_models=n_models, n_runs=n_runs, n_outcomes=n_outcomes, kept_as=kept_as)


def _put_in_place(path: Path, fresh: Path) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    kept_as = path.with_name(f"{path.name}.damaged-{now}")
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.replace(kept_as.with_name(kept_as.name + suffix))
    path.replace(kept_as)
    (fresh / FILE_NAME).replace(path)
    shutil.rmtree(fresh, ignore_errors=True)
    return kept_as


def _salvage(path: Path, fresh: Path) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as old, closing(sqlite3.connect(fresh)) as new:
        rows: dict[int, int] = {}
        for table, key in _NUMBERED.items():
            for values in _numbered(old, table, key):
                if table == "entry":  # rows are numbered without gaps
                    rows[values["row"]] = len(rows)
                    values["row"] = rows[values["row"]]
                _insert(new, table, values)
        for table in _KEYED:
            for values in _from_both_ends(old, table):
                _insert(new, table, values)
        for values in _from_both_ends(old, "member"):
            if values["row"] in rows:
                _insert(new, "member", {**values, "row": rows[values["row"]]})
        new.execute("UPDATE meta SET value = (SELECT coalesce(max(seq), 0) FROM entry) + 1 WHERE key = 'seq'")
        new.commit()


def _numbered(connection: sqlite3.Connection, table: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a numbered table, those between damaged pages asked for one by one."""
    low, high = None, None
    for values in _readable(connection, f"SELECT * FROM {table} ORDER BY {key}"):
        low = values[key]
        yield values
    later = []
    for values in _readable(connection, f"SELECT * FROM {table} WHERE {key} > ? ORDER BY {key} DESC", (_or(low, -1),)):
        high = values[key]
        later.append(values)
    for number in range(_or(low, -1) + 1, min(_or(high, 0), _or(low, -1) + _MAX_GAP)):
        yield from _readable(connection, f"SELECT * FROM {table} WHERE {key} = ?", (number,))
    yield from reversed(later)


def _from_both_ends(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    with suppress(sqlite3.DatabaseError):
        keys = [name for _, name, _, _, _, place in connection.execute(f"PRAGMA table_info({table})") if place]
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{key} {direction}" for key in keys)
            yield from _readable(connection, f"SELECT * FROM {table} ORDER BY {order}")


def _readable(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError):
        cursor = connection.execute(statement, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    """Insert one row; what a damaged page made of it may not fit, and is then left out."""
    marks = ", ".join("?" * len(values))
    with suppress(sqlite3.DatabaseError):
        connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
        )


def _or(number: int | None, default: int) -> int:
    return default if number is None else number
