"""Which model sees how many samples next, one file each: pure functions of the history of a run.

A strategy names the rungs, which are nested parts of the probe, and says after every trial which models go on to which
rung, which are out and why, and when the run is over. It never looks at a clock: limits of time are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one model showed on the samples of one rung."""

    value: float
    """The score."""
    terms: NDArray[np.float64] | None = field(default=None, repr=False)
    """Shape (n_units,); their mean is the score. All models have the same units at one rung: samples, groups or
    blocks of samples. None: the score has no such terms."""
    correct: NDArray[np.float64] | None = field(default=None, repr=False)
    """Shape (n_samples,); 1 where the held-out prediction of the class is right, 0 where not. Of groups of samples, one
    for each group, scaled like the terms. Their mean is the held-out accuracy. None: not known."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One model as a strategy sees it."""

    looks: tuple[Look, ...] = ()
    """One for each rung it has reached, lowest first."""
    running: int | None = None
    """Place of the rung it is on its way to."""
    failed: bool = False
    start_seconds: float = 0.0
    """What it takes to load the model, known or guessed."""
    seconds_per_sample: float = 0.0
    """Measured where the model has run, else guessed."""

    @property
    def waits(self) -> bool:
        """Whether it could be run now."""
        return self.running is None and not self.failed


@dataclass(frozen=True, kw_only=True)
class History:
    """All that has happened in a run."""

    rungs: tuple[int, ...]
    """Samples seen by a model at each rung, ascending; the last is the whole probe."""
    contenders: tuple[Contender, ...]

    def reached(self, rung: int) -> list[int]:
        """Return the places of the models that have not failed and have a look at this rung."""
        return [place for place, each in enumerate(self.contenders) if len(each.looks) > rung and not each.failed]

    def alive(self) -> list[int]:
        """Return the places of the models that have not failed."""
        return [place for place, each in enumerate(self.contenders) if not each.failed]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One model on its way to one rung; looks of the rungs between are taken from the same pass."""

    model: int
    """Its place among the contenders."""
    rung: int
    """Place of the rung."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do now."""

    trials: tuple[Trial, ...] = ()
    """Most urgent first. None of them is running; empty while the strategy waits for those that are."""
    out: Mapping[int, str] = field(default_factory=dict)
    """Models that have left, and why, in words."""
    ended: str | None = None
    """Why the run is over, in words."""


class Strategy(Protocol):
    """Decides which trials come next."""

    def rungs(self, n_samples: int) -> tuple[int, ...]:
        """Return the sizes of the rungs for a probe of `n_samples`, ascending, the last of them `n_samples`."""
        ...

    def next_trials(self, history: History) -> Plan:
        """Return what to do after `history`; the same history gives the same plan."""
        ...


MIN_RUNG = 20
"""Samples of the first rung at least: fewer say next to nothing of a model, but loading it costs as much."""


def nested_rungs(n_samples: int, reduction_factor: float, first_share: float) -> tuple[int, ...]:
    """Return sizes that grow by a factor from a share of the probe to all of it.

    The last step may be longer than the others: a rung that leaves out less than half of the rest decides little.

    Example:
        >>> nested_rungs(2_000, 2.0, 1 / 40)
        (50, 100, 200, 400, 800, 2000)
    """
    sizes: list[int] = []
    size = max(n_samples * first_share, MIN_RUNG)
    while size * reduction_factor**0.5 < n_samples:
        sizes.append(round(size))
        size *= reduction_factor
    if len(sizes) > 1 and sizes[-1] > n_samples / reduction_factor:
        sizes.pop()
    return (*dict.fromkeys(sizes), n_samples)


def by_value(history: History, places: Sequence[int], rung: int) -> list[int]:
    """Return the places of models with a look at `rung`, best first; equal ones in their own order."""
    return sorted(places, key=lambda place: (-history.contenders[place].looks[rung].value, place))
