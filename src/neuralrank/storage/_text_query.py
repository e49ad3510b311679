"""Turn what a user looks for into queries of the text index, from the strictest to the most lenient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import tantivy
from tantivy import Occur, Query

from neuralrank.storage._text_schema import OTHER_FIELDS, SURFACES, WEIGHTS
from neuralrank.storage._text_spelling import corrected, occurs
from neuralrank.storage._text_words import cleaned, spellings, stems, surfaces
from neuralrank.types import WordQuery

PREFIX_SCORE = 2.0
"""What a word that only begins as wanted counts, where a rare whole word counts about 10."""
PREFIX_IN_NAME_SCORE = 6.0

SYNONYM_WEIGHT = 0.7
"""What another word for a wanted one counts of its score."""

_Clause = tuple[Occur, Query]


@dataclass(frozen=True, kw_only=True)
class SpelledQuery:
    """A query whose words occur in the index, as far as there are such."""

    query: WordQuery
    corrections: dict[str, str]


def spelled(searcher: tantivy.Searcher, query: WordQuery) -> SpelledQuery:
    """Return the query with misspelled words replaced; phrases, beginnings and exclusions are meant as they are."""
    words, corrections = [], {}
    for word in query.words:
        known = any(occurs(searcher, other) for other in query.synonyms.get(word, ()))
        near, replaced = (word, {}) if known else corrected(searcher, cleaned(word))
        words.append(near)
        corrections.update(replaced)
    return SpelledQuery(query=replace(query, words=tuple(dict.fromkeys(words))), corrections=corrections)


def queries(schema: tantivy.Schema, query: WordQuery) -> Iterator[tuple[Query, bool]]:
    """Yield what to search for: first models with all words, then with most, then with any, then with what is quoted.

    What is quoted, and what is excluded, holds in all of them. Beside each stands whether a word may be missing.
    """
    build = _Builder(schema)
    if query.optional and not (query.words or query.phrases or query.prefixes):  # of them, any will do
        query = replace(query, words=query.optional, optional=())
        yield from list(_ways(build, query))[-1:]
    else:
        yield from _ways(build, query)


def _ways(build: "_Builder", query: WordQuery) -> Iterator[tuple[Query, bool]]:
    fixed = [(Occur.Must, build.phrase(phrase)) for phrase in query.phrases]
    optional = [(Occur.Should, build.word(word)) for word in query.optional]
    excluded = [(Occur.MustNot, clause) for clause in build.excluded(query.excluded)]
    prefixes = [build.prefix(prefix) for prefix in query.prefixes]
    whole = [*(build.word(word, query.synonyms.get(word, ())) for word in query.words), *prefixes]
    every = [*fixed, *((Occur.Must, clause) for clause in whole)]
    yield _all_of(every, optional, excluded), False

    single = [*(build.word(piece, query.synonyms.get(piece, ())) for piece in _pieces(query)), *prefixes]
    some = [(Occur.Should, clause) for clause in single]
    if len(single) > 1:
        for n_needed in dict.fromkeys((n_most(len(single)), 1)):
            yield _all_of([*fixed, (Occur.Must, Query.boolean_query(some, n_needed))], optional, excluded), True
    if single and fixed:
        yield _all_of([*fixed, *some], optional, excluded), True


def n_most(n_words: int) -> int:
    """Return how many of `n_words` words are most of them: all but one of up to four, three fifths of more."""
    return n_words - 1 if n_words <= 4 else -(-3 * n_words // 5)


def _all_of(wanted: Sequence[_Clause], optional: Sequence[_Clause], excluded: Sequence[_Clause]) -> Query:
    if not wanted:
        wanted = [(Occur.Must, Query.all_query())]
    return Query.boolean_query([*wanted, *optional, *excluded])


def _pieces(query: WordQuery) -> list[str]:
    """Return the words with compounds taken apart: a model may have 'land' of 'land-cover'."""
    known = query.synonyms
    return list(dict.fromkeys(piece for word in query.words for piece in ([word] if word in known else _apart(word))))


def _apart(word: str) -> list[str]:
    pieces: list[str] = surfaces().analyze(cleaned(word))
    return pieces if len(pieces) > 1 else [word]


class _Builder:
    """Builds the queries for single words, phrases and beginnings."""

    def __init__(self, schema: tantivy.Schema) -> None:
        self.schema = schema

    def word(self, word: str, synonyms: Sequence[str] = ()) -> Query:
        """Any spelling of the word, or another word for it, in any field."""
        own = self._anywhere(spellings(word))
        if not synonyms:
            return own
        others = (self._anywhere(spellings(other)) for other in synonyms)
        return Query.disjunction_max_query([own, *(Query.boost_query(other, SYNONYM_WEIGHT) for other in others)])

    def phrase(self, phrase: str) -> Query:
        """The words in this order and nothing between, in any one field."""
        found = tuple(stems().analyze(cleaned(phrase)))
        return self._anywhere((found,) if found else ())

    def prefix(self, prefix: str) -> Query:
        """Any word that begins so; the word itself counts in full."""
        begun = surfaces().analyze(cleaned(prefix))
        if len(begun) != 1:
            return Query.empty_query()
        pattern = f"{begun[0]}.*"  # letters and digits only: nothing in it means something to a regular expression
        return Query.disjunction_max_query(
            [
                Query.const_score_query(Query.regex_query(self.schema, SURFACES, pattern), PREFIX_SCORE),
                Query.const_score_query(Query.regex_query(self.schema, "name", pattern), PREFIX_IN_NAME_SCORE),
                self.word(prefix),
            ]
        )

    def excluded(self, query: WordQuery | None) -> Iterator[Query]:
        """What must not occur."""
        if query is not None:
            yield from (self.word(word) for word in query.words)
            yield from (self.phrase(phrase) for phrase in query.phrases)
            yield from (self.prefix(prefix) for prefix in query.prefixes)

    def _anywhere(self, ways: Sequence[Sequence[str]]) -> Query:
        if not ways:
            return Query.empty_query()
        found = [
            Query.boost_query(self._in_field(field, way), weight) for way in ways for field, weight in WEIGHTS.items()
        ]
        return Query.disjunction_max_query(found, OTHER_FIELDS)

    def _in_field(self, field: str, way: Sequence[str]) -> Query:
        if len(way) == 1:
            return Query.term_query(self.schema, field, way[0])
        return Query.phrase_query(self.schema, field, list(way))
