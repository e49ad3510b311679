"""`Ranking` → JSON text in the published schema `neuralrank/ranking/1` (`schemas/ranking-1.json`), and back."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuralrank.errors import DataError, OutputError
from neuralrank.types import Failure, RankedModel, Ranking, TargetSummary

SCHEMA = "neuralrank/ranking/1"


def document(ranking: Ranking, *, indent: int | None = 2) -> str:
    """Write the whole ranking as JSON: the stable form for programs.

    The text is ASCII, so names of any characters pass any pipe. Floats are written in the shortest form that reads
    back as the same number. A score that is not defined for a model is null; NaN and infinity never appear.

    Args:
        ranking: the result to write.
        indent: spaces per level; None writes one line.

    Raises:
        OutputError: a number that the schema requires is NaN or infinite.
    """
    content = {
        "schema": SCHEMA,
        "run_id": ranking.run_id,
        "created": ranking.created,
        "seed": int(ranking.seed),
        "score": ranking.score,
        "target": _target(ranking.target),
        "ranking": [_model(model) for model in ranking.models],
        "failures": [
            {"model_id": failure.model_id, "stage": failure.stage, "error": failure.error}
            for failure in ranking.failures
        ],
        "baselines": {name: list(ids) for name, ids in ranking.baselines.items()},
        "stopped": ranking.stopped,
        "cost": _plain(ranking.cost),
        "settings": _plain(ranking.settings),
    }
    return json.dumps(content, indent=indent, allow_nan=False)


def ranking_from_json(text: str) -> Ranking:
    """Read a ranking back from its JSON, so that any report can be made of it; writing it again gives the same text.

    Args:
        text: what `document` wrote, with any indent.

    Raises:
        DataError: it is no such text, or of a schema that this version does not know.
    """
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise DataError(
                f"A ranking needs the schema {SCHEMA}. Got {content['schema']!r}. "
                "Read it with the version of neuralrank that wrote it."
            )
        target = content["target"]
        return Ranking(
            run_id=content["run_id"],
            created=content["created"],
            seed=content["seed"],
            score=content["score"],
            target=TargetSummary(
                **{**target, "class_names": tuple(target["class_names"]), "notes": tuple(target["notes"])}
            ),
            models=tuple(map(_model_back, content["ranking"])),
            failures=tuple(Failure(**failure) for failure in content["failures"]),
            baselines={name: tuple(ids) for name, ids in content["baselines"].items()},
            stopped=content["stopped"],
            settings=content["settings"],
            cost=content.get("cost", {}),  # rankings of older versions have none
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"A ranking needs JSON in the schema {SCHEMA}. Got something else ({type(error).__name__}: {error}). "
            "Write it with --format json."
        ) from error


def _target(target: TargetSummary) -> dict[str, Any]:
    return {
        "path": target.path,
        "modality": target.modality,
        "task": target.task,
        "n_samples": int(target.n_samples),
        "n_probe": int(target.n_probe),
        "n_classes": _integer(target.n_classes),
        "label_entropy_bits": _optional(target.label_entropy_bits),
        "fingerprint": target.fingerprint,
        "class_names": list(target.class_names),
        "n_groups": _integer(target.n_groups),
        "n_unreadable": int(target.n_unreadable),
        "chance_accuracy": _optional(target.chance_accuracy),
        "notes": list(target.notes),
    }


def _model(model: RankedModel) -> dict[str, Any]:
    interval, expected = model.interval, model.expected_accuracy_interval
    return {
        "rank": int(model.rank),
        "model_id": model.model_id,
        "score": _required(model.score, "score", model),
        "interval": None if interval is None else [_required(bound, "interval", model) for bound in interval],
        "p_best": _optional(model.p_best),
        "tie_group": int(model.tie_group),
        "expected_accuracy": _optional(model.expected_accuracy),
        "expected_accuracy_interval": None if expected is None else [_optional(bound) for bound in expected],
        "layer": model.layer,
        "n_samples_used": int(model.n_samples_used),
        "left": model.left,
        "scores": {name: _optional(value) for name, value in model.scores.items()},
        "params": _integer(model.params),
        "size_bytes": int(model.size_bytes),
        "extract_seconds": _required(model.extract_seconds, "extract_seconds", model),
        "license": model.license,
        "warnings": list(model.warnings),
        "name": model.name,
        "n_features": int(model.n_features),
        "architecture": model.architecture,
        "format": model.format,
        "pretraining_data": model.pretraining_data,
        "cached": bool(model.cached),
        "per_class": {name: _optional(value) for name, value in model.per_class.items()},
    }


def _model_back(row: Mapping[str, Any]) -> RankedModel:
    interval, expected = row["interval"], row["expected_accuracy_interval"]
    return RankedModel(
        **{
            **row,
            "interval": None if interval is None else tuple(interval),
            "expected_accuracy_interval": None if expected is None else tuple(map(_number, expected)),
            "per_class": {name: _number(value) for name, value in row["per_class"].items()},
            "warnings": tuple(row["warnings"]),
        }
    )


def _number(value: float | None) -> float:
    """Return what null was where a number has to be."""
    return math.nan if value is None else value


def _required(value: float, what: str, model: RankedModel) -> float:
    if not math.isfinite(value):
        raise OutputError(
            f"The JSON of a ranking needs finite numbers. Got {what} {float(value)!r} for {model.model_id!r}. "
            "Report this: a model without a score belongs under the failures."
        )
    return float(value)


def _optional(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _integer(value: int | None) -> int | None:
    return None if value is None else int(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return _optional(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
