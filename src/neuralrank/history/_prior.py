"""From past results on similar data sets to an expected order of models.

A model's marks are averaged, weighted by similarity and kind, and drawn towards the mean of its lineage, that towards
the mean of its family, and that towards 0, the mean of all models: the fewer results, the closer. It is the estimate
of a nested normal model whose variances are set by hand; the evidence hardly tells other choices apart.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuralrank.history import _reasons
from neuralrank.history._relatives import KnownModel, family, lineages
from neuralrank.history._results import History, Mark, all_marks
from neuralrank.history._similarity import Similarity, TargetFacts, similarity

_LEAST_SIMILARITY = 0.05
_OWN_PRIOR, _GROUP_PRIOR = 1.0, 2.0
"""Results that what a model, and what its relatives, are drawn towards counts as."""
_SCATTER = 0.65
"""Standard deviation of one model's marks over data sets, around its mean; so the evidence has it."""


@dataclass(frozen=True, kw_only=True)
class SimilarTarget:
    """One past data set, and what it counts for the one asked about."""

    name: str
    fingerprint: str
    similarity: Similarity
    n_outcomes: int
    """Models with a reported accuracy on it."""
    n_scores: int
    """Models that were ranked on it, and count."""


@dataclass(frozen=True, kw_only=True)
class PriorRow:
    """What the history says of one model."""

    model_id: str
    name: str
    advantage: float | None
    """Expected, in standard deviations of accuracy above the mean of all models; None where nothing is known."""
    stderr: float | None
    """Of the advantage on one new data set."""
    n_outcomes: int
    """Similar data sets on which its accuracy is known."""
    n_scores: int
    """Further ones on which it was only ranked."""
    reason: str
    """In plain words."""

    @property
    def known(self) -> bool:
        """Say whether the history says anything of the model or its relatives."""
        return self.advantage is not None


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The expected order of models on a data set, best first; models of which nothing is known come last."""

    data: str
    rows: tuple[PriorRow, ...]
    similar: tuple[SimilarTarget, ...]
    """The data sets that it rests on, the most similar first."""


def expected_order(models: Sequence[KnownModel], target: TargetFacts, history: History) -> Prior:
    """Return the order to expect of models on a data set, from past results alone.

    Args:
        models: to order; among equals, and where nothing is known, their order stays.
        target: the data set asked about. Scores that the history has of it make no mark: they would be evidence of this
            data, and serve only for its similarity to others. Accuracies reported on it count fully.
        history: past results.
    """
    marks, similar = _relevant(target, history)
    weights = {each.fingerprint: each.similarity.value for each in similar}
    sums = _Sums.over({model.model_id: model for model in (*history.models.values(), *models)}, marks, weights)
    rows = [_row(model, marks, weights, sums, history) for model in models]
    rows.sort(key=lambda row: math.inf if row.advantage is None else -row.advantage)
    return Prior(data=target.name, rows=tuple(rows), similar=similar)


def _relevant(
    target: TargetFacts, history: History
) -> tuple[Mapping[str, Mapping[str, Mark]], tuple[SimilarTarget, ...]]:
    """Return the marks of the data sets that are similar at all, and those data sets, the most similar first."""
    found, similar = {}, []
    for fingerprint, marks in all_marks(history).items():
        if fingerprint == target.fingerprint:
            marks = {model_id: mark for model_id, mark in marks.items() if mark.measured}
        facts = history.targets.get(fingerprint)
        if facts is None or not marks:
            continue
        comparable = history.score_names.get(fingerprint) == history.score_names.get(target.fingerprint)
        own = history.scores.get(target.fingerprint) if comparable else None
        alike = similarity(target, facts, own, history.scores.get(fingerprint))
        if alike.value < _LEAST_SIMILARITY:
            continue
        n_measured = sum(mark.measured for mark in marks.values())
        found[fingerprint] = marks
        similar.append(
            SimilarTarget(
                name=facts.name,
                fingerprint=fingerprint,
                similarity=alike,
                n_outcomes=n_measured,
                n_scores=len(marks) - n_measured,
            )
        )
    return found, tuple(sorted(similar, key=lambda each: (-each.similarity.value, each.name)))


@dataclass(frozen=True, kw_only=True)
class _Total:
    """A weighted sum of marks and its weight."""

    value: float = 0.0
    weight: float = 0.0

    def without(self, other: _Total) -> _Total:
        return _Total(value=self.value - other.value, weight=max(0.0, self.weight - other.weight))

    def drawn_towards(self, mean: float, weight: float) -> float:
        return (self.value + weight * mean) / (self.weight + weight)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Marks summed by model, by lineage and by family."""

    of_model: Mapping[str, _Total]
    of_lineage: Mapping[str, _Total]
    of_family: Mapping[str, _Total]
    lineage: Mapping[str, str]

    @classmethod
    def over(
        cls, models: Mapping[str, KnownModel], marks: Mapping[str, Mapping[str, Mark]], weights: Mapping[str, float]
    ) -> _Sums:
        own: dict[str, _Total] = {}
        for fingerprint, of_data in marks.items():
            for model_id, mark in of_data.items():
                own[model_id] = _plus(own.get(model_id), mark, weights[fingerprint] * mark.weight)
        lineage = lineages(models.values())
        families = {model_id: family(model.architecture) for model_id, model in models.items()}
        return cls(of_model=own, of_lineage=_grouped(own, lineage), of_family=_grouped(own, families), lineage=lineage)

    def estimate(self, model: KnownModel) -> tuple[float, float, float]:
        """Return the expected mark of a model, the weight of its own results, and that of its relatives'."""
        own = self.of_model.get(model.model_id, _Total())
        in_family = self.of_family.get(family(model.architecture) or "", own).without(own)
        in_lineage = self.of_lineage.get(self.lineage[model.model_id], own).without(own)
        base = in_lineage.drawn_towards(in_family.drawn_towards(0.0, _GROUP_PRIOR), _GROUP_PRIOR)
        return own.drawn_towards(base, _OWN_PRIOR), own.weight, in_family.weight + in_lineage.weight


