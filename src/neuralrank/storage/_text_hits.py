"""Run one query of the text index: the best hits, or the rows of all."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur, Query

from neuralrank.storage._text_engine import Failure
from neuralrank.storage._text_schema import ROW

FEW_TERMS = 1_000
"""Up to so many rows are found faster one by one than as a set."""
FEW_ROWS = 1_000
"""Up to so many allowed rows are made part of the query at once."""
FEW_ROWS_OF_MANY = 5_000
"""Up to so many are where very many match."""
_ROW_COST = 20
"""Making one allowed row part of a query costs as much as fetching so many hits, about 10 µs."""
MANY_HITS = 50_000
"""Where nothing is known, so many hits at most are fetched in search of allowed ones."""
ALL_HITS = 250_000
"""If that brought too few, up to so many are fetched next: half a microsecond each."""
MANY_TIES = 5_000
"""Equal scores are brought into the order of rows among the first so many hits."""
FEW_MATCHES = 10_000
"""So many are always fetched, and by that counted, where some rows are not allowed; it takes about 5 ms."""
N_STRETCHES, STRETCH = 20, 50
"""Where more match, and not everything is allowed, so many stretches of allowed rows are asked instead of all: the
index reads some thousand rows at a time, and a thousand rows far from each other would cost as much as all."""
_SLACK = 500
"""Fetched beyond what was asked for, in search of the end of equal scores."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The hits of one query, best first, equal scores by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    seen: NDArray[np.float64]
    """Scores of all allowed hits that were seen, best first."""
    worst: float
    """No hit above this score was left unseen; 0 if none was."""
    count: int
    """How many match, allowed or not."""


