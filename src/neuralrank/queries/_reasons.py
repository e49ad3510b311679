"""Why a model was chosen for the pool, in words."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuralrank.queries.shortlist import Candidate

MOST_POPULAR = 10
"""Down to this place popularity is a reason to name."""
_MOST_NAMED = 3
_HOW = re.compile(r"(.*) \((plural|synonym|narrower)\)", re.DOTALL)


class Places:
    """Where candidates stand among all: by relevance, past success, popularity, and by size in their family."""

    def __init__(self, candidates: Sequence[Candidate], families: Sequence[str]) -> None:
        self._sorted = {
            name: sorted(value for one in candidates if (value := getattr(one, name)) is not None)
            for name in ("relevance", "past", "popularity")
        }
        self._sizes: dict[str, list[int]] = {}
        for one, kind in zip(candidates, families, strict=True):
            if kind and one.entry.params is not None:
                self._sizes.setdefault(kind, []).append(one.entry.params)
        for sizes in self._sizes.values():
            sizes.sort()

    def of(self, name: str, value: float) -> tuple[int, int]:
        """Return the place of a value of a signal, 1 for the largest, and the number of known ones."""
        known = self._sorted[name]
        return len(known) - bisect_right(known, value) + 1, len(known)

    def is_smallest(self, kind: str, params: int) -> bool:
        """Say whether no other candidate of a family is known to be so small."""
        sizes = self._sizes.get(kind, [])
        return len(sizes) > 1 and params == sizes[0] < sizes[1]


def reasons_for(one: Candidate, kind: str, n_of_family: int, copies: Sequence[str], places: Places) -> tuple[str, ...]:
    """Return the reasons for one model, the signals first.

    Args:
        one: the model as a candidate.
        kind: its family, '' if unknown.
        n_of_family: how many of the family are chosen with it, itself included.
        copies: ids of the copies it stands for.
        places: of all candidates.
    """
    found = []
    if one.coverage:
        found.append(_of_candidate(one))
    if one.relevance:
        place, n = places.of("relevance", one.relevance)
        found.append(f"{ordinal(place)} of {n:,} by relevance")
    if one.past is not None:
        place, n = places.of("past", one.past)
        n_data = "" if one.n_past_data is None else f"{one.n_past_data:,} "
        found.append(f"{ordinal(place)} of {n:,} by past accuracy on {n_data}similar data set{'s' * (n_data != '1 ')}")
    if one.popularity:
        place, n = places.of("popularity", one.popularity)
        if place <= MOST_POPULAR < n:
            found.append(f"{ordinal(place)} of {n:,} by downloads")
    if kind:
        found.append(f"{ordinal(n_of_family)} of family {kind}")
    if one.entry.params is not None and places.is_smallest(kind, one.entry.params):
        found.append(f"smallest of its family ({_count(one.entry.params)} parameters)")
    if copies:
        found.append(f"stands for {len(copies):,} more {'copy' if len(copies) == 1 else 'copies'}: {_listed(copies)}")
    return tuple(found) or ("nothing else of it is known",)


def ordinal(n: int) -> str:
    """Return 1st, 2nd, 3rd, 4th …, 11th, 21st."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def coverage_words(covers: Sequence[tuple[str, str | None, str | None]]) -> str:
    """Return one phrase: 'covers 2 of 3 classes (car by synonym automobile; without deer)'.

    Args:
        covers: for each wanted class its name, the label that covers it, and how.
    """
    there = [(wanted, label, how) for wanted, label, how in covers if label is not None]
    notes = [
        f"{wanted} by {how} {label.partition(',')[0]}" for wanted, label, how in there if how in ("synonym", "narrower")
    ]
    missing = [wanted for wanted, label, _ in covers if label is None] if there else []
    inside = "; ".join(filter(None, (_listed(notes), f"without {_listed(missing)}" if missing else "")))
    return f"covers {len(there):,} of {len(covers):,} classes" + (f" ({inside})" if inside else "")


def _of_candidate(one: Candidate) -> str:
    if not one.covered:
        return f"covers {100 * (one.coverage or 0):.0f} % of the wanted classes"
    covers = []
    for wanted, label in one.covered.items():
        found = _HOW.fullmatch(label or "")
        covers.append((wanted, found[1] if found else label, found[2] if found else None))
    return coverage_words(covers)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _count(n: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)
