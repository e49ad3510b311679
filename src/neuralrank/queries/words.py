"""Read what a user typed into the search box: words, "quoted phrases", beginnings* and -exclusions.

Every text is read somehow: a quote that is never closed is ignored, as is punctuation that means nothing here. How
words are compared (stems, other spellings) is the business of the index that looks for them.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import Literal, NamedTuple

from neuralrank.entries import WordQuery
from neuralrank.errors import UsageError
from neuralrank.queries._word_synonyms import longest_known, synonyms

MAX_CHARACTERS = 1_000
MAX_WORDS = 32

_RUN = re.compile(r"[^\W_]+")

STOP_WORDS = frozenset(
    _RUN.findall(
        """
        a about all also am an and any are as at be been both but by can could did do does done each either every for
        from give had has have he her here him his how i if in into is it its just let like me most my need no not of
        on one only or other our out over own same she should so some such than that the their them then there these
        they this those through to too up us use used using very via want was we well were what when where which while
        who why will with within without would you your
        """
    )
)
"""English words that say nothing about what is looked for; they never keep a model out of the result."""

OPTIONAL_WORDS = frozenset(
    _RUN.findall(
        """
        architecture checkpoint checkpoints find model models net nets network networks neural pretrained search
        trained training weights
        """
    )
)
"""Words that nearly every model has, or that speak of searching; a model without them is not worse for it."""

_ITEM = re.compile(r'(?P<minus>(?<!\S)[-−])?(?:["“”„](?P<phrase>[^"“”„]*)["“”„]|(?P<word>[^\s"“”„]+))')


class _Item(NamedTuple):
    kind: Literal["word", "phrase", "prefix"]
    text: str
    excluded: bool


def parse_words(text: str, *, any_of: bool = False) -> WordQuery:
    """Return what to look for.

    Args:
        text: as typed, for example `bird "fine grained" conv* -quantized`; a beginning has at least two letters.
        any_of: take the text for plain words, any of which will do: its first 32 words, in which nothing has a special
            meaning. Such a query may be empty, and finds nothing then.

    Raises:
        UsageError: there is nothing in it to look for, or it is too long.

    Example:
        >>> query = parse_words('model for birds "fine grained" conv* -gguf')
        >>> query.words, query.phrases, query.prefixes, query.optional
        (('birds',), ('fine grained',), ('conv',), ('model',))
        >>> query.excluded.words
        ('gguf',)
    """
    if any_of:
        words = dict.fromkeys(word for word in _RUN.findall(text) if word.lower() not in STOP_WORDS)
        return WordQuery(optional=tuple(words)[:MAX_WORDS])
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"A search takes at most {MAX_CHARACTERS:,} characters. Got {len(text):,}. Keep the words that matter."
        )
    items = list(dict.fromkeys(_joined(list(_items(text)))))
    if not items:
        raise UsageError(f"A search needs a word with a letter or a digit. Got {text!r}. Name what the model is about.")
    n_words = sum(len(_RUN.findall(item.text)) for item in items)
    if n_words > MAX_WORDS:
        raise UsageError(f"A search takes at most {MAX_WORDS} words. Got {n_words}. Keep the words that matter.")
    excluded = [item for item in items if item.excluded]
    query = _query(
        [item for item in items if not item.excluded],
        excluded=WordQuery(
            words=_texts(excluded, "word"), phrases=_texts(excluded, "phrase"), prefixes=_texts(excluded, "prefix")
        )
        if excluded
        else None,
    )
    return replace(query, synonyms={word: others for word in query.words if (others := synonyms(word))})


def _joined(items: list[_Item]) -> Iterator[_Item]:
    """Make one word of each known expression of several, before its small words are dropped: 'speech to text'."""
    while items:
        plain = list(takewhile(lambda item: item.kind == "word" and not item.excluded, items))
        n_words = longest_known([item.text for item in plain])
        if n_words > 1:
            yield _Item("word", "-".join(item.text for item in items[:n_words]), False)
        else:
            yield items[0]
        items = items[max(1, n_words) :]


def _query(wanted: list[_Item], *, excluded: WordQuery | None) -> WordQuery:
    """Sort the words by what they say; the least telling ones count only where there are no others."""
    typed = _texts(wanted, "word")
    telling = tuple(word for word in typed if word.lower() not in STOP_WORDS)
    words = tuple(word for word in telling if word.lower() not in OPTIONAL_WORDS)
    phrases, prefixes = _texts(wanted, "phrase"), _texts(wanted, "prefix")
    if words or phrases or prefixes:
        optional = tuple(word for word in telling if word not in words)
        return WordQuery(words=words, phrases=phrases, prefixes=prefixes, optional=optional, excluded=excluded)
    return WordQuery(words=telling or typed, excluded=excluded)


def _texts(items: list[_Item], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.text for item in items if item.kind == kind))


def _items(text: str) -> Iterator[_Item]:
    for match in _ITEM.finditer(text):
        excluded = match["minus"] is not None
        if match["phrase"] is not None:
            runs = _RUN.findall(match["phrase"])
            if runs:
                phrase = " ".join(match["phrase"].split())
                yield _Item("phrase" if len(runs) > 1 else "word", phrase if len(runs) > 1 else runs[0], excluded)
        else:
            yield from _word_items(match["word"], excluded)


def _word_items(typed: str, excluded: bool) -> Iterator[_Item]:
    runs = list(_RUN.finditer(typed))
    if not runs:
        return
    word = typed[runs[0].start() : runs[-1].end()]
    if not typed[runs[-1].end() :].startswith("*"):
        yield _Item("word", word, excluded)
        return
    if runs[-1][0].isascii() and len(runs[-1][0]) == 1:  # half of all words begin so
        yield _Item("word", word, excluded)
        return
    # 'vision-trans*' is the word 'vision' and a beginning: only one word can be open
    if len(runs) > 1 and not excluded:
        yield _Item("word", typed[runs[0].start() : runs[-2].end()], excluded)
    yield _Item("prefix", runs[-1][0], excluded)
