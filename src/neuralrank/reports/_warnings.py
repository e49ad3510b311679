"""The warnings of all models, grouped: one letter and one sentence for everyone it concerns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from neuralrank.reports._names import clean
from neuralrank.types import RankedModel

_NUMBER = re.compile(r"(?<![\w.'\"-])\d[\d,]*(?:\.\d+)?(?![\w'\"])")


@dataclass(frozen=True, kw_only=True)
class WarningGroup:
    """One warning and the models it concerns."""

    flag: str
    sentence: str
    """Where the models' sentences differ in numbers alone, each such number reads 'lowest to highest'."""
    members: tuple[int, ...]
    """Positions of the models in the ranking."""


def group_warnings(models: Sequence[RankedModel]) -> tuple[WarningGroup, ...]:
    """Group the warnings of a ranking by sentence, numbers aside, in the order they first appear."""
    found: dict[str, list[tuple[int, str]]] = {}
    for position, model in enumerate(models):
        for sentence in dict.fromkeys(model.warnings):
            found.setdefault(_NUMBER.sub("#", sentence), []).append((position, sentence))
    return tuple(
        WarningGroup(
            flag=_flag(index),
            sentence=clean(_merge([sentence for _, sentence in entries])),
            members=tuple(dict.fromkeys(position for position, _ in entries)),
        )
        for index, entries in enumerate(found.values())
    )


def flags(groups: Sequence[WarningGroup], n_models: int) -> tuple[str, ...]:
    """Return the letters of each model, '' where it has no warning."""
    own: list[list[str]] = [[] for _ in range(n_models)]
    for group in groups:
        for position in group.members:
            own[position].append(group.flag)
    return tuple("".join(letters) if all(len(x) == 1 for x in letters) else ",".join(letters) for letters in own)


def _flag(index: int) -> str:
    return ascii_lowercase[index] if index < 26 else _flag(index // 26 - 1) + ascii_lowercase[index % 26]


def _merge(sentences: list[str]) -> str:
    columns = zip(*(_NUMBER.findall(sentence) for sentence in sentences), strict=True)
    spans = iter([_span(column) for column in columns])
    return _NUMBER.sub(lambda _: next(spans), sentences[0])


def _span(numbers: tuple[str, ...]) -> str:
    ordered = sorted(set(numbers), key=lambda text: float(text.replace(",", "")))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
