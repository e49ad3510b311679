"""Read the models and queries of the search benchmark: entries as a repository lists them, and facts beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank.entries import ModelEntry

HERE = Path(__file__).resolve().parent
ZOO = HERE.parents[2] / "shared" / "zoo"
LABEL_SETS = {"imagenet-1k": "squeezenet10_deepcompression", "inat2017-birds": "mobilenetv2_inat_bird"}
"""Which card of the zoo names the classes."""
LISTS = ("languages", "tags", "label_names", "pretraining_data", "base_model")
NOT_OF_AN_ENTRY = ("facts", "label_set")


@dataclass(frozen=True)
class Query:
    """What somebody typed, and which models answer it how well."""

    id: str
    text: str
    kind: str
    half: str
    """'tune': weights may be chosen by it. 'report': only looked at to report."""
    relevant: Mapping[str, int]
    """Name → 3 exactly what was asked for, 2 fits, 1 marginal; every other model is 0."""


def read_rows(path: Path = HERE / "models.jsonl") -> list[dict[str, Any]]:
    """Return the rows of the file as they are."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_entries(zoo: Path | None = ZOO) -> list[ModelEntry]:
    """Return the models as entries; without the zoo, large label sets are missing."""
    sets = {name: label_names(zoo, card) for name, card in LABEL_SETS.items()}
    return [make_entry(row, sets) for row in read_rows()]


def read_queries(path: Path = HERE / "queries.jsonl") -> list[Query]:
    """Return the queries with their judgements."""
    return [Query(**json.loads(line)) for line in path.read_text().splitlines()]


def label_names(zoo: Path | None, card: str) -> tuple[str, ...]:
    """Return the class names that a card of the zoo gives, none if it is not there."""
    path = zoo / f"{card}.json" if zoo else None
    return tuple(json.loads(path.read_text())["class_names"]) if path and path.exists() else ()


def make_entry(row: Mapping[str, Any], label_sets: Mapping[str, tuple[str, ...]]) -> ModelEntry:
    """Make an entry of a row; its stamp is made up, since no repository was asked."""
    known = {key: value for key, value in row.items() if key not in NOT_OF_AN_ENTRY}
    known |= {key: tuple(known[key]) for key in LISTS if key in known}
    if "label_set" in row:
        known["label_names"] = label_sets[row["label_set"]]
    return ModelEntry(model_id=f"{row['source']}:{row['name']}@1", location=row["name"], stamp="1", **known)
