"""The size of the checkpoint's files: a static baseline that never sees the data."""

from __future__ import annotations

from neuralrank.scorers import static_scorer
from neuralrank.types import ModelRecord


@static_scorer(paper="baseline")
def size(record: ModelRecord) -> float | None:
    """Score the size of the model's files.

    Returns:
        Score in bytes; None where it is not known.
    """
    return float(record.size_bytes) if record.size_bytes > 0 else None
