"""Check the catalogue, and save what can be read of a damaged one. The damaged file is kept.

What is lost of the models is listed again by the next `neuralrank index`; outcomes have a journal of their own. No
other process may be writing to the catalogue meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from neuralrank.errors import UsageError
from neuralrank.storage._connection import COLUMNS_FOLDER, FILE_NAME, TEXT_FOLDER, alone, connect, told
from neuralrank.storage._migrations import MIGRATIONS, migrate, newer
from neuralrank.storage._salvage import is_sound_row, salvage
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.outcomes import JOURNAL_NAME, replay_outcomes

_FRESH = "repairing"
_WAIT_SECONDS = 30.0
_BELIEVABLE = 1_000
"""A schema of a higher number is damage, not a newer version."""
_WITHOUT_NAMES = "SELECT 1 FROM entry WHERE label_set NOT IN (SELECT id FROM label_set) LIMIT 1"
_NOT_DAMAGE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY", "SQLITE_FULL")


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
        CatalogueError: the folder cannot be written, or a newer version wrote the catalogue.
    """
    path = folder / FILE_NAME
    if not path.exists() and not (folder / JOURNAL_NAME).exists():
        raise UsageError(f"A repair needs a catalogue. Got none in {str(folder)!r}. Name its folder with --catalogue.")
    with alone(folder):
        for name in (COLUMNS_FOLDER, TEXT_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
        kept_as = None
        if path.exists() and not _is_sound(path):
            fresh = folder / _FRESH
            shutil.rmtree(fresh, ignore_errors=True)
            connect(fresh).close()
            salvage(path, fresh / FILE_NAME)
            kept_as = _put_in_place(path, fresh)
    with open_catalogue(folder) as catalogue, told(folder):
        replay_outcomes(catalogue)
        n_models, n_runs, n_outcomes = (
            catalogue.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("entry", "run", "outcome")
        )
    return Repaired(was_sound=kept_as is None, n_models=n_models, n_runs=n_runs, n_outcomes=n_outcomes, kept_as=kept_as)


def _is_sound(path: Path) -> bool:
    """Say whether SQLite and we ourselves can read everything that is in a file.

    Raises:
        CatalogueError: a newer version wrote it.
        sqlite3.Error: it cannot be looked at now.
    """
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if len(MIGRATIONS) < version < _BELIEVABLE:
                raise newer(version)
            return (
                version == len(MIGRATIONS)
                and _schema(connection) == _our_schema()
                and connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
                and connection.execute(_WITHOUT_NAMES).fetchone() is None
                and all(_holds_what_was_written(connection, table) for table in ("entry", "label_set"))
            )
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith(_NOT_DAMAGE):
            raise
        return False
    except UnicodeDecodeError:  # what SQLite says quotes bytes of a damaged schema
        return False


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return sorted(
        connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
    )


def _our_schema() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        return _schema(connection)


def _holds_what_was_written(connection: sqlite3.Connection, table: str) -> bool:
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}")
    return all(is_sound_row(table, dict(zip(columns, row, strict=True))) for row in rows)


def _put_in_place(path: Path, fresh: Path) -> Path:
    """Put the new file in the place of the damaged one, which keeps another name; at no moment is there none."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    kept_as = path.with_name(f"{path.name}.damaged-{now}")
    try:
        os.link(path, kept_as)
    except OSError:  # a file system without links
        shutil.copyfile(path, kept_as)
    # The log belongs to the damaged file: beside the new one it would be taken for its own.
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.replace(kept_as.with_name(kept_as.name + suffix))
    (fresh / FILE_NAME).replace(path)
    shutil.rmtree(fresh, ignore_errors=True)
    return kept_as
