"""Score one model: its features and head on the probe, and its record. What is computed is kept.

What is kept is found by everything it depends on: features, labels, groups, seed, the scores asked for and the code of
our scorers. Scores of other packages, whose code may change unseen, are computed anew each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache as remember
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.errors import DataError, OutputError
from neuralrank.features import Features
from neuralrank.probe import Probe
from neuralrank.scorers import StaticScorer
from neuralrank.scorers._prepared import Prepared, prepare
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.types import ModelRecord, Score
from neuralrank.uncertainty import jackknife_terms

VERSION = 2
"""Raised when what is kept changes its form."""


@dataclass(frozen=True, kw_only=True)
class ScoreSheet:
    """All scores of one model."""

    scores: Mapping[str, Score]
    """By name; the per-sample terms are left out."""
    missing: Mapping[str, str]
    """Why a score has no value for this model, by name."""
    prone_to_noise: tuple[str, ...]
    """Scores that may prefer noise at this number of dimensions and samples."""
    terms: Mapping[str, NDArray[np.float64]]
    """Of the scores that order the models, whose mean they have: one per sample, or one per block where there are none
    per sample; absent where there are neither."""
    correct: Mapping[str, NDArray[np.float64]]
    """Of the scores that order the models: 1 where the held-out prediction of a sample is right, if they make any."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which scores to compute."""

    names: tuple[str, ...]
    ordering: tuple[str, ...]
    """Those of them that order the models: their terms are needed."""
    seed: int
    """Of folds, subsamples and the jackknife."""

    @property
    def needs_head(self) -> bool:
        """Whether one of them is a score of the model's own head."""
        return any(map(needs_head, self.names))

    def of_arrays(self) -> Wanted:
        """Leave out the scores that a record alone gives."""
        names = tuple(name for name in self.names if not is_static(name))
        return replace(self, names=names, ordering=tuple(name for name in self.ordering if name in names))


def needs_head(name: str) -> bool:
    """Return whether a score is one of the model's own head."""
    return getattr(registry.get("scorers", name), "needs", "features") not in ("features", "record")


def is_static(name: str) -> bool:
    """Return whether a score is one of the model's record, which never sees the data."""
    return isinstance(registry.get("scorers", name), StaticScorer)


def score_model(
    record: ModelRecord, features: Features, probe: Probe, wanted: Wanted, *, cache: FeatureCache | None
) -> ScoreSheet:
    """Return the scores of one model, from the cache or computed.

    Args:
        record: of the model.
        features: its features on the probe, and its logits where a score needs them.
        probe: with labels and groups.
        wanted: the scores.
        cache: where scores are kept.

    Raises:
        DataError: the features cannot be scored.
    """
    sheet = _score_arrays(features, probe, wanted.of_arrays(), cache)
    scores, missing = dict(sheet.scores), dict(sheet.missing)
    for name in wanted.names:
        if is_static(name):
            value = registry.get("scorers", name).of_record(record)
            if value is None:
                missing[name] = "The model's record does not say it."
            else:
                scores[name] = Score(value=value)
    ordered = {name: scores[name] for name in wanted.names if name in scores}
    return replace(sheet, scores=ordered, missing=missing)


def _score_arrays(features: Features, probe: Probe, wanted: Wanted, cache: FeatureCache | None) -> ScoreSheet:
    code = _code_digest(wanted.names)
    if cache is None or code is None:
        return _computed(features, probe, wanted)
    key = cache_key(
        kind="scores",
        version=VERSION,
        code=code,
        features=features.key,
        head=features.logits is not None,
        labels=_digest(probe.labels),
        groups=None if probe.groups is None else _digest(probe.groups),
        task=probe.target.task,
        names=list(wanted.names),
        ordering=list(wanted.ordering),
        seed=wanted.seed,
    )
    found = cache.get(key)
    if found is not None:
        return _unpacked(*found)
    sheet = _computed(features, probe, wanted)
    try:
        cache.put(key, *_packed(sheet))
    except OutputError:
        return sheet  # the features were kept or not in the same place, and their warning says so
    return sheet


