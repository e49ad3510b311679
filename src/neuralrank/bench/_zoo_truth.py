"""What one published network is worth on one target, and how it scores there.

The target is what it is for the built networks: images of 32×32 pixels, see `_data.py`, of which every network gets a
resized copy. At its own size a network is run as a ranking runs it, at another size by torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from neuralrank.bench._data import Images
from neuralrank.bench._features import Features
from neuralrank.bench._heads import train_head
from neuralrank.bench._third_party import load_trainable
from neuralrank.bench._zoo_models import Model, Zoo
from neuralrank.bench._zoo_tuning import fine_tuned, finite, placed, predict, run_network
from neuralrank.bench.build import write_text, write_whole
from neuralrank.bench.score_probes import DRAWS, TIMED, array_scorers, draw_probes, names_for, score_values
from neuralrank.bench.tables import SCHEMAS
from neuralrank.bench.truth import HEAD_SEEDS, HEAD_SIZES, draw_training
from neuralrank.encoding import extract_in_worker
from neuralrank.errors import ModelError
from neuralrank.formats.onnx import describe
from neuralrank.probe import Probe, open_samples, write_samples
from neuralrank.readers._open import open_target
from neuralrank.storage.batch_log import read_batches


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One fine-tuning of a network."""

    n_train: int
    seed: int
    """Of the samples and of the batches."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The images of one target that are used: the probe, those that train, those that test."""

    folder: Path
    """Decoded, as `probe.open_samples` reads them."""
    labels: NDArray[np.int64]
    probe: slice
    pool: slice
    test: slice

    def images(self, part: slice) -> Images:
        """Return a part, of three channels."""
        pixels = np.stack(open_samples(self.folder)[part])
        return Images(pixels=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels=self.labels[part])


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One piece of work: a network at one size, a target, and how it is used."""

    model: Model
    target: str
    zoo: Zoo
    tuning: Tuning | None = None
    """None for heads, and scores."""

    @property
    def kind(self) -> str:
        """'head', which scores the network too, or 'finetune'."""
        return "finetune" if self.tuning else "head"

    @property
    def name(self) -> str:
        """What the progress shows."""
        how = f" with {self.tuning.n_train:,} samples, seed {self.tuning.seed}," if self.tuning else ""
        return f"{self.kind}{how} {self.target} {self.model.name}"

    @property
    def file(self) -> Path:
        """Where its rows are kept, or what went wrong."""
        which = f"-{self.tuning.n_train}-{self.tuning.seed}" if self.tuning else ""
        return self._file(f"truth/{self.kind}{which}", "json")

    @property
    def scores(self) -> Path:
        """Where the scores are kept."""
        return self._file("scores", "parquet")

    @property
    def features(self) -> Path:
        """Where the features of the probe are kept."""
        return self._file("features", "npz")

    def _file(self, folder: str, kind: str) -> Path:
        return self.zoo.folder / folder / self.target / f"{self.model.name}-{self.model.published.digest}.{kind}"


def keep_samples(target: str, zoo: Zoo) -> Samples:
    """Return the samples of a target, decoded and kept when they are asked for first."""
    folder = zoo.folder / "samples" / f"{target}-{zoo.n_probe}-{zoo.n_pool}-{zoo.n_test}"
    if not folder.is_dir():
        probe = zoo.repository.read(target, "probe")
        parts = [probe.take(_probe_rows(probe.labels, target, zoo.n_probe))]
        for part, n_most in (("head", zoo.n_pool), ("test", zoo.n_test)):
            images = zoo.repository.read(target, part)
            parts.append(images.take(np.arange(min(n_most, len(images)))))
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        try:
            _write_samples(parts, scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    with np.load(folder / "labels.npz") as stored:
        n_probe, n_pool, _ = (int(size) for size in stored["sizes"])
        bounds = slice(0, n_probe), slice(n_probe, n_probe + n_pool), slice(n_probe + n_pool, None)
        return Samples(folder=folder, labels=stored["labels"], probe=bounds[0], pool=bounds[1], test=bounds[2])


def _probe_rows(labels: NDArray[np.int64], target: str, n_most: int) -> NDArray[np.int64]:
    """Return the first draw of the largest probe that is drawn and not above `n_most`."""
    size = max(size for size in DRAWS if size <= min(n_most, len(labels)))
    return next(rows for n_probe, draw, rows in draw_probes(labels, target) if (n_probe, draw) == (size, 0))


def _write_samples(parts: list[Images], folder: Path) -> None:
    whole = [np.broadcast_to(part.pixels, (len(part), 3, *part.pixels.shape[2:])) for part in parts]
    labels = np.concatenate([part.labels for part in parts])
    target = open_target((np.concatenate(whole).transpose(0, 2, 3, 1), labels))
    write_samples(
        Probe(
            target=target, indices=np.arange(len(labels)), labels=labels, class_names=target.class_names, groups=None,
            digests=(), n_unreadable=0, notes=(),
        ),
        folder,
    )  # fmt: skip
    np.savez(folder / "labels.npz", labels=labels, sizes=[len(part) for part in parts])


def measure(piece: Measurement) -> None:
    """Measure what is not measured yet; what is wrong with the network is kept in place of rows."""
    try:
        rows, error = _fine_tuning(piece, piece.tuning) if piece.tuning else _heads(piece), None
    except ModelError as problem:
        rows, error = [], str(problem)
    write_text(piece.file, json.dumps({"rows": rows, "error": error}))


# --- heads -------------------------------------------------------------------------------------------------------


def _heads(piece: Measurement) -> list[dict[str, Any]]:
    samples = keep_samples(piece.target, piece.zoo)
    start = time.perf_counter()
    features, logits = _extracted(piece, samples)
    extract_seconds = (time.perf_counter() - start) / len(features)
    _score(piece, _keep_features(piece, features, logits, samples, extract_seconds))
    pool, labels = features[samples.pool], samples.labels[samples.pool]
    rows = []
    for n_train in HEAD_SIZES:
        for seed in HEAD_SEEDS:
            start = time.perf_counter()
            chosen = draw_training(len(pool), n_train, seed)
            head = train_head(pool[chosen], labels[chosen], int(labels.max()) + 1)
            correct = head.predict(features[samples.test]) == samples.labels[samples.test]
            seconds = time.perf_counter() - start + extract_seconds * len(chosen)
            rows.append(_row(piece, (n_train, len(chosen)), seed, None, correct, seconds))
    return rows


def _extracted(piece: Measurement, samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return features and logits of all samples."""
    file, side = piece.model.published.file, piece.model.side
    if side is not None:
        found = run_network(placed(load_trainable(file)), samples.images(slice(None)).pixels, side)
        return finite(found["features"]), found.get("logits")
    facts = describe(file)
    assert facts is not None
    log, n_samples = piece.features.with_suffix(".log"), len(samples.labels)
    piece.features.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    payload = {
        "format": "onnx", "path": str(file), "samples": str(samples.folder), "modality": "image", "layer": None,
        "n_labels": len(facts.label_names or ()), "n_threads": 1, "trusted": False, "began": time.monotonic(),
        "rows": list(range(n_samples)), "kinds": ["features", "logits"], "log": str(log),
    }  # fmt: skip
    try:
        told = extract_in_worker(payload, lambda _: None)
        features = _logged(log, "features", n_samples)
        return finite(features), _logged(log, "logits", n_samples) if told["head"]["given"] else None
    finally:
        log.unlink(missing_ok=True)


