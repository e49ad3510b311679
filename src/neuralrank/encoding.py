"""In the worker process: load one model, run it over decoded samples, and log rows of features and logits."""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.errors import ModelError, OutputError
from neuralrank.probe import open_samples
from neuralrank.storage.batch_log import BatchLog
from neuralrank.types import Batch, Encoder, Hidden, ImagePreprocessing, ModelFacts, Sample

MAX_FEATURES = 65_536
HEAD_UNUSABLE = "The model's own classifier cannot be used; scores that need its logits leave this model out."
_PROGRESS_SECONDS = 0.2
_BATCH_PIXELS = 32 * 224 * 224
_MAX_BATCH = 128
_FIRST_BATCH = 8
"""Small, for it pays for what is set up on the way and says little of the throughput."""
_loaded: dict[tuple[str, str], Encoder] = {}
"""The model that this process ran last, by format and path: in a worker it is asked for more samples."""


def list_layers_in_worker(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Load one model and list its layers."""
    send({"stage": "load"})
    encoder = _load(payload)
    return {"layers": list(encoder.layers), "feature_layer": encoder.feature_layer}


def extract_in_worker(payload: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Run one model over the decoded samples that `rows` names, and log each batch of what `kinds` asks for.

    The model is loaded by the first call in a process and stays for the next.
    """
    send({"stage": "load"})
    rows = np.array(payload["rows"], dtype=np.int64)
    every_sample = open_samples(Path(payload["samples"]))
    samples = [every_sample[row] for row in rows]
    name = payload["format"], payload["path"]
    is_loaded = name in _loaded
    if not is_loaded:
        _loaded.clear()
        _loaded[name] = _load(payload)
    encoder = _loaded[name]
    kinds = payload["kinds"]
    with _opened_log(Path(payload["log"])) as log:
        run = _Pass(
            encoder=encoder,
            log=log,
            layer=_checked_layer(encoder, payload["layer"]) if "features" in kinds else None,
            head=encoder.head_layer if "logits" in kinds else None,
            n_labels=payload["n_labels"],
            rows=rows,
        )
        head = run.head
        send({"stage": "extract", "n_done": 0})
        start_seconds = time.monotonic() - payload["began"]  # one clock for all processes of a machine
        timing = _encode_all(run, samples, payload["modality"], send, is_warm=is_loaded)
    return {
        "layer": run.layer,
        "start_seconds": 0.0 if is_loaded else start_seconds,
        "n_starts": 0 if is_loaded else 1,
        **timing.facts(),
        "peak_bytes": _peak_bytes(),
        "warnings": list(encoder.warnings),
        "head": {
            "layer": head,
            "given": run.head is not None and run.n_logits is not None,
            "warnings": run.problems,
            "final": not run.failed,
        },
    }


def _opened_log(path: Path) -> BatchLog:
    try:
        return BatchLog(path)
    except OSError as error:
        raise _no_room(path, error) from error


def _no_room(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Features need room in {str(path.parent)!r}. Got: {error.strerror or error}. "
        "Free some space, or name another folder with --cache-dir."
    )


def _peak_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _load(payload: Mapping[str, Any]) -> Encoder:
    checkpoint_format = registry.get("formats", payload["format"])
    path = Path(payload["path"])
    facts: ModelFacts | None = checkpoint_format.describe(path)
    if facts is None:
        raise ModelError(
            f"{path.name} needs to be a {payload['format']} model. Got other files than when it was listed."
        )
    if facts.needs_trust is not None and not payload["trusted"]:
        raise ModelError(facts.needs_trust)
    return cast(Encoder, checkpoint_format(path, facts, n_threads=payload["n_threads"]))


def _checked_layer(encoder: Encoder, layer: str | None) -> str:
    if layer is None:
        return encoder.feature_layer
    if layer not in encoder.layers:
        listed = ", ".join(encoder.layers[-8:])
        raise ModelError(f"--layer needs a layer of this model. Got {layer!r}. Its last layers are: {listed}.")
    return layer


@dataclass(kw_only=True)
class _Pass:
    """One pass over samples: rows of features, of logits, or of both from the same forward passes.

    What is wrong with the logits never spoils the features: the pass goes on without the head, and says why.
    """

    encoder: Encoder
    log: BatchLog
    layer: str | None
    head: str | None
    n_labels: int
    """How many label names the model has; 0 if it has none."""
    rows: NDArray[np.int64]
    """Of each sample, what it is called in the log."""
    n_features: int | None = None
    n_logits: int | None = None
    problems: tuple[str, ...] = ()
    failed: bool = False
    """The forward pass with the head failed, which another run may not."""

    def run(self, rows: NDArray[np.int64], batch: Batch, pool: Callable[[Hidden], NDArray[np.float32]]) -> None:
        """Run one batch and write down its rows."""
        hidden = self._encode(batch)
        if self.layer is not None:
            pooled = pool(hidden[self.layer])
            if self.n_features is None:
                self.n_features = _checked_width(pooled, self.layer)
            if pooled.shape != (len(rows), self.n_features):
                raise ModelError(
                    f"Layer {self.layer!r} needs to give one row of {self.n_features} features per sample. "
                    f"Got {pooled.shape} for a batch of {len(rows)}. Choose another --layer."
                )
            self._write("features", rows, pooled)
        if self.head is not None:
            self._put_logits(rows, hidden[self.head].values)

    def _write(self, kind: str, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        try:
            self.log.append(kind, self.rows[rows], np.asarray(values, dtype=np.float32))
        except OSError as error:
            raise _no_room(self.log.path, error) from error

    def _encode(self, batch: Batch) -> Mapping[str, Hidden]:
        wanted = [name for name in (self.layer, self.head) if name is not None]
        try:
            return self.encoder.encode(batch, tuple(dict.fromkeys(wanted)))
        except ModelError as error:
            if self.head is None or self.head == self.layer:
                raise
            self._leave_head(str(error))
            self.failed = True
        return self._encode(batch) if self.layer is not None else {}

    def _put_logits(self, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Take logits of shape (n, k) or, with axes of length 1, (n, k, 1, 1) and the like."""
        long = [size for size in values.shape[1:] if size != 1]
        width = long[0] if len(long) == 1 else 0
        fits = 2 <= width <= MAX_FEATURES and self.n_labels in (0, width) and values.dtype.kind == "f"
        if self.n_logits is None and fits:
            self.n_logits = width
        if not fits or (len(rows), width) != (len(values), self.n_logits):
            needed = f"{self.n_labels:,}" if self.n_labels else f"2 to {MAX_FEATURES:,}"
            self._leave_head(f"Layer {self.head!r} needs {needed} logits per sample. Got shape {values.shape}.")
        else:
            self._write("logits", rows, values.reshape(len(rows), width))

    def _leave_head(self, reason: str) -> None:
        self.head, self.problems = None, (f"{HEAD_UNUSABLE} {reason}",)


@dataclass(kw_only=True)
class _Timing:
    """How long batches take: the first, which pays for what is set up on its way, apart from the others."""

    is_warm: bool
    """The model has run before: its first batch is as the others."""
    start: float = field(default_factory=time.perf_counter)
    n_first: int = 0
    first_seconds: float = 0.0
    n_samples: int = 0
    seconds: float = 0.0

    def add(self, n_samples: int) -> None:
        """Count a batch that has just been run."""
        self.seconds = time.perf_counter() - self.start
        self.n_samples += n_samples
        if self.n_first == 0 and not self.is_warm:
            self.n_first, self.first_seconds = n_samples, self.seconds

    def facts(self) -> dict[str, float | int]:
        """Return the seconds of all samples, and those of the samples after the first batch."""
        return {
            "extract_seconds": self.seconds,
            "n_extracted": self.n_samples,
            "timed_seconds": self.seconds - self.first_seconds,
            "n_timed": self.n_samples - self.n_first,
        }


def _encode_all(
    run: _Pass,
    samples: Sequence[Sample],
    modality_name: str,
    send: Callable[[Mapping[str, Any]], None],
    *,
    is_warm: bool,
) -> _Timing:
    """Run all samples, whose rows come out in their order."""
    if len(samples) == 0:
        raise ModelError("Extraction needs at least one sample. Got none. Use a larger --probe.")
    modality, preprocessing = registry.get("modalities", modality_name)(), run.encoder.preprocessing
    batches = _batch_rows(samples, preprocessing, is_warm=is_warm) if run.layer or run.head else []
    timing, announced = _Timing(is_warm=is_warm), time.monotonic()
    for rows, batch in _prefetched(samples, batches, lambda part: modality.make_batch(part, preprocessing)):
        run.run(rows, batch, modality.pool)
        timing.add(len(rows))
        if run.layer is None and run.head is None:
            break
        if time.monotonic() - announced > _PROGRESS_SECONDS:
            announced = time.monotonic()
            send({"n_done": timing.n_samples})
    return timing


def _checked_width(pooled: NDArray[Any], layer: str) -> int:
    width = int(pooled.shape[1]) if pooled.ndim == 2 else 0
    if not 1 <= width <= MAX_FEATURES:
        raise ModelError(
            f"Layer {layer!r} needs to give 1 to {MAX_FEATURES:,} features per sample. Got shape {pooled.shape}. "
            "Choose another --layer; `--layer list` names them."
        )
    return width


def _batch_rows(samples: Sequence[Sample], preprocessing: object, *, is_warm: bool = False) -> list[NDArray[np.int64]]:
    """Split the samples into batches: texts by length, so that little is padded; images by what their size allows."""
    size = 32
    if isinstance(preprocessing, ImagePreprocessing):
        size = int(np.clip(_BATCH_PIXELS // (preprocessing.size[0] * preprocessing.size[1]), 4, _MAX_BATCH))
    order = np.arange(len(samples))
    if samples and isinstance(samples[0], str):
        order = np.argsort([len(cast(str, text)) for text in samples], kind="stable")
    first = min(size, _FIRST_BATCH) if len(samples) > _FIRST_BATCH and not is_warm else size
    bounds = [0, *range(first, len(order), size), len(order)]
    return [order[start:end] for start, end in itertools.pairwise(bounds) if end > start]


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
