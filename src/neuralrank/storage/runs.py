"""Past rankings in the catalogue: each whole as its JSON, and its data set and trials as rows to look things up in.

What the user reported back about a model lies in `outcomes.py`.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from neuralrank.entries import ModelEntry
from neuralrank.errors import UnknownNameError
from neuralrank.storage._connection import told, writing
from neuralrank.storage._rows import iso_date
from neuralrank.storage.catalogue import Catalogue
from neuralrank.types import RankedModel, Ranking

_MAX_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Run:
    """One stored ranking, without its rows."""

    run_id: str
    created: str
    """UTC, ISO 8601."""
    fingerprint: str
    """Of its data set."""
    data: str
    """Where the data set was, as the user named it."""
    score: str
    n_models: int
    """Models that were ranked."""
    best: str | None
    """Name of the model ranked first."""


@dataclass(frozen=True, kw_only=True)
class StoredTarget:
    """A data set that was ranked for, or that an outcome is about."""

    fingerprint: str
    path: str
    """Where it was last, as the user named it."""
    modality: str | None = None
    task: str | None = None
    n_samples: int | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """One row of a stored ranking."""

    run_id: str
    created: str
    """When the run ended."""
    fingerprint: str
    score_name: str
    rank: int
    model_id: str
    name: str
    architecture: str | None
    score: float
    expected_accuracy: float | None
    n_samples: int
    extract_seconds: float


_RUN = (
    "SELECT run.run_id, run.created, run.fingerprint, coalesce(target.path, ''), run.score, "
    "(SELECT count(*) FROM trial WHERE trial.run_id = run.run_id), "
    "(SELECT name FROM trial WHERE trial.run_id = run.run_id AND rank = 1) "
    "FROM run LEFT JOIN target ON target.fingerprint = run.fingerprint"
)
_TRIAL = (
    "SELECT trial.run_id, run.created, run.fingerprint, run.score, rank, model_id, name, architecture, trial.score, "
    "expected_accuracy, n_samples, extract_seconds FROM trial JOIN run ON run.run_id = trial.run_id"
)
_RENEWED = "path = excluded.path, " + ", ".join(
    f"{name} = coalesce(excluded.{name}, target.{name})" for name in ("modality", "task", "n_samples", "class_names")
)
_NEWEST_FIRST = "ORDER BY run.created DESC, run.run_id"


def store_ranking(catalogue: Catalogue, ranking: Ranking) -> None:
    """Keep a ranking: its data set, the whole of it, and its trials; all or nothing.

    Models of the catalogue learn how long a sample takes them, where that was measured in this run. A ranking that was
    stored before takes its own place.

    Raises:
        CatalogueError: the catalogue cannot be written.
        OutputError: the ranking holds a number that is none.
    """
    packed = zlib.compress(ranking.to_json().encode(), 6)
    target, run_id, created = ranking.target, plain(ranking.run_id), _moment(ranking.created)
    with writing(catalogue.connection, catalogue.folder) as seq:
        run = catalogue.connection.execute
        put_target(
            catalogue,
            StoredTarget(
                fingerprint=target.fingerprint,
                path=target.path,
                modality=target.modality,
                task=target.task,
                n_samples=int(target.n_samples),
                class_names=target.class_names,
            ),
        )
        run("DELETE FROM trial WHERE run_id = ?", (run_id,))
        run(
            "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?)",
            (run_id, created, plain(target.fingerprint), plain(ranking.score), packed),
        )
        catalogue.connection.executemany(
            "INSERT INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((run_id, *_trial_values(model)) for model in ranking.models),
        )
        catalogue.connection.executemany(
            "UPDATE entry SET seconds_per_sample = ?, seq = ? WHERE row = ?",
            [
                (seconds, seq, row)
                for model_id, seconds in _measured(ranking.models)
                for row in catalogue.rows_of(model_id)
            ],
        )


def list_runs(catalogue: Catalogue) -> list[Run]:
    """Return the stored rankings, newest first."""
    return _runs(catalogue, "", ())


def get_run(catalogue: Catalogue, key: str) -> Run:
    """Return one stored ranking by its id, or by the start of it where no other begins so.

    Raises:
        UnknownNameError: there is none, or more than one.
    """
    found = _runs(catalogue, "WHERE substr(run.run_id, 1, ?) = ?", (len(key), key)) if key else []
    exact = [run for run in found if run.run_id == key] or found
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise UnknownNameError(
            f"A run needs an id that begins like no other. Got {key!r}, with which {_listed(exact)} begin. "
            "Give more of it."
        )
    known = list_runs(catalogue)
    which = f"The newest are {_listed(known)}; `neuralrank runs` lists all." if known else "None is stored yet."
    raise UnknownNameError(f"A run needs the id of one in the catalogue. Got {key!r}. {which}")


def get_document(catalogue: Catalogue, run_id: str) -> str:
    """Return the JSON of a stored ranking, as it was written then.

    Raises:
        UnknownNameError: there is no run of that id.
    """
    with told(catalogue.folder):
        found = catalogue.connection.execute("SELECT ranking FROM run WHERE run_id = ?", (plain(run_id),)).fetchone()
    if found is None:
        raise UnknownNameError(f"A run needs the id of one in the catalogue. Got {run_id!r}. See `neuralrank runs`.")
    return zlib.decompress(found[0]).decode()


def targets(catalogue: Catalogue) -> list[StoredTarget]:
    """Return the data sets that were ranked for or that outcomes are about, by path."""
    statement = (
        "SELECT fingerprint, path, modality, task, n_samples, class_names FROM target ORDER BY path, fingerprint"
    )
    with told(catalogue.folder):
        rows = catalogue.connection.execute(statement).fetchall()
    return [
        StoredTarget(
            fingerprint=fingerprint,
            path=path,
            modality=modality,
            task=task,
            n_samples=n_samples,
            class_names=tuple(json.loads(class_names or "[]")),
        )
        for fingerprint, path, modality, task, n_samples, class_names in rows
    ]


def trials_of(catalogue: Catalogue, fingerprint: str) -> list[StoredTrial]:
    """Return the rows of all stored rankings for one data set, those of the newest run first, best first."""
    return list(_trials(catalogue, "WHERE run.fingerprint = ?", (plain(fingerprint),)))


@dataclass(frozen=True, kw_only=True)
class SharedRun:
    """A ranking of two models: where the features of both on the same samples may be kept."""

    other_id: str
    own_key: str
    """Of the features of the model asked about."""
    other_key: str
    data: str


def shared_runs(catalogue: Catalogue, model_id: str) -> list[SharedRun]:
    """Return, for each model that was ranked along with this one, the newest such ranking whose features were kept."""
    statement = (
        "SELECT other.model_id, own.features_key, other.features_key, target.path FROM trial own "
        "JOIN trial other ON other.run_id = own.run_id AND other.model_id <> own.model_id "
        "JOIN run ON run.run_id = own.run_id JOIN target ON target.fingerprint = run.fingerprint "
        "WHERE own.model_id = ? AND own.features_key IS NOT NULL AND other.features_key IS NOT NULL "
        "ORDER BY run.created, run.run_id"
    )
    with told(catalogue.folder):
        rows = catalogue.connection.execute(statement, (plain(model_id),)).fetchall()
    newest = {other: (own_key, other_key, data) for other, own_key, other_key, data in rows}
    return [
        SharedRun(other_id=other, own_key=own_key, other_key=other_key, data=data)
        for other, (own_key, other_key, data) in newest.items()
    ]


def trials_of_model(catalogue: Catalogue, key: str) -> list[StoredTrial]:
    """Return the rows of all stored rankings whose model has that id or name, newest first."""
    return list(_trials(catalogue, "WHERE model_id = ?1 OR name = ?1", (plain(key),)))


def entries_of(catalogue: Catalogue, model_ids: Iterable[str]) -> dict[str, ModelEntry]:
    """Return the catalogue's models of these ids, as far as it has them."""
    found = {}
    for model_id in model_ids:
        rows = catalogue.rows_of(model_id)  # models that are there before removed ones
        if rows:
            found[model_id] = catalogue.entries(rows[:1])[0]
    return found


