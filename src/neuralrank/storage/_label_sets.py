"""Sets of label names, each kept once for all models that have it, and the concepts under which they are found."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from neuralrank.errors import CatalogueError
from neuralrank.storage._rows import clean

Concepts = Callable[[Sequence[str]], Iterable[str]]
"""From the names of a label set to the concepts under which it is found."""

_MAX_IDS = 200_000
_MAX_NAMES = 1_000_000
_BATCH = 1_000
_INSERT = "INSERT OR IGNORE INTO concept VALUES (?, ?)"


class LabelSets:
    """The label sets of one open catalogue; remembers those it met."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[bytes, int] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._n_names = 0

    def id_of(self, labels: Sequence[str], concepts: Concepts) -> int | None:
        """Return, inside a write transaction, the number of a set, which is written if it is new; None if empty."""
        if not labels:
            return None
        digest = digest_of(labels)
        found = self._ids.get(digest)
        if found is None:
            found = self._looked_up(digest) or self._added(digest, labels, concepts)
            if len(self._ids) >= _MAX_IDS:
                self._ids.clear()
            self._ids[digest] = found
        return found

    def names(self, number: int | None) -> tuple[str, ...]:
        """Return the names of a set.

        Raises:
            CatalogueError: they are not as they were written.
        """
        if number is None:
            return ()
        found = self._names.get(number)
        return found if found is not None else self.names_of([number])[0]

    def names_of(self, numbers: Sequence[int]) -> list[tuple[str, ...]]:
        """Return the names of sets, in their order.

        Raises:
            CatalogueError: they are not as they were written.
        """
        found = {number: self._names[number] for number in numbers if number in self._names}
        missing = [number for number in numbers if number not in found]
        for start in range(0, len(missing), _BATCH):
            asked = missing[start : start + _BATCH]
            statement = f"SELECT id, labels FROM label_set WHERE id IN ({', '.join('?' * len(asked))})"
            stored = dict(self._connection.execute(statement, asked).fetchall())
            found.update((number, read_names(stored.get(number))) for number in asked)
        self._remember({number: found[number] for number in missing})
        return [found[number] for number in numbers]

    def forget(self) -> None:
        """Forget what is remembered: a transaction that was rolled back takes the sets it wrote with it."""
        self._ids.clear()
        self._names.clear()
        self._n_names = 0

    def renew_concepts(self, concepts: Concepts) -> None:
        """Make the table of concepts anew, inside a write transaction."""
        self._connection.execute("DELETE FROM concept")
        # A cursor of its own reads on while rows are inserted into another table.
        stored = self._connection.execute("SELECT id, labels FROM label_set ORDER BY id")
        while batch := list(islice(stored, _BATCH)):
            keys = (key for number, labels in batch for key in _keys(number, concepts(read_names(labels))))
            self._connection.executemany(_INSERT, keys)

    def _remember(self, sets: Mapping[int, tuple[str, ...]]) -> None:
        self._n_names += sum(map(len, sets.values()))
        if self._n_names > _MAX_NAMES:
            self._names.clear()
            self._n_names = sum(map(len, sets.values()))
        self._names.update(sets)

    def _looked_up(self, digest: bytes) -> int | None:
        row = self._connection.execute("SELECT id FROM label_set WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else int(row[0])

    def _added(self, digest: bytes, labels: Sequence[str], concepts: Concepts) -> int:
        text = clean(json.dumps(list(labels), ensure_ascii=False, separators=(",", ":")))
        statement = "INSERT INTO label_set (digest, labels) VALUES (?, ?)"
        number = int(self._connection.execute(statement, (digest, text)).lastrowid or 0)
        self._connection.executemany(_INSERT, _keys(number, concepts(labels)))
        return number


def read_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a stored set.

    Raises:
        CatalogueError: they are not as they were written.
    """
    try:
        names = json.loads(text) if text is not None else None
    except (ValueError, TypeError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CatalogueError(
            "The label names of a model need to be as they were written. Got a damaged row. "
            "Run `neuralrank catalogue repair`: it keeps all that can still be read."
        )
    return tuple(names)


def _keys(number: int, concepts: Iterable[str]) -> Iterator[tuple[str, int]]:
    return ((clean(concept), number) for concept in sorted(concepts))


def digest_of(labels: Sequence[str]) -> bytes:
    """Return what tells one set from another."""
    text = clean("\0".join(labels))
    if text.count("\0") != len(labels) - 1:
        text = clean(json.dumps(list(labels), ensure_ascii=False))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
