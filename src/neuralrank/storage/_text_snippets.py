"""Cut the part out of a text that shows best why it was found."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from neuralrank.entries import WordQuery
from neuralrank.storage._text_schema import IndexedText
from neuralrank.storage._text_words import cleaned, compounds, spellings, stems, surfaces

MAX_CHARACTERS = 160
_FIELDS = ("description", "labels", "data", "tags", "name")
"""Where to cut from, the most readable first; a later one only if it has more of the words."""
_WORD_BREAK = 20
"""So many characters may be given up to cut between words."""


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """Part of a text with the words that were looked for."""

    field: str
    text: str
    """At most about 160 characters; '…' stands where something was cut off."""
    spans: tuple[tuple[int, int], ...]
    """Start and end in `text` of each word that was found, ascending and apart."""


@dataclass(frozen=True, kw_only=True)
class _Match:
    start: int
    end: int
    key: int
    """Number of the word or phrase of the query."""


def snippet(query: WordQuery, text: IndexedText) -> Snippet:
    """Return the part of a text that has most of what was looked for; where nothing is found, the beginning."""
    patterns = _Patterns(query)
    best: tuple[int, str, str, list[_Match]] | None = None
    for field in _FIELDS:
        value = " ".join(cleaned(getattr(text, field)).split())
        matches = patterns.matches(value) if value else []
        n_found = len({match.key for match in matches})
        if value and (best is None or n_found > best[0]):
            best = n_found, field, value, matches
        if n_found == patterns.n_keys:
            break
    if best is None:
        return Snippet(field="name", text="", spans=())
    return _cut(best[1], best[2], best[3])


class _Patterns:
    """What to mark: sequences of stems, and beginnings of words."""

    def __init__(self, query: WordQuery) -> None:
        wanted = [
            tuple(way for each in (word, *query.synonyms.get(word, ())) for way in spellings(each))
            for word in (*query.words, *query.optional)
        ]
        wanted += [(tuple(stems().analyze(cleaned(phrase))),) for phrase in query.phrases]
        for pieces in (surfaces().analyze(cleaned(word)) for word in query.words):
            wanted += [(tuple(stems().analyze(piece)),) for piece in pieces if len(pieces) > 1]
        self.sequences = [(way, key) for key, ways in enumerate(wanted) for way in ways if way]
        begun = [surfaces().analyze(cleaned(prefix)) for prefix in query.prefixes]
        self.prefixes = [(words[0], len(wanted) + n) for n, words in enumerate(begun) if len(words) == 1]
        self.n_keys = len({key for _, key in (*self.sequences, *self.prefixes)})

    def matches(self, text: str) -> list[_Match]:
        """Return where the patterns occur, ascending by start."""
        words = stems().analyze(text)
        found = [(i, i + len(way) - 1, key) for way, key in self.sequences for i in _places(words, way)]
        if self.prefixes:
            written = surfaces().analyze(text)
            found += [
                (i, i, key) for begun, key in self.prefixes for i, word in enumerate(written) if word.startswith(begun)
            ]
        matches = []
        if found:
            tokens = stems().pre_tokenize(text).tokens
            matches = [
                _Match(start=tokens[first].char_offset_from, end=tokens[last].char_offset_to, key=key)
                for first, last, key in found
            ]
        for start, end, parts in compounds(text):
            inside = stems().analyze(parts)
            matches += [_Match(start=start, end=end, key=key) for way, key in self.sequences if _places(inside, way)]
        return sorted(matches, key=lambda match: (match.start, -match.end, match.key))


def _places(words: Sequence[str], way: Sequence[str]) -> list[int]:
    return [i for i, word in enumerate(words) if word == way[0] and tuple(words[i : i + len(way)]) == tuple(way)]


def _cut(field: str, text: str, matches: list[_Match]) -> Snippet:
    start, end = _window(text, matches)
    lead, tail = "… " if start else "", " …" if end < len(text) else ""
    spans: list[tuple[int, int]] = []
    for match in matches:
        if match.start < start or match.end > end:
            continue
        span = match.start - start + len(lead), match.end - start + len(lead)
        if spans and span[0] < spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], span[1])
        else:
            spans.append(span)
    return Snippet(field=field, text=f"{lead}{text[start:end]}{tail}", spans=tuple(spans))


def _window(text: str, matches: list[_Match]) -> tuple[int, int]:
    """Return start and end of the part with most different matches, then most matches; the first of equals."""
    if len(text) <= MAX_CHARACTERS:
        return 0, len(text)
    starts = [match.start for match in matches]
    first, last, best = 0, 0, (0, 0)
    for i, match in enumerate(matches):
        limit = match.start + MAX_CHARACTERS
        inside = [other for other in matches[i : bisect_right(starts, limit)] if other.end <= limit]
        count = len({other.key for other in inside}), len(inside)
        if count > best:
            first, last, best = match.start, max(other.end for other in inside), count
    start = max(0, min(first - (MAX_CHARACTERS - (last - first)) // 2, len(text) - MAX_CHARACTERS))
    end = min(len(text), start + MAX_CHARACTERS)
    if start:
        start = _after_space(text, start, min(first, start + _WORD_BREAK))
    if end < len(text):
        space = text.rfind(" ", max(last, end - _WORD_BREAK), end + 1)
        end = space if space > start else end
    return start, end


def _after_space(text: str, start: int, limit: int) -> int:
    space = text.find(" ", start - 1, limit)
    return space + 1 if space >= 0 else start
