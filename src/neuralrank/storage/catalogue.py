"""The catalogue: what is known of the models of all repositories, in one SQLite file that several processes share.

A model's row is never deleted: one that its repository lists no more is marked as removed. Every write is one
transaction with a change number; the columns for filtering and the text index beside the file are made from it, know
up to which change they are current, and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuralrank.storage._connection import connect, told, writing
from neuralrank.storage._rows import COLUMNS, entry_of, values_of
from neuralrank.types import Failure, ModelEntry, Unchanged

Concepts = Callable[[Sequence[str]], Iterable[str]]
"""From the names of a label set to the concepts under which it is found."""

SELECT = f"SELECT row, removed, {', '.join(f'entry.{name}' for name in COLUMNS)}, labels FROM entry LEFT JOIN label_set ON label_set.id = label_set"  # noqa: E501
_KEPT = "seconds_per_sample"
UPSERT = (
    f"INSERT INTO entry (row, seq, listed, removed, {', '.join(COLUMNS)}) VALUES (?, ?, ?, ?{', ?' * len(COLUMNS)}) "
    "ON CONFLICT (row) DO UPDATE SET seq = excluded.seq, listed = excluded.listed, removed = excluded.removed, "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != _KEPT)
    # What was measured here stays with the content it was measured on.
    + f", {_KEPT} = CASE WHEN entry.model_id = excluded.model_id THEN coalesce(excluded.{_KEPT}, entry.{_KEPT}) "
    f"ELSE excluded.{_KEPT} END"
)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one batch changed."""

    n_new: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    rows: tuple[int, ...] = ()
    """Rows of all models of the batch that are not failures."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """A repository that was indexed."""

    spec: str
    indexed: str | None
    """When it was last listed to its end; None if never."""
    n_models: int


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """An open catalogue; made by `open_catalogue`."""

    folder: Path
    connection: sqlite3.Connection
    _label_sets: dict[bytes, int] = field(default_factory=dict, repr=False)

    # --- reading ---

    def seq(self) -> int:
        """Return the number of the last change."""
        with told(self.folder):
            return int(self.connection.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0])

    def n_rows(self) -> int:
        """Return the number of rows, removed models included: rows are numbered from 0 to one less."""
        with told(self.folder):
            return int(self.connection.execute("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()[0])

    def entries(self, rows: Sequence[int]) -> list[ModelEntry]:
        """Return the models in these rows, in that order; rows that do not exist are left out."""
        found = {}
        with told(self.folder):
            for row in rows:
                for values in self.connection.execute(f"{SELECT} WHERE row = ?", (int(row),)):
                    found[int(row)] = entry_of(values[2:-1], values[-1])
        return [found[int(row)] for row in rows if int(row) in found]

    def all_entries(self) -> Iterator[tuple[ModelEntry, str | None]]:
        """Yield every model with the moment it was found removed, None for those that are there."""
        with told(self.folder):
            for values in self.connection.execute(f"{SELECT} ORDER BY row"):
                yield entry_of(values[2:-1], values[-1]), values[1]

    def changed_since(self, seq: int) -> Iterator[tuple[int, bool, ModelEntry]]:
        """Yield row, whether it is removed, and the model, for all that changed after a change number."""
        with told(self.folder):
            for values in self.connection.execute(f"{SELECT} WHERE seq > ? ORDER BY row", (seq,)):
                yield int(values[0]), values[1] is not None, entry_of(values[2:-1], values[-1])

    def find(self, key: str) -> list[int]:
        """Return the rows a user may mean: that model id, else that name, else ids and names that begin so."""
        begins = key.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        asked = (
            ("model_id = ?", (key,)),
            ("name = ?", (key,)),
            ("model_id LIKE ? ESCAPE '\\' OR name LIKE ? ESCAPE '\\'", (begins, begins)),
        )
        with told(self.folder):
            for condition, values in asked:
                statement = f"SELECT row FROM entry WHERE {condition} ORDER BY removed IS NOT NULL, row LIMIT 50"
                rows = [int(row) for (row,) in self.connection.execute(statement, values)]
                if rows:
                    return rows
        return []

    def removed(self, row: int) -> str | None:
        """Return when a model was found to be gone, None if it is there."""
        with told(self.folder):
            found = self.connection.execute("SELECT removed FROM entry WHERE row = ?", (row,)).fetchone()
        return found[0] if found else None

    def roots(self) -> list[Root]:
        """Return the repositories that were indexed."""
        with told(self.folder):
            found = self.connection.execute("SELECT spec, indexed, n_models FROM root ORDER BY spec").fetchall()
        return [Root(spec=spec, indexed=indexed, n_models=n) for spec, indexed, n in found]

    def members(self, specs: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the models that these repositories listed last."""
        marks = ", ".join("?" * len(specs))
        statement = f"SELECT DISTINCT row FROM member JOIN root ON root.id = root WHERE spec IN ({marks}) ORDER BY row"
        with told(self.folder):
            return np.array([row for (row,) in self.connection.execute(statement, tuple(specs))], dtype=np.int64)

    def failures(self, specs: Sequence[str] | None = None) -> list[Failure]:
        """Return what could not be listed when these repositories (None: all) were last indexed."""
        statement = (
            "SELECT spec, model_id, stage, error FROM failure JOIN root ON root.id = root ORDER BY spec, model_id"
        )
        with told(self.folder):
            found = self.connection.execute(statement).fetchall()
        return [
            Failure(model_id=model_id, stage=stage, error=error)
            for spec, model_id, stage, error in found
            if specs is None or spec in specs
        ]

    def known(self, source: str) -> Mapping[str, str]:
        """Return the stamps of all models of one kind of source by location; looked up when asked for."""
        return _Known(self, source)

    def label_sets_with(self, concepts: Collection[str]) -> Iterator[tuple[str, int]]:
        """Yield (concept, label set) for each of the concepts and each label set that has it."""
        with told(self.folder):
            for concept in sorted(concepts):
                statement = "SELECT label_set FROM concept WHERE concept = ?"
                yield from ((concept, int(found)) for (found,) in self.connection.execute(statement, (concept,)))

    # --- writing ---

    def write(self, spec: str, batch: Sequence[ModelEntry | Unchanged | Failure], *, concepts: Concepts) -> Written:
        """Write what a repository listed: all of the batch or nothing.

        Args:
            spec: names the repository.
            batch: in the order in which it was listed.
            concepts: under which a label set is found.

        Raises:
            CatalogueError: the file cannot be written.
        """
        with writing(self.connection, self.folder) as seq:
            return self._write(spec, batch, seq, concepts)

    def finish(self, spec: str, rows: Collection[int], failed: Collection[str]) -> int:
        """Say that a repository was listed to its end: models it has no more are marked as removed.

        Args:
            spec: names the repository.
            rows: of all models that it listed.
            failed: ids of those that could not be listed.

        Returns:
            How many models are newly marked.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with writing(self.connection, self.folder) as seq:
            root = self.root_id(spec)
            run = self.connection.execute
            gone = [row for (row,) in run("SELECT row FROM member WHERE root = ?", (root,)) if row not in rows]
            self.connection.executemany("DELETE FROM member WHERE root = ? AND row = ?", ((root, row) for row in gone))
            marked = self.connection.executemany(
                "UPDATE entry SET removed = ?, seq = ? WHERE row = ? AND removed IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM member WHERE member.row = entry.row)",
                ((now, seq, row) for row in gone),
            ).rowcount
            old = [key for (key,) in run("SELECT model_id FROM failure WHERE root = ?", (root,)) if key not in failed]
            self.connection.executemany(
                "DELETE FROM failure WHERE root = ? AND model_id = ?", ((root, key) for key in old)
            )
            run("UPDATE root SET indexed = ?, n_models = ? WHERE id = ?", (now, len(rows), root))
        return max(marked, 0)

    def close(self) -> None:
        """Close the file; what was written is safe without it."""
        with suppress(sqlite3.Error):
            self.connection.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(
        self, spec: str, batch: Sequence[ModelEntry | Unchanged | Failure], seq: int, concepts: Concepts
    ) -> Written:
        root, now = self.root_id(spec), int(time.time())
        run = self.connection.execute
        source = spec.partition(":")[0]
        (free,) = run("SELECT coalesce(max(row), -1) + 1 FROM entry").fetchone()
        rows: dict[tuple[str, str], int] = {}
        new, changed, unchanged, back, upserts = 0, 0, 0, [], []
        for item in batch:
            if isinstance(item, Failure):
                continue
            place = (item.source if isinstance(item, ModelEntry) else source, item.location)
            had = run("SELECT row, model_id, removed FROM entry WHERE source = ? AND location = ?", place).fetchone()
            row = had[0] if had else rows.get(place, free)
            if isinstance(item, Unchanged):
                if had is None:
                    continue
                unchanged += 1
                back += [(seq, row)] if had[2] is not None else []
            else:
                new += had is None and place not in rows
                free += row == free
                changed += had is not None and had[1] != item.model_id
                unchanged += had is not None and had[1] == item.model_id
                upserts.append((row, seq, now, None, *values_of(item, self.label_set_id(item.label_names, concepts))))
            rows[place] = row
        self.connection.executemany(UPSERT, upserts)
        self.connection.executemany("UPDATE entry SET removed = NULL, seq = ? WHERE row = ?", back)
        self.connection.executemany(
            "INSERT OR IGNORE INTO member VALUES (?, ?)", ((root, row) for row in rows.values())
        )
        failed = [(root, item.model_id, item.stage, item.error) for item in batch if isinstance(item, Failure)]
        self.connection.executemany("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)", failed)
        return Written(n_new=new, n_changed=changed, n_unchanged=unchanged, rows=tuple(rows.values()))

    def root_id(self, spec: str) -> int:
        """Return the number of a repository inside a write transaction; it gets one if it has none."""
        self.connection.execute("INSERT OR IGNORE INTO root (spec) VALUES (?)", (spec,))
        return int(self.connection.execute("SELECT id FROM root WHERE spec = ?", (spec,)).fetchone()[0])

    def label_set_id(self, labels: Sequence[str], concepts: Concepts) -> int | None:
        """Return, inside a write transaction, the number of a set of labels, kept once for all models that have it."""
        if not labels:
            return None
        text = json.dumps(list(labels), ensure_ascii=False, separators=(",", ":"))
        text = text.encode("utf-8", "replace").decode("utf-8")
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if digest in self._label_sets:
            found = self._label_sets[digest]
            # The transaction that made it may have been rolled back.
            if self.connection.execute(
                "SELECT 1 FROM label_set WHERE id = ? AND digest = ?", (found, digest)
            ).fetchone():
                return found
        row = self.connection.execute("SELECT id FROM label_set WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            made = self.connection.execute(
                "INSERT INTO label_set (digest, labels) VALUES (?, ?) RETURNING id", (digest, text)
            ).fetchone()
            self.connection.executemany(
                "INSERT OR IGNORE INTO concept VALUES (?, ?)",
                ((concept, made[0]) for concept in sorted(concepts(labels))),
            )
            row = made
        self._label_sets[digest] = int(row[0])
        return int(row[0])


def open_catalogue(folder: str | Path) -> Catalogue:
    """Open the catalogue in a folder; it is made if there is none.

    Raises:
        CatalogueError: it cannot be opened, is damaged, or was written by a newer version.
    """
    place = Path(folder).expanduser()
    return Catalogue(folder=place, connection=connect(place))


class _Known(Mapping[str, str]):
    """Stamps by location, each looked up when it is asked for: a million of them need no memory."""

    def __init__(self, catalogue: Catalogue, source: str) -> None:
        self._catalogue = catalogue
        self._source = source

    def __getitem__(self, location: str) -> str:
        statement = "SELECT stamp FROM entry WHERE source = ? AND location = ?"
        with told(self._catalogue.folder):
            found = self._catalogue.connection.execute(statement, (self._source, location)).fetchone()
        if found is None:
            raise KeyError(location)
        return str(found[0])

    def __iter__(self) -> Iterator[str]:
        statement = "SELECT location FROM entry WHERE source = ? AND removed IS NULL"
        with told(self._catalogue.folder):
            yield from (str(location) for (location,) in self._catalogue.connection.execute(statement, (self._source,)))

    def __len__(self) -> int:
        statement = "SELECT count(*) FROM entry WHERE source = ? AND removed IS NULL"
        with told(self._catalogue.folder):
            return int(self._catalogue.connection.execute(statement, (self._source,)).fetchone()[0])
