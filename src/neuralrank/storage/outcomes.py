"""What the user reported back: the accuracy that a model reached on a data set.

Nobody can make an outcome again. So each is also appended to a journal beside the SQLite file, on disk before the
transaction ends, as one line of JSON; so is each removal. What a damaged or lost database had is replayed from there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from neuralrank.errors import OutputError, UnknownNameError, UsageError
from neuralrank.storage._connection import told, writing
from neuralrank.storage._rows import iso_date
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.runs import StoredTarget, plain, put_target, targets

JOURNAL_NAME = "outcomes.jsonl"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One accuracy that the user reported."""

    model_id: str
    """Of the model; where the catalogue does not know it, what the user called it."""
    fingerprint: str
    """Of the data set."""
    data: str
    """What the user called the data set."""
    accuracy: float
    """In [0, 1]."""
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    id: str = field(default_factory=lambda: uuid4().hex[:12])


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What the journal changed in the catalogue."""

    n_added: int
    n_removed: int
    n_unreadable: int
    """Lines of the journal that are not whole."""


def add_outcomes(catalogue: Catalogue, outcomes: Sequence[Outcome], about: Iterable[StoredTarget] = ()) -> None:
    """Keep what the user reports: all of it or nothing.

    Args:
        catalogue: to write to.
        outcomes: each with an id of its own.
        about: the data sets they are about, as far as something is known of them.

    Raises:
        UsageError: an accuracy is not in [0, 1].
        CatalogueError: it cannot be written. After a failure between journal and database, `replay_outcomes` may bring
            it in all the same: it is the same outcome, with the same id.
    """
    for outcome in outcomes:
        if not _is_share(outcome.accuracy):
            raise UsageError(f"An accuracy needs to be between 0 and 1. Got {outcome.accuracy!r}. Give 0.93 for 93 %.")
    known = {target.fingerprint: target for target in about}
    with writing(catalogue.connection, catalogue.folder):
        for target in known.values():
            put_target(catalogue, target)
        catalogue.connection.executemany(_INSERT, map(_values, outcomes))
        lines = [{"target": asdict(target)} for target in known.values()]
        _append(catalogue.folder, [*lines, *({"outcome": asdict(outcome)} for outcome in outcomes)])


def outcomes(catalogue: Catalogue) -> list[Outcome]:
    """Return what the user reported, newest first."""
    statement = (
        "SELECT id, model_id, fingerprint, data, accuracy, created FROM outcome ORDER BY created DESC, data, model_id"
    )
    with told(catalogue.folder):
        rows = catalogue.connection.execute(statement).fetchall()
    names = ("id", "model_id", "fingerprint", "data", "accuracy", "created")
    return [Outcome(**dict(zip(names, row, strict=True))) for row in rows]


def remove_outcome(catalogue: Catalogue, key: str) -> Outcome:
    """Remove an outcome by its id, or by the start of it where no other begins so, and return it.

    Raises:
        UnknownNameError: there is none, or more than one.
        CatalogueError: it cannot be written.
    """
    found = [outcome for outcome in outcomes(catalogue) if key and outcome.id.startswith(key)]
    if len(found) != 1:
        got = f"{key!r}, with which {len(found)} ids begin" if found else repr(key)
        raise UnknownNameError(f"An outcome needs its id. Got {got}. `neuralrank outcome list` shows the ids.")
    with writing(catalogue.connection, catalogue.folder):
        catalogue.connection.execute("DELETE FROM outcome WHERE id = ?", (found[0].id,))
        _append(catalogue.folder, [{"removed": found[0].id}])
    return found[0]


def replay_outcomes(catalogue: Catalogue) -> Replayed:
    """Bring the catalogue to what the journal says; what is there stays, so that it may be done again and again.

    A line that is not whole, as the last one after a power failure, is skipped and counted.

    Raises:
        CatalogueError: the journal cannot be read, or the catalogue not be written.
    """
    with told(catalogue.folder):
        journal = _read(catalogue.folder / JOURNAL_NAME)
    had = {outcome.id for outcome in outcomes(catalogue)}
    new = [outcome for outcome in journal.outcomes.values() if outcome.id not in had]
    gone = sorted(journal.removed & had)
    if new or gone:
        described = {target.fingerprint for target in targets(catalogue)}
        with writing(catalogue.connection, catalogue.folder):
            for fingerprint, target in journal.targets.items():
                if fingerprint not in described:
                    put_target(catalogue, target)
            catalogue.connection.executemany(_INSERT, map(_values, new))
            catalogue.connection.executemany("DELETE FROM outcome WHERE id = ?", ((key,) for key in gone))
    return Replayed(n_added=len(new), n_removed=len(gone), n_unreadable=journal.n_unreadable)


def export_outcomes(catalogue: Catalogue, path: Path) -> int:
    """Write all outcomes, and what is known of their data sets, as lines of JSON; return how many outcomes.

    Raises:
        OutputError: the file cannot be written.
    """
    every = outcomes(catalogue)
    about = {outcome.fingerprint for outcome in every}
    lines: list[Mapping[str, Any]] = [
        {"target": asdict(target)} for target in targets(catalogue) if target.fingerprint in about
    ]
    lines += [{"outcome": asdict(outcome)} for outcome in every]
    write_lines(path, lines)
    return len(every)


def import_outcomes(catalogue: Catalogue, path: Path) -> Replayed:
    """Add the outcomes of an exported file that are not here; none is removed.

    Raises:
        CatalogueError: the catalogue cannot be written, or the file not be read.
    """
    with told(catalogue.folder):
        journal = _read(path)
    had = {outcome.id for outcome in outcomes(catalogue)}
    new = [outcome for outcome in journal.outcomes.values() if outcome.id not in had]
    described = {target.fingerprint for target in targets(catalogue)}
    add_outcomes(catalogue, new, [one for key, one in journal.targets.items() if key not in described])
    return Replayed(n_added=len(new), n_removed=0, n_unreadable=journal.n_unreadable)


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines of JSON to a file, which appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    part = path.with_name(f".{path.name}-{uuid4().hex[:12]}")
    try:
        with part.open("w", encoding="ascii") as file:
            file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        part.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"An export needs a file that can be written. Got {reason} at {str(path)!r}. Choose another place."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


# --- the journal -------------------------------------------------------------------------------------------------

_INSERT = "INSERT OR IGNORE INTO outcome (id, model_id, fingerprint, data, accuracy, created) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True)
class _Journal:
    outcomes: Mapping[str, Outcome]
    """Those that were not removed, by id."""
    removed: frozenset[str]
    targets: Mapping[str, StoredTarget]
    n_unreadable: int


def _values(outcome: Outcome) -> tuple[Any, ...]:
    texts = (outcome.id, outcome.model_id, outcome.fingerprint, outcome.data)
    created = iso_date(outcome.created) or outcome.created
    return (*map(plain, texts), float(outcome.accuracy), plain(created))


def _append(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines so that they outlast a power failure; the transaction that is open keeps other writers out."""
    path = folder / JOURNAL_NAME
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    is_new = not path.exists()
    with path.open("a+b") as file:
        if not _ends_with_a_line(file):
            text = "\n" + text  # or the torn line before would take this one with it
        file.write(text.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    if is_new and os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _ends_with_a_line(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _read(path: Path) -> _Journal:
    found: dict[str, Outcome] = {}
    about: dict[str, StoredTarget] = {}
    removed: set[str] = set()
    n_unreadable = 0
    for line in _lines(path):
        try:
            [(kind, content)] = json.loads(line).items()
            if kind == "outcome":
                found[content["id"]] = _outcome(content)
            elif kind == "target":
                about[content["fingerprint"]] = _target(content)
            elif kind == "removed":
                removed.add(str(content))
            else:
                n_unreadable += 1
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            n_unreadable += 1
    kept = {key: outcome for key, outcome in found.items() if key not in removed}
    return _Journal(outcomes=kept, removed=frozenset(removed), targets=about, n_unreadable=n_unreadable)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except FileNotFoundError:
        return


def _outcome(values: Mapping[str, Any]) -> Outcome:
    texts = [values[name] for name in ("id", "model_id", "fingerprint", "data", "created")]
    if not all(isinstance(text, str) for text in texts) or not _is_share(values["accuracy"]):
        raise ValueError("not an outcome")
    return Outcome(**values)


def _target(values: Mapping[str, Any]) -> StoredTarget:
    texts = [values["fingerprint"], values["path"], *values["class_names"]]
    known = [values[name] for name in ("modality", "task") if values[name] is not None]
    if not all(isinstance(text, str) for text in (*texts, *known)) or not isinstance(values["n_samples"], int | None):
        raise ValueError("not a data set")
    return StoredTarget(**{**values, "class_names": tuple(values["class_names"])})


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1
