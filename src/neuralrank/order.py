"""What orders the models of a ranking: one score, or a combination of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.errors import UsageError

Combine = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """The score that orders the models, or the scores that do so together."""

    text: str
    """As it was named, for example 'mean_rank:neuralrank,log_me'."""
    members: tuple[str, ...]
    """Names of the scores."""
    combine: Combine | None
    """Of values of shape (..., n_models, n_members), see `combinations`; None where there is one score."""

    def values(self, members: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what orders the models, shape (..., n_models), from shape (..., n_models, n_members)."""
        return members[..., 0] if self.combine is None else self.combine(members)


def parse_order(text: str) -> Order:
    """Read the name of a score, or 'combination:score,score,…'.

    Raises:
        UnknownNameError: there is no such score or combination.
        UsageError: a combination names fewer than two scores, or one of them twice.
    """
    combination, colon, rest = text.partition(":")
    if not colon:
        if text in registry.names("combinations"):
            raise UsageError(f"{text} needs the scores to combine. Got none. Write {text}:neuralrank,log_me,parc.")
        registry.get("scorers", text)
        return Order(text=text, members=(text,), combine=None)
    combine = registry.get("combinations", combination)
    members = tuple(name.strip() for name in rest.split(",") if name.strip())
    if len(members) < 2 or len(set(members)) < len(members):
        got = ", ".join(members) or "none"
        raise UsageError(
            f"{combination} needs at least 2 different scores. Got {got}. Write {combination}:neuralrank,log_me,parc."
        )
    for name in members:
        registry.get("scorers", name)
    return Order(text=f"{combination}:{','.join(members)}", members=members, combine=combine)
