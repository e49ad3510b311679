"""Run a model over the probe in a worker process, pool its hidden states to features, and keep them.

Features are kept by content: model files, layer, preprocessing and the decoded samples. Asking again for what is
known starts no worker.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.engines.worker_process import JobOutcome, worker_process
from neuralrank.errors import ModelError, OutputError
from neuralrank.probe import Probe, open_samples, write_samples
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.types import (
    Batch,
    Encoder,
    Failure,
    ImagePreprocessing,
    ModelFacts,
    ModelRecord,
    Sample,
)

VERSION = 1
"""Raised when the same inputs would give other features."""

MAX_FEATURES = 65_536
MAX_DEFAULT_JOBS = 4
_PROGRESS_SECONDS = 0.2
_BATCH_PIXELS = 32 * 224 * 224
_MAX_BATCH = 128


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
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """Everything that extracting from one probe shares between models; a context manager that owns its scratch."""

    probe: Probe
    cache: FeatureCache | None
    limits: Limits = field(default_factory=Limits)
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
        self, record: ModelRecord, *, layer: str | None = None, on_progress: Callable[[int], None] = lambda _: None
    ) -> Features | Failure:
        """Return the features of one model, from the cache or by running it.

        Args:
            record: the model.
            layer: name of a layer, None for the model's own feature layer.
            on_progress: called with the number of samples done.

        Raises:
            OutputError: the scratch folder cannot be written.
        """
        key = self._key(record, layer)
        found = self.cache.get(key) if self.cache else None
        if found is not None and len(found[0]) == len(self.probe):
            values, metadata = found
            return Features(
                values=values,
                key=key,
                layer=metadata["layer"],
                extract_seconds=metadata["extract_seconds"],
                cached=True,
                warnings=tuple(metadata["warnings"]),
            )
        file = self.scratch / f"{uuid.uuid4().hex}.npy"  # not the key: copies of one model may run side by side
        outcome = self._run("extract_in_worker", record, {"layer": layer, "out": str(file)}, on_progress)
        if outcome.result is None:
            return _failure(record, outcome)
        return self._collect(record, key, file, outcome.result)

    def layers(self, record: ModelRecord) -> tuple[tuple[str, ...], str] | Failure:
        """Return the layers of one model that can be chosen, and its default; runs no forward pass."""
        outcome = self._run("list_layers_in_worker", record, {}, lambda _: None)
        if outcome.result is None:
            return _failure(record, outcome)
        return tuple(outcome.result["layers"]), str(outcome.result["feature_layer"])

    def _key(self, record: ModelRecord, layer: str | None) -> str:
        preprocessing = record.facts.preprocessing
        return cache_key(
            kind="features",
            version=VERSION,
            model=record.content_hash,
            format=record.facts.format,
            preprocessing=dataclasses.asdict(preprocessing) if preprocessing else None,
            layer=layer or record.facts.feature_layer,
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
            "n_threads": self.limits.threads_each,
            **options,
        }
        outcome = worker_process(
            f"{__name__}:{function}",
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

    def _collect(self, record: ModelRecord, key: str, file: Path, result: Mapping[str, Any]) -> Features | Failure:
        """Check what the worker wrote, and keep it."""
        values = np.load(file, allow_pickle=False)
        file.unlink()
        features = Features(
            values=values,
            key=key,
            layer=str(result["layer"]),
            extract_seconds=float(result["extract_seconds"]),
            cached=False,
            warnings=tuple(result["warnings"]),
        )
        n_bad = int(np.count_nonzero(~np.isfinite(values).all(axis=1)))
        if n_bad:
            error = (
                f"Features need to be finite. Got NaN or infinity for {n_bad:,} of {len(values):,} samples "
                f"at layer {features.layer!r}. The weights may be damaged; choose another --layer or another copy."
            )
            return Failure(model_id=record.model_id, stage="extract", error=error)
        if self.cache is None:
            return features
        metadata = {
            "layer": features.layer,
            "extract_seconds": features.extract_seconds,
            "warnings": features.warnings,
            "model_id": record.model_id,
        }
        try:
            self.cache.put(key, values, metadata)
        except OutputError as error:
            return dataclasses.replace(features, warnings=(*features.warnings, str(error)))
        return features


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


# --- in the worker -----------------------------------------------------------------------------------------------


def list_layers_in_worker(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Load one model and list its layers."""
    send({"stage": "load"})
    encoder = _load(payload)
    return {"layers": list(encoder.layers), "feature_layer": encoder.feature_layer}


