"""A model loaded in a worker of its own: ask it for rows of some samples, check what it wrote, ask it for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import encoding
from neuralrank.encoding import HEAD_UNUSABLE
from neuralrank.engines.worker import JobOutcome, Worker, worker
from neuralrank.errors import OutputError
from neuralrank.limits import Limits
from neuralrank.storage.feature_rows import PassRows, Unfinished
from neuralrank.types import Failure, Modality, ModelRecord

_TIMES = ("start_seconds", "n_starts", "extract_seconds", "n_extracted", "timed_seconds", "n_timed")


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a pass gave of the samples it was asked for."""

    rows: Mapping[str, PassRows]
    """By kind; places are counted among the samples that were asked for."""
    metadata: Mapping[str, Mapping[str, Any]]
    """By kind: what is to be kept with the rows; of logits also where there are none."""
    problems: tuple[str, ...]
    """What is wrong with the logits."""
    n_starts: int
    """1 if the model was loaded for it."""


@dataclass(kw_only=True)
class Pass:
    """One model in a worker, and the log of all rows that it has given."""

    record: ModelRecord
    worker: Worker
    kept: Unfinished
    peak_bytes: int = 0
    """Most memory that the worker said it held."""
    n_run: int = 0
    """Samples it has run, those of asks that failed among them."""

    def ask(
        self,
        options: Mapping[str, Any],
        *,
        places: NDArray[np.int64],
        widths: Mapping[str, int | None],
        n_samples: int,
        timeout_seconds: float,
        on_progress: Callable[[int], None],
        stop: Event,
    ) -> tuple[Made | Failure, JobOutcome]:
        """Run the model on some of the samples.

        Args:
            options: further entries of the payload, see `encoding.extract_in_worker`.
            places: which of the samples of the pass, ascending.
            widths: of each kind that is asked for, where it is known from other samples.
            n_samples: of the rung, for the sentence of a failure.
            timeout_seconds: without progress.
            on_progress: called with the number of samples done.
            stop: ends it.

        Raises:
            OutputError: the worker could not write.
        """
        outcome = self.worker.run(
            {
                **options,
                "rows": places.tolist(),
                "kinds": list(widths),
                "log": str(self.kept.log),
                "began": time.monotonic(),
            },
            timeout_seconds=timeout_seconds,
            on_message=lambda message: on_progress(int(message.get("n_done", 0))),
            stop=stop,
            n_total=len(places),
        )
        if outcome.result is None and issubclass(outcome.kind, OutputError):
            raise outcome.kind(outcome.error)
        found = {kind: _part(self.kept.rows(kind), places) for kind in widths}
        rows = {kind: part for kind, part in found.items() if part is not None}
        self.n_run += max((len(part.places) for part in rows.values()), default=0)
        if outcome.result is not None:
            self.peak_bytes = outcome.result["peak_bytes"] or 0
        return _made(self.record, widths, outcome, rows, len(places), n_samples), outcome

    def close(self) -> None:
        """End the worker and keep what it wrote; what cannot be kept now is adopted later."""
        try:
            self.worker.close()
        finally:
            with suppress(OutputError):
                self.kept.close()


def make_worker(
    function: str, record: ModelRecord, *, samples: Path, scratch: Path, limits: Limits, work: Path | None = None
) -> Worker:
    """Return a worker for one model, which may read the model's files and the samples alone.

    Args:
        function: of `encoding`.
        record: the model.
        samples: folder of the decoded samples.
        scratch: folder for the worker's files.
        limits: what it may use.
        work: the folder in which it may write.
    """
    return worker(
        f"{encoding.__name__}:{function}",
        scratch=scratch,
        memory_bytes=limits.memory_each_bytes,
        n_threads=limits.threads_each,
        # What lies in a folder is named too: in the Hub's cache it is links to files elsewhere.
        readable=[record.path, *record.facts.files, *_entries(record.path), samples],
        writable=[] if work is None else [work],
    )


def payload_of(
    record: ModelRecord, *, samples: Path, modality: Modality, limits: Limits, trusted: bool
) -> dict[str, Any]:
    """Return what a worker needs to know to load a model."""
    return {
        "format": record.facts.format,
        "path": str(record.path),
        "samples": str(samples),
        "modality": modality,
        "n_labels": len(record.facts.label_names or ()),
        "n_threads": limits.threads_each,
        "trusted": trusted,
    }


