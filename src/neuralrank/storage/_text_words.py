"""Words as the text index sees them: folded, stemmed, and in the several ways in which names of models are spelled."""

import re
from collections.abc import Iterator
from functools import cache

import tantivy

MAX_CHARACTERS = 20_000
"""Of one field; what follows is not indexed. Longer cards are logs and tables."""
_MAX_WORD_BYTES = 40
_MAX_PARTS = 6

_MIXED = re.compile(r"(?<![A-Za-z0-9])(?:[0-9]++|[A-Z]?[a-z]++|[A-Z]{2,}+|[A-Z](?=[0-9]))(?=[A-Za-z0-9])[A-Za-z0-9]++")
"""A run of letters and digits that changes between digits, small and capital letters: ResNet50, b16, BERTModel."""
_PART = re.compile(
    r"[vV][0-9]+|[0-9]+|[A-Z]+(?=[vV][0-9])|[A-Z]?[a-z]+?(?=[vV][0-9])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+"
)

_PLURAL = re.compile(r"[A-Z]{2,}s")
"""CNNs, GPUs: words without vowels, which an English stemmer leaves as they are."""


@cache
def surfaces() -> tantivy.TextAnalyzer:
    """Return the analyser of words as they are written, in plain small letters."""
    return _builder().build()


@cache
def stems() -> tantivy.TextAnalyzer:
    """Return the analyser of English stems; it finds the same words at the same places as `surfaces`."""
    return _builder().filter(tantivy.Filter.stemmer("english")).build()


def _builder() -> tantivy.TextAnalyzerBuilder:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_MAX_WORD_BYTES))
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.lowercase())
    )


def cleaned(text: str) -> str:
    """Return the text as it can be indexed: not too long, and without halves of surrogate pairs."""
    text = text[:MAX_CHARACTERS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def with_parts(text: str) -> str:
    """Return the text followed by the parts of its compound words, so that each is found by its parts.

    Example:
        >>> with_parts("microsoft/resnet-50"), with_parts("timm/ResNet50")
        ('microsoft/resnet-50', 'timm/ResNet50 . resnet 50 . Res Net 50')
    """
    found = _MIXED.findall(text)
    if not found:
        return text
    return " . ".join([text, *(" ".join(parts) for run in dict.fromkeys(found) for parts in _splits(run))])


def compounds(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and parts of each compound word of a text."""
    for match in _MIXED.finditer(text):
        ways = _splits(match[0])
        if ways:
            yield match.start(), match.end(), " . ".join(" ".join(parts) for parts in ways)


def spellings(word: str) -> tuple[tuple[str, ...], ...]:
    """Return the stems of a word as typed, in each way in which it may be written in a text.

    Example:
        >>> spellings("ResNet-50")
        (('resnet', '50'), ('res', 'net', '50'), ('resnet50',))
        >>> spellings("resnet50")
        (('resnet50',), ('resnet', '50'))
    """
    word = cleaned(word)
    written = [word, _MIXED.sub(_spread, word), _MIXED.sub(_spread_widely, word)]
    pieces = surfaces().analyze(word)
    if 1 < len(pieces) <= 3:
        written.append("".join(pieces))
    return tuple(dict.fromkeys(found for text in written if (found := tuple(stems().analyze(text)))))


def parts_of(word: str) -> list[str]:
    """Return the parts between letters and digits, in small letters; empty if the word has only one."""
    splits = _splits(word) if _MIXED.fullmatch(word) else []
    return splits[0] if splits else []


def _spread(match: re.Match[str]) -> str:
    ways = _splits(match[0])
    return " ".join(ways[0]) if ways else match[0]


def _spread_widely(match: re.Match[str]) -> str:
    ways = _splits(match[0])
    return " ".join(ways[-1]) if ways else match[0]


def _splits(run: str) -> list[list[str]]:
    """Return the ways to split a run: between letters and digits, and before capitals where that is another way."""
    if len(run) > _MAX_WORD_BYTES:
        return []
    if _PLURAL.fullmatch(run):
        return [[run[:-1]]]
    ways = [_PART.findall(run.lower()), _PART.findall(run)]
    if [part.lower() for part in ways[1]] == ways[0]:
        del ways[1]
    return [parts for parts in ways if 1 < len(parts) <= _MAX_PARTS]
