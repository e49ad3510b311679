"""Find models by the words of their texts: a tantivy index on disk beside the catalogue, and made from it.

The catalogue stays the truth: the index holds no text, only where words occur, and can be thrown away at any time.
What is damaged, or was written by another version, is noticed when it is opened or used, counts as empty, and is
removed by the next `update`. One process writes at a time; readers see the last complete commit and follow later ones
by themselves. A file that changes under a reader that has it open is noticed by `check` alone.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tantivy
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from neuralrank.entries import WordQuery
from neuralrank.errors import CatalogueError
from neuralrank.storage._text_engine import Failure, failing, opened
from neuralrank.storage._text_files import Damage, Manifest, Signature, check_bytes, read_manifest, signature, wipe
from neuralrank.storage._text_query import spelled
from neuralrank.storage._text_schema import IndexedText
from neuralrank.storage._text_search import Hits, matching, no_hits, search
from neuralrank.storage._text_snippets import Snippet, snippet
from neuralrank.storage._text_writer import begin, write

__all__ = ["Hits", "IndexedText", "Snippet", "TextIndex", "text_index"]

_LOCK = "update.lock"
_RETRIES = 20
_RETRY_SECONDS = 0.02


def text_index(folder: Path) -> "TextIndex":
    """Return the index in `folder`, which need not exist before the first update."""
    return TextIndex(Path(folder).expanduser())


@dataclass(frozen=True, kw_only=True)
class _State:
    """What was found on disk at one moment; without a manifest the index counts as empty."""

    signature: Signature
    manifest: Manifest | None = None
    index: tantivy.Index | None = None
    searcher: tantivy.Searcher | None = None


class TextIndex:
    """The full-text index in one folder; threads may share it, and other processes may write to the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repaired: str | None = None
        """What was found damaged, and is built again by feeding all texts: one sentence; None while all was well."""
        self._state: _State | None = None

    @property
    def seq(self) -> int:
        """Up to which change of the catalogue the index is current; 0 if it is empty."""
        manifest = self._current().manifest
        return manifest.seq if manifest else 0

    def update(self, texts: Iterable[IndexedText], removed: Iterable[int] = (), *, seq: int) -> None:
        """Bring the index up to change `seq` of the catalogue, in one commit; doing it twice does no harm.

        Args:
            texts: of models that are new or have changed; a later one takes the place of an earlier one of its row.
            removed: rows of models that are gone; asked for when the texts are at their end.
            seq: what the property `seq` says from then on.

        Raises:
            CatalogueError: another process is writing, or the disk does not take it; the commit before stays good.
        """
        with self._writing():
            manifest = self._current().manifest
            if manifest is None:
                begin(self.folder)
                manifest = read_manifest(self.folder)
            write(self.folder, texts, removed, seq, manifest)

    def destroy(self) -> None:
        """Remove the index; the next update begins anew.

        Raises:
            CatalogueError: another process is writing, or the files cannot be removed.
        """
        if self.folder.is_dir():
            with self._writing(), failing():
                wipe(self.folder)

    def search(self, query: WordQuery, *, limit: int, among: NDArray[np.bool_] | None = None) -> Hits:
        """Return the best matches.

        Args:
            query: from `queries.words.parse_words`.
            limit: at most so many, at least 1.
            among: shape (max_row + 1,), True where a row is allowed; None allows all.

        Raises:
            CatalogueError: the index is whole and cannot be searched all the same.
        """
        if limit < 1:
            raise ValueError(f"A search returns at least 1 hit. Got limit={limit}.")
        with self._reading() as state:
            if state.searcher is not None and state.index is not None:
                return search(state.searcher, state.index.schema, query, limit=limit, among=among)
        return no_hits()

    def matching_rows(self, query: WordQuery, *, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return the rows, ascending, of all models with all the words; if none has, with as many as the best has.

        Takes 1 ms for each 2,000 models that match, whether they are allowed or not; where `among` allows few rows,
        only those are looked at.

        Args:
            query: from `queries.words.parse_words`.
            among: as in `search`.
        """
        with self._reading() as state:
            if state.searcher is not None and state.index is not None:
                return matching(state.searcher, state.index.schema, query, among=among)
        return np.zeros(0, dtype=np.int64)

    def snippets(self, query: WordQuery, texts: Sequence[IndexedText]) -> list[Snippet]:
        """Return for each text the part that shows best why it was found; meant for one page of results."""
        with self._reading() as state:
            if state.searcher is not None:
                query = spelled(state.searcher, query).query
        return [snippet(query, text) for text in texts]

    def check(self) -> str | None:
        """Compare every byte with what was written.

        Returns:
            What is wrong, in one sentence; the index then counts as empty. None if all is well.
        """
        state = self._current()
        try:
            check_bytes(self.folder)
        except Damage as damage:
            if signature(self.folder) == state.signature:  # and not a commit that came between
                self._condemn(state.signature, str(damage))
                return self.repaired
        except OSError as error:
            raise _unusable(self.folder, error) from error
        return None

    def _current(self) -> _State:
        """Return the index as it is on disk now; it is opened again only if it has changed."""
        state = self._state
        if state is None or state.signature != signature(self.folder):
            state = self._state = self._opened()
        return state

    def _opened(self) -> _State:
        for _ in range(_RETRIES):
            before = signature(self.folder)
            try:
                manifest = read_manifest(self.folder)
                if manifest is None:
                    return _State(signature=before)
                index = opened(self.folder)
                with failing():
                    return _State(signature=before, manifest=manifest, index=index, searcher=index.searcher())
            except Damage as error:
                failure = str(error)
            except Failure as error:
                failure = self._fault(error)
            except OSError as error:
                raise _unusable(self.folder, error) from error
            if signature(self.folder) == before:
                break
            time.sleep(_RETRY_SECONDS)  # somebody is committing or removing it
        return self._condemn(before, failure)

    def _condemn(self, found: Signature, why: str) -> _State:
        """Count what is on disk as empty until it is written anew."""
        self.repaired = f"The text index in {str(self.folder)!r} is built again: {why}."
        self._state = _State(signature=found)
        return self._state

    def _fault(self, failure: Failure) -> str:
        """Return what is wrong with the files after tantivy could not read them; raise if they are as written."""
        try:
            check_bytes(self.folder)
        except Damage as damage:
            return str(damage)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        raise _unusable(self.folder, failure) from failure

    @contextmanager
    def _reading(self) -> Iterator[_State]:
        """Give the current state to search in; if that fails, find out whether the files are to blame."""
        state = self._current()
        try:
            with failing():
                yield state
        except Failure as failure:
            self._condemn(state.signature, self._fault(failure))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep other writers out, and turn what goes wrong into one sentence."""
        try:
            with failing():
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self.folder / _LOCK, timeout=0)
                lock.acquire()
        except Failure as failure:
            raise self._unwritten(failure) from failure
        try:
            yield
        except Failure as failure:
            raise self._unwritten(failure) from failure
        finally:
            lock.release()

    def _unwritten(self, failure: Failure) -> CatalogueError:
        if isinstance(failure.__cause__, Timeout) or "LockBusy" in str(failure):
            return CatalogueError(
                f"The text index in {str(self.folder)!r} is being written by another process. "
                "Run the command again when that has finished."
            )
        return CatalogueError(
            f"The text index in {str(self.folder)!r} could not be written. Got: {failure}. "
            "What it held before stays good; free some space or name another folder, then run the command again."
        )


def _unusable(folder: Path, error: Exception) -> CatalogueError:
    return CatalogueError(
        f"The text index in {str(folder)!r} could not be read. Got: {error}. "
        "Its files are as they were written; see to what is named, or delete the folder: it is made again."
    )
