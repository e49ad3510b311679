"""Label names as concepts: which of the wanted classes does a model's own label set cover?

A label is split into the names inside it (`concepts_of`), and names are compared by keys: lower case, singular, one
spelling, no spaces. A wanted concept is covered, best first, by a label of that very name, by its plural or singular,
by a synonym, or by a narrower label: a tabby is a cat, a golden retriever a retriever.

Two ways give the same share: `coverage` looks at one label set and says which label covers what; for search at scale
a catalogue keeps the keys of each label set once (`index_concepts`) and asks for those of a query (`query_concepts`).
Which keys belong to a label set does not depend on the thesaurus: another file of synonyms needs no new table.

Words only. Which sense a word has cannot be told from a name: 'mouse' and 'crane' match whatever is called so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from neuralrank.queries._aliases import names_in, normalise, singular_phrase
from neuralrank.queries._labels import are_named, label_tables, read_label
from neuralrank.queries._reasons import coverage_words
from neuralrank.queries._thesaurus import Thesaurus, load_thesaurus

__all__ = [
    "CONCEPTS_VERSION", "NARROWER_WEIGHT", "Coverage", "Covered", "How", "Thesaurus", "WantedConcept", "concepts_of",
    "coverage", "index_concepts", "load_thesaurus", "normalise", "query_concepts",
]  # fmt: skip

CONCEPTS_VERSION = 1
"""Raised when `index_concepts` gives other keys for the same labels: a table of another version is made again."""

NARROWER_WEIGHT = 0.8
"""What a wanted concept counts that only a narrower label covers; every other cover counts 1."""

How = Literal["exact", "plural", "synonym", "narrower"]


def concepts_of(label: str) -> tuple[str, ...]:
    """Return the names inside a label, in the singular; none if it only counts classes, as 'LABEL_3' does.

    Commas, slashes and brackets part names; numbers and codes before a name are left out, a WordNet id is a name.
    A bare single digit is a name, but label sets in which digits only count classes keep none: see `index_concepts`.

    Example:
        >>> concepts_of("tench, Tinca tinca"), concepts_of("T-shirt/top"), concepts_of("Ankle_Boots")
        (('tench', 'tinca tinca'), ('t shirt', 'top'), ('ankle boot',))
        >>> concepts_of("n02085620-Chihuahua"), concepts_of("LABEL_3")
        (('n02085620', 'chihuahua'), ())
    """
    return tuple(dict.fromkeys(singular_phrase(name) for name in names_in(label)))


@dataclass(frozen=True, kw_only=True)
class WantedConcept:
    """One wanted concept as a question to the inverted table."""

    name: str
    weights: Mapping[str, float]
    """Key → what the concept counts for a label set that has it, in (0, 1]; the best of them counts. Empty: the name
    only counts classes and nothing covers it."""


@dataclass(frozen=True, kw_only=True)
class Covered:
    """One wanted concept, and what covers it in a label set."""

    wanted: str
    label: str | None = None
    how: How | None = None

    @property
    def weight(self) -> float:
        """Return what it counts, in [0, 1]."""
        return 0.0 if self.how is None else NARROWER_WEIGHT if self.how == "narrower" else 1.0


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How well a label set covers the wanted concepts."""

    concepts: tuple[Covered, ...]
    """In the order they were asked for."""

    @property
    def share(self) -> float:
        """Return the mean weight of the wanted concepts, in [0, 1]."""
        return sum(concept.weight for concept in self.concepts) / len(self.concepts) if self.concepts else 0.0

    def words(self) -> str:
        """Return one phrase: 'covers 2 of 3 classes (car by synonym automobile; without deer)'."""
        return coverage_words([(one.wanted, one.label, one.how) for one in self.concepts])


def coverage(wanted: Sequence[str], labels: Sequence[str], thesaurus: Thesaurus) -> Coverage:
    """Say which label of a model covers which wanted concept, and how.

    Args:
        wanted: names of concepts, such as the classes of a target.
        labels: names of the classes that the model's own classifier tells apart.
        thesaurus: made by `load_thesaurus`.
    """
    written, keyed = label_tables(tuple(labels))
    found = []
    for name, counts in zip(wanted, are_named(wanted), strict=True):
        own = read_label(name).own if counts else ()
        label, how = next(_covers(name, own, written, keyed, thesaurus), (None, None)) if own else (None, None)
        found.append(Covered(wanted=name, label=label, how=how))
    return Coverage(concepts=tuple(found))


def index_concepts(labels: Iterable[str]) -> frozenset[str]:
    """Return the keys to keep for a label set; a key after '~' or '?' stands for a kind of that.

    Bare numbers are no concepts but for the ten digits: they count where all of 0 to 9 are there, or single digits that
    do not start at 0 without a gap, which would be how unnamed classes are counted. The order does not matter.

    Example:
        >>> sorted(index_concepts(["tree frog, tree-frog", "Cats", "LABEL_3", "7"]))
        ['7', 'cat', 'treefrog', '~frog']
    """
    return frozenset(label_tables(tuple(labels))[1])


def query_concepts(wanted: Sequence[str], thesaurus: Thesaurus) -> tuple[WantedConcept, ...]:
    """Return the wanted concepts as questions to a table of `index_concepts`, in their order.

    The mean over the concepts of the best weight among the keys that a label set has is `coverage(...).share`.
    """
    questions = []
    for name, counts in zip(wanted, are_named(wanted), strict=True):
        same = thesaurus.expand(name) if counts else frozenset()
        narrower = thesaurus.narrower(name) if same else frozenset()
        weights = dict.fromkeys(narrower, NARROWER_WEIGHT) | dict.fromkeys(same, 1.0)
        questions.append(WantedConcept(name=name, weights=weights))
    return tuple(questions)


def _covers(
    name: str,
    own: Sequence[tuple[str, str]],
    written: Mapping[str, str],
    keyed: Mapping[str, str],
    thesaurus: Thesaurus,
) -> Iterator[tuple[str, How]]:
    """Yield what covers a wanted concept, best first."""
    for own_key, as_written in own:
        if as_written in written and own_key in keyed:
            yield written[as_written], "exact"
    for own_key, _ in own:
        if own_key in keyed:
            yield keyed[own_key], "plural"
    same = thesaurus.expand(name)
    yield from ((keyed[key], "synonym") for key in sorted(same & keyed.keys()))
    narrower = thesaurus.narrower(name) & keyed.keys()
    yield from ((keyed[key], "narrower") for key in sorted(narrower, key=lambda key: (key[0] in "~?", key)))
