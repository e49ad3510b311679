"""The names inside one label: 'tench, Tinca tinca' has two, 'n02085620-Chihuahua' one, 'LABEL_3' none.

A name is a phrase of lower-case words. Nothing here knows what a name means.
"""

import re
import unicodedata

from neuralrank.queries._words import one_spelling, singular

_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_MARKS = re.compile("[̀-ͯ]")  # of Latin, Greek and Cyrillic; those of other scripts are letters of their own
_APOSTROPHE = re.compile(r"['’ʼ`´]")
_PLAIN = re.compile(
    r"(?![BI]-|[nvar]\d|_*label_)[A-Za-z][A-Za-z0-9 _'-]*", re.IGNORECASE
)  # one name, no code before it
_NO_WORD = re.compile(r"[^a-z0-9]+")
_CAMEL = re.compile(r"(?:[A-Z][a-z]+){2,}")
_WORDNET = re.compile(r"[nvar]\d{8}")
_LEADING_WORDNET = re.compile(r"^(n\d{8})[\s_-]+(?=\S)")
_LEADING_INDEX = re.compile(r"^(?:\d+\s*(?:[.:)_]|\s-\s)|0\d+-)\s*(?=[^\W\d])")  # '001.Black_footed', '3: dog'
_LEADING_LABEL = re.compile(r"^_*label_+(?=[^\W\d])", re.IGNORECASE)  # fastText writes '__label__positive'
_LEADING_BIO = re.compile(r"^[BI]-(?=[A-Z])")  # of token classification: 'B-PER'
_NO_NAME = re.compile(r"(?:label|class|category|cls|target|output|logit|id|idx|index|unit|unnamed)? ?[\d ]+")
_COUNTED = frozenset({"star", "stars", "year", "years", "point", "points"})
_BRACKETS = re.compile(r"^(.*?)[(\[]([^()\[\]]*)[)\]]\s*$")
_JOINTS = frozenset({"of", "in", "with", "on", "at", "by", "for", "and", "or", "to", "from", "without"})


def normalise(label: str) -> str:
    """Return the words of a label: lower case, without accents, parted by one space.

    Letters of every script stay; everything else parts words, but an apostrophe, which is left out. A label without
    any letter or digit comes back as it is.

    Example:
        >>> normalise("T-shirt/top"), normalise("Crème_Brûlée"), normalise("Steller's Jay")
        ('t shirt top', 'creme brulee', 'stellers jay')
    """
    if label.isascii() and "+" not in label and "#" not in label:
        return (
            " ".join(_NO_WORD.split(label.lower().replace("'", "").replace("`", ""))).strip() or label.strip().lower()
        )
    folded = unicodedata.normalize("NFKD", label).casefold().translate(_LETTERS)
    folded = unicodedata.normalize("NFKC", _MARKS.sub("", _APOSTROPHE.sub("", folded)))
    folded = re.sub(r"(?<=[\w+])\+", " plus ", folded)
    folded = re.sub(r"(?<=\w)#", " sharp ", folded)
    words = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split()
    return " ".join(words) or label.strip().casefold()


def names_in(label: str) -> tuple[str, ...]:
    """Return the names inside a label, normalised, in their order, none twice; a bare single digit is a name."""
    label = label.strip()
    names: dict[str, None] = {}
    for part in [label] if _PLAIN.fullmatch(label) else _parts(label):
        for name in (normalise(part), *((normalise(_camel_words(part)),) if _CAMEL.fullmatch(part) else ())):
            if name and (not _NO_NAME.fullmatch(name) or _is_single_digit(name)):
                names[name] = None
    if len(names) > 1:
        return tuple(name for name in names if not _is_single_digit(name))
    return tuple(names)


def singular_phrase(name: str) -> str:
    """Return a name with its head in the singular and one spelling: the last word, or the one before 'of' and such."""
    words = [one_spelling(word) for word in name.split()]
    head = next((i - 1 for i, word in enumerate(words) if i and word in _JOINTS), len(words) - 1)
    words[head] = one_spelling(singular(words[head]))
    return " ".join(words)


def key(name: str) -> str:
    """Return what names are compared by: without spaces, since 'hot dog' and 'hotdog' are one."""
    return "".join(one_spelling(word) for word in name.split())


def is_number(label: str) -> bool:
    """Say whether a label is a bare number."""
    return re.fullmatch(r"[\d ]+", normalise(label)) is not None


def is_code(name: str) -> bool:
    """Say whether a name is a WordNet id, such as 'n01440764'."""
    return _WORDNET.fullmatch(name) is not None


def _is_single_digit(name: str) -> bool:
    return len(name) == 1 and name.isdecimal()


def _parts(label: str) -> list[str]:
    """Split a label at commas, slashes and a last bracket, once what counts or codes its classes is taken off."""
    found: list[str] = []
    if match := _LEADING_WORDNET.match(label):
        found.append(match[1])
        label = label[match.end() :]
    label = _LEADING_LABEL.sub("", label)
    rest = _LEADING_INDEX.sub("", label)
    if rest != label and rest.casefold() not in _COUNTED:
        found.append(label)  # '5_euro' may be no fifth class
        label = rest
    if _LEADING_BIO.match(label):
        found.append(label)
        label = label[2:]
    for part in re.split(r"[,;|]", label):
        for piece in _bracketed(part):
            found.extend(_slashed(piece))
    return [part.strip() for part in found]


def _bracketed(part: str) -> list[str]:
    """Split 'Aramus guarauna (Limpkin)' in two names; 'crane (bird)' is one, and what it says in brackets is left out.

    A name in brackets has a capital letter or several words; a qualifier is one lower-case word.
    """
    match = _BRACKETS.match(part)
    if not match or not match[1].strip():
        return [part]
    inner = match[2].strip()
    return [match[1], inner] if inner != inner.lower() or len(inner.split()) > 1 else [match[1]]


def _slashed(part: str) -> list[str]:
    pieces = part.split("/")
    return pieces if all(len(piece.strip()) > 1 for piece in pieces) else [part]


def _camel_words(part: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part)
