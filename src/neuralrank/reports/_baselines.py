"""What a static list would have said: its order beside ours, and how far the two agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuralrank.reports._names import clean
from neuralrank.types import Ranking

_TITLES = {"log_params": "log parameters", "size": "file size", "reported_accuracy": "reported accuracy"}


@dataclass(frozen=True, kw_only=True)
class StaticOrder:
    """One static baseline, as positions in the ranking."""

    title: str
    order: tuple[int, ...]
    """Positions of the ranked models, best first by the baseline."""
    tau: float | None
    """Kendall's τ-b between the baseline's order and the scores; None with fewer than two models."""


def static_orders(ranking: Ranking) -> tuple[StaticOrder, ...]:
    """Return the baselines of a ranking, restricted to the models it ranked."""
    positions: dict[str, int] = {}
    for position, model in enumerate(ranking.models):
        positions.setdefault(model.model_id, position)  # its best layer, where a model stands here more than once
    scores = [model.score for model in ranking.models]
    found = []
    for name, ids in ranking.baselines.items():
        order = tuple(dict.fromkeys(positions[model_id] for model_id in ids if model_id in positions))
        tau = kendall_tau([scores[position] for position in order], [-float(place) for place in range(len(order))])
        found.append(StaticOrder(title=_TITLES.get(name, clean(name.replace("_", " "))), order=order, tau=tau))
    return tuple(found)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's τ-b of two lists of equal length, None where it is not defined.

    Written out because importing scipy.stats takes longer than everything else a report does.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    upper = np.triu_indices(len(x), k=1)
    signs_x = np.sign(x[:, None] - x[None, :])[upper]
    signs_y = np.sign(y[:, None] - y[None, :])[upper]
    norm = np.sqrt(float(np.sum(signs_x**2)) * float(np.sum(signs_y**2)))
    return None if norm == 0 else float(np.sum(signs_x * signs_y) / norm)
