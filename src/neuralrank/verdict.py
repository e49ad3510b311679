"""From scored models to an ordered result: places, intervals, ties, warnings, and what static lists would have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.expectation import expected_head_accuracy
from neuralrank.features import Features
from neuralrank.order import Order
from neuralrank.probe import Probe, Rung
from neuralrank.scores import ScoreSheet, Wanted, is_static
from neuralrank.types import ModelRecord, RankedModel, Score, TargetSummary
from neuralrank.uncertainty import Confidence, combined_confidence, confidence, raced_confidence

EXPECTS_ACCURACY = "neuralrank"
"""The score whose held-out accuracy the expected one follows from."""

BASELINES = ("log_params", "size", "reported_accuracy")
"""Static scores whose orders stand beside every ranking."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One model that was scored."""

    record: ModelRecord
    features: Features
    """At the last rung it has reached, without the arrays."""
    n_features: int
    sheets: tuple[ScoreSheet, ...]
    """One for each rung it has reached, smallest first."""
    warnings: tuple[str, ...]
    left: str | None = None
    """Why it went no further, in words; None if it was not stopped."""
    n_starts: int = 1
    """How often it was loaded to come this far."""

    @property
    def sheet(self) -> ScoreSheet:
        """Scores at the last rung."""
        return self.sheets[-1]

    @property
    def rung(self) -> int:
        """Place of the last rung."""
        return len(self.sheets) - 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rows of a ranking have in common."""

    rungs: tuple[Rung, ...]
    order: Order
    wanted: Wanted


def ranked_models(trials: Sequence[Trial], verdict: Verdict) -> tuple[RankedModel, ...]:
    """Return the rows of a ranking, best first; a model that went on to more samples is before those that did not."""
    if not trials:
        return ()
    values = _values(verdict.order, trials)
    places = sorted(
        range(len(trials)), key=lambda place: (-trials[place].rung, -values[place], trials[place].record.model_id)
    )
    return tuple(_rows(verdict, [trials[place] for place in places], [values[place] for place in places]))


def _values(order: Order, trials: Sequence[Trial]) -> list[float]:
    """Return what orders the models; a combination depends on all of them."""
    scores = [trial.sheet.scores for trial in trials]
    members = [[each[name].value if name in each else np.nan for name in order.members] for each in scores]
    return [float(value) for value in order.values(np.array(members))]


def _rows(verdict: Verdict, ordered: Sequence[Trial], values: Sequence[float]) -> list[RankedModel]:
    sure = _confidence(verdict, ordered)
    ties = np.cumsum(np.concatenate([[True], np.diff(values) != 0])) if sure is None else sure.tie_group
    rows = []
    for place, (trial, value) in enumerate(zip(ordered, values, strict=True)):
        interval = None if sure is None else (float(sure.low[place]), float(sure.high[place]))
        p_best = None if sure is None else float(sure.p_best[place])
        rows.append(_row(verdict, trial, place, value, interval, p_best, int(ties[place])))
    return rows


def _confidence(verdict: Verdict, ordered: Sequence[Trial]) -> Confidence | None:
    """Judge the models by the terms of what orders them; None where there is nothing to draw anew."""
    order, seed = verdict.order, verdict.wanted.seed
    if all(is_static(name) for name in order.members):
        return None
    last = np.array([trial.rung for trial in ordered])
    rungs = range(int(last.max()) + 1)
    found = [[_terms(name, ordered, rung) for name in order.members] for rung in rungs]
    if any(part is None for terms in found for part in terms):
        return None
    known = [[part for part in terms if part is not None] for terms in found]
    groups = [[_groups(verdict.rungs[rung], part) for part in terms] for rung, terms in zip(rungs, known, strict=True)]
    if order.combine is not None:  # such orders are of models that have all seen the same samples
        return combined_confidence(known[-1], groups[-1], order.combine, seed=seed)
    if (last == last.max()).all():
        return confidence(known[-1][0], groups[-1][0], seed=seed)
    return raced_confidence([terms[0] for terms in known], [each[0] for each in groups], last, seed=seed)


def _groups(rung: Rung, terms: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return the groups of terms; jackknifed ones stand for blocks of samples that hold whole groups already."""
    return rung.probe.groups if terms.shape[1] == len(rung) else None


def _terms(name: str, ordered: Sequence[Trial], rung: int) -> NDArray[np.float64] | None:
    """Return the terms of one score at a rung, shape (n_models, n_units), NaN for models without; None if unknown."""
    sheets = [trial.sheets[rung] if trial.rung >= rung else None for trial in ordered]
    if is_static(name):
        scores = [sheet.scores.get(name) if sheet else None for sheet in sheets]
        return np.array([[score.value if score else np.nan] for score in scores])
    found = [sheet.terms.get(name) if sheet else None for sheet in sheets]
    sizes = {len(part) for part in found if part is not None}
    unknown = any(sheet and name in sheet.scores and name not in sheet.terms for sheet in sheets)
    if len(sizes) != 1 or unknown:
        return None
    nothing = np.full(sizes.pop(), np.nan)
    return np.stack([nothing if part is None else part for part in found])


