"""The accuracy that a model's authors report on its own task: a static baseline that never sees the data."""

from __future__ import annotations

from neuralrank.scorers import static_scorer
from neuralrank.types import ModelRecord


@static_scorer(paper="baseline: Kornblith et al. 2019, CVPR")
def reported_accuracy(record: ModelRecord) -> float | None:
    """Score the accuracy that the model's record reports.

    Returns:
        Score in per cent, of whatever task its authors measured; None where they report none.
    """
    return record.facts.reported_accuracy
