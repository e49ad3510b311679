"""What changes in the catalogue when a repository is listed: one batch, and the end of a listing.

All of it happens inside a write transaction that the caller began.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from neuralrank.entries import ModelEntry, Unchanged
from neuralrank.storage._label_sets import Concepts, LabelSets
from neuralrank.storage._rows import WRITTEN, clean, values_of
from neuralrank.types import Failure

INSERT = (
    f"INSERT INTO entry (seq, listed, removed, {', '.join(WRITTEN)}, row) VALUES ({', '.join('?' * len(WRITTEN))}, "
    "?, ?, ?, ?)"
)
UPDATE = (
    f"UPDATE entry SET seq = ?, listed = ?, removed = ?, {', '.join(f'{name} = ?' for name in WRITTEN)} WHERE row = ?"
)
_MEASURED = 3 + WRITTEN.index("seconds_per_sample")
_ASKED = 500
"""Places looked up by one statement."""

Item = TypeVar("Item")
Place = tuple[str, str]
"""Source and location: where a model is, whatever its content."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one batch changed."""

    n_new: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    rows: tuple[int, ...] = ()
    """Rows of all models of the batch that are not failures."""


@dataclass(frozen=True, kw_only=True)
class Had:
    """What the catalogue has at a place."""

    row: int
    model_id: str
    is_removed: bool
    listed: int
    seconds_per_sample: float | None


def write_batch(
    connection: sqlite3.Connection,
    labels: LabelSets,
    spec: str,
    batch: Sequence[ModelEntry | Unchanged | Failure],
    *,
    seq: int,
    concepts: Concepts,
) -> Written:
    """Write what a repository listed.

    Args:
        connection: in a write transaction.
        labels: of the same connection.
        spec: names the repository.
        batch: in the order in which it was listed; of several entries for one place the last counts.
        seq: number of this change.
        concepts: under which a label set is found.
    """
    root, now = root_id(connection, spec), int(time.time())
    (free,) = connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
    listed = _latest(spec, batch)
    had = find_places(connection, listed)
    rows: list[int] = []
    inserted: list[tuple[object, ...]] = []
    updated: list[tuple[object, ...]] = []
    returned: list[tuple[int, int]] = []
    n_changed = 0
    for place, item in listed.items():
        before = had.get(place)
        if isinstance(item, Unchanged):
            if before is None:
                continue
            if before.is_removed:
                returned.append((seq, before.row))
        else:
            values = values_of(item, labels.id_of(item.label_names, concepts))
            if before is None:
                inserted.append((seq, now, None, *values, free + len(inserted)))
            else:
                is_same = before.model_id == clean(item.model_id)
                n_changed += not is_same
                updated.append(_with_measured(is_same, before, (seq, now, None, *values, before.row)))
        rows.append(free + len(inserted) - 1 if before is None else before.row)
    connection.executemany(INSERT, inserted)
    connection.executemany(UPDATE, updated)
    connection.executemany("UPDATE entry SET removed = NULL, seq = ? WHERE row = ?", returned)
    connection.executemany("INSERT OR IGNORE INTO member (root, row) VALUES (?, ?)", ((root, row) for row in rows))
    failed = [item for item in batch if isinstance(item, Failure)]
    connection.executemany(
        "INSERT OR REPLACE INTO failure (root, model_id, stage, error) VALUES (?, ?, ?, ?)",
        ((root, clean(item.model_id), item.stage, clean(item.error)) for item in failed),
    )
    n_new = len(inserted)
    return Written(n_new=n_new, n_changed=n_changed, n_unchanged=len(rows) - n_new - n_changed, rows=tuple(rows))


def finish_listing(
    connection: sqlite3.Connection, spec: str, rows: Collection[int], failed: Collection[str], *, since: int, seq: int
) -> int:
    """Mark the models as removed that a repository has no more, and no other one either.

    Args:
        connection: in a write transaction.
        spec: names the repository.
        rows: of all models that it listed.
        failed: ids of those that could not be listed.
        since: number of the last change before the listing began: what another process wrote after it is left alone.
        seq: number of this change.

    Returns:
        How many are newly marked.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    root = root_id(connection, spec)
    run = connection.execute
    missing = [row for (row,) in run("SELECT row FROM member WHERE root = ?", (root,)) if row not in rows]
    gone = [row for row in missing if run("SELECT 1 FROM entry WHERE row = ? AND seq <= ?", (row, since)).fetchone()]
    connection.executemany("DELETE FROM member WHERE root = ? AND row = ?", ((root, row) for row in gone))
    marked = connection.executemany(
        "UPDATE entry SET removed = ?, seq = ? WHERE row = ? AND removed IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM member WHERE member.row = entry.row)",
        ((now, seq, row) for row in gone),
    ).rowcount
    known = {clean(model_id) for model_id in failed}
    old = [key for (key,) in run("SELECT model_id FROM failure WHERE root = ?", (root,)) if key not in known]
    connection.executemany("DELETE FROM failure WHERE root = ? AND model_id = ?", ((root, key) for key in old))
    run("UPDATE root SET indexed = ? WHERE id = ?", (now, root))
    return max(marked, 0)


def root_id(connection: sqlite3.Connection, spec: str) -> int:
    """Return the number of a repository; it gets one if it has none."""
    connection.execute("INSERT OR IGNORE INTO root (spec) VALUES (?)", (clean(spec),))
    return int(connection.execute("SELECT id FROM root WHERE spec = ?", (clean(spec),)).fetchone()[0])


def find_places(connection: sqlite3.Connection, places: Iterable[Place]) -> dict[Place, Had]:
    """Return what there is at each of some places."""
    by_source: dict[str, list[str]] = {}
    for source, location in dict.fromkeys(places):
        by_source.setdefault(source, []).append(location)
    found = {}
    for source, locations in by_source.items():
        for asked in batches(locations, _ASKED):
            marks = ", ".join("?" * len(asked))
            # A location that is the name is not kept twice, so it is found as the name.
            for condition in (f"location IN ({marks})", f"name IN ({marks}) AND location IS NULL"):
                statement = (
                    "SELECT coalesce(location, name), row, model_id, removed IS NOT NULL, listed, seconds_per_sample "
                    f"FROM entry WHERE source = ? AND {condition}"
                )
                for location, row, model_id, is_removed, listed, seconds in connection.execute(
                    statement, (source, *asked)
                ):
                    found[source, location] = Had(
                        row=row,
                        model_id=model_id,
                        is_removed=bool(is_removed),
                        listed=listed,
                        seconds_per_sample=seconds,
                    )
    return found


def batches(items: Iterable[Item], n: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most `n`."""
    waiting = iter(items)
    while batch := list(islice(waiting, n)):
        yield batch


def _latest(spec: str, batch: Sequence[ModelEntry | Unchanged | Failure]) -> dict[Place, ModelEntry | Unchanged]:
    source = spec.partition(":")[0]
    latest: dict[Place, ModelEntry | Unchanged] = {}
    for item in batch:
        if isinstance(item, ModelEntry):
            latest[clean(item.source), clean(item.location)] = item
        elif isinstance(item, Unchanged):
            latest.setdefault((source, clean(item.location)), item)
    return latest


def _with_measured(is_same: bool, before: Had, values: tuple[object, ...]) -> tuple[object, ...]:
    """Return the values of a row; what was measured here stays with the content it was measured on."""
    if not is_same or values[_MEASURED] is not None:
        return values
    return (*values[:_MEASURED], before.seconds_per_sample, *values[_MEASURED + 1 :])
