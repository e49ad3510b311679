"""Run a model over samples of the probe in a worker process, pool its hidden states to features, and keep them.

Features are kept by content, row by row: model files, layer, preprocessing and the decoded sample. Only what is not
known is run, and asking again for what is known starts no worker.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.engines.worker import JobOutcome, Worker
from neuralrank.errors import OutputError
from neuralrank.limits import Limits
from neuralrank.passes import Made, Pass, failure, make_worker, payload_of
from neuralrank.probe import Probe, Rung, write_samples
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.storage.feature_rows import FeatureRows, PassRows, Unfinished, feature_rows
from neuralrank.storage.scratch import Scratch
from neuralrank.types import Failure, ModelRecord
from neuralrank.waiting import Waiting

VERSION = 1
"""Raised when the same inputs would give other features."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of one model on the samples of one rung."""

    values: NDArray[np.float32]
    """Shape (n_samples, n_features), finite."""
    key: str
    """Identifies them by what they were made from."""
    rows_key: str
    """Under which the rows of the model are kept, whatever the samples."""
    layer: str
    extract_seconds: float
    """What these samples took when they were run."""
    cached: bool
    """True if they were known; the logits may have been made all the same."""
    warnings: tuple[str, ...]
    cost: Cost
    n_starts: int = 0
    """How often this call loaded the model: not if it waited for it, or nothing had to be run."""
    logits: NDArray[np.float32] | None = None
    """Shape (n_samples, n_source_classes), finite: what the model's own classifier gives, before any softmax.

    None where they were not asked for, or the model has no classifier that can be used.
    """

    def of(self, rung: Rung, within: Rung) -> Features:
        """Return the features of a smaller rung."""
        rows = np.searchsorted(within.rows, rung.rows)
        return dataclasses.replace(
            self,
            values=self.values[rows],
            key=_part_key(self.rows_key, rung),
            logits=None if self.logits is None else self.logits[rows],
            extract_seconds=self.extract_seconds * len(rung) / len(within),
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What running a model takes, as it was measured when it ran; None: it was not."""

    start_seconds: float | None = None
    """To start a worker and load the model."""
    seconds_per_sample: float | None = None
    peak_bytes: int | None = None
    """Most memory that its worker held."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What is known of the rows of one kind; NaN where a row is not."""

    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    width: int | None
    """0: the model is known to have none."""
    metadata: Mapping[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether nothing has to be run for them."""
        return not self.is_usable or (bool(self.known.all()) and "layer" in self.metadata)

    @property
    def is_usable(self) -> bool:
        """Whether the model has such rows; one with NaN on any sample has not, whatever is known of others."""
        return self.width != 0 and self.metadata.get("usable", True)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which rows have to be run."""
        if self.is_complete:
            return np.zeros(len(self.known), dtype=np.bool_)
        # After a kill all rows may be there, and nobody wrote down of which layer: the next run says it.
        return np.arange(len(self.known)) == 0 if self.known.all() else ~self.known


@dataclass(kw_only=True)
class Extraction:
    """Everything that extracting from one probe shares between models; a context manager that owns its scratch.

    Models that are to see more samples stay loaded, as memory allows.
    """

    probe: Probe
    cache: FeatureCache | None
    limits: Limits = field(default_factory=Limits)
    trusted: frozenset[str] = frozenset()
    """Ids of models that may run code of their own, inside the same walls as all others."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it to end the models that are running."""
    walls: dict[str, str] = field(default_factory=dict)
    """What stood around the workers that ran: 'on', or why not."""
    n_passes: int = 0
    """Samples that models were run on so far; those that were known are left out."""
    _waiting: Waiting = field(init=False)
    _scratch: list[Scratch] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _not_kept: list[str] = field(default_factory=list)
    """Why features of this run are lost at its end, in one sentence; empty while they are kept."""

    def __post_init__(self) -> None:
        """Let models wait as the limits allow."""
        self._waiting = Waiting(limits=self.limits)

    def __enter__(self) -> Extraction:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the models that wait, and remove the scratch folder."""
        self._waiting.close()
        for folder in self._scratch:
            folder.cleanup()
        self._scratch.clear()

    @property
    def scratch(self) -> Path:
        """A folder of its own, with the decoded samples in it: they are decoded when the first model needs them."""
        with self._lock:
            if not self._scratch:
                folder = Scratch()
                try:
                    samples = folder.path / "samples"
                    samples.mkdir()
                    write_samples(self.probe, samples)
                except BaseException:
                    folder.cleanup()
                    raise
                self._scratch.append(folder)
            return self._scratch[0].path

    def features(
        self,
        record: ModelRecord,
        *,
        rung: Rung | None = None,
        layer: str | None = None,
        head: bool = False,
        stay: bool = False,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Features | Failure:
        """Return the features of one model, from the cache or by running it on the samples that are not known.

        Args:
            record: the model.
            rung: the samples; None for the whole probe.
            layer: name of a layer, None for the model's own feature layer.
            head: return the logits of the model's own classifier too, from the same forward pass. A model without
                a usable one is no failure.
            stay: leave the model loaded, to be asked for more samples; see `rate` and `release`.
            on_progress: called with the number of samples done, those that were known among them.

        Raises:
            OutputError: the scratch folder cannot be written.
        """
        rung = rung or Rung(probe=self.probe, rows=np.arange(len(self.probe)))
        keys = {"features": self._key(record, "features", layer)}
        if head:
            keys["logits"] = self._key(record, "logits", None)
        for key in keys.values():
            self._rows_store.adopt(key)
        known = {kind: self._known(key, rung) for kind, key in keys.items()}
        cached, n_starts = known["features"].is_complete, 0
        problems: tuple[str, ...] = ()
        if not all(rows.is_complete for rows in known.values()):
            in_cache = self.cache is not None and not self._not_kept
            try:
                ran = self._complete(record, keys, known, rung, layer, stay=stay, on_progress=on_progress)
            except OutputError as error:
                if not in_cache:
                    raise
                self._leave_cache(error)  # the disk became full while the worker wrote
                return self.features(record, rung=rung, layer=layer, head=head, stay=stay, on_progress=on_progress)
            if isinstance(ran, Failure):
                return ran
            known, n_starts, problems = ran
        return self._together(keys["features"], known, rung, n_starts=n_starts, cached=cached, problems=problems)

    def waits(self, record: ModelRecord) -> bool:
        """Tell whether a model is loaded and waits to be asked for more samples."""
        return record.model_id in self._waiting

    def rate(self, record: ModelRecord, worth: float) -> None:
        """Say how likely it is that a model will be asked for more: where memory is short, the least likely go."""
        self._waiting.rate(record.model_id, worth)

    def release(self, record: ModelRecord) -> None:
        """End a model that will not be asked for more."""
        self._waiting.release(record.model_id)

    def layers(self, record: ModelRecord) -> tuple[tuple[str, ...], str] | Failure:
        """Return the layers of one model that can be chosen, and its default; runs no forward pass."""
        with self._worker("list_layers_in_worker", record) as worker:
            outcome = worker.run(self._payload(record), timeout_seconds=self.limits.timeout_seconds, stop=self.stop)
        self._note_walls(outcome)
        if outcome.result is None:
            return failure(record, outcome)
        return tuple(outcome.result["layers"]), str(outcome.result["feature_layer"])

    def known_cost(self, record: ModelRecord, layer: str | None = None) -> Cost:
        """Return what running a model took before; reads no features."""
        return _cost(self._rows_store.read(self._key(record, "features", layer), ()).metadata)

    def n_known(self, record: ModelRecord, layer: str | None = None) -> int:
        """Return of how many samples of the probe the features of a model are known."""
        known = self._rows_store.read(self._key(record, "features", layer), self.probe.digests).known
        return int(np.count_nonzero(known))

    # --- known rows ----------------------------------------------------------------------------------------------

    @property
    def _rows_store(self) -> FeatureRows:
        if self.cache is not None and not self._not_kept:
            return feature_rows(self.cache.folder)
        return feature_rows(self.scratch / "kept")

    def _known(self, key: str, rung: Rung) -> _Rows:
        found = self._rows_store.read(key, rung.probe.digests)
        return _Rows(values=found.values, known=found.known, width=found.width, metadata=found.metadata)

    def _key(self, record: ModelRecord, kind: str, layer: str | None) -> str:
        preprocessing = record.facts.preprocessing
        return cache_key(
            kind=f"rows of {kind}",
            version=VERSION,
            model=record.content_hash,
            format=record.facts.format,
            preprocessing=dataclasses.asdict(preprocessing) if preprocessing else None,
            layer=(layer or record.facts.feature_layer) if kind == "features" else None,
        )

    def _together(
        self,
        key: str,
        known: Mapping[str, _Rows],
        rung: Rung,
        *,
        n_starts: int,
        cached: bool,
        problems: tuple[str, ...],
    ) -> Features:
        features, logits = known["features"], known.get("logits")
        said = [rows.metadata.get("warnings", []) for rows in known.values()]
        return Features(
            values=features.values,
            key=_part_key(key, rung),
            rows_key=key,
            layer=features.metadata["layer"],
            extract_seconds=_mean_seconds(features.metadata) * len(rung),
            cached=cached,
            warnings=tuple(
                dict.fromkeys([*(sentence for part in said for sentence in part), *problems, *self._not_kept])
            ),
            logits=logits.values if logits is not None and logits.is_usable and logits.known.all() else None,
            cost=_cost(features.metadata),
            n_starts=n_starts,
        )

    # --- running -------------------------------------------------------------------------------------------------

    def _complete(
        self,
        record: ModelRecord,
        keys: Mapping[str, str],
        known: Mapping[str, _Rows],
        rung: Rung,
        layer: str | None,
        *,
        stay: bool,
        on_progress: Callable[[int], None],
    ) -> tuple[dict[str, _Rows], int, tuple[str, ...]] | Failure:
        """Run the model on the samples that are not known, and keep what it makes of them."""
        wanted = [kind for kind, rows in known.items() if not rows.is_complete]
        missing = np.flatnonzero(np.any([known[kind].missing for kind in wanted], axis=0))
        digests = np.array(rung.probe.digests)[missing]
        missing = missing[np.sort(np.unique(digests, return_index=True)[1])]  # copies are run once
        n_before = len(rung) - len(missing)
        opened, stays = self._opened(record, {kind: keys[kind] for kind in wanted}), False
        n_run = opened.n_run
        try:
            made, outcome = opened.ask(
                {**self._payload(record), "layer": layer},
                places=rung.rows[missing],
                widths={kind: known[kind].width for kind in wanted},
                n_samples=len(rung),
                timeout_seconds=self.limits.timeout_seconds,
                on_progress=lambda n_done: on_progress(min(n_before + n_done, len(rung))),
                stop=self.stop,
            )
            self._note_walls(outcome)
            if isinstance(made, Failure):
                return made
            stays = self._keep(opened, keys, made) and stay
        finally:
            with self._lock:
                self.n_passes += opened.n_run - n_run
            if stays:
                self._waiting.put(record.model_id, opened)
            else:
                opened.close()
        joined = {
            kind: _joined(before, made.rows.get(kind), made.metadata.get(kind, {}), missing, rung)
            if kind in wanted
            else before
            for kind, before in known.items()
        }
        return joined, made.n_starts, made.problems

    def _opened(self, record: ModelRecord, keys: Mapping[str, str]) -> Pass:
        """Return the pass of a model that waits, or a new one; its rows are counted among the whole probe."""
        waiting = self._waiting.take(record.model_id)
        if waiting is not None:
            if keys.items() <= waiting.kept.description.keys.items():
                return waiting
            waiting.close()
        kept = self._begin(keys)
        return Pass(record=record, worker=self._worker("extract_in_worker", record, kept.work), kept=kept)

    def _begin(self, keys: Mapping[str, str]) -> Unfinished:
        try:
            return self._rows_store.begin(keys, self.probe.digests, {})
        except OutputError as error:
            self._leave_cache(error)
            return self._rows_store.begin(keys, self.probe.digests, {})

    def _keep(self, opened: Pass, keys: Mapping[str, str], made: Made) -> bool:
        """Keep the rows of a pass for good; where that fails, this run goes on without the cache."""
        try:
            opened.kept.keep_so_far(made.metadata)
            if "logits" in made.metadata and "logits" not in made.rows:  # known to have none
                no_rows = np.empty((0, 0), dtype=np.float32)
                self._rows_store.add(keys["logits"], (), no_rows, made.metadata["logits"])
        except OutputError as error:
            self._leave_cache(error)
            return False
        return True

    def _leave_cache(self, error: OutputError) -> None:
        """Keep features in the scratch folder for the rest of the run, and say why."""
        self._not_kept[:] = self._not_kept or [str(error)]

    @property
    def _samples(self) -> Path:
        return self.scratch / "samples"

    def _worker(self, function: str, record: ModelRecord, work: Path | None = None) -> Worker:
        return make_worker(function, record, samples=self._samples, scratch=self.scratch, limits=self.limits, work=work)

    def _payload(self, record: ModelRecord) -> dict[str, Any]:
        return payload_of(
            record,
            samples=self._samples,
            modality=self.probe.target.modality,
            limits=self.limits,
            trusted=record.model_id in self.trusted,
        )

    def _note_walls(self, outcome: JobOutcome) -> None:
        for wall in outcome.walls:
            self.walls.setdefault(wall.name, wall.state if wall.state == "on" else f"{wall.state}: {wall.why}")


def _joined(
    before: _Rows, made: PassRows | None, metadata: Mapping[str, Any], missing: NDArray[np.int64], rung: Rung
) -> _Rows:
    """Put new rows to the known ones; each goes to all samples of the same content."""
    together = {**before.metadata, **metadata}
    if made is None:
        return dataclasses.replace(before, width=0 if metadata else before.width, metadata=together)
    values = before.values if before.values.shape[1] else np.empty((len(rung), made.values.shape[1]), dtype=np.float32)
    known = before.known.copy()
    digests = np.array(rung.probe.digests)
    ran, order = np.unique(digests[missing[made.places]], return_index=True)
    places = np.searchsorted(ran, digests)
    places[places == len(ran)] = 0
    new = (ran[places] == digests) & ~known
    values[new] = made.values[order[places[new]]]
    return _Rows(values=values, known=known | new, width=values.shape[1], metadata=together)


def _cost(metadata: Mapping[str, Any]) -> Cost:
    """Read what was measured from what is kept with the rows."""
    n_extracted, n_timed, n_starts = (metadata.get(name, 0) for name in ("n_extracted", "n_timed", "n_starts"))
    each = metadata["extract_seconds"] / n_extracted if n_extracted else None
    # Of few samples the first batch would be most, and it pays for what is set up on the way.
    timed = metadata["timed_seconds"] / n_timed if n_timed else each
    return Cost(
        start_seconds=metadata["start_seconds"] / n_starts if n_starts else None,
        seconds_per_sample=timed,
        peak_bytes=metadata.get("peak_bytes"),
    )


def _mean_seconds(metadata: Mapping[str, Any]) -> float:
    """Return what a sample took on average, the first batches among them."""
    n_extracted = metadata.get("n_extracted", 0)
    return float(metadata["extract_seconds"] / n_extracted) if n_extracted else 0.0


def _part_key(rows_key: str, rung: Rung) -> str:
    return cache_key(kind="features", rows=rows_key, probe=rung.probe.digest)
