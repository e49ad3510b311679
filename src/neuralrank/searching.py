"""Find models in the catalogue by what is known without running them: `neuralrank search`.

A search narrows by condition, label names and words, in that order, and sorts by relevance, by the share of the wanted
labels that a model has, by likeness to a given model, or by a field. Nothing here looks at the user's data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuralrank import settings
from neuralrank.entries import FoundModel, ModelEntry, SearchResult, WordQuery
from neuralrank.errors import UsageError
from neuralrank.fields import BY_NAME
from neuralrank.queries.concepts import (
    CONCEPTS_VERSION,
    Coverage,
    Thesaurus,
    coverage,
    index_concepts,
    load_thesaurus,
    query_concepts,
)
from neuralrank.queries.likeness import Likeness, same_model
from neuralrank.queries.where import Condition, parse_where
from neuralrank.queries.words import parse_words
from neuralrank.relatives import relatives
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.storage.derived import Derived, derived, indexed_text
from neuralrank.storage.text_index import Hits, Snippet

Unknown = Literal["keep", "drop"]
DEFAULT_TOP = 20
MAX_TOP = 10_000
MANY_MATCHES = 20_000
"""Up to so many matching models are all brought into the order of a field."""
_MOST_FIRST = ("accuracy", "downloads", "likes", "created", "updated", "loadable")
_LABELS_WEIGHT = 2.0
"""Of the covered share of the wanted labels against the relevance of the text, which is at most 1."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched for; every part is optional."""

    text: str | None = None
    where: str | None = None
    labels: Sequence[str] = ()
    like: str | None = None
    sort: str | None = None
    top: int = DEFAULT_TOP
    unknown: Unknown = "drop"
    copies: bool = False
    """Show every copy of a model rather than one."""
    among: Sequence[str] | None = None
    """Specs of the repositories to search; None: all."""
    synonyms: Path | None = None


Say = Callable[[str, int, int], None]


def search(  # more keywords than the house rule allows: each is one command-line option under the same name
    text: str | None = None,
    *,
    where: str | None = None,
    labels: Sequence[str] = (),
    like: str | None = None,
    sort: str | None = None,
    top: int = DEFAULT_TOP,
    unknown: Unknown = "drop",
    copies: bool = False,
    synonyms: str | Path | None = None,
    catalogue: str | Path | Catalogue | None = None,
) -> SearchResult:
    """Find models in the catalogue.

    Args:
        text: words in names, tags, cards, label names and pretraining data; `"a phrase"`, `prefix*`, `-without`.
        where: condition over the fields, for example "params < 30M AND license IN ('mit', 'apache-2.0')".
        labels: names of classes that a model should tell apart.
        like: id or name of a model whose relatives are wanted.
        sort: field to sort by, `-field` for the largest first; None: by what was asked for.
        top: number of models.
        unknown: what to do with models of which the condition is unknown: "keep" or "drop".
        copies: show every copy of a model rather than one.
        synonyms: file with further synonyms of label names.
        catalogue: folder of the catalogue, or an open one; None: the one that the settings name.

    Raises:
        UsageError: a condition, field, model or number is wrong.
        CatalogueError: the catalogue cannot be read.

    Example:
        >>> search("satellite imagery", where="params < 30M", top=5)  # doctest: +SKIP
    """
    query = Query(
        text=text,
        where=where,
        labels=tuple(labels),
        like=like,
        sort=sort,
        top=top,
        unknown=unknown,
        copies=copies,
        synonyms=Path(synonyms) if synonyms is not None else None,
    )
    if isinstance(catalogue, Catalogue):
        return find(query, catalogue)
    with open_catalogue(catalogue if catalogue is not None else settings.catalogue_dir()) as opened:
        return find(query, opened)


