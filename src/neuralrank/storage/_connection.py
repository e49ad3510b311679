"""One connection to the catalogue's SQLite file: opening, transactions, and what its errors mean to a user."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from neuralrank.errors import CatalogueError
from neuralrank.storage._migrations import migrate

FILE_NAME = "catalogue.sqlite"
COLUMNS_FOLDER, TEXT_FOLDER = "columns", "text"
"""Of what is made from the catalogue, and can be deleted at any time."""
LOCK_NAME = "derived.lock"
WAIT_SECONDS = 30.0
LOCK_SECONDS = 600.0
_PAUSE_SECONDS = 0.01
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
            _keep_a_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Have changes written to a log first; SQLite itself does not wait for another process that does so just now."""
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in ("SQLITE_BUSY", "SQLITE_LOCKED") or time.monotonic() > give_up:
                raise
            time.sleep(_PAUSE_SECONDS)


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
                with suppress(sqlite3.Error):  # the first error counts
                    connection.execute("ROLLBACK")
            raise


@contextmanager
def reading(connection: sqlite3.Connection, folder: Path) -> Iterator[None]:
    """Read everything inside from one state of the catalogue, whatever others write meanwhile."""
    with told(folder):
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("COMMIT")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from making anew what is made from the catalogue.

    Raises:
        CatalogueError: another process has been at it for too long, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=LOCK_SECONDS)
    with told(folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise CatalogueError(
                f"The catalogue in {str(folder)!r} needs to be brought up to date. "
                f"Got another process that has been at it for {LOCK_SECONDS:.0f} s. Try again when that has ended."
            ) from error
        try:
            yield
        finally:
            lock.release()


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system complain of into one sentence."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a bug, to be seen whole
        raise
    except sqlite3.Error as error:
        raise CatalogueError(_sentence(error, folder)) from error
    except UnicodeDecodeError as error:  # what SQLite says quotes bytes of a damaged schema
        raise CatalogueError(damaged("a damaged schema", folder)) from error
    except OSError as error:
        raise CatalogueError(
            f"The catalogue needs a folder it can write to. Got {reason_of(error)} at {str(folder)!r}. "
            "Mend that, or name another folder with --catalogue."
        ) from error


def reason_of(error: OSError) -> str:
    """Return what went wrong in a few words, also where Arrow says it in many."""
    return (os.strerror(error.errno) if error.errno else error.strerror or str(error)).lower()


def _sentence(error: sqlite3.Error, folder: Path) -> str:
    name, place = getattr(error, "sqlite_errorname", ""), str(folder)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damaged(f"a damaged file ({error})", folder)
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


def damaged(got: str, folder: Path) -> str:
    """Return what to say of a catalogue that is not as it was written."""
    return (
        f"The catalogue in {str(folder)!r} needs to be sound. Got {got}. "
        "Run `neuralrank catalogue repair`: it keeps all that can still be read."
    )
