"""Score the features of one model on the probe, and keep the scores.

What is kept is found by everything it depends on: features, labels, groups, seed, the scores asked for and the code of
our scorers. Scores of other packages, whose code may change unseen, are computed anew each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remember
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.errors import OutputError
from neuralrank.probe import Probe
from neuralrank.scorers._prepared import Prepared, prepare
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.types import Score
from neuralrank.uncertainty import jackknife_terms


@dataclass(frozen=True, kw_only=True)
class ScoreSheet:
    """All scores of one model."""

    scores: Mapping[str, Score]
    """By name; the per-sample terms are left out."""
    terms: NDArray[np.float64]
    """Of the first score, whose mean they have: one per sample, or one per block where it has none per sample."""


def score_features(
    values: NDArray[np.float32], probe: Probe, names: Sequence[str], *, seed: int, key: str, cache: FeatureCache | None
) -> ScoreSheet:
    """Return the scores of one model, from the cache or computed.

    Args:
        values: features, shape (n_samples, n_features), rows as in the probe.
        probe: with labels and groups.
        names: of the scorers; the first one orders the models.
        seed: of the jackknife.
        key: identifies the features.
        cache: where scores are kept.

    Raises:
        DataError: the features cannot be scored.
    """
    code = _code_digest(tuple(names))
    if cache is None or code is None:
        return _computed(values, probe, names, seed)
    key = cache_key(
        kind="scores",
        code=code,
        features=key,
        labels=_digest(probe.labels),
        groups=None if probe.groups is None else _digest(probe.groups),
        task=probe.target.task,
        names=list(names),
        seed=seed,
    )
    found = cache.get(key)
    if found is not None:
        return _unpacked(*found)
    sheet = _computed(values, probe, names, seed)
    try:
        cache.put(key, *_packed(sheet))
    except OutputError:
        return sheet  # the features were kept or not in the same place, and their warning says so
    return sheet


def _computed(values: NDArray[np.float32], probe: Probe, names: Sequence[str], seed: int) -> ScoreSheet:
    prepared = prepare(values, probe.labels, groups=probe.groups, task=probe.target.task)
    scores: dict[str, Score] = {name: registry.get("scorers", name).of(prepared) for name in names}
    terms = scores[names[0]].terms
    if terms is None:
        terms = _jackknifed(prepared, probe, names[0], seed)
    return ScoreSheet(scores=scores, terms=terms)


def _jackknifed(prepared: Prepared, probe: Probe, name: str, seed: int) -> NDArray[np.float64]:
    scorer = registry.get("scorers", name)

    def value(rows: NDArray[np.int64]) -> float:
        groups = None if probe.groups is None else probe.groups[rows]
        part = prepare(prepared.features[rows], probe.labels[rows], groups=groups, task=prepared.task)
        return float(scorer.of(part).value)

    return jackknife_terms(value, prepared.labels, probe.groups, seed=seed)


# --- on disk -----------------------------------------------------------------------------------------------------


def _packed(sheet: ScoreSheet) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return terms and scores as the cache takes them: each float64 as two columns of float32 bits, nothing rounded."""
    bits = np.ascontiguousarray(sheet.terms).view(np.float32).reshape(-1, 2)
    scores = {
        name: {
            "value": score.value,
            "per_class": [list(pair) for pair in score.per_class.items()],
            "details": dict(score.details),
            "warnings": list(score.warnings),
        }
        for name, score in sheet.scores.items()
    }
    return bits, {"scores": scores}


def _unpacked(bits: NDArray[np.float32], metadata: Mapping[str, Any]) -> ScoreSheet:
    scores = {
        name: Score(
            value=kept["value"],
            per_class=dict(kept["per_class"]),
            details=kept["details"],
            warnings=tuple(kept["warnings"]),
        )
        for name, kept in metadata["scores"].items()
    }
    return ScoreSheet(scores=scores, terms=np.ascontiguousarray(bits).view(np.float64).reshape(-1))


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
