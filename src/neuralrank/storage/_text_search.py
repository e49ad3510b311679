"""Search the text index: with all the words first, then more leniently where that finds too little."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import tantivy
from numpy.typing import NDArray

from neuralrank.entries import WordQuery
from neuralrank.storage._text_hits import FEW_MATCHES, all_rows, counted, ranked
from neuralrank.storage._text_query import GRADE, Ways, spelled

_MIDDLE_SCORE = 10.0
"""Of a rare word: where the scores of models with equally many words are spread most."""


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Models that were found, best first; equal scores in the order of their rows."""

    rows: NDArray[np.int64]
    """Shape (n_hits,)."""
    scores: NDArray[np.float64]
    """Shape (n_hits,), above 0, never ascending."""
    n_full: int
    """So many of them, the first, have all the words; after them come those with fewer, by how many they have."""
    n_matches: int
    """How many allowed models have all the words; if none has, how many have as many of them as the best has."""
    counted: bool = True
    """False if `n_matches` is estimated, which it is where both the words and `among` leave very many models."""
    corrections: Mapping[str, str] = field(default_factory=dict)
    """For each word that occurs nowhere, the one that was looked for in its place."""

    @property
    def relaxed(self) -> bool:
        """Say whether some of the hits lack some of the words."""
        return self.n_full < len(self.rows)


def no_hits() -> Hits:
    """Return what an empty index finds."""
    return Hits(rows=np.zeros(0, np.int64), scores=np.zeros(0), n_full=0, n_matches=0)


def search(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    query: WordQuery,
    *,
    limit: int,
    among: NDArray[np.bool_] | None,
) -> Hits:
    """Return the best hits; where fewer than `limit` have all the words, those with fewer words come after."""
    if query == WordQuery():
        return no_hits()
    asked = spelled(searcher, query)
    ways = Ways(schema, asked.query)
    by_row = not (query.words or query.phrases or query.prefixes or query.optional)
    full = ranked(searcher, schema, ways.full, limit=limit, among=among, by_row=by_row)
    n_matches, exactly = len(full.seen), True
    if full.worst:
        n_matches, exactly = counted(searcher, schema, ways.full, among, of_all=lambda: full.count)
    found = Hits(
        rows=full.rows,
        scores=full.scores,
        n_full=len(full.rows),
        n_matches=max(n_matches, len(full.seen)),
        counted=exactly,
        corrections=asked.corrections,
    )
    if len(full.rows) == limit or not ways.can_lack:
        return found
    n_wanted, at_least = limit + len(full.rows), full.count + FEW_MATCHES  # those with all words come first again
    some = ranked(searcher, schema, ways.graded(), limit=n_wanted, among=among, at_least=at_least)
    grades = np.floor(some.scores / GRADE)
    if not found.n_full and len(grades):
        least, exactly = float(GRADE * grades[0]), True
        n_seen = int((some.seen >= least).sum())
        if some.worst >= least:  # there may be more of them
            best = ways.at_least(int(grades[0]))
            n_matches, exactly = counted(
                searcher,
                schema,
                ways.graded(),
                among,
                of_all=lambda: searcher.search(best, 1, count=True).count,
                least=least,
            )
        found = replace(found, n_matches=max(n_matches, n_seen), counted=exactly)
    fresh = ~np.isin(some.rows, full.rows)
    return replace(
        found,
        rows=np.concatenate([full.rows, some.rows[fresh]])[:limit],
        scores=np.concatenate([full.scores, _below(full.scores, some.scores[fresh], grades[fresh])])[:limit],
    )


def _below(full: NDArray[np.float64], graded: NDArray[np.float64], grades: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores of models that lack a word: never above those with all, nor above those that have more of them."""
    if not len(graded):
        return graded
    scores = graded - GRADE * grades
    highest = full[-1] if len(full) else scores[0]
    value = grades + scores / (scores + _MIDDLE_SCORE)
    below: NDArray[np.float64] = highest * value / value[0]
    return below


def matching(
    searcher: tantivy.Searcher, schema: tantivy.Schema, query: WordQuery, *, among: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return the rows, ascending, of all models with all the words; if none has, with as many as the best has."""
    if query == WordQuery():
        return np.zeros(0, np.int64)
    ways = Ways(schema, spelled(searcher, query).query)
    rows = all_rows(searcher, schema, ways.full, among)
    if len(rows) or not ways.can_lack:
        return rows
    best = ranked(searcher, schema, ways.graded(), limit=1, among=among)
    if not len(best.rows):
        return rows
    return all_rows(searcher, schema, ways.at_least(int(best.scores[0] // GRADE)), among)
