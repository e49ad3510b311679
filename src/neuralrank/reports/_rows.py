"""One flat row per ranked model: the columns that the CSV file and the data frame share."""

from typing import Any

from neuralrank.types import RankedModel, Ranking

COLUMNS = (
    "rank",
    "tie_group",
    "model_id",
    "name",
    "score",
    "interval_low",
    "interval_high",
    "p_best",
    "expected_accuracy",
    "expected_accuracy_low",
    "expected_accuracy_high",
    "layer",
    "n_features",
    "n_samples_used",
    "params",
    "size_bytes",
    "extract_seconds",
    "cached",
    "architecture",
    "format",
    "license",
    "pretraining_data",
    "warnings",
)


def score_names(ranking: Ranking) -> tuple[str, ...]:
    """Return the names of the further scores, in the order they first appear."""
    return tuple(dict.fromkeys(name for model in ranking.models for name in model.scores))


def further_scores(ranking: Ranking) -> tuple[str, ...]:
    """Return the names of the scores beside the one that orders the ranking."""
    return tuple(name for name in score_names(ranking) if name != ranking.score)


def flat_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Return one dictionary per model: `COLUMNS`, then `score_NAME` for each further score."""
    further = score_names(ranking)
    return [_row(model, further) for model in ranking.models]


def _row(model: RankedModel, further: tuple[str, ...]) -> dict[str, Any]:
    special: dict[str, float | None] = {}
    for name, interval in (("interval", model.interval), ("expected_accuracy", model.expected_accuracy_interval)):
        special[f"{name}_low"], special[f"{name}_high"] = interval if interval is not None else (None, None)
    row = {name: special[name] if name in special else getattr(model, name) for name in COLUMNS}
    return row | {f"score_{name}": model.scores.get(name) for name in further}
