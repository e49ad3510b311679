"""What a user reports back, read: an accuracy, which model reached it, and on which data set."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from neuralrank.errors import DataError, NeuralrankError, UsageError
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.outcomes import Outcome
from neuralrank.storage.runs import StoredTarget, list_runs, targets, trials_of, trials_of_model

_COLUMNS = ("model", "data", "accuracy")
_SHARE = re.compile(r"\+?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LEAST_PREFIX = 4
_MOST_LISTED = 20


def read_accuracy(text: str) -> float:
    """Return an accuracy in [0, 1] from a share, 0.93, or per cent, 93% or 93 %.

    Raises:
        UsageError: it is neither; 93 alone is refused, for it may be a slip of either.
    """
    bare = text.strip()
    is_percent = bare.endswith("%")
    number = bare.removesuffix("%").rstrip()
    if _SHARE.fullmatch(number):
        value = float(number) / 100 if is_percent else float(number)
        if value <= 1:
            return value
    raise UsageError(f"An accuracy needs to be a share or per cent. Got {text!r}. Write 0.93 or 93%.")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads what the user calls models and data sets; each is looked up once."""

    catalogue: Catalogue
    about: dict[str, StoredTarget] = field(default_factory=dict)
    """The data sets that were read, by what the user called them."""
    notes: dict[str, None] = field(default_factory=dict)
    """What the user should know, one sentence each."""
    _models: dict[tuple[str, str], str] = field(default_factory=dict)

    def outcome(self, model: str, data: str, accuracy: str) -> Outcome:
        """Return one outcome.

        Raises:
            UsageError: the accuracy is none, the data set is not known, or the model may be several.
            DataError: the data set cannot be read.
        """
        share = read_accuracy(accuracy)
        if not model.strip() or not data.strip():
            raise UsageError(
                "An outcome needs a model and a data set. Got an empty name. "
                "Check for a shell variable that is not set."
            )
        if data not in self.about:
            self.about[data] = self._target(data)
        target = self.about[data]
        key = (model, target.fingerprint)
        if key not in self._models:
            self._models[key] = self._model(*key)
        return Outcome(model_id=self._models[key], fingerprint=target.fingerprint, data=target.path, accuracy=share)

    def _target(self, data: str) -> StoredTarget:
        stored = targets(self.catalogue)
        same_path = [target for target in stored if target.path == data]
        if not Path(data).exists():
            return self._stored(data, stored)
        try:
            found = _read_target(data)
        except DataError:
            if len(same_path) == 1:  # it was read with options then, such as the column of the labels
                return same_path[0]
            raise
        if same_path and found.fingerprint not in {target.fingerprint for target in stored}:
            self.notes[
                f"{data!r} is not what it was when models were ranked on it: the data have changed, or were read with "
                "options. To mean the data of a ranking, give the id of that run; `neuralrank runs` lists them."
            ] = None
        return found

    def _stored(self, data: str, stored: Sequence[StoredTarget]) -> StoredTarget:
        """Return the data set of a past run: by fingerprint, run, path or name, else by the start of one."""
        of_run = {run.run_id: run.fingerprint for run in list_runs(self.catalogue)}
        by_print = {target.fingerprint: target for target in stored}
        begins = len(data) >= _LEAST_PREFIX
        asked: tuple[Iterator[str], ...] = (
            (key for key in by_print if key == data),
            (key for run, key in of_run.items() if run == data),
            (target.fingerprint for target in stored if target.path == data),
            (target.fingerprint for target in stored if PurePath(target.path).name == data),
            (key for run, key in of_run.items() if begins and run.startswith(data)),
            (key for key in by_print if begins and key.startswith(data)),
        )
        for keys in asked:
            found = sorted(set(keys) & by_print.keys())
            if len(found) == 1:
                return by_print[found[0]]
            if found:
                listed = ", ".join(f"{key[:12]} ({by_print[key].path})" for key in found[:_MOST_LISTED])
                raise UsageError(
                    f"An outcome needs one data set. Got {data!r}, which may be {listed}. "
                    "Give the start of one of these."
                )
        raise UsageError(
            f"An outcome needs the data set it was measured on. Got {data!r}, which is no path and not the data of a "
            "stored run. Give its path, or a run of `neuralrank runs`."
        )

    def _model(self, key: str, fingerprint: str) -> str:
        """Return the id of a model; where nothing is called so, what the user calls it."""
        ranked = [trial for trial in trials_of(self.catalogue, fingerprint) if key in (trial.model_id, trial.name)]
        if ranked:
            return ranked[0].model_id
        rows = self.catalogue.find(key)
        entries = [
            (entry, self.catalogue.removed(row)) for row, entry in zip(rows, self.catalogue.entries(rows), strict=True)
        ]
        exact = [(entry, removed) for entry, removed in entries if key in (entry.model_id, entry.name)]
        elsewhere = trials_of_model(self.catalogue, key)
        if not exact and elsewhere:
            return elsewhere[0].model_id
        there = [entry.model_id for entry, removed in exact or entries if removed is None]
        ids = sorted(set(there or [entry.model_id for entry, _ in exact or entries]))
        if len(ids) > 1:
            more = f" and {len(ids) - _MOST_LISTED} more" if len(ids) > _MOST_LISTED else ""
            raise UsageError(
                f"An outcome needs one model. Got {key!r}, which may be {', '.join(ids[:_MOST_LISTED])}{more}. "
                "Give the id of one of these."
            )
        if not ids:
            self.notes[f"No model of the catalogue or of a stored run is called {key!r}: it is kept as given."] = None
        return ids[0] if ids else key


def _read_target(data: str) -> StoredTarget:
    from neuralrank.readers._open import open_target

    target = open_target(data)
    return StoredTarget(
        fingerprint=target.fingerprint,
        path=target.name,
        modality=target.modality,
        task=target.task,
        n_samples=len(target.labels),
        class_names=target.class_names,
    )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a table of outcomes."""

    outcomes: tuple[Outcome, ...]
    bad: tuple[str, ...]
    """What is wrong with each of the others, with its line."""


def read_rows(path: Path, reader: Reader) -> Rows:
    """Read a CSV table with the columns model, data and accuracy; others are passed over.

    Raises:
        UsageError: there is no such file, or it is no such table.
    """
    outcomes, bad = [], []
    for line, row in _csv_rows(path):
        try:
            missing = [name for name in _COLUMNS if not row.get(name)]
            if missing:
                raise UsageError(f"A row needs a model, data and an accuracy. Got no {' and no '.join(missing)}.")
            outcomes.append(reader.outcome(*(str(row[name]).strip() for name in _COLUMNS)))
        except NeuralrankError as error:
            bad.append(f"line {line}: {error}")
    return Rows(outcomes=tuple(outcomes), bad=tuple(bad))


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"A table of outcomes needs to be a CSV file that can be read. Got {str(path)!r}: {str(reason).lower()}. "
            "Correct the path, or save it as CSV in UTF-8."
        ) from None
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in table.fieldnames or ()]
        if lacking := [name for name in _COLUMNS if name not in names]:
            raise UsageError(
                f"A table of outcomes needs the columns model, data and accuracy. Got {str(path)!r} without "
                f"{', '.join(lacking)}. Name them in its first line, separated by commas."
            )
        table.fieldnames = names
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise UsageError(
            f"A table of outcomes needs to be CSV. Got {str(path)!r}, line {table.line_num}: {error}. Mend that line."
        ) from None
