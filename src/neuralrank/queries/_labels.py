"""Label sets as keys: what each label is called, what it is a kind of, and whether it only counts classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from neuralrank.queries._aliases import is_code, is_number, key, names_in, normalise, singular_phrase
from neuralrank.queries._kinds import broader_words

KIND = "~"
"""Before a key: 'a kind of'. The label set of a tree frog has the keys 'treefrog' and '~frog'."""

CALLED = "?"
"""Before a key: 'is called that, and is only a kind of it'. 'plane, carpenter's plane' has '?plane'."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One label, read."""

    own: tuple[tuple[str, str], ...]
    """Key of each of its names, and the key as written."""
    wider: tuple[str, ...]
    """Keys of what it is a kind of, marked: the ends of its first name, and each name that another one ends with."""
    number: str
    """Its digits, if it is a bare number."""


@lru_cache(maxsize=16384)
def read_label(label: str) -> Label:
    """Return what one label says."""
    names = {singular_phrase(name): name for name in reversed(names_in(label))}
    ones = tuple(reversed(names))
    general = [one for one in ones if len(ones) > 1 and any(other.endswith(" " + one) for other in ones)]
    spoken = ones[1:] if ones and is_code(ones[0]) else ones
    heads = {*spoken[:1], *(spoken[-1:] if label.rstrip().endswith((")", "]")) else ())}
    ends = [end for name in spoken if name in heads for end in broader_words(name)]
    return Label(
        own=tuple((key(one), key(names[one])) for one in ones if one not in general),
        wider=(*(KIND + key(end) for end in ends), *(CALLED + key(name) for name in general)),
        number=normalise(label) if is_number(label) else "",
    )


@lru_cache(maxsize=64)
def label_tables(labels: tuple[str, ...]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return key as written → label, and key of `index_concepts` → label; the first label of a key has it."""
    written: dict[str, str] = {}
    keyed: dict[str, str] = {}
    for label, counts in zip(labels, are_named(labels), strict=True):
        if counts:
            for own_key, as_written in read_label(label).own:
                keyed.setdefault(own_key, label)
                written.setdefault(as_written, label)
            for wider in read_label(label).wider:
                keyed.setdefault(wider, label)
    return written, keyed


def are_named(labels: Sequence[str]) -> list[bool]:
    """Say of each label whether it is more than a count: names are, and numbers that are digits."""
    numbers = [read_label(label).number for label in labels]
    values = {int(number) for number in numbers if len(number) == 1}
    single = all(len(number) <= 1 for number in numbers)
    digits = single and (len(values) == 10 or values != set(range(len(values))))
    return [digits or not number for number in numbers]
