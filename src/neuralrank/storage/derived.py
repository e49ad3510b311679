"""What is made from the catalogue for finding in it: columns and the text index, brought up to its last change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from neuralrank.entries import ModelEntry
from neuralrank.storage._connection import COLUMNS_FOLDER, TEXT_FOLDER, alone, reading
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.columns import Columns, current_columns, read_columns
from neuralrank.storage.text_index import IndexedText, TextIndex, text_index

_KEPT = "derived"
MAX_INDEXED_LABELS = 200
"""Label names of larger sets are found by `--labels`, which looks up whole sets; as text they would drown the rest."""

Say = Callable[[str, int, int], None]
"""Called with what is done, and how many models of how many it is done for."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """Columns and text index as of one change of the catalogue."""

    columns: Columns
    texts: TextIndex
    repaired: str | None = None
    """A sentence if something was damaged and made again."""


def derived(catalogue: Catalogue, *, say: Say = lambda _what, _done, _all: None) -> Derived:
    """Return columns and text index of the catalogue's last change; what is older is brought up to it first.

    Args:
        catalogue: open.
        say: progress, where there is something to do.

    Raises:
        CatalogueError: they cannot be read or written, or another process is at it for too long.
    """
    seq = catalogue.seq()
    kept = catalogue.kept.get(_KEPT)
    if isinstance(kept, Derived) and kept.columns.seq == seq == kept.texts.seq:
        return kept
    columns = current_columns(catalogue.folder / COLUMNS_FOLDER, seq)
    texts = text_index(catalogue.folder / TEXT_FOLDER)
    if columns is None or texts.seq != seq:
        with alone(catalogue.folder), reading(catalogue.connection, catalogue.folder):
            found = _refreshed(catalogue, say)
    else:
        found = Derived(columns=columns, texts=texts)
    catalogue.kept[_KEPT] = replace(found, repaired=None)
    return found


def indexed_text(row: int, entry: ModelEntry) -> IndexedText:
    """Return the texts by which a model is found."""
    labels = entry.label_names if len(entry.label_names) <= MAX_INDEXED_LABELS else ()
    facts = (entry.architecture, entry.task, entry.library, entry.modality, entry.license)
    return IndexedText(
        row=row,
        name=entry.name,
        tags=", ".join((*entry.tags, *entry.languages)),
        description=entry.description,
        labels=", ".join(labels),
        data=", ".join(filter(None, (*entry.pretraining_data, *entry.base_model, *facts))),
    )


def _refreshed(catalogue: Catalogue, say: Say) -> Derived:
    folder = catalogue.folder
    columns = read_columns(
        folder / COLUMNS_FOLDER, catalogue.connection, say=lambda done, n_rows: say("columns", done, n_rows)
    )
    texts = text_index(folder / TEXT_FOLDER)
    if texts.seq > columns.seq:  # of another catalogue
        texts.destroy()
        texts = text_index(folder / TEXT_FOLDER)
    if texts.seq < columns.seq:
        _feed(catalogue, texts, columns, say)
    return Derived(columns=columns, texts=texts, repaired=texts.repaired)


def _feed(catalogue: Catalogue, texts: TextIndex, columns: Columns, say: Say) -> None:
    removed: list[int] = []

    def changed() -> Iterator[IndexedText]:
        for number, (row, gone, entry) in enumerate(catalogue.changed_since(texts.seq)):
            if number % 10_000 == 0:
                say("text", number, columns.n_rows)
            if gone:
                removed.append(row)
            else:
                yield indexed_text(row, entry)

    # The rows that are gone are known only when all that changed has been read.
    texts.update(changed(), removed, seq=columns.seq)
