"""The history that a catalogue holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from neuralrank.entries import ModelEntry
from neuralrank.history._prior import Prior, expected_order
from neuralrank.history._relatives import KnownModel, known_model
from neuralrank.history._results import History
from neuralrank.history._similarity import target_facts
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.outcomes import Outcome, outcomes
from neuralrank.storage.runs import StoredTrial, entries_of, targets, trials_of
from neuralrank.types import Target


def prior_for(catalogue: Catalogue, target: Target, entries: Sequence[ModelEntry]) -> Prior:
    """Return the order to expect of models on a data set from what the catalogue knows of others, before any runs.

    Args:
        catalogue: with past rankings and outcomes.
        target: the data set asked about; its samples are not read.
        entries: the models to order, in an order that stays where nothing is known.

    Raises:
        CatalogueError: the catalogue cannot be read.
    """
    asked = target_facts(
        fingerprint=target.fingerprint,
        name=_called(target.name),
        modality=target.modality,
        task=target.task,
        class_names=target.class_names,
    )
    candidates = [known_model(entry) for entry in entries]
    return expected_order(candidates, asked, read_history(catalogue, candidates))


def read_history(catalogue: Catalogue, candidates: Iterable[KnownModel] = ()) -> History:
    """Return the past results of a catalogue, and what is known of their data sets and models.

    Args:
        catalogue: to read.
        candidates: models that may be asked about: an outcome that was stored under a bare name is theirs if one of
            them, and no other, has that name.
    """
    stored = targets(catalogue)
    trials = {target.fingerprint: trials_of(catalogue, target.fingerprint) for target in stored}
    scores, score_names = {}, {}
    for fingerprint, of_data in trials.items():
        if of_data:
            score_names[fingerprint] = _usual_score(of_data)
            scores[fingerprint] = _newest_scores(of_data, score_names[fingerprint])
    reported = outcomes(catalogue)
    models = _models(catalogue, (trial for of_data in trials.values() for trial in of_data), reported)
    known = {**models, **{model.model_id: model for model in candidates}}
    return History(
        outcomes=tuple(_resolved(reported, known)),
        scores=scores,
        score_names=score_names,
        targets={
            target.fingerprint: target_facts(
                fingerprint=target.fingerprint,
                name=_called(target.path),
                modality=target.modality,
                task=target.task,
                class_names=target.class_names,
            )
            for target in stored
        },
        models=models,
    )


def _called(path: str) -> str:
    """Return what people call a data set: the last part of its path."""
    return PurePath(path).name or path


def _usual_score(trials: Sequence[StoredTrial]) -> str:
    """Return the score by which most models were ranked on one data set."""
    models = {(trial.score_name, trial.model_id) for trial in trials}
    counts = Counter(name for name, _ in models)
    return max(sorted(counts), key=lambda name: counts[name])


def _newest_scores(trials: Sequence[StoredTrial], name: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for trial in trials:  # newest first
        if trial.score_name == name:
            found.setdefault(trial.model_id, trial.score)
    return found


def _models(
    catalogue: Catalogue, trials: Iterable[StoredTrial], reported: Iterable[Outcome]
) -> Mapping[str, KnownModel]:
    """Return the models that have results; the catalogue knows more of them than the rankings."""
    found: dict[str, KnownModel] = {}
    for trial in trials:
        found.setdefault(
            trial.model_id, KnownModel(model_id=trial.model_id, name=trial.name, architecture=trial.architecture)
        )
    for outcome in reported:
        found.setdefault(outcome.model_id, KnownModel(model_id=outcome.model_id, name=outcome.model_id))
    entries = entries_of(catalogue, found)
    return found | {model_id: known_model(entry) for model_id, entry in entries.items()}


def _resolved(reported: Iterable[Outcome], known: Mapping[str, KnownModel]) -> Iterable[Outcome]:
    """Give outcomes under a bare name to the one model of that name."""
    ids: dict[str, list[str]] = {}
    for model in known.values():
        if model.model_id != model.name:
            ids.setdefault(model.name, []).append(model.model_id)
    for outcome in reported:
        of_name = ids.get(outcome.model_id, [])
        yield replace(outcome, model_id=of_name[0]) if len(of_name) == 1 else outcome
