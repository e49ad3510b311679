"""How alike two data sets are: by what they are described as, and by how models score on both.

The description is all that is known of a data set before any model ran on it. Its weights were set by hand, not fitted:
the evidence has five data sets, which is too few to fit anything. Where models were ranked on both data sets, the
correlation of their scores takes over as their number grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuralrank.queries.concepts import index_concepts

_SAME_MODALITY, _SAME_TASK, _CLASS_COUNT, _CLASS_NAMES = 0.4, 0.2, 0.2, 0.2
_DESCRIPTION_IS_WORTH = 10
"""Models ranked on both data sets whose correlation counts as much as the description."""
LEAST_COMMON = 3
"""Models that a correlation needs."""


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """What is known of a data set before any model runs on it."""

    fingerprint: str
    name: str
    modality: str | None = None
    task: str | None = None
    n_classes: int = 0
    """0 where it has no classes, or they are not known."""
    concepts: frozenset[str] = frozenset()
    """Keys of what its classes are called."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How alike two data sets are."""

    value: float
    """In [0, 1]: what a result on the one counts for the other."""
    correlation: float | None
    """Of the scores of the models that were ranked on both, by rank; None where they are too few."""
    n_common: int
    """Models that were ranked on both."""


def target_facts(
    *, fingerprint: str, name: str, modality: str | None, task: str | None, class_names: Sequence[str]
) -> TargetFacts:
    """Return the facts of a data set; its class names become concepts."""
    return TargetFacts(
        fingerprint=fingerprint,
        name=name,
        modality=modality,
        task=task,
        n_classes=len(class_names),
        concepts=index_concepts(class_names),
    )


def similarity(
    first: TargetFacts,
    second: TargetFacts,
    first_scores: Mapping[str, float] | None = None,
    second_scores: Mapping[str, float] | None = None,
) -> Similarity:
    """Return how alike two data sets are.

    With s the similarity of the descriptions and r the rank correlation of n common models (0 if it is negative), it is
    (10 s + n r) / (10 + n); without common models it is s. Other modalities have nothing in common: 0.

    Args:
        first: one data set.
        second: another.
        first_scores: by model, higher is better; of one score, the same for both.
        second_scores: the same on the other data set.

    Example:
        >>> mnist = target_facts(
        ...     fingerprint="a", name="a", modality="image", task="classification", class_names=list("0123456789")
        ... )
        >>> pets = target_facts(
        ...     fingerprint="b", name="b", modality="image", task="classification", class_names=["cat", "dog"]
        ... )
        >>> round(similarity(mnist, pets).value, 3)
        0.689
    """
    described = _described(first, second)
    if described == 0.0:
        return Similarity(value=0.0, correlation=None, n_common=0)
    common = sorted((first_scores or {}).keys() & (second_scores or {}).keys())
    correlation = None
    if len(common) >= LEAST_COMMON and first_scores is not None and second_scores is not None:
        correlation = _spearman([first_scores[key] for key in common], [second_scores[key] for key in common])
    if correlation is None:
        return Similarity(value=described, correlation=None, n_common=len(common))
    n = len(common)
    value = (_DESCRIPTION_IS_WORTH * described + n * max(correlation, 0.0)) / (_DESCRIPTION_IS_WORTH + n)
    return Similarity(value=value, correlation=correlation, n_common=n)


def _described(first: TargetFacts, second: TargetFacts) -> float:
    """Return the similarity of two descriptions; what is not known counts half."""
    if first.fingerprint == second.fingerprint:
        return 1.0
    if first.modality and second.modality and first.modality != second.modality:
        return 0.0
    known = bool(first.modality and second.modality)
    same_task = 0.5 if not (first.task and second.task) else float(first.task == second.task)
    both = first.concepts | second.concepts
    overlap = len(first.concepts & second.concepts) / len(both) if both else 0.0
    return (
        _SAME_MODALITY * (1.0 if known else 0.5)
        + _SAME_TASK * same_task
        + _CLASS_COUNT * _count_ratio(first.n_classes, second.n_classes)
        + _CLASS_NAMES * overlap
    )


def _count_ratio(first: int, second: int) -> float:
    """Return 1 for equal counts, and less the further apart they are: 0.71 for twice as many, 0.1 for 100 times."""
    if not first and not second:
        return 1.0
    return math.sqrt(min(first, second) / max(first, second))


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the correlation of the ranks, None where one side is constant."""
    ranks = [_midranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    if any(np.ptp(values) == 0 for values in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _midranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(ends - (counts - 1) / 2)[places]
