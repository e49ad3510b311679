"""Draw the probe and decode it once for all models.

The probe is a stratified, seeded part of the target; a larger probe of the same seed holds the smaller one. Of a
multi-label target it is not stratified but holds two samples with and two without each label that has them. Decoded
samples go to one file in a scratch folder, which every worker maps into its memory. Samples with exactly the same
content are put into one group, like samples that share a value of the group column.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank import registry
from neuralrank.errors import DataError, OutputError
from neuralrank.readers._options import counted, quoted
from neuralrank.storage.feature_cache import FeatureCache, cache_key
from neuralrank.types import RawSample, Sample, Target

MIN_SAMPLES = 10
VERSION = 1
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The part of a target used for scoring; all arrays have one entry per sample that could be read."""

    target: Target
    indices: NDArray[np.int64]
    """Rows of the target, ascending."""
    labels: NDArray[Any]
    """As in the target; classes, label columns and target columns that the probe cannot tell anything of leave no gap:
    see `class_names`."""
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None
    digests: tuple[str, ...]
    """Of each sample, SHA-256 over its decoded content, in hexadecimal: what features are a function of."""
    n_unreadable: int
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.indices)

    @property
    def digest(self) -> str:
        """Identify all samples together."""
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A part of the probe that a model sees before it sees more."""

    probe: Probe
    """The part, as a probe of its own."""
    rows: NDArray[np.int64]
    """Its samples in the whole probe, ascending."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)


def nested_rungs(probe: Probe, sizes: Sequence[int], seed: int) -> tuple[Rung, ...]:
    """Return parts of the probe, each within the next, the last of them the whole.

    Each is the probe that `draw_indices` draws for its size, so it has at least two samples of every class. A part
    that is too small to be scored is left out, as is one that is no larger than the part before it.

    Args:
        probe: the whole, drawn with `seed`.
        sizes: samples asked for, ascending; the last stands for the whole.
        seed: that the probe was drawn with.
    """
    rungs: list[Rung] = []
    for size in sizes[:-1]:
        drawn = draw_indices(probe.target, size, seed)
        rows = np.flatnonzero(np.isin(probe.indices, drawn))
        if (len(rungs[-1]) if rungs else 0) < len(rows) < len(probe):
            with suppress(DataError):
                rungs.append(Rung(probe=_usable(_taken(probe, rows)), rows=rows))
    # Where the part lacks a class of the whole, its scores would be of another question.
    same = [rung for rung in rungs if _same_question(rung.probe, probe) and len(rung.probe) == len(rung.rows)]
    return (*same, Rung(probe=probe, rows=np.arange(len(probe))))


def part_of(probe: Probe, rows: NDArray[np.int64]) -> Rung:
    """Return some samples of the probe, to run models on and not to score them.

    Args:
        probe: the whole.
        rows: of the probe, ascending.
    """
    return Rung(probe=_taken(probe, rows), rows=rows)


def _taken(probe: Probe, rows: NDArray[np.int64]) -> Probe:
    groups = None if probe.groups is None else np.unique(probe.groups[rows], return_inverse=True)[1].astype(np.int64)
    return replace(
        probe,
        indices=probe.indices[rows],
        labels=probe.labels[rows],
        groups=groups,
        digests=tuple(probe.digests[row] for row in rows),
        notes=(),
    )


def _same_question(part: Probe, whole: Probe) -> bool:
    return part.class_names == whole.class_names and part.labels.shape[1:] == whole.labels.shape[1:]


