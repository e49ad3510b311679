"""Past results made comparable: how far above its competitors a model was on one data set."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from neuralrank.history._relatives import KnownModel
from neuralrank.history._similarity import LEAST_COMMON, TargetFacts
from neuralrank.storage.outcomes import Outcome

_USUAL_SPREAD = 0.1
"""Standard deviation of the accuracies of models on one data set, as long as none is known."""
_SPREAD_IS_WORTH = 3
"""Outcomes that the usual spread counts as, where the outcomes of a data set are few."""
SCORE_WEIGHT = 0.5
"""What a past score counts where the accuracy of that model on that data is not known."""
SCORE_SLOPE = 0.7
"""Standardised accuracy per standardised score, as the evidence has it over heads and fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Past results, and what is known of the data sets and models they are about."""

    outcomes: Sequence[Outcome] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By fingerprint of the data set and id of the model; of one score per data set, higher is better."""
    score_names: Mapping[str, str] = field(default_factory=dict)
    """Which score that is, by fingerprint."""
    targets: Mapping[str, TargetFacts] = field(default_factory=dict)
    """By fingerprint; all that have outcomes or scores."""
    models: Mapping[str, KnownModel] = field(default_factory=dict)
    """By id; a model that is not among them has no known relatives."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One model on one data set, against the others there."""

    value: float
    """In standard deviations of accuracy above the mean of all models that were tried."""
    weight: float
    measured: bool
    """True for an accuracy, False for a score."""
    place: int
    """1 for the best; ties share the better place."""
    n: int
    """Models among which that place is."""


def all_marks(history: History) -> Mapping[str, Mapping[str, Mark]]:
    """Return the marks of every data set by fingerprint and model id; results that compare with nothing have none."""
    accuracies = {fingerprint: _means(of_data) for fingerprint, of_data in _by_target(history.outcomes).items()}
    usual = _pooled_variance(list(accuracies.values()))
    found = {}
    for fingerprint in sorted({*accuracies, *history.scores}):
        scored = _standardised(history.scores.get(fingerprint, {}))
        marks = _score_marks(scored)
        marks.update(_outcome_marks(accuracies.get(fingerprint, {}), scored, usual))
        if marks:
            found[fingerprint] = marks
    return found


def _by_target(outcomes: Sequence[Outcome]) -> Mapping[str, Sequence[Outcome]]:
    found = defaultdict(list)
    for outcome in outcomes:
        found[outcome.fingerprint].append(outcome)
    return found


def _means(outcomes: Sequence[Outcome]) -> Mapping[str, float]:
    """Return one accuracy for each model: the mean, where several were reported."""
    values = defaultdict(list)
    for outcome in outcomes:
        values[outcome.model_id].append(outcome.accuracy)
    return {model_id: math.fsum(of_model) / len(of_model) for model_id, of_model in values.items()}


def _pooled_variance(accuracies: Sequence[Mapping[str, float]]) -> float:
    squares = sum(_squares(of_data) for of_data in accuracies)
    freedom = sum(len(of_data) - 1 for of_data in accuracies)
    return (squares + _SPREAD_IS_WORTH * _USUAL_SPREAD**2) / (freedom + _SPREAD_IS_WORTH)


def _squares(values: Mapping[str, float]) -> float:
    mean = math.fsum(values.values()) / len(values)
    return math.fsum((value - mean) ** 2 for value in values.values())


def _standardised(scores: Mapping[str, float]) -> Mapping[str, float]:
    if len(scores) < LEAST_COMMON:
        return {}
    spread = math.sqrt(_squares(scores) / len(scores))
    mean = math.fsum(scores.values()) / len(scores)
    return {model_id: (value - mean) / spread for model_id, value in scores.items()} if spread > 0 else {}


def _score_marks(scored: Mapping[str, float]) -> dict[str, Mark]:
    places = _places(scored)
    return {
        model_id: Mark(
            value=SCORE_SLOPE * value, weight=SCORE_WEIGHT, measured=False, place=places[model_id], n=len(scored)
        )
        for model_id, value in scored.items()
    }


def _outcome_marks(accuracies: Mapping[str, float], scored: Mapping[str, float], usual: float) -> dict[str, Mark]:
    """Standardise the accuracies of one data set.

    People train the models they expect most of, so the mean of what they report is above that of all models. Where the
    models were also ranked on that data, their scores say by how much; elsewhere it is taken for that of all.
    """
    known = [scored[model_id] for model_id in accuracies if model_id in scored]
    if len(accuracies) < 2 and not known:
        return {}
    level = SCORE_SLOPE * math.fsum(known) / len(known) if known else 0.0
    mean = math.fsum(accuracies.values()) / max(len(accuracies), 1)
    spread = math.sqrt((_squares(accuracies) + _SPREAD_IS_WORTH * usual) / (len(accuracies) - 1 + _SPREAD_IS_WORTH))
    places = _places(accuracies)
    return {
        model_id: Mark(
            value=level + (value - mean) / spread,
            weight=1.0,
            measured=True,
            place=places[model_id],
            n=len(accuracies),
        )
        for model_id, value in accuracies.items()
    }


def _places(values: Mapping[str, float]) -> Mapping[str, int]:
    first: dict[float, int] = {}
    for place, value in enumerate(sorted(values.values(), reverse=True), start=1):
        first.setdefault(value, place)
    return {model_id: first[value] for model_id, value in values.items()}
