"""Write changes into the text index, one commit each."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import tantivy

from neuralrank.storage._text_engine import Failure, failing, opened
from neuralrank.storage._text_files import Manifest, sweep, wipe, write_manifest
from neuralrank.storage._text_schema import ROW, IndexedText, document, schema

HEAP_BYTES = 200_000_000
"""What tantivy may fill before it writes a segment; more makes fewer and larger segments, and searches faster."""
_CHUNK = 1_000


def begin(folder: Path) -> None:
    """Make an empty index in place of what is in the folder.

    Raises:
        Failure: it could not be written.
    """
    with failing():
        wipe(folder)
        tantivy.Index(schema(), path=str(folder), reuse=False)
        write_manifest(folder, 0, None)


def write(
    folder: Path, texts: Iterable[IndexedText], removed: Iterable[int], seq: int, before: Manifest | None
) -> None:
    """Add and remove in one commit, then record what the index consists of.

    Args:
        folder: of the index.
        texts: to add, in place of what there is of their rows.
        removed: rows to remove; asked for when the texts are at their end.
        seq: to record.
        before: manifest of the commit before.

    Raises:
        Failure: it could not be written; the commit before stays.
    """
    chunks = _chunks(texts)
    first = next(chunks, [])
    gone = removed if first else list(removed)
    if first or gone:
        with failing():
            sweep(folder)
        index = opened(folder)
        with failing():
            known = index.searcher()
            # a small change in one segment rather than two
            writer = index.writer(HEAP_BYTES, 1 if len(first) < _CHUNK else 2)
        try:
            _feed(writer, known, chain([first], chunks), gone)
            with failing():
                writer.commit()
        except BaseException:
            with suppress(Failure), failing():
                writer.rollback()
            raise
        finally:
            with suppress(Failure), failing():  # a merge that fails leaves what it would have merged
                writer.wait_merging_threads()
    with failing():
        write_manifest(folder, seq, before)


def _feed(
    writer: tantivy.IndexWriter, known: tantivy.Searcher, chunks: Iterable[list[IndexedText]], gone: Iterable[int]
) -> None:
    added: set[int] = set()
    for chunk in chunks:
        documents = [(text.row, document(text)) for text in chunk]
        with failing():
            for row, each in documents:
                # tantivy keeps every deletion in memory until the commit: a first build needs none
                if row in added or known.doc_freq(ROW, row):
                    writer.delete_documents_by_term(ROW, row)
                added.add(row)
                writer.add_document(each)
    with failing():
        for row in gone:
            writer.delete_documents_by_term(ROW, row)


def _chunks(texts: Iterable[IndexedText]) -> Iterator[list[IndexedText]]:
    iterator = iter(texts)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