def draw_indices(target: Target, n_samples: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of a stratified, seeded sample, ascending.

    Each class gets its share of `n_samples`, at least two; classes with one sample get none, for they cannot be held
    out. Each sample carries one random key and each class takes its lowest: larger probes contain smaller ones. Of a
    multi-label target the samples that rare labels need come first, see `_needed`, then those of the lowest keys.
    """
    keys = np.random.default_rng(seed).random(len(target.labels))
    if target.task != "classification":
        order = np.argsort(keys, kind="stable")
        if target.task == "multilabel":
            needed = _needed(target.labels[order])
            n_samples = max(n_samples, len(needed))
            order = np.concatenate([order[needed], np.delete(order, needed)])
        return np.sort(order[:n_samples])
    counts = np.bincount(target.labels)
    quotas = _quotas(counts, n_samples)
    by_class = np.lexsort((keys, target.labels))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place_in_class = np.arange(len(by_class)) - np.repeat(starts, counts)
    return np.sort(by_class[place_in_class < np.repeat(quotas, counts)])


def _needed(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of samples that give every label two samples with it and two without, ascending.

    Labels are served from the rarest on, and each takes the first samples it still lacks; one that fewer than two
    samples have, or fewer than two lack, takes none. The choice does not depend on the size of the probe, so the
    probes of one seed stay nested.

    Args:
        labels: shape (n_samples, n_labels), in the order in which samples are drawn.
    """
    has = np.ascontiguousarray(labels.T, dtype=bool)
    n_with = np.count_nonzero(has, axis=1)
    counts = np.stack([len(labels) - n_with, n_with], axis=1)
    missing = np.where(counts.min(axis=1, keepdims=True) >= 2, 2, 0).repeat(2, axis=1)
    every_label = np.arange(len(has))
    taken = np.zeros(len(labels), dtype=bool)
    for place in np.argsort(counts, axis=None, kind="stable"):
        label, value = divmod(int(place), 2)
        if missing[label, value] > 0:
            fresh = np.flatnonzero((has[label] == bool(value)) & ~taken)[: missing[label, value]]
            taken[fresh] = True
            for sample in fresh:
                missing[every_label, has[:, sample].astype(np.int64)] -= 1
    return np.flatnonzero(taken)


def _quotas(counts: NDArray[np.int64], n_samples: int) -> NDArray[np.int64]:
    """Share `n_samples` among classes by the largest remainder, at least two each, none for single samples."""
    usable = np.where(counts >= 2, counts, 0)
    total = int(usable.sum())
    if n_samples >= total:
        return usable
    exact = usable * (n_samples / total)
    quotas = np.where(usable > 0, np.maximum(np.floor(exact), 2), 0).astype(np.int64)
    for _ in range(int(quotas.sum()) - n_samples):  # rare classes took more than their share: large ones give it back
        if quotas.max() > 2:
            quotas[quotas.argmax()] -= 1
    missing = n_samples - int(quotas.sum())
    if missing > 0:
        remainders = np.where(quotas < usable, exact - quotas, -np.inf)
        quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return np.minimum(quotas, usable)


def read_probe(
    target: Target, *, n_samples: int, seed: int, max_unreadable: float, cache: FeatureCache | None
) -> Probe:
    """Draw the probe, find what cannot be read and what is doubled; decodes only what the cache does not know.

    Args:
        target: the user's data set.
        n_samples: size of the probe; more where every class or label needs its two samples.
        seed: of the draw.
        max_unreadable: share of samples that may be unreadable.
        cache: remembers the digests of decoded samples by their raw content.

    Raises:
        DataError: too many samples cannot be read, or too few are left.
    """
    indices = draw_indices(target, n_samples, seed)
    notes = list(_notes_on_draw(target, indices, n_samples))
    digests = _digests(target, indices, cache)
    readable = np.array([digest[0] != "!" for digest in digests])
    if not readable.all():
        notes.append(_note_unreadable(target, indices, digests, readable, max_unreadable))
    kept = [digest for digest in digests if digest[0] != "!"]
    probe = Probe(
        target=target,
        indices=indices[readable],
        labels=target.labels[indices[readable]],
        class_names=target.class_names,
        groups=None,
        digests=tuple(kept),
        n_unreadable=int(np.count_nonzero(~readable)),
        notes=tuple(notes),
    )
    return _usable(_with_groups(probe, kept))


def write_samples(probe: Probe, folder: Path) -> None:
    """Decode the probe's samples into `folder`, for `open_samples` in the workers.

    Raises:
        OutputError: the scratch folder is full or cannot be written.
    """
    modality = registry.get("modalities", probe.target.modality)()
    shapes: list[Any] = []
    try:
        with (folder / "samples.bin").open("wb") as file:
            for raw in probe.target.samples.read(probe.indices):
                sample = modality.read_sample(raw)
                data = sample.encode() if isinstance(sample, str) else np.ascontiguousarray(sample).tobytes()
                shapes.append(len(data) if isinstance(sample, str) else [*sample.shape, sample.dtype.str])
                file.write(data)
        (folder / "samples.json").write_text(json.dumps(shapes))
    except OSError as error:
        raise OutputError(
            f"Decoded samples need room in {str(folder)!r}. Got: {error.strerror or error}. "
            "Free some space, use a smaller --probe, or set TMPDIR to another folder."
        ) from error


def open_samples(folder: Path) -> Sequence[Sample]:
    """Return what `write_samples` wrote, mapped into memory rather than read."""
    shapes = json.loads((folder / "samples.json").read_text())
    path = folder / "samples.bin"
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, dtype=np.uint8)
    samples: list[Sample] = []
    offset = 0
    for shape in shapes:
        if isinstance(shape, int):
            samples.append(data[offset : offset + shape].tobytes().decode())
            offset += shape
            continue
        *dimensions, kind = shape
        n_bytes = int(np.prod(dimensions)) * np.dtype(kind).itemsize
        samples.append(data[offset : offset + n_bytes].view(kind).reshape(dimensions))
        offset += n_bytes
    return samples


