"""Runs that have not come to their end: what was asked for, and every trial that is finished.

The features behind a trial lie in the cache; here is what is needed to ask for them again, and which models failed. A
run that has ended is a ranking in `runs.py` and leaves nothing here. Whether one is still going is told by a lock that
its process holds, never by a clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args

from neuralrank.errors import CatalogueError, UnknownNameError
from neuralrank.storage._connection import reason_of, told, writing
from neuralrank.storage._whole_file import try_lock
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.runs import plain
from neuralrank.types import Failure, Stage

_LOCKS = "runs"


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """A run without an end."""

    run_id: str
    created: str
    """UTC, ISO 8601."""
    digest: str
    """Of all that was asked for: the same command has the same."""
    options: Mapping[str, Any]
    """What was asked for, as `rank` takes it; empty where it cannot be said in words, as with arrays."""
    n_scored: int
    """Models that were scored at least once."""
    n_failed: int
    is_running: bool
    """Whether a process is at it."""


class RunJournal:
    """The journal of one run, held by this process; a context manager that lets it go."""

    def __init__(self, catalogue: Catalogue, run_id: str, lock: int) -> None:
        """Take over a run; made by `begin_run` and `take_up`."""
        self._catalogue, self.run_id, self._lock = catalogue, run_id, lock

    def __enter__(self) -> RunJournal:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the run go: another process may take it up."""
        os.close(self._lock)

    def scored(self, model_id: str, n_samples: int, value: float | None) -> None:
        """Write down a score.

        Raises:
            CatalogueError: the catalogue cannot be written.
        """
        self._put(model_id, n_samples, value, None)

    def failed(self, failure: Failure, n_samples: int) -> None:
        """Write down that a model failed on its way to so many samples.

        Raises:
            CatalogueError: the catalogue cannot be written.
        """
        self._put(failure.model_id, n_samples, None, failure)

    def failures(self) -> dict[str, tuple[int, Failure]]:
        """Return the models that failed, by id, with the samples they were on their way to."""
        with told(self._catalogue.folder):
            rows = self._catalogue.connection.execute(
                "SELECT model_id, n_samples, stage, error FROM step WHERE run_id = ? AND error IS NOT NULL",
                (self.run_id,),
            ).fetchall()
        return {
            model_id: (n_samples, Failure(model_id=model_id, stage=cast(Stage, stage), error=error))
            for model_id, n_samples, stage, error in rows
            if stage in get_args(Stage)
        }

    def renew(self, digest: str, options: Mapping[str, Any]) -> None:
        """Say that the run goes on with other options or data: models that failed are to be tried again.

        Raises:
            CatalogueError: the catalogue cannot be written.
        """
        with writing(self._catalogue.connection, self._catalogue.folder):
            self._catalogue.connection.execute(
                "UPDATE unfinished SET digest = ?, options = ? WHERE run_id = ?",
                (digest, json.dumps(options), self.run_id),
            )
            self._catalogue.connection.execute(
                "DELETE FROM step WHERE run_id = ? AND error IS NOT NULL", (self.run_id,)
            )

    def end(self) -> None:
        """Forget the run: it has come to its end.

        Raises:
            CatalogueError: the catalogue cannot be written.
        """
        forget_run(self._catalogue, self.run_id)

    def _put(self, model_id: str, n_samples: int, value: float | None, failure: Failure | None) -> None:
        stage, error = (None, None) if failure is None else (failure.stage, plain(failure.error))
        with writing(self._catalogue.connection, self._catalogue.folder):
            self._catalogue.connection.execute(
                "INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?)",
                (self.run_id, plain(model_id), n_samples, value, stage, error),
            )


def begin_run(catalogue: Catalogue, run_id: str, digest: str, options: Mapping[str, Any]) -> RunJournal:
    """Write down that a run begins.

    Raises:
        CatalogueError: the catalogue cannot be written.
    """
    lock = _held(catalogue.folder, run_id)
    if lock is None:
        raise CatalogueError(f"A new run needs an id of its own. Got {run_id!r}, which is running. Start it again.")
    try:
        with writing(catalogue.connection, catalogue.folder):
            catalogue.connection.execute(
                "INSERT OR REPLACE INTO unfinished VALUES (?, ?, ?, ?)",
                (run_id, datetime.now(UTC).isoformat(timespec="seconds"), digest, json.dumps(options)),
            )
    except BaseException:
        os.close(lock)
        raise
    return RunJournal(catalogue, run_id, lock)


def take_up(catalogue: Catalogue, run_id: str) -> RunJournal | None:
    """Return the journal of a run without an end, None if a process is at it."""
    lock = _held(catalogue.folder, run_id)
    return None if lock is None else RunJournal(catalogue, run_id, lock)


def unfinished_runs(catalogue: Catalogue) -> list[UnfinishedRun]:
    """Return all runs without an end, newest first."""
    with told(catalogue.folder):
        rows = catalogue.connection.execute(
            "SELECT run_id, created, digest, options, "
            "(SELECT count(DISTINCT model_id) FROM step WHERE step.run_id = unfinished.run_id AND error IS NULL), "
            "(SELECT count(*) FROM step WHERE step.run_id = unfinished.run_id AND error IS NOT NULL) "
            "FROM unfinished ORDER BY created DESC, run_id"
        ).fetchall()
    return list(_runs(catalogue.folder, rows))


def find_unfinished(catalogue: Catalogue, key: str, *, option: str = "--resume") -> UnfinishedRun:
    """Return the run without an end whose id begins with `key`.

    Args:
        catalogue: where it is.
        key: its id, or the start of it.
        option: by which it is asked for.

    Raises:
        UnknownNameError: there is none, or more than one.
    """
    found = [run for run in unfinished_runs(catalogue) if key and run.run_id.startswith(key)]
    if len(found) != 1:
        known = ", ".join(run.run_id for run in unfinished_runs(catalogue)[:5]) or "none"
        got = f"{len(found)} that begin with {key!r}" if found else f"{key!r}"
        raise UnknownNameError(f"{option} needs the id of a run that has not ended. Got {got}. There are: {known}.")
    return found[0]


def forget_run(catalogue: Catalogue, run_id: str) -> None:
    """Remove a run and its trials from the journal; its features stay in the cache.

    Raises:
        CatalogueError: the catalogue cannot be written.
    """
    with writing(catalogue.connection, catalogue.folder):
        for table in ("step", "unfinished"):
            catalogue.connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    with suppress(OSError):
        _lock_file(catalogue.folder, run_id).unlink()


def _runs(folder: Path, rows: list[tuple[Any, ...]]) -> Iterator[UnfinishedRun]:
    for run_id, created, digest, options, n_scored, n_failed in rows:
        lock = _held(folder, run_id)
        if lock is not None:
            os.close(lock)
        try:
            asked = json.loads(options)
        except ValueError:
            asked = {}
        yield UnfinishedRun(
            run_id=run_id,
            created=created,
            digest=digest,
            options=asked if isinstance(asked, dict) else {},
            n_scored=n_scored,
            n_failed=n_failed,
            is_running=lock is None,
        )


def _held(folder: Path, run_id: str) -> int | None:
    """Take the lock of a run and return its descriptor, None if another process has it."""
    path = _lock_file(folder, run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CatalogueError(
            f"A run needs a lock in {str(path.parent)!r}. Got: {reason_of(error)}. "
            "Free some space or mend its permissions, or name another folder with --catalogue."
        ) from error
    if try_lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _lock_file(folder: Path, run_id: str) -> Path:
    return folder / _LOCKS / f"{run_id}.lock"
