"""Transferability scores, one file each; higher is always better.

A scorer file holds the mathematics alone: `@scorer` declares what it is for, and calling it checks and prepares the
arrays once (see `_prepared.py`), so several scores of the same features share one decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers._prepared import Prepared, prepare
from neuralrank.types import Score, Task

Formula = Callable[..., Score]


@dataclass(frozen=True)
class Scorer:
    """A score as its file declares it."""

    name: str
    formula: Formula
    tasks: frozenset[Task]
    paper: str

    def __call__(
        self,
        features: ArrayLike,
        labels: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        task: Task | None = None,
        **options: Any,
    ) -> Score:
        """Score one set of features.

        Args:
            features: shape (n_samples, n_features); one layer of one model on the probe.
            labels: shape (n_samples,); class of each sample (any values), or a float target for regression.
            groups: shape (n_samples,); samples of one group never stand on both sides of a fold.
            task: None reads it off the labels; whole numbers are classes unless it says 'regression'.
            options: the keyword options of the formula.

        Raises:
            DataError: the arrays do not fit together or cannot be scored.
        """
        return self.of(prepare(features, labels, groups=groups, task=task), **options)

    def of(self, prepared: Prepared, **options: Any) -> Score:
        """Score features that are prepared already.

        Raises:
            DataError: the score is not defined for this task.
        """
        if prepared.task not in self.tasks:
            raise DataError(
                f"{self.name} is defined for {' and '.join(sorted(self.tasks))}. Got {prepared.task} labels. "
                "Choose another score; `neuralrank scores` lists what supports what."
            )
        return self.formula(prepared, **options)


def scorer(*, tasks: Collection[Task], paper: str) -> Callable[[Formula], Scorer]:
    """Declare the decorated formula as a scorer of its own name."""

    def declare(formula: Formula) -> Scorer:
        declared = Scorer(formula.__name__, formula, frozenset(tasks), paper)
        declared.__dict__["__doc__"] = formula.__doc__
        return declared

    return declare


def score(
    name: str,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    task: Task | None = None,
    **options: Any,
) -> Score:
    """Compute one score by name.

    Args:
        name: a scorer, see `neuralrank scores`.
        features: shape (n_samples, n_features).
        labels: shape (n_samples,); classes of any kind, or floats for regression.
        groups: shape (n_samples,) or None; samples that belong together.
        task: None reads it off the labels; whole numbers are classes unless it says 'regression'.
        options: keyword options of that scorer.

    Raises:
        UnknownNameError: there is no such scorer.
        DataError: the arrays do not fit together or cannot be scored.

    Example:
        >>> import numpy as np
        >>> features = np.repeat(np.eye(2), 20, axis=0) + np.linspace(0, 0.1, 80).reshape(40, 2)
        >>> score("knn", features, ["cat"] * 20 + ["dog"] * 20).value
        1.0
    """
    result: Score = registry.get("scorers", name)(features, labels, groups=groups, task=task, **options)
    return result


def score_many(
    names: Collection[str],
    features: ArrayLike,
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    task: Task | None = None,
) -> Mapping[str, Score]:
    """Compute several scores from one preparation of the features; arguments as for `score`."""
    prepared = prepare(features, labels, groups=groups, task=task)
    return {name: registry.get("scorers", name).of(prepared) for name in names}