def _digests(target: Target, indices: NDArray[np.int64], cache: FeatureCache | None) -> list[str]:
    """Return one digest of the decoded content per sample; '!' and the reason where it cannot be decoded."""
    raw_digest = hashlib.sha256()
    for raw in target.samples.read(indices):
        raw_digest.update(_raw_digest(raw))
    key = cache_key(kind="probe digests", version=VERSION, modality=target.modality, raw=raw_digest.hexdigest())
    found = cache.get(key) if cache else None
    if found is not None:
        return list(json.loads(found[1]["digests"]))
    digests = list(_decode_digests(target, indices))
    if cache:
        try:
            cache.put(key, np.zeros((len(digests), 1), dtype=np.float32), {"digests": json.dumps(digests)})
        except OutputError:
            return digests  # the extraction says so where it matters, once
    return digests


def _decode_digests(target: Target, indices: NDArray[np.int64]) -> Iterator[str]:
    modality = registry.get("modalities", target.modality)()
    for raw in target.samples.read(indices):
        try:
            sample = modality.read_sample(raw)
        except DataError as error:
            yield f"!{error}"
            continue
        if isinstance(sample, str):
            yield hashlib.sha256(sample.encode()).hexdigest()
        else:
            header = f"{sample.shape}{sample.dtype}".encode()
            yield hashlib.sha256(header + np.ascontiguousarray(sample).tobytes()).hexdigest()


def _raw_digest(raw: RawSample) -> bytes:
    if isinstance(raw, Path):
        try:
            raw = raw.read_bytes()
        except OSError as error:
            raw = f"unreadable: {error.strerror}".encode()
    elif isinstance(raw, str):
        raw = raw.encode()
    elif not isinstance(raw, bytes):
        raw = f"{raw.shape}{raw.dtype}".encode() + np.ascontiguousarray(raw).tobytes()
    return hashlib.sha256(raw).digest()


def _with_groups(probe: Probe, digests: list[str]) -> Probe:
    """Join exact duplicates, and the user's groups that share one, into groups."""
    contents = np.unique(digests, return_inverse=True)[1]
    given = None if probe.target.groups is None else probe.target.groups[probe.indices]
    n_doubled = len(digests) - int(contents.max(initial=-1)) - 1
    notes = probe.notes
    if n_doubled:
        notes += (f"{n_doubled:,} of {len(digests):,} samples repeat another exactly: they are held out together.",)
    if given is None:
        return replace(probe, groups=contents.astype(np.int64) if n_doubled else None, notes=notes)
    return replace(probe, groups=_joined(given, contents), notes=notes)


