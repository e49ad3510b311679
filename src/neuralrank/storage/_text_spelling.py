"""Find the indexed word that a misspelled one stands for."""

import string
from collections.abc import Iterable, Sequence

import tantivy

from neuralrank.storage._text_schema import SURFACES, WEIGHTS
from neuralrank.storage._text_words import parts_of, stems, surfaces

MIN_LETTERS = 4
"""Shorter words are never corrected: too many others are near."""
MIN_LETTERS_FOR_TWO = 8
"""From this length on a word may have two mistakes, at most one of them in the first `_HEAD` letters."""
_HEAD = 5
_ALPHABET = string.ascii_lowercase
_MAX_SHARING_BEGINNING = 5_000


def corrected(searcher: tantivy.Searcher, word: str) -> tuple[str, dict[str, str]]:
    """Return the word with pieces that occur nowhere replaced by near ones that do, and what was replaced by what.

    Args:
        searcher: of the index.
        word: as typed, for example 'sattelite-imagery'.
    """
    pieces = surfaces().analyze(word)
    if len(pieces) > 1 and _occurs(searcher, "".join(pieces)):
        return word, {}
    replaced = {piece: near for piece in pieces if (near := _near(searcher, piece))}
    if not replaced:
        return word, {}
    if len(pieces) == 1:
        return replaced[pieces[0]], {word: replaced[pieces[0]]}
    return "-".join(replaced.get(piece, piece) for piece in pieces), replaced


def occurs(searcher: tantivy.Searcher, words: str) -> bool:
    """Say whether each of the words occurs somewhere."""
    return all(_occurs(searcher, piece) for piece in surfaces().analyze(words))


def _near(searcher: tantivy.Searcher, piece: str) -> str | None:
    """Return the most frequent word near `piece`; None if it occurs itself, or no word is near."""
    if sum(map(str.isalpha, piece)) < MIN_LETTERS or _occurs(searcher, piece):
        return None
    parts = parts_of(piece)
    if parts and all(_occurs(searcher, part) for part in parts):
        return None
    # figures are never mistaken for others: resnet51 is not resnet50
    candidates = [near for near in _edits(piece) if _figures(near) == _figures(piece)]
    near = _most_frequent(candidates, [_frequency(searcher, near) for near in candidates])
    if near is None and len(piece) >= MIN_LETTERS_FOR_TWO:
        near = _near_by_two(searcher, piece)
    if near is None:  # 'brid' is 'bird' also where only birds are spoken of
        near = _most_frequent(candidates, [_stem_frequency(searcher, near) for near in candidates])
    return near


def _most_frequent(words: Sequence[str], frequencies: Sequence[int]) -> str | None:
    negative, word = min(
        ((-frequency, word) for frequency, word in zip(frequencies, words, strict=True)), default=(0, "")
    )
    return word if negative else None


def _near_by_two(searcher: tantivy.Searcher, piece: str) -> str | None:
    heads = {head for head in {piece[:_HEAD], *_edits(piece[:_HEAD])} if len(head) >= _HEAD - 1}
    found = (
        term for head in heads for term in searcher.terms_with_prefix(SURFACES, head, limit=_MAX_SHARING_BEGINNING)
    )
    for near, _ in sorted(set(found), key=lambda term: (-term[1], term[0])):
        if abs(len(near) - len(piece)) <= 2 and _figures(near) == _figures(piece) and distance(near, piece) <= 2:
            return str(near)
    return None


def _occurs(searcher: tantivy.Searcher, word: str) -> bool:
    return bool(_frequency(searcher, word) or _stem_frequency(searcher, word))


def _frequency(searcher: tantivy.Searcher, word: str) -> int:
    return int(searcher.doc_freq(SURFACES, word))


def _stem_frequency(searcher: tantivy.Searcher, word: str) -> int:
    return max((searcher.doc_freq(field, stem) for stem in stems().analyze(word) for field in WEIGHTS), default=0)


def _edits(word: str) -> Iterable[str]:
    """Return the words one mistake away: a letter left out, put in, replaced, or two exchanged."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = sorted({*_ALPHABET, *word})
    edits = {left + right[1:] for left, right in cuts if right}
    edits |= {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    edits |= {left + letter + right[1:] for left, right in cuts if right for letter in letters}
    edits |= {left + letter + right for left, right in cuts for letter in letters}
    return edits - {word, ""}


def _figures(word: str) -> str:
    return "".join(letter for letter in word if letter.isdigit())


def distance(a: str, b: str) -> int:
    """Return the number of mistakes between two words; two neighbours exchanged are one.

    Example:
        >>> distance("sattelite", "satellite"), distance("brid", "bird")
        (2, 1)
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
