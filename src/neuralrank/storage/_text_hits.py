"""Run one query of the text index: the best hits, or the rows of all."""

from dataclasses import dataclass

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur, Query

from neuralrank.storage._text_engine import Failure
from neuralrank.storage._text_schema import ROW

FEW_TERMS = 1_000
"""Up to so many rows are found faster one by one than as a set."""
FEW_ROWS = 500
"""Up to so many allowed rows are made part of any query at once."""
FEW_ROWS_OF_MANY = 5_000
"""Up to so many are where it is known that many more match."""
ROW_COST = 10
"""Making one allowed row part of a query costs as much as fetching so many hits, about 5 µs."""
MANY_HITS = 50_000
"""Where nothing is known, so many hits at most are fetched in search of allowed ones before other ways are tried."""
MANY_TIES = 5_000
"""Equal scores are brought into the order of rows among the first so many hits."""
FEW_MATCHES = 10_000
"""So many are always fetched, and by that counted, where some rows are not allowed; it takes about 5 ms."""
N_SAMPLED = 1_000
"""Where more match, and not everything is allowed, so many of the allowed rows are asked instead of all."""
_SLACK = 500
"""Fetched beyond what was asked for, in search of the end of equal scores."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The hits of one query, best first, equal scores by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    n_matches: int
    """Of the allowed rows."""
    counted: bool = True
    """False if `n_matches` was estimated from a sample."""


def ranked(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    query: Query,
    *,
    limit: int,
    among: NDArray[np.bool_] | None,
    by_row: bool = False,
    many: bool = False,
) -> Ranked:
    """Return the best `limit` hits whose rows are allowed.

    Args:
        searcher: of the index.
        schema: of the index.
        query: what to search for.
        limit: at most so many.
        among: True where a row is allowed; None allows all.
        by_row: all that match are equally good.
        many: it is known that very many match.
    """
    n_models = searcher.num_docs
    n_allowed = n_models if among is None else int(np.count_nonzero(among))
    if not n_models or not n_allowed:
        return Ranked(rows=np.zeros(0, np.int64), scores=np.zeros(0), n_matches=0)
    partly = among is not None and n_allowed < n_models
    n_fetched = limit + _SLACK
    if among is not None and n_allowed <= (FEW_ROWS_OF_MANY if many else FEW_ROWS):
        query, among, partly, n_fetched = _restricted(schema, query, np.flatnonzero(among)), None, False, n_allowed
    elif partly:  # as many as should hold enough of the allowed ones, if that is the cheaper way
        expected = min(2 * n_fetched * n_models // n_allowed, MANY_HITS)
        n_fetched = max(n_fetched, FEW_MATCHES, expected if expected < ROW_COST * n_allowed else 0)
    while True:
        rows, scores, count = _fetched(searcher, query, n_fetched, by_row)
        exhausted, worst = len(rows) == count, scores[-1] if len(scores) else 0.0
        if among is not None:
            allowed = _allowed(among, rows)
            rows, scores = rows[allowed], scores[allowed]
        settled = by_row or n_fetched >= MANY_TIES or (len(rows) >= limit and scores[limit - 1] > worst)
        if exhausted or (len(rows) >= limit and settled):
            break
        if among is not None and len(rows) < limit and ROW_COST * n_allowed < count:
            query, among, partly, n_fetched = _restricted(schema, query, np.flatnonzero(among)), None, False, n_allowed
        elif count <= MANY_HITS and len(rows) < limit:
            n_fetched = count
        else:
            n_fetched *= 8
    order = np.lexsort((rows, -scores))[:limit]
    n_matches, counted = len(rows) if exhausted else count, exhausted or not partly
    if not counted and among is not None:
        n_matches = min(count, max(len(rows), _estimated(searcher, schema, query, among)))
    return Ranked(rows=rows[order], scores=scores[order], n_matches=n_matches, counted=counted)


def counted(
    searcher: tantivy.Searcher, schema: tantivy.Schema, query: Query, among: NDArray[np.bool_] | None
) -> tuple[int, bool]:
    """Return how many match and are allowed, and whether they were counted rather than estimated."""
    n_allowed = searcher.num_docs if among is None else int(np.count_nonzero(among))
    if not searcher.num_docs or not n_allowed:
        return 0, True
    if among is None or n_allowed >= searcher.num_docs:
        return searcher.search(query, 1, count=True).count, True
    if n_allowed <= FEW_ROWS_OF_MANY:
        return searcher.search(_restricted(schema, query, np.flatnonzero(among)), 1, count=True).count, True
    rows, _, count = _fetched(searcher, query, FEW_MATCHES, by_row=True)
    if len(rows) == count:
        return int(np.count_nonzero(_allowed(among, rows))), True
    return _estimated(searcher, schema, query, among), False


def _estimated(searcher: tantivy.Searcher, schema: tantivy.Schema, query: Query, among: NDArray[np.bool_]) -> int:
    """Ask every n-th of the allowed rows; off by less than 3 % of the allowed ones, 19 times of 20."""
    allowed = np.flatnonzero(among)
    sample = allowed[:: max(1, len(allowed) // N_SAMPLED)]
    share: float = searcher.search(_restricted(schema, query, sample), 1, count=True).count / len(sample)
    return round(share * len(allowed))


def _fetched(
    searcher: tantivy.Searcher, query: Query, n_fetched: int, by_row: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Return rows and scores of the best hits, and how many there are in all."""
    if by_row:
        result = searcher.search(query, n_fetched, count=True, order_by_field=ROW, order=tantivy.Order.Asc)
        rows = _as_rows([row for row, _ in result.hits])
        return rows, np.ones(len(rows)), result.count
    result = searcher.search(query, n_fetched, count=True)
    hits = result.hits
    rows = _as_rows(searcher.fast_field_values(ROW, [address for _, address in hits]))
    return rows, np.fromiter((score for score, _ in hits), dtype=np.float64, count=len(hits)), result.count


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
