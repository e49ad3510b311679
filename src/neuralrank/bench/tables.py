"""The three tables of the evidence: what the networks are, what they are worth, and how they score.

Parquet files in one folder. A row of `networks` is one network; of `truth` one network trained on one target with one
seed; of `scores` one score of one network on one draw of the probe. Scores may lie in several tables, whose later rows
replace earlier ones, so a new score is judged without touching the committed ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from neuralrank.errors import DataError, OutputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _schema(text: str) -> pa.Schema:
    """Return a schema from words 'name:type'; a type with a question mark may be null."""
    types = {"str": pa.string(), "int": pa.int32(), "float": pa.float64()}
    fields = []
    for word in text.split():
        name, _, kind = word.partition(":")
        fields.append(pa.field(name, types[kind.removesuffix("?")], nullable=kind.endswith("?")))
    return pa.schema(fields)


SCHEMAS: Mapping[str, pa.Schema] = {
    "networks": _schema(
        "model:str lineage:str half:str pretraining_data:str n_classes:int? n_samples:int? label_noise:float? "
        "corruption:str? algorithm:str architecture:str width:int? depth:int? n_params:int learning_rate:float? "
        "weight_decay:float? n_steps:int? augmentation:str? parent:str? damage:str source_accuracy:float? seed:int? "
        "build_seconds:float?"
    ),
    "truth": _schema(
        "target:str model:str regime:str n_train:int n_used:int seed:int learning_rate:float? accuracy:float "
        "n_correct_a:int n_test_a:int n_correct_b:int n_test_b:int seconds:float"
    ),
    "scores": _schema(
        "target:str model:str score:str n_probe:int draw:int value:float? stderr:float? accuracy:float? "
        "seconds:float? extract_seconds:float"
    ),
}
"""Columns of each table. `lineage` is the first ancestor; how a published network was trained may be unknown, null;
`n_train` is the nominal number of samples and `n_used` the real one; a and b are disjoint halves of the test set; where
`value` is null, the network cannot get the score; `accuracy` is the held-out accuracy that a score found on the probe,
null where it finds none; where `seconds` is null, it was not timed."""
_MADE_BY = {"networks": "build", "truth": "truth", "scores": "score"}
DEVELOPMENT_TARGETS = ("fashion_mnist", "kmnist_10k")
"""Targets on which the default score was chosen, with the development half of the networks; it was judged on the other
targets with the other half. Both halves were drawn before any accuracy was known."""
HALVES, KINDS = ("development", "confirmation"), ("head", "finetune")


@dataclass(frozen=True, kw_only=True)
class Words:
    """A column of words that repeat."""

    names: tuple[str, ...]
    codes: Integers
    """Shape (n_rows,): the place of each row's word in `names`."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """One row for each network; models differ."""

    model: tuple[str, ...]
    lineage: tuple[str, ...]
    half: tuple[str, ...]
    pretraining_data: tuple[str, ...]
    algorithm: tuple[str, ...]
    architecture: tuple[str, ...]
    parent: tuple[str | None, ...]
    damage: tuple[str, ...]
    n_params: Integers
    source_accuracy: Floats
    """nan where there is none."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One row for each network, target, way of training, number of samples and seed."""

    target: Words
    model: Words
    regime: Words
    n_train: Integers
    seed: Integers
    accuracy_a: Floats
    """On the first half of the test set."""
    accuracy_b: Floats
    """On the second."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One row for each score of a network on a draw of the probe."""

    target: Words
    model: Words
    score: Words
    n_probe: Integers
    draw: Integers
    value: Floats
    """nan where the network cannot get the score."""
    accuracy: Floats
    """Held out, on the probe; nan where the score finds none."""
    seconds: Floats
    """nan where it was not timed."""
    extract_seconds: Floats


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All that the evaluation needs."""

    networks: Networks
    truth: Truth
    scores: Scores


def read_tables(folder: Path, *further_scores: Path) -> Tables:
    """Read the tables of a folder, and further tables of scores.

    Raises:
        DataError: a table is not there, is damaged, lacks a column or a value, or does not fit the others.
    """
    networks = read_networks(folder / "networks.parquet")
    truth = read_truth(folder / "truth.parquet")
    scores = join_scores(*(read_scores(path) for path in (folder / "scores.parquet", *further_scores)))
    for name, table in (("truth", truth.model), ("scores", scores.model)):
        unknown = sorted(set(table.names) - set(networks.model))
        if unknown:
            raise DataError(
                f"The table {name} needs networks that are in {str(folder / 'networks.parquet')!r}. "
                f"Got {unknown[0]!r} and {len(unknown) - 1} more. Make both from the same repository."
            )
    return Tables(networks=networks, truth=truth, scores=scores)


def read_networks(path: Path) -> Networks:
    """Read `networks.parquet`."""
    table = _read(path, "networks")
    words: dict[str, Any] = {
        name: tuple(table[name].to_pylist()) for name in Networks.__annotations__ if _is_words(table, name)
    }
    repeated = len(words["model"]) - len(set(words["model"]))
    if repeated:
        raise DataError(f"{str(path)!r} needs one row for each network. Got {repeated} rows too many. Make it anew.")
    _check_words(path, "half", words["half"], HALVES)
    return Networks(**words, **_numbers(table, ("n_params", "source_accuracy")))


def read_truth(path: Path) -> Truth:
    """Read `truth.parquet`."""
    table = _read(path, "truth")
    numbers = _numbers(table, ("n_train", "seed", "n_correct_a", "n_test_a", "n_correct_b", "n_test_b"))
    accuracies = {}
    for half in "ab":
        correct, tested = numbers.pop(f"n_correct_{half}"), numbers.pop(f"n_test_{half}")
        wrong = int(np.sum((correct < 0) | (correct > tested) | (tested < 1)))
        if wrong:
            raise DataError(
                f"{str(path)!r} needs n_correct_{half} between 0 and n_test_{half}. Got {wrong} rows where it is not. "
                "Make it anew with: neuralrank bench truth"
            )
        accuracies[f"accuracy_{half}"] = correct / tested
    words = _coded(table, ("target", "model", "regime"))
    _check_words(path, "regime", words["regime"].names, KINDS)
    return Truth(**words, **numbers, **accuracies)


def read_scores(path: Path) -> Scores:
    """Read a table of scores."""
    return _scores(_read(path, "scores"), str(path))


def scores_from_rows(rows: Iterable[Mapping[str, Any]]) -> Scores:
    """Return scores from rows with the columns of the table; `stderr` and `accuracy` may be left out."""
    return _scores(_from_rows("scores", list(rows)), "The scores")


def join_scores(*scores: Scores) -> Scores:
    """Return the rows of several tables of scores; where two are of the same thing, the later one counts."""

    def together(name: str) -> Words:
        parts: list[Words] = [getattr(table, name) for table in scores]
        names = tuple(dict.fromkeys(word for part in parts for word in part.names))
        place = {word: index for index, word in enumerate(names)}
        codes = [np.array([place[word] for word in part.names], dtype=np.int64)[part.codes] for part in parts]
        return Words(names=names, codes=np.concatenate(codes))

    words: dict[str, Any] = {name: together(name) for name in ("target", "model", "score")}
    numbers: dict[str, Any] = {
        name: np.concatenate([getattr(table, name) for table in scores])
        for name in ("n_probe", "draw", "value", "accuracy", "seconds", "extract_seconds")
    }
    return Scores(**words, **numbers)


def write_table(path: Path, kind: str, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
    """Write a table whole or not at all.

    Args:
        path: of the Parquet file; its folder is made.
        kind: 'networks', 'truth' or 'scores'.
        rows: the columns of each row by name, where those that may be null may be left out; or an Arrow table.

    Raises:
        DataError: a row lacks a column, or has one of another type.
        OutputError: the file could not be written.
    """
    table = _checked(rows, kind, f"The table {kind}") if isinstance(rows, pa.Table) else _from_rows(kind, rows)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"The table {kind} could not be written to {str(path)!r}. Got: {error.strerror}. Name another folder."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _scores(table: pa.Table, source: str) -> Scores:
    numbers = _numbers(table, ("n_probe", "draw", "value", "accuracy", "seconds", "extract_seconds"))
    infinite = int(np.isinf(numbers["value"]).sum())
    if infinite:
        raise DataError(f"{source} needs finite values. Got {infinite} infinite ones. Write null where there is none.")
    return Scores(**_coded(table, ("target", "model", "score")), **numbers)


def _from_rows(kind: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = SCHEMAS[kind]
    for row in rows:
        lacking = [field.name for field in schema if not field.nullable and row.get(field.name) is None]
        if lacking:
            raise DataError(
                f"A row of the table {kind} needs the column {lacking[0]!r}. Got {sorted(row)}. Give it a value."
            )
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"The table {kind} needs columns of the types {_described(schema)}. Got: {_first_line(error)}. "
            "Convert the values."
        ) from error


def _read(path: Path, kind: str) -> pa.Table:
    again = f"Make it with: neuralrank bench {_MADE_BY[kind]}"
    if not path.is_file():
        raise DataError(f"The evaluation needs the table {str(path)!r}. Got no such file. {again}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{str(path)!r} needs to be a Parquet file. Got: {_first_line(error)}. {again}") from error
    return _checked(table, kind, repr(str(path)))


def _checked(table: pa.Table, kind: str, source: str) -> pa.Table:
    """Return the columns of the schema in its types."""
    schema, again = SCHEMAS[kind], f"Make it with: neuralrank bench {_MADE_BY[kind]}"
    for field in schema:
        if field.name not in table.schema.names:
            raise DataError(f"{source} needs the column {field.name!r}. Got {table.schema.names}. {again}")
        n_null = table[field.name].null_count
        if n_null and not field.nullable:
            raise DataError(f"{source} needs {field.name!r} in every row. Got {n_null} without. {again}")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(
            f"{source} needs columns of the types {_described(schema)}. Got: {_first_line(error)}. {again}"
        ) from error


def _check_words(path: Path, column: str, words: Iterable[str], allowed: Sequence[str]) -> None:
    wrong = sorted(set(words) - set(allowed))
    if wrong:
        raise DataError(
            f"{str(path)!r} needs {column!r} to be {' or '.join(map(repr, allowed))}. Got {wrong[0]!r}. Make it anew."
        )


def _is_words(table: pa.Table, name: str) -> bool:
    return bool(pa.types.is_string(table.schema.field(name).type))


def _coded(table: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        column = table[name].combine_chunks().dictionary_encode()
        codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        found[name] = Words(names=tuple(column.dictionary.to_pylist()), codes=codes)
    return found


def _numbers(table: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """Return columns as arrays, int64 or float64; null becomes nan."""
    kinds = {name: np.float64 if pa.types.is_floating(table.schema.field(name).type) else np.int64 for name in names}
    return {name: table[name].to_numpy().astype(kind) for name, kind in kinds.items()}


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
