"""Which names mean the same, which are kinds of others: the table shipped with the package, and the user's own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from neuralrank.queries._aliases import key, names_in, normalise, singular_phrase
from neuralrank.queries._labels import CALLED, KIND, read_label
from neuralrank.queries._thesaurus_file import Group, parse_groups, read_groups


@dataclass(frozen=True, kw_only=True)
class Thesaurus:
    """Names that mean the same, and kinds of things, by key."""

    synonyms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of a name → keys of all names of the groups it stands in."""
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of a name → keys of names of kinds of it."""

    def expand(self, wanted: str) -> frozenset[str]:
        """Return the keys of the names inside a label and of all that mean the same."""
        keys = frozenset(key for key, _ in read_label(wanted).own)
        return keys.union(*(self.synonyms.get(key, ()) for key in keys))

    def narrower(self, wanted: str) -> frozenset[str]:
        """Return what a label set may have instead of a wanted concept: keys of kinds of it, and marked keys.

        Whatever ends with a name of it or of a kind of it is a kind of it. A label that is only called so, 'plane' for
        a tool, is taken at its word, and not at those that may mean the same.
        """
        same = self.expand(wanted)
        listed: set[str] = set()
        waiting = list(same)
        while waiting:
            new = self.kinds.get(waiting.pop(), frozenset()) - listed
            listed |= new
            waiting.extend(new.union(*(self.synonyms.get(kind, ()) for kind in new)))
        kinds = listed.union(*(self.synonyms.get(kind, ()) for kind in listed))
        called = listed.union(key for key, _ in read_label(wanted).own)
        return frozenset({*(kinds - same), *(KIND + key for key in kinds | same), *(CALLED + key for key in called)})


def load_thesaurus(extra: Path | None = None) -> Thesaurus:
    """Return the thesaurus that ships with the package, and the groups of the user's own file if there is one.

    Args:
        extra: text file, one group per line: 'car, automobile' or 'cat: tabby, Siamese cat'.

    Raises:
        UsageError: the file cannot be read, or one of its lines is no group.
    """
    own = read_groups(Path(extra).expanduser(), _key_of) if extra is not None else ()
    return _shipped() if not own else _thesaurus((*_shipped_groups(), *own))


def _key_of(name: str) -> str:
    """Return the key of a name in a file of synonyms, where commas alone part names; '' if it only counts classes."""
    return key(singular_phrase(normalise(name))) if names_in(name) else ""


@lru_cache(maxsize=1)
def _shipped() -> Thesaurus:
    return _thesaurus(_shipped_groups())


@lru_cache(maxsize=1)
def _shipped_groups() -> tuple[Group, ...]:
    text = files("neuralrank.queries").joinpath("synonyms.txt").read_text(encoding="utf-8")
    return tuple(parse_groups(text, _key_of, place="the synonyms of neuralrank"))


def _thesaurus(groups: Iterable[Group]) -> Thesaurus:
    synonyms: dict[str, set[str]] = {}
    kinds: dict[str, set[str]] = {}
    for group in groups:
        if group.whole is not None:
            kinds.setdefault(group.whole, set()).update(group.names)
        else:
            for name in group.names:
                synonyms.setdefault(name, set()).update(group.names)
    return Thesaurus(
        synonyms={name: frozenset(same) for name, same in synonyms.items()},
        kinds={name: frozenset(names) for name, names in kinds.items()},
    )
