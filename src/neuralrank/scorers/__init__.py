"""Transferability scores, one file each; higher is always better.

A scorer file holds the mathematics alone: `@scorer` declares what it is for, and calling it checks and prepares the
arrays once (see `_prepared.py`), so several scores of the same features share one decomposition. `@static_scorer` is
for what a model's record says without any data.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuralrank import registry
from neuralrank.errors import DataError, UsageError
from neuralrank.scorers._prepared import Prepared, prepare
from neuralrank.types import ModelRecord, Score, Task

Formula = Callable[..., Score]
Needs = Literal["features", "probabilities", "logits"]
Family = Literal[
    "discriminating power",
    "separability",
    "Gaussian",
    "evidence",
    "similarity",
    "probe",
    "head",
    "label-free",
    "static",
    "other",
]
NoiseFrom = tuple[float | None, float | None]
"""Dimensions per sample from which pure noise got a higher score than weakly informative features in more than 5 % of
draws, at 200 and at 2,000 samples, as measured by `benchmarks/noise.py`; None: at no dimension up to 4,096."""
Invariance = Literal["sample order", "rotation", "duplicated columns"]
"""What some scores do not depend on and others do; none depends on label names, scale, offset or dead columns.

Sample order: where a score looks at a part of the samples, which part depends on their order.
"""
FEW_SAMPLES = 632
"""Below, a probe is more like one of 200 samples than one of 2,000."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A score as its file declares it."""

    name: str
    formula: Formula
    family: Family
    tasks: frozenset[Task]
    paper: str
    needs: Needs
    """What it is computed from, beside the labels."""
    invariances: frozenset[Invariance]
    noise_from: NoiseFrom

    def __call__(
        self,
        features: ArrayLike | None,
        labels: ArrayLike,
        probabilities: ArrayLike | None = None,
        *,
        logits: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        task: Task | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Score:
        """Score one set of features; arguments as for `neuralrank.score`."""
        prepared = prepare(features, labels, probabilities, logits=logits, groups=groups, task=task, seed=seed)
        return self.of(prepared, **options)

    def of(self, prepared: Prepared, **options: Any) -> Score:
        """Score features that are prepared already.

        Raises:
            DataError: the score is not defined for this task, or what it needs was not given.
            UsageError: the score has no such option.
        """
        self._check_task(prepared.task)
        self._check_inputs(prepared)
        self._check_options(options)
        result = self.formula(prepared, **options)
        warning = self.noise_warning(prepared)
        return dataclasses.replace(
            result,
            stderr=result.stderr if result.terms is None else _standard_error(result.terms, prepared.groups),
            warnings=result.warnings if warning is None else (*result.warnings, warning),
        )

    def noise_warning(self, prepared: Prepared) -> str | None:
        """Return a sentence where this score may prefer noise, None elsewhere."""
        head = prepared.probabilities
        n_columns = prepared.features.shape[1] if self.needs == "features" or head is None else head.shape[1]
        noise_from = self.noise_from[prepared.n_samples >= FEW_SAMPLES]
        if noise_from is None or n_columns < noise_from * prepared.n_samples:
            return None
        what = "dimensions" if self.needs == "features" else "source classes"
        return f"{self.name} can prefer noise at {n_columns:,} {what} for {prepared.n_samples:,} samples."

    def _check_task(self, task: Task) -> None:
        if task not in self.tasks:
            raise DataError(
                f"{self.name} is defined for {' and '.join(sorted(self.tasks))}. Got {task} labels. "
                "Choose another score; `neuralrank scores` lists what supports what."
            )

    def _check_inputs(self, prepared: Prepared) -> None:
        if self.needs == "features" and not prepared.features.size:
            raise DataError(f"{self.name} needs features. Got None. Give one row of features per sample.")
        if self.needs == "probabilities" and prepared.probabilities is None:
            raise DataError(
                f"{self.name} needs the class probabilities of the model's own head. Got none. "
                "Pass probabilities= or logits=, or choose a score of the features."
            )
        if self.needs == "logits" and prepared.logits is None:
            got = "none" if prepared.probabilities is None else "probabilities, which have lost them"
            raise DataError(
                f"{self.name} needs the logits of the model's own head. Got {got}. "
                "Pass logits=, or choose a score of the features."
            )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        known = list(inspect.signature(self.formula).parameters)[1:]
        for option in options:
            if option not in known:
                near = difflib.get_close_matches(option, known, n=1)
                suggestion = f" Did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"{self.name} has no option {option!r}.{suggestion} It has: {', '.join(known) or 'none'}."
                )