def _plus(total: _Total | None, mark: Mark, weight: float) -> _Total:
    before = total or _Total()
    return _Total(value=before.value + weight * mark.value, weight=before.weight + weight)


def _grouped(own: Mapping[str, _Total], groups: Mapping[str, str | None]) -> Mapping[str, _Total]:
    found: dict[str, list[_Total]] = defaultdict(list)
    for model_id, total in own.items():
        group = groups.get(model_id)
        if group is not None:
            found[group].append(total)
    return {
        group: _Total(value=math.fsum(t.value for t in totals), weight=math.fsum(t.weight for t in totals))
        for group, totals in found.items()
    }


def _row(
    model: KnownModel,
    marks: Mapping[str, Mapping[str, Mark]],
    weights: Mapping[str, float],
    sums: _Sums,
    history: History,
) -> PriorRow:
    own = {fingerprint: of_data[model.model_id] for fingerprint, of_data in marks.items() if model.model_id in of_data}
    advantage, own_weight, relatives_weight = sums.estimate(model)
    known = own_weight > 0 or relatives_weight > 1e-9
    if own:
        names = {fingerprint: history.targets[fingerprint].name for fingerprint in own}
        reason = _reasons.of_marks(own, weights, names)
    elif known:
        reason = _reasons.of_relatives(family(model.architecture), advantage)
    else:
        reason = _reasons.NOTHING
    return PriorRow(
        model_id=model.model_id,
        name=model.name,
        advantage=advantage if known else None,
        stderr=_SCATTER * math.sqrt(1 + 1 / (own_weight + _OWN_PRIOR)) if known else None,
        n_outcomes=sum(mark.measured for mark in own.values()),
        n_scores=sum(not mark.measured for mark in own.values()),
        reason=reason,
    )
