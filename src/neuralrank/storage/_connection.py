"""One connection to the catalogue's SQLite file: opening, transactions, and what its errors mean to a user."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuralrank.errors import CatalogueError
from neuralrank.storage._migrations import migrate

FILE_NAME = "catalogue.sqlite"
WAIT_SECONDS = 30.0
_CACHE_KIB = 32 * 1024


def connect(folder: Path) -> sqlite3.Connection:
    """Open the catalogue in `folder`, which is made if it is not there.

    Raises:
        CatalogueError: it cannot be opened, is damaged, or is of a newer version.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Transactions are begun by hand: Python's own begin as readers and fail when they turn writers.
        connection = sqlite3.connect(folder / FILE_NAME, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def writing(connection: sqlite3.Connection, folder: Path) -> Iterator[int]:
    """Carry out one write transaction whole or not at all; the value is its change number."""
    with told(folder):
        connection.execute("BEGIN IMMEDIATE")
        try:
            (seq,) = connection.execute(
                "UPDATE meta SET value = value + 1 WHERE key = 'seq' RETURNING value"
            ).fetchone()
            yield seq
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system complain of into one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(_sentence(error, folder)) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CatalogueError(
            f"The catalogue needs a folder it can write to. Got {reason} at {str(folder)!r}. "
            "Mend that, or name another folder with --catalogue."
        ) from error


def _sentence(error: sqlite3.Error, folder: Path) -> str:
    name, place = getattr(error, "sqlite_errorname", ""), str(folder)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"The catalogue in {place!r} needs to be sound. Got a damaged file ({error}). "
            "Run `neuralrank catalogue repair`: it keeps all that can still be read."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"The catalogue in {place!r} needs to be free for a moment. "
            f"Got another process that kept it for {WAIT_SECONDS:.0f} s. Try again when that has ended."
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return (
            f"The catalogue in {place!r} could not be written. Got: {error}. "
            "What was kept before is not lost. Free some space or mend the permissions, or name another folder "
            "with --catalogue."
        )
    return f"The catalogue in {place!r} could not be used. Got: {error}. Run `neuralrank catalogue repair`."
