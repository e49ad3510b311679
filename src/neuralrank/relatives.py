"""Near relatives of a model in the catalogue: by what is known of both, and by their features where both were run.

Linear CKA compares what two models make of the same samples: those of a ranking that had both, as the cache keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from neuralrank import settings
from neuralrank.entries import ModelEntry
from neuralrank.queries.likeness import Likeness, likeness, representation_likeness
from neuralrank.queries.where import parse_where
from neuralrank.queries.words import parse_words
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.columns import Columns
from neuralrank.storage.feature_rows import KnownRows, feature_rows
from neuralrank.storage.runs import SharedRun, shared_runs
from neuralrank.storage.text_index import TextIndex

MAX_LIKE = 500
"""Relatives are looked for among so many models that share words, and among those of the same architecture."""
MAX_COMPARED = 30
"""Of so many the features are compared."""
MIN_COMPARED_SAMPLES, MAX_COMPARED_SAMPLES = 20, 5_000
REPRESENTATION_WEIGHT = 0.5
"""Of the similarity of features beside that of what is known of two models."""


def relatives(
    row: int, catalogue: Catalogue, columns: Columns, texts: TextIndex, among: NDArray[np.bool_]
) -> list[tuple[int, Likeness]]:
    """Return models that are like a given one, with how much and why, the most alike first.

    Args:
        row: of the model.
        catalogue: that has it.
        columns: of the catalogue.
        texts: of the catalogue.
        among: shape (n_rows,), which models may be found; the model itself never is.
    """
    (model,) = catalogue.entries([row])
    among = among.copy()
    among[row] = False
    shared = {run.other_id: run for run in shared_runs(catalogue, model.model_id)}
    rows = sorted({*_candidates(model, columns, texts, among), *_rows_of(shared, catalogue, among)})
    known = [
        (likeness(model, entry), at, entry.model_id) for at, entry in zip(rows, catalogue.entries(rows), strict=True)
    ]
    known.sort(key=lambda one: (-one[0].value, one[1]))
    ran = [model_id for _, _, model_id in known if model_id in shared][:MAX_COMPARED]
    alike = _representations([shared[model_id] for model_id in ran])
    found = [(at, _joined(like, alike.get(model_id))) for like, at, model_id in known]
    return sorted((one for one in found if one[1].value > 0), key=lambda one: (-one[1].value, one[0]))


def _candidates(model: ModelEntry, columns: Columns, texts: TextIndex, among: NDArray[np.bool_]) -> set[int]:
    """Return the rows of models that share words, the architecture or an ancestor with a model."""
    words = " ".join((model.name, model.architecture or "", *model.base_model, *model.tags[:10])).replace('"', " ")
    hits = texts.search(parse_words(words, any_of=True), limit=MAX_LIKE, among=among)
    rows = {int(row) for row in hits.rows}
    for name, value in (("architecture", model.architecture), ("base_model", model.name)):
        if value:
            condition = parse_where(f"{name} = {_quoted(value)}")
            alike = columns.masks(condition.evaluate, fields=condition.fields)[0] & among
            rows.update(int(row) for row in columns.best("downloads", alike, MAX_LIKE, descending=True))
    return rows


def _rows_of(shared: dict[str, SharedRun], catalogue: Catalogue, among: NDArray[np.bool_]) -> set[int]:
    return {row for model_id in shared for row in catalogue.rows_of(model_id) if among[row]}


def _representations(runs: Sequence[SharedRun]) -> dict[str, tuple[float, str]]:
    """Return by model how alike its features are to those of the one asked about, and on which data."""
    rows = feature_rows(settings.cache_dir())
    found: dict[str, tuple[float, str]] = {}
    own: dict[str, KnownRows] = {}
    for run in runs:
        if run.own_key not in own:
            own[run.own_key] = rows.read(run.own_key, rows.samples(run.own_key)[:MAX_COMPARED_SAMPLES])
        mine = own[run.own_key]
        other = rows.read(run.other_key, rows.samples(run.own_key)[:MAX_COMPARED_SAMPLES])
        both = mine.known & other.known
        if np.count_nonzero(both) >= MIN_COMPARED_SAMPLES:
            alike = representation_likeness(mine.values[both], other.values[both])
            found[run.other_id] = (alike, PurePath(run.data).name or run.data)
    return found


def _joined(described: Likeness, alike: tuple[float, str] | None) -> Likeness:
    """Add what the features say to what is known of two models."""
    if alike is None:
        return described
    value, data = alike
    return Likeness(
        value=1 - (1 - described.value) * (1 - REPRESENTATION_WEIGHT * max(0.0, value)),
        reasons=(f"features alike on {data}: CKA {value:.2f}", *described.reasons),
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