def _row(
    verdict: Verdict,
    trial: Trial,
    place: int,
    value: float,
    interval: tuple[float, float] | None,
    p_best: float | None,
    tie_group: int,
) -> RankedModel:
    scores = trial.sheet.scores
    own = scores.get(EXPECTS_ACCURACY)
    probe = verdict.rungs[trial.rung].probe
    accuracy, accuracy_interval = _expected_accuracy(probe, own)
    chance = () if interval is None else _chance_warning(verdict.order, probe, interval)
    facts = trial.record.facts
    return RankedModel(
        rank=place + 1,
        model_id=trial.record.model_id,
        name=trial.record.name,
        score=value,
        interval=interval,
        p_best=p_best,
        tie_group=tie_group,
        expected_accuracy=accuracy,
        expected_accuracy_interval=accuracy_interval,
        layer=trial.features.layer,
        n_features=trial.n_features,
        n_samples_used=len(probe),
        left=trial.left,
        scores={
            name: trial.sheet.scores[name].value if name in trial.sheet.scores else None
            for name in verdict.wanted.names
        },
        per_class={probe.class_names[index]: share for index, share in own.per_class.items()} if own else {},
        params=facts.n_params,
        size_bytes=trial.record.size_bytes,
        extract_seconds=trial.features.extract_seconds,
        features_key=trial.features.rows_key,
        cached=trial.features.cached,
        architecture=facts.architecture,
        format=facts.format,
        license=facts.licence,
        pretraining_data=facts.pretraining_data,
        warnings=(*chance, *dict.fromkeys(trial.warnings)),
    )


def _expected_accuracy(probe: Probe, own: Score | None) -> tuple[float | None, tuple[float, float] | None]:
    """Return what a head will reach, with its interval; only of classes is known how held-out accuracies go with it."""
    if own is None:
        return None, None
    if probe.target.task != "classification":
        return own.details["accuracy"], None
    n_units = len(probe) if probe.groups is None else len(np.unique(probe.groups))
    found = expected_head_accuracy(own.details["accuracy"], n_units)
    return found.value, (found.low, found.high)


def _chance_warning(order: Order, probe: Probe, interval: tuple[float, float]) -> tuple[str, ...]:
    """Warn where a score with a known chance level does not exceed it."""
    labels, name = probe.labels, order.text
    if name == "knn" and probe.target.task == "classification":
        chance = float(np.bincount(labels).max() / len(labels))
    elif name in ("neuralrank", "knn", "ridge_probe"):
        chance = 0.0
    else:
        return ()
    return () if interval[0] > chance else (f"no better than chance ({name} of {chance:.2f}).",)


def summary(probe: Probe, n_target: int) -> TargetSummary:
    """Return the `target` part of a ranking."""
    target = probe.target
    named = target.task != "regression"
    largest, entropy = _class_frequencies(probe)
    return TargetSummary(
        path=target.name,
        modality=target.modality,
        task=target.task,
        n_samples=n_target,
        n_probe=len(probe),
        n_classes=len(probe.class_names) if named else None,
        label_entropy_bits=entropy,
        fingerprint=target.fingerprint,
        class_names=probe.class_names if named else (),
        n_groups=None if probe.groups is None else int(probe.groups.max()) + 1,
        n_unreadable=probe.n_unreadable,
        chance_accuracy=largest,
        notes=(*target.notes, *probe.notes),
    )


def _class_frequencies(probe: Probe) -> tuple[float | None, float | None]:
    """Return the share of the most frequent class and the label entropy in bits (multilabel: None, and the mean)."""
    if probe.target.task == "regression":
        return None, None
    if probe.target.task == "multilabel":
        shares = probe.labels.mean(axis=0)
        each = -shares * np.log2(shares) - (1.0 - shares) * np.log2(1.0 - shares)
        return None, float(each.mean())
    frequencies = np.bincount(probe.labels) / len(probe)
    return float(frequencies.max()), float(-frequencies @ np.log2(frequencies))


def baselines(records: Sequence[ModelRecord]) -> dict[str, tuple[str, ...]]:
    """Return the orders by each static score, best first, of the models whose record states it."""
    orders = {}
    for name in BASELINES:
        of_record = registry.get("scorers", name).of_record
        stated = [(record, value) for record in records if (value := of_record(record)) is not None]
        if stated:
            orders[name] = tuple(record.model_id for record, _ in sorted(stated, key=lambda pair: -pair[1]))
    return orders
