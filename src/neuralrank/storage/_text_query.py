"""Turn what a user looks for into queries of the text index."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import tantivy
from tantivy import Occur, Query

from neuralrank.entries import WordQuery
from neuralrank.storage._text_schema import OTHER_FIELDS, SURFACES, WEIGHTS
from neuralrank.storage._text_spelling import corrected, occurs
from neuralrank.storage._text_words import cleaned, spellings, stems, surfaces

PREFIX_SCORE = 2.0
"""What a word that only begins as wanted counts, where a rare whole word counts about 10."""
PREFIX_IN_NAME_SCORE = 6.0

SYNONYM_WEIGHT = 0.7
"""What another word for a wanted one counts of its score."""

GRADE = 1024.0
"""More than the score of one word can be."""

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


class Ways:
    """The ways to search for one query: with all the words, or with as many of them as there are.

    What is quoted, and what is excluded, holds in all of them.
    """

    def __init__(self, schema: tantivy.Schema, query: WordQuery) -> None:
        build = _Builder(schema)
        any_of = bool(query.optional) and not (query.words or query.phrases or query.prefixes)
        if any_of:
            query = replace(query, words=query.optional, optional=())
        prefixes = [build.prefix(prefix) for prefix in query.prefixes]
        self._whole = [*(build.word(word, query.synonyms.get(word, ())) for word in query.words), *prefixes]
        self._single = [*(build.word(word, query.synonyms.get(word, ())) for word in _pieces(query)), *prefixes]
        self._fixed = [(Occur.Must, build.phrase(phrase)) for phrase in query.phrases]
        self._others = [(Occur.Should, build.word(word)) for word in query.optional]
        self._others += [(Occur.MustNot, clause) for clause in build.excluded(query.excluded)]
        self.full = self.at_least(1) if any_of else self._all_of((Occur.Must, clause) for clause in self._whole)
        """All words; any of them where that is what was asked for."""
        self.can_lack = not any_of and (len(self._single) > 1 or bool(self._single and self._fixed))
        """Whether there is anything to find where a word is missing."""

    def at_least(self, n_words: int) -> Query:
        """Models with so many of the words, compounds taken apart; 0: with what is quoted."""
        some = [(Occur.Should, clause) for clause in self._single]
        return self._all_of([(Occur.Must, Query.boolean_query(some, n_words))] if n_words else some)

    def graded(self) -> Query:
        """Models with any of the words, or with what is quoted; for each word their score has `GRADE` more."""
        grade = Query.const_score_query(Query.all_query(), GRADE)
        some = [
            (Occur.Should, Query.boolean_query([(Occur.Must, clause), (Occur.Must, grade)])) for clause in self._single
        ]
        return self._all_of(some if self._fixed else [(Occur.Must, Query.boolean_query(some))])

    def _all_of(self, clauses: Iterable[_Clause]) -> Query:
        wanted = [*self._fixed, *clauses]
        return Query.boolean_query([*(wanted or [(Occur.Must, Query.all_query())]), *self._others])


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