def _joined(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the finest grouping that keeps together whatever either of two groupings does."""
    # Here and not above: every worker imports this module, and scipy would cost each of them a fifth of a second.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.unique(first, return_inverse=True)[1]
    n_first, n_second = int(first.max()) + 1, int(second.max()) + 1
    edges = coo_array((np.ones(len(first)), (first, n_first + second)), shape=(n_first + n_second,) * 2)
    component = connected_components(edges, directed=False)[1]
    return np.asarray(np.unique(component[first], return_inverse=True)[1], dtype=np.int64)


def _usable(probe: Probe) -> Probe:
    """Leave out of the labels what this probe cannot tell anything of, and check that enough is left."""
    if len(probe) < MIN_SAMPLES:
        raise DataError(
            f"A ranking needs at least {MIN_SAMPLES} readable samples in the probe. Got {len(probe)}. "
            "Give more data or a larger --probe."
        )
    if probe.groups is not None and probe.groups.min() == probe.groups.max():
        raise DataError(
            "Held-out scores need at least 2 groups of samples. Got 1. Choose another --group-column, or leave it out."
        )
    if probe.target.task == "multilabel":
        return _with_labels(probe)
    if probe.target.task == "regression":
        return _with_targets(probe) if probe.labels.ndim > 1 else probe
    return _with_classes(probe)


def _with_labels(probe: Probe) -> Probe:
    """Leave out label columns that fewer than two readable samples have, or fewer than two lack; all samples stay."""
    n_with = np.count_nonzero(probe.labels, axis=0)
    kept = np.flatnonzero((n_with >= 2) & (len(probe) - n_with >= 2))
    if len(kept) == 0:
        raise DataError(
            "A ranking needs at least 1 label that 2 samples have and 2 do not. Got none among "
            f"{counted(len(n_with), 'label')} of {probe.target.name!r}. Give more data."
        )
    if len(kept) == len(n_with):
        return probe
    names = tuple(probe.class_names[column] for column in kept)
    gone = [probe.class_names[column] for column in np.setdiff1d(np.arange(len(n_with)), kept)]
    verb = "is" if len(gone) == 1 else "are"
    note = (
        f"{len(gone):,} of {counted(len(n_with), 'label')} {verb} left out ({quoted(gone, 5)}): a label needs 2 "
        "samples of the probe that have it and 2 that do not."
    )
    return replace(probe, labels=probe.labels[:, kept], class_names=names, notes=(*probe.notes, note))


def _with_targets(probe: Probe) -> Probe:
    """Leave out targets that have one value in all of the probe."""
    varied = probe.labels.min(axis=0) < probe.labels.max(axis=0)
    if not varied.any():
        raise DataError(
            f"A regression needs labels that differ. Got one value for each of {counted(len(varied), 'target')} in the "
            f"probe of {probe.target.name!r}. Give more data or a larger --probe."
        )
    if varied.all():
        return probe
    constant = ", ".join(str(column) for column in np.flatnonzero(~varied))
    note = f"Target columns with one value in all of the probe are left out (counted from 0): {constant}."
    return replace(probe, labels=probe.labels[:, varied], notes=(*probe.notes, note))


def _with_classes(probe: Probe) -> Probe:
    """Leave out classes with fewer than two readable samples, and close the gaps in the class indices."""
    counts = np.bincount(probe.labels, minlength=len(probe.class_names))
    present = np.flatnonzero(counts >= 2)
    if len(present) < 2:
        raise DataError(
            f"A ranking needs at least 2 classes with 2 samples each. Got {len(present)} such class"
            f"{'' if len(present) == 1 else 'es'} in {probe.target.name!r}. Give more data."
        )
    keep = np.isin(probe.labels, present)
    if len(present) == len(probe.class_names):
        return probe
    groups = None if probe.groups is None else np.unique(probe.groups[keep], return_inverse=True)[1].astype(np.int64)
    return replace(
        probe,
        indices=probe.indices[keep],
        labels=np.searchsorted(present, probe.labels[keep]),
        class_names=tuple(probe.class_names[index] for index in present),
        groups=groups,
        digests=tuple(compress(probe.digests, keep)),
    )


def _notes_on_draw(target: Target, indices: NDArray[np.int64], n_samples: int) -> Iterator[str]:
    if len(indices) > n_samples:
        need = "each class needs 2" if target.task == "classification" else "each label needs 2 with it and 2 without"
        yield f"The probe has {len(indices):,} samples instead of {n_samples:,}: {need}."


def _note_unreadable(
    target: Target,
    indices: NDArray[np.int64],
    digests: list[str],
    readable: NDArray[np.bool_],
    max_unreadable: float,
) -> str:
    bad = np.flatnonzero(~readable)
    named = "; ".join(
        f"{target.samples.name(int(indices[place]))}: {_reason(digests[place][1:])}" for place in bad[:_NAMED]
    )
    count = f"{len(bad):,} of {len(indices):,} samples could not be read ({named}{'; …' if len(bad) > _NAMED else ''})"
    if len(bad) > max_unreadable * len(indices):
        raise DataError(
            f"At most {max_unreadable:.0%} of the probe may be unreadable. Got {count}. "
            "Repair the files, or raise NEURALRANK_MAX_UNREADABLE."
        )
    return f"{count}; left out."


def _reason(sentence: str) -> str:
    """Return what was got, of a message that says what was needed, what was got and what to do."""
    found = re.search(r"\bGot (.+?)\.(?: |$)", sentence)
    return found.group(1) if found else sentence
