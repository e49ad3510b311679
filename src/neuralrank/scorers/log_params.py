"""The logarithm of the parameter count: a static baseline that never sees the data."""

from __future__ import annotations

import math

from neuralrank.scorers import static_scorer
from neuralrank.types import ModelRecord


@static_scorer(paper="baseline: Singh et al. 2026, ICLR (arXiv 2510.06448)")
def log_params(record: ModelRecord) -> float | None:
    """Score log10 of the number of parameters.

    Returns:
        Score >= 0 in decades; None where the count is not known.
    """
    return math.log10(record.facts.n_params) if record.facts.n_params else None