def put_target(catalogue: Catalogue, target: StoredTarget) -> None:
    """Write what is known of a data set; part of a transaction. What is not known now stays as it was."""
    names = json.dumps(list(target.class_names)) if target.class_names else None
    catalogue.connection.execute(
        f"INSERT INTO target VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE SET {_RENEWED}",
        (plain(target.fingerprint), plain(target.path), target.modality, target.task, target.n_samples, names),
    )


def _trial_values(model: RankedModel) -> tuple[Any, ...]:
    expected = model.expected_accuracy
    return (
        int(model.rank),
        plain(model.model_id),
        plain(model.name),
        None if model.architecture is None else plain(model.architecture),
        float(model.score),
        None if expected is None or not math.isfinite(expected) else float(expected),
        int(model.n_samples_used),
        float(model.extract_seconds),
        model.features_key,
    )


def _measured(models: Sequence[RankedModel]) -> Iterator[tuple[str, float]]:
    """Yield the seconds per sample of the models that were run: what the cache brought was perhaps run elsewhere."""
    for model in models:
        if not model.cached and model.n_samples_used > 0 and model.extract_seconds > 0:
            yield plain(model.model_id), float(model.extract_seconds) / int(model.n_samples_used)


def _runs(catalogue: Catalogue, condition: str, values: tuple[Any, ...]) -> list[Run]:
    with told(catalogue.folder):
        rows = catalogue.connection.execute(f"{_RUN} {condition} {_NEWEST_FIRST}", values).fetchall()
    names = ("run_id", "created", "fingerprint", "data", "score", "n_models", "best")
    return [Run(**dict(zip(names, row, strict=True))) for row in rows]


def _trials(catalogue: Catalogue, condition: str, values: tuple[Any, ...]) -> Iterator[StoredTrial]:
    with told(catalogue.folder):
        rows = catalogue.connection.execute(f"{_TRIAL} {condition} {_NEWEST_FIRST}, rank", values).fetchall()
    names = tuple(StoredTrial.__annotations__)
    return (StoredTrial(**dict(zip(names, row, strict=True))) for row in rows)


def _listed(runs: Sequence[Run]) -> str:
    more = f" and {len(runs) - _MAX_LISTED} more" if len(runs) > _MAX_LISTED else ""
    return ", ".join(run.run_id for run in runs[:_MAX_LISTED]) + more


def _moment(created: str) -> str:
    return iso_date(created) or plain(created)


def plain(text: str) -> str:
    """Return a text as a file can hold it: without lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")
