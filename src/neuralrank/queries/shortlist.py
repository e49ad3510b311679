"""The pool of a ranking: of many candidates the few that are worth running, with the reasons in words.

A candidate has up to four signals in [0, 1]: its relevance to the words asked for, its coverage of the wanted classes,
its past success on similar data sets, and its popularity, log(1 + x) over that of the most popular. Its value is

    value = FLOOR + (1 - FLOOR) · Σ weight · signal / Σ weight

over the signals that are known of any candidate. Where a signal is unknown of one candidate but known of others, the
median of the known ones stands in: not knowing is neither praise nor blame. Then one model after the other is taken,
each time the one with the largest

    gain = value · FAMILY_DECAY ^ (taken of its family) · LINEAGE_DECAY ^ (taken of its ancestor)

a greedy choice in the manner of maximal marginal relevance (Carbonell & Goldstein 1998, SIGIR), with groups in place of
pairs, so that it stays near linear in the number of candidates. FLOOR is there so that families take turns also where
nothing else tells candidates apart. Of copies of one model only the best is taken. Ties go to the more popular, then to
the smaller, then by name: the order of the candidates does not matter.

Size is no part of the value: larger models transfer better more often than not, and what a model costs is a matter for
conditions such as `params < 30M`.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log1p
from statistics import median

from neuralrank.entries import ModelEntry
from neuralrank.errors import UsageError
from neuralrank.queries._copies import base_names, hub_name, same_model
from neuralrank.queries._family import family
from neuralrank.queries._reasons import Places, reasons_for

WEIGHTS = {"relevance": 1.0, "coverage": 1.0, "past": 2.0, "popularity": 0.25}
"""Past success counts most: what did well on similar data is a better guide than a description or label names."""

FLOOR = 0.1
FAMILY_DECAY = 0.8
LINEAGE_DECAY = 0.8

_MOST_ANCESTORS = 20


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that may be chosen, and what speaks for it; None where that is unknown."""

    entry: ModelEntry
    relevance: float | None = None
    """To the words asked for, in [0, 1]."""
    coverage: float | None = None
    """Share of the wanted classes that its labels cover, in [0, 1]."""
    covered: Mapping[str, str | None] = field(default_factory=dict)
    """As `types.FoundModel.covered`: for each wanted class, the label that covers it and how, 'car (synonym)'; for the
    reason in words only."""
    past: float | None = None
    """Expected success, from outcomes on similar data sets, in [0, 1]."""
    n_past_data: int | None = None
    """Number of those data sets; for the reason in words only."""
    popularity: float | None = None
    """Any number from 0 that grows with use, such as downloads."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model of the pool."""

    entry: ModelEntry
    reasons: tuple[str, ...] = ()
    """Why it was chosen, one phrase each."""
    value: float = 0.0
    """In [0, 1]; what its signals say, whatever else was chosen."""
    gain: float = 0.0
    """In [0, value]; what it added when it was taken."""
    copies: tuple[str, ...] = ()
    """Ids of copies of it among the candidates, for which it stands."""


def shortlist(candidates: Sequence[Candidate], n: int) -> list[Chosen]:
    """Choose the models to run, the most promising first.

    Args:
        candidates: models; those that cannot be loaded are left out.
        n: most that are chosen, from 1.

    Returns:
        At most `n` models, no two of them copies of one.

    Raises:
        UsageError: `n` is less than 1.
    """
    if n < 1:
        raise UsageError(f"shortlist needs n >= 1. Got {n}. Say how many models to run.")
    loadable = [one for one in candidates if one.entry.loadable]
    if not loadable:
        return []
    values = _values(loadable)
    groups = [
        sorted(group, key=lambda i: _order(values[i], loadable[i]))
        for group in same_model([one.entry for one in loadable])
    ]
    firsts = [loadable[group[0]] for group in groups]
    families = [family(one.entry) for one in firsts]
    places = Places(firsts, families)
    ahead: Counter[str] = Counter()
    chosen = []
    for place, gain in _taken(firsts, [values[group[0]] for group in groups], families, n):
        ahead[families[place]] += 1
        copies = tuple(sorted(loadable[i].entry.model_id for i in groups[place][1:]))
        reasons = reasons_for(firsts[place], families[place], ahead[families[place]], copies, places)
        chosen.append(
            Chosen(entry=firsts[place].entry, reasons=reasons, value=values[groups[place][0]], gain=gain, copies=copies)
        )
    return chosen


def _values(candidates: Sequence[Candidate]) -> list[float]:
    """Return the value of each candidate, in [FLOOR, 1]."""
    most = max((log1p(one.popularity) for one in candidates if one.popularity is not None), default=0.0)
    signals: dict[str, Callable[[Candidate], float | None]] = {
        "relevance": lambda one: one.relevance,
        "coverage": lambda one: one.coverage,
        "past": lambda one: one.past,
        "popularity": lambda one: None if one.popularity is None or not most else log1p(one.popularity) / most,
    }
    sums, weights = [0.0] * len(candidates), 0.0
    for name, signal in signals.items():
        values = [signal(one) for one in candidates]
        known = [value for value in values if value is not None]
        if not known:
            continue
        if not all(0.0 <= value <= 1.0 for value in known):
            raise ValueError(f"A signal of a candidate needs to be in [0, 1]. Got another {name}.")
        typical, weight = median(known), WEIGHTS[name]
        weights += weight
        sums = [
            total + weight * (typical if value is None else value) for total, value in zip(sums, values, strict=True)
        ]
    return [FLOOR + (1.0 - FLOOR) * (total / weights if weights else 0.0) for total in sums]


def _order(value: float, one: Candidate) -> tuple[float, float, float, int, str]:
    """Return what candidates are sorted by: value, popularity, size; the shorter name is the original more often."""
    params = one.entry.params
    popularity = one.popularity or 0.0
    return (-value, -popularity, inf if params is None else params, len(one.entry.name), one.entry.model_id)


def _taken(
    candidates: Sequence[Candidate], values: Sequence[float], families: Sequence[str], n: int
) -> Iterator[tuple[int, float]]:
    """Yield (index, gain) of the candidates that are taken, in that order.

    Gains only ever fall, so that a gain that was computed earlier bounds the present one from above: the first of the
    queue that is up to date is the best of all (lazy greedy, Minoux 1978).
    """
    ancestors = _ancestors([one.entry for one in candidates])
    n_family: Counter[str] = Counter()
    n_ancestor: Counter[str] = Counter()

    def gain(i: int) -> float:
        in_family = n_family[families[i]] if families[i] else 0
        return values[i] * FAMILY_DECAY**in_family * LINEAGE_DECAY ** n_ancestor[ancestors[i]]

    queue = [(_order(values[i], one), i) for i, one in enumerate(candidates)]
    heapq.heapify(queue)
    while queue and n:
        (known, *_), i = queue[0]
        now = gain(i)
        if now < -known:
            heapq.heapreplace(queue, (_order(now, candidates[i]), i))
            continue
        heapq.heappop(queue)
        n_family[families[i]] += 1
        n_ancestor[ancestors[i]] += 1
        n -= 1
        yield i, now


def _ancestors(entries: Sequence[ModelEntry]) -> list[str]:
    """Return for each model the name of the one that it and its relatives were adapted from, its own if that is it."""
    names = [hub_name(entry) or entry.name.lower() for entry in entries]
    parents = {name: bases[0] for name, entry in zip(names, entries, strict=True) if (bases := base_names(entry))}
    found = []
    for name in names:
        for _ in range(_MOST_ANCESTORS):
            if name not in parents or parents[name] == name:
                break
            name = parents[name]
        found.append(name)
    return found