def _logged(log: Path, kind: str, n_samples: int) -> NDArray[np.float32]:
    """Return the rows of one kind that a pass over all samples has logged."""
    batches = [batch for batch in read_batches(log, n_samples) if batch.kind == kind]
    values = np.empty((n_samples, batches[0].values.shape[1]), dtype=np.float32)
    for batch in batches:
        values[batch.rows] = batch.values
    return values


def _keep_features(
    piece: Measurement, features: NDArray[np.float32], logits: NDArray[np.float32] | None, samples: Samples,
    extract_seconds: float,
) -> Features:  # fmt: skip
    """Keep and return what the network made of the probe; logits that are not finite are none."""
    chosen, labels = features[samples.probe], samples.labels[samples.probe]
    if logits is not None:
        logits = logits[samples.probe] if np.isfinite(logits[samples.probe]).all() else None
    seconds = extract_seconds * len(labels)
    arrays: dict[str, Any] = {"features": chosen, "labels": labels, "seconds": np.float64(seconds)}
    if logits is not None:
        arrays["logits"] = logits
    with write_whole(piece.features) as part, part.open("wb") as opened:
        np.savez(opened, **arrays)
    return Features(features=chosen, labels=labels, logits=logits, stages=chosen, seconds=seconds)


def _score(piece: Measurement, found: Features) -> None:
    """Score the probe and parts of it, drawn as from a whole target."""
    names, rows = piece.zoo.scores or array_scorers(), list[dict[str, Any]]()
    for n_probe, draw, indices in draw_probes(found.labels, piece.target):
        common = {"target": piece.target, "model": piece.model.name, "n_probe": n_probe, "draw": draw}
        common["extract_seconds"] = found.seconds * len(indices) / len(found.labels)
        values = score_values(found, indices, names_for(names, n_probe, draw), timed=n_probe == TIMED)
        rows += [{**common, "score": name, **value} for name, value in values.items()]
    with write_whole(piece.scores) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS["scores"]), part)


# --- fine-tuning -------------------------------------------------------------------------------------------------


def _fine_tuning(piece: Measurement, tuning: Tuning) -> list[dict[str, Any]]:
    samples, side = keep_samples(piece.target, piece.zoo), piece.model.side
    pool, test = samples.images(samples.pool), samples.images(samples.test)
    network = placed(load_trainable(piece.model.published.file))
    start = time.perf_counter()
    chosen = draw_training(len(pool), tuning.n_train, tuning.seed)
    n_steps = piece.zoo.steps[tuning.n_train]
    rate, best = fine_tuned(network, pool.take(chosen), side=side, n_steps=n_steps, seed=tuning.seed)
    correct = predict(best, test.pixels, side) == test.labels
    seconds = time.perf_counter() - start
    return [_row(piece, (tuning.n_train, len(chosen)), tuning.seed, rate, correct, seconds)]


def _row(
    piece: Measurement, sizes: tuple[int, int], seed: int, rate: float | None, correct: NDArray[np.bool_],
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    half = len(correct) // 2
    return {
        "target": piece.target,
        "model": piece.model.name,
        "regime": piece.kind,
        "n_train": sizes[0],
        "n_used": sizes[1],
        "seed": seed,
        "learning_rate": rate,
        "accuracy": round(float(correct.mean()), 5),
        "n_correct_a": int(correct[:half].sum()),
        "n_test_a": half,
        "n_correct_b": int(correct[half:].sum()),
        "n_test_b": len(correct) - half,
        "seconds": round(seconds, 3),
    }