def extract_in_worker(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Load one model, run it over the decoded samples and write the features to the file `out`."""
    send({"stage": "load"})
    samples = open_samples(Path(payload["samples"]))
    encoder = _load(payload)
    layer = _checked_layer(encoder, payload["layer"])
    send({"stage": "extract", "n_done": 0})
    start = time.perf_counter()
    values = _encode_all(encoder, layer, samples, payload["modality"], send)
    seconds = time.perf_counter() - start
    try:
        np.save(payload["out"], values, allow_pickle=False)
    except OSError as error:
        raise OutputError(
            f"Features need room in {str(Path(payload['out']).parent)!r}. Got: {error.strerror or error}. "
            "Set TMPDIR to another folder."
        ) from error
    return {"layer": layer, "extract_seconds": seconds, "warnings": list(encoder.warnings)}


def _load(payload: Mapping[str, Any]) -> Encoder:
    checkpoint_format = registry.get("formats", payload["format"])
    path = Path(payload["path"])
    facts: ModelFacts | None = checkpoint_format.describe(path)
    if facts is None:
        raise ModelError(
            f"{path.name} needs to be a {payload['format']} model. Got other files than when it was listed."
        )
    return cast(Encoder, checkpoint_format(path, facts, n_threads=payload["n_threads"]))


def _checked_layer(encoder: Encoder, layer: str | None) -> str:
    if layer is None:
        return encoder.feature_layer
    if layer not in encoder.layers:
        listed = ", ".join(encoder.layers[-8:])
        raise ModelError(f"--layer needs a layer of this model. Got {layer!r}. Its last layers are: {listed}.")
    return layer


def _encode_all(
    encoder: Encoder,
    layer: str,
    samples: Sequence[Sample],
    modality_name: str,
    send: Callable[[Mapping[str, Any]], None],
) -> NDArray[np.float32]:
    """Return pooled features of all samples in their order, shape (n_samples, n_features)."""
    modality = registry.get("modalities", modality_name)()
    batches = _batch_rows(samples, encoder.preprocessing)
    features: NDArray[np.float32] | None = None
    n_done, announced = 0, time.monotonic()
    for rows, batch in _prefetched(samples, batches, lambda part: modality.make_batch(part, encoder.preprocessing)):
        pooled = modality.pool(encoder.encode(batch, layer))
        if features is None:
            features = np.empty((len(samples), _checked_width(pooled, layer)), dtype=np.float32)
        if pooled.shape != (len(rows), features.shape[1]):
            raise ModelError(
                f"Layer {layer!r} needs to give one row of {features.shape[1]} features per sample. "
                f"Got {pooled.shape} for a batch of {len(rows)}. Choose another --layer."
            )
        features[rows] = pooled
        n_done += len(rows)
        if time.monotonic() - announced > _PROGRESS_SECONDS:
            announced = time.monotonic()
            send({"n_done": n_done})
    if features is None:
        raise ModelError("Extraction needs at least one sample. Got none. Use a larger --probe.")
    return features


def _checked_width(pooled: NDArray[Any], layer: str) -> int:
    width = int(pooled.shape[1]) if pooled.ndim == 2 else 0
    if not 1 <= width <= MAX_FEATURES:
        raise ModelError(
            f"Layer {layer!r} needs to give 1 to {MAX_FEATURES:,} features per sample. Got shape {pooled.shape}. "
            "Choose another --layer; `--layer list` names them."
        )
    return width


def _batch_rows(samples: Sequence[Sample], preprocessing: object) -> list[NDArray[np.int64]]:
    """Split the samples into batches: texts by length, so that little is padded; images by what their size allows."""
    size = 32
    if isinstance(preprocessing, ImagePreprocessing):
        size = int(np.clip(_BATCH_PIXELS // (preprocessing.size[0] * preprocessing.size[1]), 4, _MAX_BATCH))
    order = np.arange(len(samples))
    if samples and isinstance(samples[0], str):
        order = np.argsort([len(cast(str, text)) for text in samples], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def _prefetched(
    samples: Sequence[Sample],
    batches: Sequence[NDArray[np.int64]],
    make_batch: Callable[[Sequence[Sample]], Batch],
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Yield batches made one ahead in a second thread, so that preprocessing and the forward pass overlap."""
    ready: queue.Queue[tuple[NDArray[np.int64], Batch] | BaseException | None] = queue.Queue(maxsize=1)

    def work() -> None:
        try:
            for rows in batches:
                ready.put((rows, make_batch([samples[row] for row in rows])))
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        item = ready.get()
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item