def find(query: Query, catalogue: Catalogue, *, say: Say = lambda _what, _done, _all: None) -> SearchResult:
    """Carry out a search; `search` says what it can raise.

    Args:
        query: what is searched for.
        catalogue: an open one.
        say: progress of bringing columns and text index up to date, if they are not.
    """
    started = time.monotonic()
    checked = _Checked.of(query)
    search_run = _Search(checked, catalogue, derived(catalogue, say=say))
    return search_run.result(started)


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A query that was read: nothing of it is wrong."""

    query: Query
    words: WordQuery | None
    condition: Condition | None
    sort: tuple[str, bool] | None
    """Field, and whether the largest come first."""
    thesaurus: Thesaurus | None

    @staticmethod
    def of(query: Query) -> _Checked:
        if not 1 <= query.top <= MAX_TOP:
            raise UsageError(
                f"--top needs a number from 1 to {MAX_TOP:,}. Got {query.top:,}. Use {DEFAULT_TOP} if unsure."
            )
        if query.unknown not in ("keep", "drop"):
            raise UsageError(f"--unknown needs keep or drop. Got {query.unknown!r}. Leave it out to drop them.")
        return _Checked(
            query=query,
            words=parse_words(query.text) if query.text is not None and query.text.strip() else None,
            condition=parse_where(query.where) if query.where is not None and query.where.strip() else None,
            sort=_sort_of(query.sort) if query.sort else None,
            thesaurus=load_thesaurus(query.synonyms) if query.labels else None,
        )


def _sort_of(text: str) -> tuple[str, bool]:
    name = text.strip().removeprefix("-")
    if name not in BY_NAME or name == "label_names":
        names = ", ".join(name for name in BY_NAME if name != "label_names")
        raise UsageError(f"--sort needs a field, or -field for the largest first. Got {text!r}. Fields: {names}.")
    return name, text.strip().startswith("-") or name in _MOST_FIRST


class _Search:
    """One search: a mask over the rows of the catalogue that gets narrower, then an order."""

    def __init__(self, checked: _Checked, catalogue: Catalogue, found: Derived) -> None:
        self.query, self.checked, self.catalogue = checked.query, checked, catalogue
        self.columns, self.texts = found.columns, found.texts
        self.notes = [found.repaired] if found.repaired else []
        self.among = self._searched()
        self.n_models = int(self.among.sum())
        self.n_unknown = 0
        self.coverage: NDArray[np.float64] | None = None
        self.corrections: Mapping[str, str] = {}
        self.n_full: int | None = None

    def result(self, started: float) -> SearchResult:
        if self.checked.condition is not None:
            self._where(self.checked.condition)
        if self.query.labels:
            self._labels()
        n_matches, sorted_by, pick = self._order()
        shown = self._distinct(pick)
        return SearchResult(
            models=tuple(shown),
            n_models=self.n_models,
            n_matches=n_matches,
            n_unknown=self.n_unknown,
            unknown=self.query.unknown,
            sorted_by=sorted_by,
            corrections=self.corrections,
            n_full=self.n_full,
            seconds=time.monotonic() - started,
            notes=tuple(self.notes),
        )

    def _searched(self) -> NDArray[np.bool_]:
        among = self.columns.present()
        if self.query.among is None:
            return among
        chosen = np.zeros_like(among)
        rows = self.catalogue.members(self.query.among)
        chosen[rows[rows < len(chosen)]] = True
        return among & chosen

    def _where(self, condition: Condition) -> None:
        holds, unknown = self.columns.masks(condition.evaluate, fields=condition.fields)
        self.n_unknown = int((unknown & self.among).sum())
        self.among &= (holds | unknown) if self.query.unknown == "keep" else holds

    def _labels(self) -> None:
        """Keep the models that have at least one of the wanted labels, and note how many each has."""
        thesaurus = self.checked.thesaurus
        assert thesaurus is not None
        self.catalogue.refresh_concepts(CONCEPTS_VERSION, index_concepts)
        wanted = query_concepts(self.query.labels, thesaurus)
        weights = [concept.weights for concept in wanted]
        every = {concept for of_one in weights for concept in of_one}
        best: dict[int, list[float]] = {}
        for concept, label_set in self.catalogue.label_sets_with(every):
            covered = best.setdefault(label_set, [0.0] * len(wanted))
            for place, of_one in enumerate(weights):
                covered[place] = max(covered[place], of_one.get(concept, 0.0))
        shares = np.zeros(max(best, default=0) + 1)
        for label_set, covered in best.items():
            shares[label_set] = sum(covered) / len(wanted)
        sets = self.columns.label_sets()
        self.coverage = np.where(sets < len(shares), shares[np.minimum(sets, len(shares) - 1)], 0.0)
        self.among &= self.coverage > 0

    def _order(self) -> tuple[int, str, Callable[[int], list[_Place]]]:
        """Return how many models match, what they are sorted by, and how to get the first n of them."""
        words, sort = self.checked.words, self.checked.sort
        if sort is not None or (words is None and self.coverage is None and self.query.like is None):
            name, descending = sort or ("downloads", True)
            if words is not None:
                return self._matching_by_field(words, name, descending=descending)
            return int(self.among.sum()), name, lambda n: self._by_field(name, n, descending=descending)
        if self.query.like is not None:
            relatives = self._relatives(self.query.like)
            return len(relatives), "likeness", lambda n: relatives[:n]
        if words is not None and self.coverage is None:
            hits = self.texts.search(words, limit=self._first_page(), among=self.among)
            self.corrections = hits.corrections
            return hits.n_matches, "relevance", lambda n: self._by_relevance(words, n, hits)
        return self._by_coverage(words)

    def _keep(self, rows: NDArray[np.int64]) -> None:
        matching = np.zeros_like(self.among)
        matching[rows[rows < len(matching)]] = True
        self.among &= matching

    def _matching_by_field(
        self, words: WordQuery, name: str, *, descending: bool
    ) -> tuple[int, str, Callable[[int], list[_Place]]]:
        """Sort what has the words by a field: of common words by asking the first models of that order for them."""
        hits = self.texts.search(words, limit=1, among=self.among)
        self.corrections = hits.corrections
        if hits.n_matches <= MANY_MATCHES or not hits.n_full:
            self._keep(self.texts.matching_rows(words, among=self.among))
            return int(self.among.sum()), name, lambda n: self._by_field(name, n, descending=descending)

        def first(n: int) -> list[_Place]:
            n_asked = 4 * n
            while True:
                rows = self.columns.best(name, self.among, n_asked, descending=descending)
                asked = np.zeros_like(self.among)
                asked[rows] = True
                hits = self.texts.search(words, limit=len(rows), among=asked)
                having = set(hits.rows[: hits.n_full].tolist())
                found = [_Place(row=int(row)) for row in rows if int(row) in having]
                if len(found) >= n or len(rows) < n_asked:
                    return found[:n]
                n_asked *= 8

        return hits.n_matches, name, first

    def _by_field(self, name: str, n: int, *, descending: bool) -> list[_Place]:
        return [_Place(row=int(row)) for row in self.columns.best(name, self.among, n, descending=descending)]

    def _by_relevance(self, words: WordQuery, n: int, hits: Hits) -> list[_Place]:
        if n != self._first_page():
            hits = self.texts.search(words, limit=n, among=self.among)
        top = hits.scores[0] if len(hits.scores) else 1.0
        return [
            _Place(row=int(row), relevance=float(score / top), full=number < hits.n_full)
            for number, (row, score) in enumerate(zip(hits.rows, hits.scores, strict=True))
        ]

    def _first_page(self) -> int:
        """Return how many models are fetched at first: a few more than are shown, as copies will be left out."""
        top = self.query.top
        return top if self.query.copies else min(top + top // 2 + 5, MAX_TOP)

    def _by_coverage(self, words: WordQuery | None) -> tuple[int, str, Callable[[int], list[_Place]]]:
        """Sort by the covered share of the labels, with words by share and relevance together; then by downloads."""
        assert self.coverage is not None
        relevance = np.zeros(len(self.among))
        if words is not None:
            hits = self.texts.search(words, limit=MAX_TOP, among=self.among)
            self.corrections = hits.corrections
            n = hits.n_full or len(hits.rows)  # if no model has all the words, those with most of them
            relevance[hits.rows[:n]] = hits.scores[:n] / (hits.scores[0] if n else 1.0)
            self.among &= relevance > 0
        rows = np.flatnonzero(self.among)
        value = _LABELS_WEIGHT * self.coverage[rows] + relevance[rows]

        def first(n: int) -> list[_Place]:
            order = self._best_then_downloaded(rows, value, n)
            return [
                _Place(row=int(row), relevance=float(relevance[row]) if words is not None else None) for row in order
            ]

        return len(rows), "labels" if words is None else "labels and relevance", first

    def _best_then_downloaded(self, rows: NDArray[np.int64], value: NDArray[np.float64], n: int) -> NDArray[np.int64]:
        if len(rows) > n:
            limit = np.partition(value, len(value) - n)[len(value) - n]
            rows, value = rows[value >= limit], value[value >= limit]
        downloads = self.columns.values("downloads", rows).fill_null(-1).to_numpy() if len(rows) else rows
        order: NDArray[np.int64] = np.lexsort((rows, -downloads, -value))[:n]
        return rows[order]

    def _relatives(self, key: str) -> list[_Place]:
        found = self.catalogue.find(key)
        if not found:
            raise UsageError(
                f"--like needs the id or name of a model of the catalogue. Got {key!r}. "
                "Find it with `neuralrank search`, or bring it in with `neuralrank index`."
            )
        if self.checked.words is not None:
            self._keep(self.texts.matching_rows(self.checked.words))
        found_like = relatives(found[0], self.catalogue, self.columns, self.texts, self.among)
        return [_Place(row=row, likeness=like) for row, like in found_like]

    def _distinct(self, pick: Callable[[int], list[_Place]]) -> list[FoundModel]:
        """Return the first models, one of each group of copies, and their details."""
        top = self.query.top
        n = self._first_page()
        if self.query.copies:
            places = pick(n)
            return self._detailed(places, self.catalogue.entries([place.row for place in places]), [0] * len(places))
        while True:
            places = pick(n)
            entries = self.catalogue.entries([place.row for place in places])
            groups = same_model(entries)
            if len(groups) >= top or len(places) < n or n >= MAX_TOP:
                break
            n = min(4 * n, MAX_TOP)
        firsts = sorted((min(group), len(group) - 1) for group in groups)[:top]
        return self._detailed(
            [places[first] for first, _ in firsts],
            [entries[first] for first, _ in firsts],
            [n_copies for _, n_copies in firsts],
        )

    def _detailed(
        self, places: Sequence[_Place], entries: Sequence[ModelEntry], n_copies: Sequence[int]
    ) -> list[FoundModel]:
        if any(place.full is not None for place in places):
            self.n_full = sum(place.full is True for place in places)
        snippets: Sequence[Snippet | None] = [None] * len(places)
        if self.checked.words is not None:
            texts = [indexed_text(place.row, entry) for place, entry in zip(places, entries, strict=True)]
            snippets = self.texts.snippets(self.checked.words, texts)
        found = zip(places, entries, snippets, n_copies, strict=True)
        return [self._one(number + 1, *details) for number, details in enumerate(found)]

    def _one(self, rank: int, place: _Place, entry: ModelEntry, snippet: Snippet | None, n_copies: int) -> FoundModel:
        thesaurus = self.checked.thesaurus
        covers = coverage(self.query.labels, entry.label_names, thesaurus) if thesaurus is not None else None
        return FoundModel(
            rank=rank,
            entry=entry,
            relevance=place.relevance,
            coverage=covers.share if covers else None,
            covered={} if covers is None else _covered(covers),
            likeness=place.likeness.value if place.likeness else None,
            reasons=place.likeness.reasons if place.likeness else (),
            snippet=snippet.text if snippet else None,
            marks=snippet.spans if snippet else (),
            n_copies=n_copies,
        )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A row in the order of the result."""

    row: int
    relevance: float | None = None
    full: bool | None = None
    """Whether it has all the words; None where they do not make the order."""
    likeness: Likeness | None = None


def _covered(covers: Coverage) -> dict[str, str | None]:
    return {
        one.wanted: None if one.label is None else one.label if one.how == "exact" else f"{one.label} ({one.how})"
        for one in covers.concepts
    }