def _computed(features: Features, probe: Probe, wanted: Wanted) -> ScoreSheet:
    prepared = prepare(
        features.values,
        probe.labels,
        logits=features.logits,
        groups=probe.groups,
        task=probe.target.task,
        seed=wanted.seed,
    )
    scores: dict[str, Score] = {}
    missing: dict[str, str] = {}
    terms: dict[str, NDArray[np.float64]] = {}
    prone = []
    for name in wanted.names:
        scorer = registry.get("scorers", name)
        if scorer.needs != "features" and features.logits is None:
            missing[name] = "The model has no classifier of its own that could be used."
            continue
        try:
            scores[name] = scorer.of(prepared)
        except (DataError, np.linalg.LinAlgError) as error:
            missing[name] = str(error)
        if name in scores and scorer.noise_warning(prepared) in scores[name].warnings:
            prone.append(name)
    correct = {
        name: scores[name].correct for name in wanted.ordering if name in scores and scores[name].correct is not None
    }
    for name in wanted.ordering:
        own = scores[name].terms if name in scores else None
        if own is None and name in scores:
            own = _jackknifed(prepared, name, scores[name].value)
        if own is not None:
            terms[name] = own
    return ScoreSheet(
        scores={name: replace(score, terms=None, correct=None) for name, score in scores.items()},
        missing=missing,
        prone_to_noise=tuple(prone),
        terms=terms,
        correct={name: right for name, right in correct.items() if right is not None},
    )


def _jackknifed(prepared: Prepared, name: str, whole: float) -> NDArray[np.float64] | None:
    """Return terms from parts of the samples, None where a part cannot be scored, for example without some label."""
    scorer = registry.get("scorers", name)
    try:
        return jackknife_terms(
            lambda rows: float(scorer.of(prepared.subset(rows)).value),
            whole,
            prepared.labels.reshape(prepared.n_samples, -1)[:, 0],
            prepared.groups,
            seed=prepared.seed,
        )
    except (DataError, np.linalg.LinAlgError):
        return None


# --- on disk -----------------------------------------------------------------------------------------------------


def _packed(sheet: ScoreSheet) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return terms and scores as the cache takes them: each float64 as two columns of float32 bits, nothing rounded."""
    arrays = np.concatenate([np.empty(0), *sheet.terms.values(), *sheet.correct.values()])
    bits = np.ascontiguousarray(arrays).view(np.float32).reshape(-1, 2)
    scores = {
        name: {
            "value": score.value,
            "stderr": score.stderr,
            "per_class": [list(pair) for pair in score.per_class.items()],
            "details": dict(score.details),
            "warnings": list(score.warnings),
        }
        for name, score in sheet.scores.items()
    }
    lengths = [[name, len(values)] for part in (sheet.terms, sheet.correct) for name, values in part.items()]
    return bits, {
        "scores": scores,
        "missing": dict(sheet.missing),
        "prone_to_noise": list(sheet.prone_to_noise),
        "lengths": lengths,
        "n_terms": len(sheet.terms),
    }


def _unpacked(bits: NDArray[np.float32], metadata: Mapping[str, Any]) -> ScoreSheet:
    scores = {
        name: Score(
            value=kept["value"],
            stderr=kept["stderr"],
            per_class=dict(kept["per_class"]),
            details=kept["details"],
            warnings=tuple(kept["warnings"]),
        )
        for name, kept in metadata["scores"].items()
    }
    values = np.ascontiguousarray(bits).view(np.float64).reshape(-1)
    lengths, n_terms = metadata["lengths"], metadata["n_terms"]
    parts = np.split(values, np.cumsum([length for _, length in lengths])[:-1]) if lengths else []
    named = list(zip((name for name, _ in lengths), parts, strict=True))
    return ScoreSheet(
        scores=scores,
        missing=metadata["missing"],
        prone_to_noise=tuple(metadata["prone_to_noise"]),
        terms=dict(named[:n_terms]),
        correct=dict(named[n_terms:]),
    )


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()


@remember
def _code_digest(names: tuple[str, ...]) -> str | None:
    """Return a digest of the source of our scorers and of the jackknife, None if one of the scores is a plug-in's."""
    package = files("neuralrank")
    own = {file.name: file for file in (package / "scorers").iterdir() if file.name.endswith(".py")}
    if any(f"{name}.py" not in own for name in names):
        return None
    sources = [own[name].read_bytes() for name in sorted(own)] + [(package / "uncertainty.py").read_bytes()]
    return hashlib.sha256(b"".join(sources)).hexdigest()
