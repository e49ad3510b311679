"""What is made from the catalogue for finding in it: columns and the text index, brought up to its last change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from neuralrank.entries import ModelEntry
from neuralrank.storage._connection import COLUMNS_FOLDER, TEXT_FOLDER, alone, reading
from neuralrank.storage._rows import DAMAGE, damaged_row, read_card, read_list
from neuralrank.storage.catalogue import Catalogue, changed_after
from neuralrank.storage.columns import Columns, are_foreign, current_columns, read_columns
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
    columns = current_columns(catalogue.folder / COLUMNS_FOLDER, catalogue.connection)
    texts = text_index(catalogue.folder / TEXT_FOLDER)
    if columns is None or texts.seq != columns.seq:
        with alone(catalogue.folder), reading(catalogue.connection, catalogue.folder):
            found = _refreshed(catalogue, say)
    else:
        found = Derived(columns=columns, texts=texts)
    catalogue.kept[_KEPT] = replace(found, repaired=None)
    return found


def indexed_text(row: int, entry: ModelEntry) -> IndexedText:
    """Return the texts by which a model is found."""
    facts = (entry.architecture, entry.task, entry.library, entry.modality, entry.license)
    labels = entry.label_names if len(entry.label_names) <= MAX_INDEXED_LABELS else ()
    lists = (entry.tags, entry.languages, entry.pretraining_data, entry.base_model)
    return _text_of(row, entry.name, labels, entry.description, lists, facts)


def _text_of(
    row: int,
    name: str,
    labels: Sequence[str],
    description: str,
    lists: Iterable[Sequence[str]],
    facts: Sequence[str | None],
) -> IndexedText:
    tags, languages, pretraining_data, base_model = lists
    return IndexedText(
        row=row,
        name=name,
        tags=", ".join((*tags, *languages)),
        description=description,
        labels=", ".join(labels),
        data=", ".join(filter(None, (*pretraining_data, *base_model, *facts))),
    )


def _texts_since(catalogue: Catalogue, seq: int) -> Iterator[tuple[int, IndexedText | None]]:
    """Yield the row and the texts of each model that changed after a change number, no texts for one that is gone.

    What is not searched is not read: whole entries would take more than twice as long.
    """
    columns = (
        "row, removed IS NOT NULL, name, label_set, n_labels, card, tags, languages, pretraining_data, base_model, "
        "architecture, task, library, modality, license"
    )
    statement = f"SELECT {columns} FROM entry WHERE {changed_after(seq)} ORDER BY row"
    found = catalogue.connection.execute(statement, (seq,))
    for row, gone, name, label_set, n_labels, card, *others in found:
        if gone:
            yield row, None
            continue
        try:
            few = label_set is not None and n_labels <= MAX_INDEXED_LABELS
            labels = catalogue.label_sets.names(label_set) if few else ()
            lists = [read_list(text) if text is not None else () for text in others[:4]]
            yield row, _text_of(row, name, labels, read_card(card)[2], lists, others[4:])
        except DAMAGE as error:
            raise damaged_row(error) from error


def _refreshed(catalogue: Catalogue, say: Say) -> Derived:
    folder = catalogue.folder
    texts = text_index(folder / TEXT_FOLDER)
    if are_foreign(folder / COLUMNS_FOLDER, catalogue.connection) or texts.seq > catalogue.seq():
        texts.destroy()
    columns = read_columns(
        folder / COLUMNS_FOLDER, catalogue.connection, say=lambda done, n_rows: say("columns", done, n_rows)
    )
    if texts.seq < columns.seq:
        _feed(catalogue, texts, columns, say)
    return Derived(columns=columns, texts=texts, repaired=texts.repaired)


def _feed(catalogue: Catalogue, texts: TextIndex, columns: Columns, say: Say) -> None:
    removed: list[int] = []

    def changed() -> Iterator[IndexedText]:
        for number, (row, text) in enumerate(_texts_since(catalogue, texts.seq)):
            if number % 10_000 == 0:
                say("text", number, columns.n_rows)
            if text is None:
                removed.append(row)
            else:
                yield text

    # The rows that are gone are known only when all that changed has been read.
    texts.update(changed(), removed, seq=columns.seq)
