"""The catalogue: what is known of the models of all repositories, in one SQLite file that several processes share.

A model's row is never deleted: one that its repository lists no more is marked as removed. Every write is one
transaction with a change number; the columns for filtering and the text index beside the file are made from it, know
up to which change they are current, and can be deleted at any time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuralrank.entries import ModelEntry, Unchanged
from neuralrank.storage._connection import connect, told, writing
from neuralrank.storage._label_sets import Concepts, LabelSets
from neuralrank.storage._rows import READ, clean, entry_of
from neuralrank.storage._writing import Written, batches, finish_listing, write_batch
from neuralrank.types import Failure

__all__ = ["Catalogue", "Concepts", "Root", "Written", "open_catalogue"]

_SELECT = f"SELECT row, removed, label_set, {', '.join(READ)} FROM entry"
_ASKED = 500
_MOST_FOUND = 50
_MOST_MEANT = 1_000
_IS_ID = "(name = :name AND model_id = :key)"
_IS_OWN_ID = "own_id = :key"
_BEGINS = "({0} >= :{1} AND {0} < :{1} || char(1114111))"


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
    label_sets: LabelSets = field(repr=False, compare=False)
    kept: dict[str, object] = field(default_factory=dict, repr=False, compare=False)
    """For what is made from the catalogue and costs time to open again."""

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
        wanted = [int(row) for row in rows]
        found: dict[int, ModelEntry] = {}
        for asked in batches(dict.fromkeys(wanted), _ASKED):
            condition = f"row IN ({', '.join('?' * len(asked))})"
            found.update((row, entry) for row, _, entry in self._entries(condition, tuple(asked)))
        return [found[row] for row in wanted if row in found]

    def all_entries(self) -> Iterator[tuple[ModelEntry, str | None]]:
        """Yield every model with the moment it was found removed, None for those that are there."""
        return ((entry, removed) for _, removed, entry in self._entries("row >= 0", ()))

    def changed_since(self, seq: int) -> Iterator[tuple[int, bool, ModelEntry]]:
        """Yield row, whether it is removed, and the model, for all that changed after a change number, by row."""
        changed = self._entries(changed_after(seq), (seq,))
        return ((row, removed is not None, entry) for row, removed, entry in changed)

    def rows_of(self, model_id: str) -> list[int]:
        """Return the rows of the models with that id: more than one where the same files lie in several places."""
        model_id = clean(model_id)
        return self._rows(f"{_IS_ID} OR {_IS_OWN_ID}", {"key": model_id, "name": _name_in(model_id)})

    def find(self, key: str) -> list[int]:
        """Return the rows a user may mean: that model id, else that name, else ids and names that begin so.

        Small and capital letters from A to Z are told apart only if it helps. At most 50 rows, models that are there
        before removed ones.
        """
        key = clean(key)
        source, colon, rest = key.partition(":")
        asked: list[tuple[str, dict[str, str]]] = [
            (f"{_IS_ID} OR {_IS_OWN_ID}", {"name": _name_in(key)}),
            ("name = :key AND name = :key COLLATE BINARY", {}),
            ("name = :key", {}),
            (f"{_BEGINS.format('name', 'key')} OR {_BEGINS.format('own_id', 'key')}", {}),
        ]
        if colon:
            asked += [
                (f"{_BEGINS.format('name', 'rest')} AND source = :source", {"rest": rest, "source": source}),
                (f"name = :name AND {_BEGINS.format('model_id', 'key')}", {"name": _name_in(key)}),
            ]
        return next(filter(None, (self._rows(condition, {"key": key, **more}) for condition, more in asked)), [])

    def removed(self, row: int) -> str | None:
        """Return when a model was found to be gone, None if it is there."""
        with told(self.folder):
            found = self.connection.execute("SELECT removed FROM entry WHERE row = ?", (row,)).fetchone()
        return found[0] if found else None

    def roots(self) -> list[Root]:
        """Return the repositories that were indexed."""
        n_models = "SELECT count(*) FROM member WHERE root = root.id"
        with told(self.folder):
            found = self.connection.execute(f"SELECT spec, indexed, ({n_models}) FROM root ORDER BY spec").fetchall()
        return [Root(spec=spec, indexed=indexed, n_models=n) for spec, indexed, n in found]

    def specs_of(self, model_id: str) -> list[str]:
        """Return the repositories that list a model; empty if none does any more."""
        statement = (
            "SELECT DISTINCT spec FROM entry JOIN member USING (row) JOIN root ON root.id = root "
            "WHERE model_id = ? ORDER BY spec"
        )
        with told(self.folder):
            return [str(spec) for (spec,) in self.connection.execute(statement, (model_id,))]

    def members(self, specs: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the models that these repositories listed last."""
        marks = ", ".join("?" * len(specs))
        statement = f"SELECT DISTINCT row FROM member JOIN root ON root.id = root WHERE spec IN ({marks}) ORDER BY row"
        with told(self.folder):
            found = self.connection.execute(statement, tuple(map(clean, specs)))
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def failures(self, specs: Sequence[str] | None = None) -> list[Failure]:
        """Return what could not be listed when these repositories (None: all) were last indexed."""
        statement = (
            "SELECT spec, model_id, stage, error FROM failure JOIN root ON root.id = root ORDER BY spec, model_id"
        )
        wanted = None if specs is None else set(map(clean, specs))
        with told(self.folder):
            found = self.connection.execute(statement).fetchall()
        return [
            Failure(model_id=model_id, stage=stage, error=error)
            for spec, model_id, stage, error in found
            if wanted is None or spec in wanted
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

    def _entries(self, condition: str, values: tuple[object, ...]) -> Iterator[tuple[int, str | None, ModelEntry]]:
        with told(self.folder):
            found = self.connection.execute(f"{_SELECT} WHERE {condition} ORDER BY row", values)
            for row, removed, label_set, *fields in found:
                yield row, removed, entry_of(fields, self.label_sets.names(label_set))

    def _rows(self, condition: str, values: Mapping[str, str]) -> list[int]:
        # The inner limit keeps a key that half a million models begin with from sorting all of them.
        among = f"SELECT row, removed FROM entry WHERE {condition} LIMIT {_MOST_MEANT}"
        statement = f"SELECT row FROM ({among}) ORDER BY removed IS NOT NULL, row LIMIT {_MOST_FOUND}"
        with told(self.folder):
            return [int(row) for (row,) in self.connection.execute(statement, dict(values))]

    # --- writing ---

    @contextmanager
    def transaction(self) -> Iterator[int]:
        """Carry out one write transaction whole or not at all; the value is its change number.

        Raises:
            CatalogueError: the file cannot be written.
        """
        try:
            with writing(self.connection, self.folder) as seq:
                yield seq
        except BaseException:
            self.label_sets.forget()
            raise

    def write(self, spec: str, batch: Sequence[ModelEntry | Unchanged | Failure], *, concepts: Concepts) -> Written:
        """Write what a repository listed: all of the batch or nothing.

        Args:
            spec: names the repository.
            batch: in the order in which it was listed.
            concepts: under which a label set is found.

        Raises:
            CatalogueError: the file cannot be written.
        """
        with self.transaction() as seq:
            return write_batch(self.connection, self.label_sets, spec, batch, seq=seq, concepts=concepts)

    def finish(self, spec: str, rows: Collection[int], failed: Collection[str], *, since: int) -> int:
        """Say that a repository was listed to its end: models it has no more are marked as removed.

        Args:
            spec: names the repository.
            rows: of all models that it listed.
            failed: ids of those that could not be listed.
            since: number of the last change before the listing began; what another process wrote later is left alone.

        Returns:
            How many models are newly marked.
        """
        with self.transaction() as seq:
            return finish_listing(self.connection, spec, rows, failed, since=since, seq=seq)

    def refresh_concepts(self, version: int, concepts: Concepts) -> bool:
        """Make the table of concepts anew if it is of another version than `concepts`; say whether it was."""
        with told(self.folder):
            found = self.connection.execute("SELECT value FROM meta WHERE key = 'concepts'").fetchone()
        if found == (version,):
            return False
        with self.transaction():
            self.label_sets.renew_concepts(concepts)
            self.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('concepts', ?)", (version,))
        return True

    def close(self) -> None:
        """Close the file; what was written is safe without it."""
        with suppress(sqlite3.Error):
            self.connection.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_catalogue(folder: str | Path) -> Catalogue:
    """Open the catalogue in a folder; it is made if there is none.

    Raises:
        CatalogueError: it cannot be opened, is damaged, or was written by a newer version.
    """
    place = Path(folder).expanduser()
    connection = connect(place)
    return Catalogue(folder=place, connection=connection, label_sets=LabelSets(connection))


def changed_after(seq: int) -> str:
    """Return the condition with which SQLite reads what changed row by row.

    By itself it would find rows by the change number, and then sort them with all they hold.
    """
    return "row IN (SELECT row FROM entry WHERE seq > ?)" if seq > 0 else "+seq > ?"


class _Known(Mapping[str, str]):
    """Stamps by location, each looked up when it is asked for: a million of them need no memory."""

    _ONE = (
        "SELECT stamp FROM entry WHERE source = :source AND location = :location UNION ALL "
        "SELECT stamp FROM entry WHERE name = :location AND location IS NULL AND source = :source "
        "AND name = :location COLLATE BINARY"
    )

    def __init__(self, catalogue: Catalogue, source: str) -> None:
        self._catalogue = catalogue
        self._source = source

    def __getitem__(self, location: str) -> str:
        asked = {"source": self._source, "location": clean(location)}
        with told(self._catalogue.folder):
            found = self._catalogue.connection.execute(self._ONE, asked).fetchone()
        if found is None:
            raise KeyError(location)
        return str(found[0])

    def __iter__(self) -> Iterator[str]:
        statement = "SELECT coalesce(location, name) FROM entry WHERE source = ? AND removed IS NULL"
        with told(self._catalogue.folder):
            yield from (str(location) for (location,) in self._catalogue.connection.execute(statement, (self._source,)))

    def __len__(self) -> int:
        statement = "SELECT count(*) FROM entry WHERE source = ? AND removed IS NULL"
        with told(self._catalogue.folder):
            return int(self._catalogue.connection.execute(statement, (self._source,)).fetchone()[0])


def _name_in(model_id: str) -> str:
    """Return the name in `source:name@revision`."""
    return model_id.partition(":")[2].rpartition("@")[0]