def failure(record: ModelRecord, outcome: JobOutcome) -> Failure:
    """Return why a worker gave no result."""
    return Failure(model_id=record.model_id, stage=outcome.stage, error=outcome.error or "unknown")


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir()) if path.is_dir() else []
    except OSError:
        return []


def _part(rows: PassRows | None, places: NDArray[np.int64]) -> PassRows | None:
    """Return the rows of these samples, counted among them; None if there is none."""
    if rows is None:
        return None
    asked = np.isin(rows.places, places)
    if not asked.any():
        return None
    return PassRows(places=np.searchsorted(places, rows.places[asked]), values=rows.values[asked])


def _made(
    record: ModelRecord,
    widths: Mapping[str, int | None],
    outcome: JobOutcome,
    found: Mapping[str, PassRows],
    n_asked: int,
    n_samples: int,
) -> Made | Failure:
    """Check the rows that the worker wrote.

    Rows that are known are finite, so what is said of bad ones is the same however many had to be run.

    A pass with the head that failed is not remembered: it may have met a limit that the next one does not.
    """
    rows = dict(found)
    for kind, found_rows in rows.items():
        width = found_rows.values.shape[1]
        if (widths[kind] or width) != width:
            error = f"The model needs to give {widths[kind]} {kind}, as for other samples. Got {width}."
            return Failure(model_id=record.model_id, stage="extract", error=error)
    result = outcome.result
    if result is None:
        if "features" in widths:
            return failure(record, outcome)
        return Made(rows={}, metadata={}, problems=(f"{HEAD_UNUSABLE} {outcome.error}",), n_starts=0)
    times = {name: result[name] for name in _TIMES}
    common = {**times, "model_id": record.model_id, "peak_bytes": result["peak_bytes"]}
    metadata: dict[str, dict[str, Any]] = {}
    if "features" in widths:
        part, layer = rows.get("features"), result["layer"]
        n_rows = 0 if part is None else len(part.places)
        if part is None or n_rows < n_asked:
            error = f"Features need a row for each of {n_asked:,} samples. Got {n_rows:,} rows from the worker."
            return Failure(model_id=record.model_id, stage="extract", error=error)
        if n_bad := _n_not_finite(part.values):
            error = (
                f"Features need to be finite. Got NaN or infinity for {n_bad:,} of {n_samples:,} samples "
                f"at layer {layer!r}. The weights may be damaged; choose another --layer or another copy."
            )
            return Failure(model_id=record.model_id, stage="extract", error=error)
        metadata["features"] = {**common, "layer": layer, "warnings": list(result["warnings"])}
    problems: tuple[str, ...] = ()
    if "logits" in widths:
        problems = _check_logits(rows, metadata, result["head"], common, n_asked, n_samples)
    return Made(rows=rows, metadata=metadata, problems=problems, n_starts=result["n_starts"])


def _check_logits(
    rows: dict[str, PassRows],
    metadata: dict[str, dict[str, Any]],
    head: Mapping[str, Any],
    common: Mapping[str, Any],
    n_asked: int,
    n_samples: int,
) -> tuple[str, ...]:
    """Drop logits that cannot be used, write down what is known of them, and return what is wrong with them."""
    part = rows.get("logits")
    problems = tuple(head["warnings"])
    if part is not None and (n_bad := _n_not_finite(part.values)):
        got = f"Got NaN or infinity for {n_bad:,} of {n_samples:,} samples at layer {head['layer']!r}."
        problems = (f"{HEAD_UNUSABLE} {got}",)
        rows.pop("logits")
    if not head["given"] or part is None or len(part.places) < n_asked:
        rows.pop("logits", None)
    if "logits" in rows or head["final"]:
        usable = {} if "logits" in rows else {"usable": False}
        metadata["logits"] = {**common, **usable, "layer": head["layer"], "warnings": list(problems)}
    return problems


def _n_not_finite(values: NDArray[np.float32]) -> int:
    return int(np.count_nonzero(~np.isfinite(values).all(axis=1)))