@dataclass(frozen=True, kw_only=True)
class StaticScorer:
    """A score of what a model's record says: it never sees the data, and stands beside rankings as a baseline."""

    name: str
    formula: Callable[[ModelRecord], float | None]
    paper: str
    family: Family = "static"
    tasks: frozenset[Task] = frozenset({"classification", "regression", "multilabel"})

    def of_record(self, record: ModelRecord) -> float | None:
        """Return the value for one model, None where its record does not say."""
        return self.formula(record)

    def __call__(self, *_: Any, **__: Any) -> Score:
        """Refuse arrays.

        Raises:
            DataError: always; a static score is none of features.
        """
        raise DataError(
            f"{self.name} is a fact of a model's record, not a score of arrays. Got arrays. "
            "Rank models with it: `neuralrank rank … --score " + self.name + "`."
        )

    def of(self, prepared: Prepared, **_: Any) -> Score:
        """Refuse prepared arrays, as a call does."""
        return self(prepared)


def _standard_error(terms: NDArray[np.float64], groups: NDArray[np.int64] | None) -> float:
    """Return the standard error of the mean of the terms; those of one group are summed, for they are not independent.

    Terms of a part of the samples stand alone.
    """
    away = terms - terms.mean()
    sums = away if groups is None or len(groups) != len(terms) else np.bincount(groups, weights=away)
    return float(np.sqrt(np.sum(sums**2) * len(sums) / max(len(sums) - 1, 1)) / len(terms))


def scorer(
    *,
    tasks: Collection[Task],
    paper: str,
    family: Family = "other",
    needs: Needs = "features",
    invariances: Collection[Invariance] = ("sample order", "rotation"),
    noise_from: NoiseFrom = (None, None),
) -> Callable[[Formula], Scorer]:
    """Declare the decorated formula as a scorer of its own name."""

    def declare(formula: Formula) -> Scorer:
        declared = Scorer(
            name=formula.__name__,
            formula=formula,
            family=family,
            tasks=frozenset(tasks),
            paper=paper,
            needs=needs,
            invariances=frozenset(invariances),
            noise_from=noise_from,
        )
        declared.__dict__["__doc__"] = formula.__doc__
        return declared

    return declare


def static_scorer(*, paper: str) -> Callable[[Callable[[ModelRecord], float | None]], StaticScorer]:
    """Declare the decorated function of a record as a static scorer of its own name."""

    def declare(formula: Callable[[ModelRecord], float | None]) -> StaticScorer:
        declared = StaticScorer(name=formula.__name__, formula=formula, paper=paper)
        declared.__dict__["__doc__"] = formula.__doc__
        return declared

    return declare


def score(
    name: str,
    features: ArrayLike | None,
    labels: ArrayLike,
    probabilities: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    task: Task | None = None,
    seed: int = 0,
    **options: Any,
) -> Score:
    """Compute one score by name.

    Args:
        name: a scorer, see `neuralrank scores`.
        features: shape (n_samples, n_features), of NumPy, torch, CuPy or any library of the array API standard; on a
            GPU the decomposition runs there. None for scores of the model's head alone.
        labels: shape (n_samples,); classes of any kind, or floats for regression. Shape (n_samples, n_targets) for
            several regression targets, or for the 0 and 1 of several labels.
        probabilities: shape (n_samples, n_source_classes); what the model's own head says, rows sum to 1.
        logits: the same before the softmax; probabilities follow from them.
        groups: shape (n_samples,) or None; samples that belong together.
        task: None reads it off the labels; whole numbers are classes unless it says 'regression'.
        seed: of folds, subsamples and mixture models.
        options: keyword options of that scorer.

    Raises:
        UnknownNameError: there is no such scorer.
        UsageError: the scorer has no such option.
        DataError: the arrays do not fit together or cannot be scored.

    Example:
        >>> import numpy as np
        >>> features = np.repeat(np.eye(2), 20, axis=0) + np.linspace(0, 0.1, 80).reshape(40, 2)
        >>> score("knn", features, ["cat"] * 20 + ["dog"] * 20).value
        1.0
    """
    found: Scorer = registry.get("scorers", name)
    return found(features, labels, probabilities, logits=logits, groups=groups, task=task, seed=seed, **options)


def score_many(
    names: Collection[str],
    features: ArrayLike | None,
    labels: ArrayLike,
    probabilities: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    task: Task | None = None,
    seed: int = 0,
) -> Mapping[str, Score]:
    """Compute several scores from one preparation of the features; arguments and errors as for `score`.

    Example:
        >>> import numpy as np
        >>> features = np.repeat(np.eye(2), 20, axis=0) + np.linspace(0, 0.1, 80).reshape(40, 2)
        >>> found = score_many(["h_score", "knn"], features, np.repeat([0, 1], 20))
        >>> {name: round(each.value, 2) for name, each in found.items()}
        {'h_score': 1.0, 'knn': 1.0}
    """
    if isinstance(names, str):
        raise UsageError(f"score_many needs a list of names. Got the text {names!r}. Write [{names!r}].")
    found = {name: registry.get("scorers", name) for name in names}
    prepared = prepare(features, labels, probabilities, logits=logits, groups=groups, task=task, seed=seed)
    return {name: each.of(prepared) for name, each in found.items()}
