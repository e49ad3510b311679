"""Run a model over the probe in a worker process, pool its hidden states to features, and keep them.

Features are kept by content: model files, layer, preprocessing and the decoded samples. Asking again for what is
known starts no worker.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import encoding
from neuralrank.encoding import HEAD_UNUSABLE
from neuralrank.engines.worker_process import JobOutcome, worker_process
from neuralrank.errors import OutputError
from neuralrank.probe import Probe, write_samples
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.types import (
    Failure,
    ModelRecord,
)

VERSION = 1
"""Raised when the same inputs would give other features."""

MAX_DEFAULT_JOBS = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one model may use."""

    timeout_seconds: float = 300.0
    """Without a sign of progress, a model is stopped after this long."""
    memory_bytes: int = 0
    """0: 80 % of the machine's memory, divided among the jobs."""
    n_threads: int = 0
    """0: the cores this process may use, divided among the jobs."""
    n_jobs: int = 0
    """Models that run at once; 0: one per core, at most 4. Small models use cores better side by side than alone."""

    @property
    def jobs(self) -> int:
        """Number of models that run at once."""
        return self.n_jobs or min(available_cores(), MAX_DEFAULT_JOBS)

    @property
    def threads_each(self) -> int:
        """Threads of each model."""
        return self.n_threads or max(1, available_cores() // self.jobs)

    @property
    def memory_each_bytes(self) -> int:
        """Memory bound of each model."""
        return self.memory_bytes or int(0.8 * total_memory_bytes() / self.jobs)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of one model on the probe."""

    values: NDArray[np.float32]
    """Shape (n_samples, n_features), finite."""
    key: str
    """Identifies them by what they were made from."""
    layer: str
    extract_seconds: float
    cached: bool
    """True if they were known; the logits may have been made all the same."""
    warnings: tuple[str, ...]
    logits: NDArray[np.float32] | None = None
    """Shape (n_samples, n_source_classes), finite: what the model's own classifier gives, before any softmax.

    None where they were not asked for, or the model has no classifier that can be used.
    """


@dataclass(frozen=True, kw_only=True)
class _Logits:
    """The logits of one model; None where it has none that can be used, with the reason if it has a classifier."""

    values: NDArray[np.float32] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """Everything that extracting from one probe shares between models; a context manager that owns its scratch."""

    probe: Probe
    cache: FeatureCache | None
    limits: Limits = field(default_factory=Limits)
    trusted: frozenset[str] = frozenset()
    """Ids of models that may run code of their own, inside the same walls as all others."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it to end the models that are running."""
    _scratch: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Extraction:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the scratch folder."""
        for folder in self._scratch:
            folder.cleanup()
        self._scratch.clear()

    @property
    def scratch(self) -> Path:
        """A folder of its own, with the decoded samples in it: they are decoded when the first model needs them."""
        with self._lock:
            if not self._scratch:
                folder = _scratch_folder()
                write_samples(self.probe, Path(folder.name))
                self._scratch.append(folder)
            return Path(self._scratch[0].name)

    def features(
        self,
        record: ModelRecord,
        *,
        layer: str | None = None,
        head: bool = False,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Features | Failure:
        """Return the features of one model, from the cache or by running it.

        Args:
            record: the model.
            layer: name of a layer, None for the model's own feature layer.
            head: return the logits of the model's own classifier too, from the same forward pass. A model without
                a usable one is no failure.
            on_progress: called with the number of samples done.

        Raises:
            OutputError: the scratch folder cannot be written.
        """
        key, head_key = self._key(record, "features", layer), self._key(record, "logits", None)
        features = self._kept_features(key)
        logits = self._kept_logits(head_key) if head else _Logits()
        wanted = [kind for kind, known in (("features", features), ("logits", logits)) if known is None]
        if wanted:
            # not the keys: copies of one model may run side by side
            files = {kind: self.scratch / f"{uuid.uuid4().hex}.npy" for kind in wanted}
            options = {"layer": layer, "out": {kind: str(file) for kind, file in files.items()}}
            outcome = self._run("extract_in_worker", record, options, on_progress)
            if features is None:
                made = self._collect(record, key, files["features"], outcome)
                if isinstance(made, Failure):
                    return made
                features = made
            if logits is None:
                logits = self._collect_logits(record, head_key, files["logits"], outcome)
        assert features is not None
        assert logits is not None
        warnings = tuple(dict.fromkeys((*features.warnings, *logits.warnings)))
        return dataclasses.replace(features, logits=logits.values, warnings=warnings)

    def layers(self, record: ModelRecord) -> tuple[tuple[str, ...], str] | Failure:
        """Return the layers of one model that can be chosen, and its default; runs no forward pass."""
        outcome = self._run("list_layers_in_worker", record, {}, lambda _: None)
        if outcome.result is None:
            return _failure(record, outcome)
        return tuple(outcome.result["layers"]), str(outcome.result["feature_layer"])

    def _kept_features(self, key: str) -> Features | None:
        values, metadata = self._kept(key)
        if values is None:
            return None
        return Features(
            values=values,
            key=key,
            layer=metadata["layer"],
            extract_seconds=metadata["extract_seconds"],
            cached=True,
            warnings=tuple(metadata["warnings"]),
        )

    def _kept_logits(self, key: str) -> _Logits | None:
        values, metadata = self._kept(key)
        if values is None:
            return None
        return _Logits(values=values if values.shape[1] else None, warnings=tuple(metadata["warnings"]))

    def _kept(self, key: str) -> tuple[NDArray[np.float32] | None, Mapping[str, Any]]:
        found = self.cache.get(key) if self.cache else None
        return found if found is not None and len(found[0]) == len(self.probe) else (None, {})

    def _keep(self, key: str, values: NDArray[np.float32], metadata: Mapping[str, Any]) -> tuple[str, ...]:
        """Keep an array if there is a cache, and say so if it could not be kept."""
        if self.cache is None:
            return ()
        try:
            self.cache.put(key, values, metadata)
        except OutputError as error:
            return (str(error),)
        return ()

    def _key(self, record: ModelRecord, kind: str, layer: str | None) -> str:
        preprocessing = record.facts.preprocessing
        return cache_key(
            kind=kind,
            version=VERSION,
            model=record.content_hash,
            format=record.facts.format,
            preprocessing=dataclasses.asdict(preprocessing) if preprocessing else None,
            layer=(layer or record.facts.feature_layer) if kind == "features" else None,
            probe=self.probe.digest,
        )

    def _run(
        self, function: str, record: ModelRecord, options: Mapping[str, Any], on_progress: Callable[[int], None]
    ) -> JobOutcome:
        payload = {
            "format": record.facts.format,
            "path": str(record.path),
            "samples": str(self.scratch),
            "modality": self.probe.target.modality,
            "n_labels": len(record.facts.label_names or ()),
            "n_threads": self.limits.threads_each,
            "trusted": record.model_id in self.trusted,
            **options,
        }
        outcome = worker_process(
            f"{encoding.__name__}:{function}",
            payload,
            timeout_seconds=self.limits.timeout_seconds,
            memory_bytes=self.limits.memory_each_bytes,
            n_threads=self.limits.threads_each,
            scratch=self.scratch,
            on_message=lambda message: on_progress(int(message.get("n_done", 0))),
            stop=self.stop,
        )
        if outcome.result is None and issubclass(outcome.kind, OutputError):
            raise outcome.kind(outcome.error)
        return outcome

    def _collect(self, record: ModelRecord, key: str, file: Path, outcome: JobOutcome) -> Features | Failure:
        """Check the features that the worker wrote, and keep them."""
        result = outcome.result
        if result is None:
            return _failure(record, outcome)
        values = _taken(file)
        layer, seconds = str(result["layer"]), float(result["extract_seconds"])
        warnings = tuple(result["warnings"])
        n_bad = _n_not_finite(values)
        if n_bad:
            error = (
                f"Features need to be finite. Got NaN or infinity for {n_bad:,} of {len(values):,} samples "
                f"at layer {layer!r}. The weights may be damaged; choose another --layer or another copy."
            )
            return Failure(model_id=record.model_id, stage="extract", error=error)
        metadata = {
            "layer": layer,
            "extract_seconds": seconds,
            "warnings": warnings,
            "model_id": record.model_id,
        }
        warnings = (*warnings, *self._keep(key, values, metadata))
        return Features(values=values, key=key, layer=layer, extract_seconds=seconds, cached=False, warnings=warnings)

    def _collect_logits(self, record: ModelRecord, key: str, file: Path, outcome: JobOutcome) -> _Logits:
        """Check the logits that the worker wrote, and keep them, or that the model has none that can be used.

        A pass that failed is not remembered: it may have met a limit that the next one does not.
        """
        if outcome.result is None:
            return _Logits(warnings=(f"{HEAD_UNUSABLE} {outcome.error}",))
        head = outcome.result["head"]
        warnings, values = tuple(head["warnings"]), _taken(file) if head["given"] else None
        if values is not None and (n_bad := _n_not_finite(values)):
            got = f"Got NaN or infinity for {n_bad:,} of {len(values):,} samples at layer {head['layer']!r}."
            values, warnings = None, (f"{HEAD_UNUSABLE} {got}",)
        if head["final"]:
            array = np.empty((len(self.probe), 0), dtype=np.float32) if values is None else values
            metadata = {"layer": head["layer"], "warnings": warnings, "model_id": record.model_id}
            warnings = (*warnings, *self._keep(key, array, metadata))
        return _Logits(values=values, warnings=warnings)


def _taken(file: Path) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.load(file, allow_pickle=False)
    file.unlink()
    return values


def _n_not_finite(values: NDArray[np.float32]) -> int:
    return int(np.count_nonzero(~np.isfinite(values).all(axis=1)))


def _failure(record: ModelRecord, outcome: JobOutcome) -> Failure:
    return Failure(model_id=record.model_id, stage=outcome.stage, error=outcome.error or "unknown")


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="neuralrank-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"A scratch folder is needed. Got: {error.strerror or error}. Set TMPDIR to a folder with room."
        ) from error


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory_bytes() -> int:
    """Return the machine's physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
