"""Search the text index: with all the words first, then more leniently where that finds too little."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tantivy
from numpy.typing import NDArray

from neuralrank.storage._text_hits import FEW_ROWS, FEW_ROWS_OF_MANY, all_rows, ranked
from neuralrank.storage._text_query import queries, spelled
from neuralrank.types import WordQuery


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Models that were found, best first; equal scores in the order of their rows."""

    rows: NDArray[np.int64]
    """Shape (n_hits,)."""
    scores: NDArray[np.float64]
    """Shape (n_hits,), above 0, never ascending."""
    n_full: int
    """So many of them, the first, have all the words; after them come those with most of the words, then with any."""
    n_matches: int
    """How many allowed models have all the words; if none has, how many have most, or any if none has most."""
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
    by_row = not (query.words or query.phrases or query.prefixes or query.optional)
    full, found = None, no_hits()
    for each, may_lack in queries(schema, asked.query):
        few_rows = FEW_ROWS_OF_MANY if may_lack else FEW_ROWS
        hits = ranked(
            searcher, schema, each, limit=limit + len(found.rows), among=among, by_row=by_row, few_rows=few_rows
        )
        if full is None:
            full = len(hits.rows)
        fresh = ~np.isin(hits.rows, found.rows)
        scores = hits.scores[fresh]
        if len(scores) and len(found.scores):  # nothing with a word missing is better than anything with all
            scores = scores * min(1.0, found.scores[-1] / scores[0])
        found = Hits(
            rows=np.concatenate([found.rows, hits.rows[fresh]])[:limit],
            scores=np.concatenate([found.scores, scores])[:limit],
            n_full=full,
            n_matches=found.n_matches if len(found.rows) else hits.n_matches,
            counted=found.counted if len(found.rows) else hits.counted,
            corrections=asked.corrections,
        )
        if len(found.rows) >= limit:
            break
    return found


def matching(
    searcher: tantivy.Searcher, schema: tantivy.Schema, query: WordQuery, *, among: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return the rows, ascending, of all models with all the words; with most, else any, where none has all."""
    rows = np.zeros(0, np.int64)
    if query == WordQuery():
        return rows
    for each, _ in queries(schema, spelled(searcher, query).query):
        rows = all_rows(searcher, schema, each, among)
        if rows.size:
            break
    return rows