def ranked(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    query: Query,
    *,
    limit: int,
    among: NDArray[np.bool_] | None,
    by_row: bool = False,
    at_least: int = 0,
) -> Ranked:
    """Return the best `limit` hits whose rows are allowed.

    Args:
        searcher: of the index.
        schema: of the index.
        query: what to search for.
        limit: at most so many.
        among: True where a row is allowed; None allows all.
        by_row: all that match are equally good.
        at_least: so many hits are seen, if there are; more than a few say that very many match.
    """
    n_models, n_allowed = searcher.num_docs, _n_allowed(searcher, among)
    if not n_allowed:
        return Ranked(rows=np.zeros(0, np.int64), scores=np.zeros(0), seen=np.zeros(0), worst=0.0, count=0)
    n_fetched = max(limit + _SLACK, at_least)
    if among is not None and n_allowed <= (FEW_ROWS_OF_MANY if at_least else FEW_ROWS):
        query, among, n_fetched = _restricted(schema, query, np.flatnonzero(among)), None, n_allowed
    elif n_allowed < n_models:  # as many as should hold enough of the allowed ones
        n_fetched = max(n_fetched, FEW_MATCHES, min(2 * (limit + _SLACK) * n_models // n_allowed, MANY_HITS))
    while True:
        rows, scores, count = _fetched(searcher, query, n_fetched, by_row)
        worst = 0.0 if len(rows) == count else float(scores[-1])
        if among is not None:
            allowed = _allowed(among, rows)
            rows, scores = rows[allowed], scores[allowed]
        enough = len(rows) >= limit
        if not worst or (enough and (by_row or n_fetched >= MANY_TIES or scores[limit - 1] > worst)):
            break
        if not enough and among is not None and n_allowed <= min(FEW_ROWS_OF_MANY, count / _ROW_COST):
            query, among, n_fetched = _restricted(schema, query, np.flatnonzero(among)), None, n_allowed
        elif enough:
            n_fetched *= 8
        else:
            needed = n_fetched * max(2, 3 * limit // max(1, len(rows)))
            n_fetched = min(needed, count if count <= ALL_HITS else 8 * n_fetched)
    order = np.lexsort((rows, -scores))
    return Ranked(rows=rows[order[:limit]], scores=scores[order[:limit]], seen=scores[order], worst=worst, count=count)


def counted(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    query: Query,
    among: NDArray[np.bool_] | None,
    *,
    of_all: Callable[[], int],
    least: float = 0.0,
) -> tuple[int, bool]:
    """Return how many match and are allowed, and whether they were counted rather than estimated.

    Args:
        searcher: of the index.
        schema: of the index.
        query: what to search for.
        among: True where a row is allowed; None allows all.
        of_all: how many there are if all are allowed.
        least: score from which on a match counts.
    """
    n_allowed = _n_allowed(searcher, among)
    if among is None or n_allowed >= searcher.num_docs:
        return of_all(), True
    allowed = np.flatnonzero(among)
    sample = allowed if n_allowed <= FEW_ROWS else allowed[_stretches(n_allowed)]
    _, scores, _ = _fetched(searcher, _restricted(schema, query, sample), max(1, len(sample)), by_row=False)
    share = np.count_nonzero(scores >= least) / max(1, len(sample))
    return round(share * n_allowed), len(sample) == n_allowed


def _n_allowed(searcher: tantivy.Searcher, among: NDArray[np.bool_] | None) -> int:
    return searcher.num_docs if among is None or not searcher.num_docs else int(np.count_nonzero(among))


def _stretches(n: int) -> NDArray[np.int64]:
    """Return stretches of numbers below `n`, spread evenly.

    A share estimated from them is off by less than 3 % of the whole, 19 times of 20, if neighbours are no more alike
    than others.
    """
    starts = np.linspace(0, n - STRETCH, N_STRETCHES).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(STRETCH))


def _fetched(
    searcher: tantivy.Searcher, query: Query, n_fetched: int, by_row: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Return rows and scores of the best hits, and how many there are in all."""
    with _no_collection():
        if by_row:
            result = searcher.search(query, n_fetched, count=True, order_by_field=ROW, order=tantivy.Order.Asc)
            rows = _as_rows([row for row, _ in result.hits])
            return rows, np.ones(len(rows)), result.count
        result = searcher.search(query, n_fetched, count=True)
        hits = result.hits
        rows = _as_rows(searcher.fast_field_values(ROW, [address for _, address in hits]))
        scores = np.array([score for score, _ in hits], dtype=np.float64)
        del hits
    return rows, scores, result.count


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage: hits make no cycles, and are enough to have it go through all objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _as_rows(values: list[int | None]) -> NDArray[np.int64]:
    if None in values:  # every model was given one
        raise Failure("a model has lost its row")
    return np.array(values, dtype=np.int64)


def all_rows(
    searcher: tantivy.Searcher, schema: tantivy.Schema, query: Query, among: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return all rows that match and are allowed, ascending."""
    if not searcher.num_docs:
        return np.zeros(0, dtype=np.int64)
    if among is not None and np.count_nonzero(among) <= FEW_ROWS_OF_MANY:
        query, among = _restricted(schema, query, np.flatnonzero(among)), None
    hits = searcher.search(query, searcher.num_docs, count=False, order_by_field=ROW, order=tantivy.Order.Asc).hits
    rows = _as_rows([row for row, _ in hits])
    return rows if among is None else rows[_allowed(among, rows)]


def _restricted(schema: tantivy.Schema, query: Query, rows: NDArray[np.int64]) -> Query:
    if len(rows) <= FEW_TERMS:
        allowed = Query.boolean_query([(Occur.Should, Query.term_query(schema, ROW, row)) for row in rows.tolist()])
    else:
        allowed = Query.term_set_query(schema, ROW, rows.tolist())
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.const_score_query(allowed, 0.0))])


def _allowed(among: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say for each row whether it is allowed; rows beyond the mask are newer than it, and are not."""
    inside = (rows >= 0) & (rows < len(among))
    inside[inside] = among[rows[inside]]
    return inside
