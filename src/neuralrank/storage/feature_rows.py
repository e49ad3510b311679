"""Keep rows of features by sample, so that only those of new samples have to be computed, and none is lost to a kill.

Each `add` is one file, a segment, in a folder named by the key; a writer that finds many small ones merges them. A pass
that is running has a folder of its own, see `_unfinished`; what a process that was killed left there is adopted by the
next. Any number of processes may share one cache. No order of clocks matters anywhere: segments are numbered, the
living are told from the dead by locks. Nothing is ever evicted: the user deletes the folder.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import OutputError
from neuralrank.storage import _unfinished
from neuralrank.storage._segments import (
    DIGEST_BYTES,
    DamagedError,
    Segment,
    as_words,
    crcs,
    find,
    open_segment,
    sample_digests,
    segment_chunks,
)
from neuralrank.storage._unfinished import PassRows, Unfinished
from neuralrank.storage._whole_file import make_folder, not_kept, sweep_parts, try_lock, write_whole

__all__ = ["FeatureRows", "KnownRows", "PassRows", "Unfinished", "feature_rows", "sample_digests"]

MAX_SEGMENTS = 16
_KEY = re.compile(r"[0-9a-f]{16,128}")
_SEGMENT = re.compile(r"\d{10}-[0-9a-f]{16}\.safetensors")
_LOCK = "lock"
_TRIES = 20


def feature_rows(folder: Path) -> "FeatureRows":
    """Return the rows kept in the cache `folder`, which need not exist before something is written."""
    return FeatureRows(folder=Path(folder).expanduser())


@dataclass(frozen=True, kw_only=True)
class KnownRows:
    """What is known of the samples that were asked for."""

    values: NDArray[np.float32]
    """Shape (n_samples, width); NaN where a sample is not known."""
    known: NDArray[np.bool_]
    """Shape (n_samples,)."""
    width: int | None
    """Of every row of the key, whoever asked for it; 0: known to have none; None: nothing is known of the key."""
    metadata: Mapping[str, Any]
    """What was said of the key when rows were added. Numbers called `n_…` or `…_seconds` are added up, of those called
    `peak_…` the largest counts, lists are joined without repeats; of everything else the first counts."""


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """Rows and metadata by key and sample; any number of processes may share one folder."""

    folder: Path

    def read(self, key: str, samples: Sequence[str] | NDArray[Any]) -> KnownRows:
        """Return the rows that are known of these samples.

        Of a row that was added twice, the one added first counts: what has been read once does not change when somebody
        adds more. A file that is damaged, or has rows of another width than the first, counts as absent and is removed.

        Args:
            key: made by `cache_key`.
            samples: digests of decoded samples, of at least 32 hexadecimal digits each, or what `sample_digests` made
                of them; they may repeat.
        """
        place, asked = self._place(key), sample_digests(samples)
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # merged by a writer meanwhile: look again
                return _read(place, key, asked, may_vanish=False)
        return _read(place, key, asked, may_vanish=True)

    def samples(self, key: str) -> NDArray[np.uint8]:
        """Return the digests of all samples of which rows are known, shape (n, 16), those added first before others."""
        place, found = self._place(key), np.empty((0, DIGEST_BYTES), dtype=np.uint8)
        for path in _segments(place):
            with suppress(OSError, DamagedError), open_segment(path, key) as segment:
                found = np.concatenate([found, segment.digests[find(found, segment.digests) < 0]])
        return found

    def add(
        self,
        key: str,
        samples: Sequence[str] | NDArray[Any],
        values: NDArray[np.float32],
        metadata: Mapping[str, Any],
    ) -> None:
        """Keep rows: they are on the disk when it returns.

        Without samples and of width 0, it keeps that the key is known to have no rows.

        Args:
            key: made by `cache_key`.
            samples: as in `read`; of one that repeats, the first row is kept.
            values: shape (n_samples, width), float32: what `read` returns later is equal to the last bit.
            metadata: JSON values, see `KnownRows.metadata`.

        Raises:
            OutputError: the file could not be written; nothing of it is left behind.
        """
        digests = sample_digests(samples)
        if values.ndim != 2 or values.dtype != np.float32 or len(values) != len(digests):
            raise ValueError(
                f"Rows need float32 of shape ({len(digests)}, width). Got {values.dtype} of shape {values.shape}."
            )
        if bool(len(values)) != bool(values.shape[1]):
            raise ValueError(f"Rows need a width, and a width needs rows. Got shape {values.shape}.")
        self._add(key, digests, values, metadata)

    def begin(
        self,
        keys: Mapping[str, str],
        samples: Sequence[str] | NDArray[Any],
        metadata: Mapping[str, Mapping[str, Any]],
    ) -> Unfinished:
        """Make the folder of a pass, in which a worker logs its rows batch by batch.

        Args:
            keys: of each kind of rows that the worker will write, 'features' and 'logits' for instance.
            samples: as in `read`; row i of the log belongs to the i-th.
            metadata: of each kind: what is kept with the rows if this process dies.

        Raises:
            OutputError: the folder could not be made.
        """
        for key in keys.values():
            self._place(key)
        return _unfinished.begin(self._unfinished, _unfinished.described(keys, samples, metadata), self._add)

    def adopt(self, key: str) -> int:
        """Keep the whole batches of passes of this key whose process died; return how many rows they had.

        What cannot be kept now stays for the next time.
        """
        self._place(key)
        return self._adopt(key)

    def sweep(self) -> int:
        """Do what `adopt` does for every key, and remove what else dead processes left; cheap, once a run is enough."""
        sweep_parts(self._rows)
        return self._adopt(None)

    @property
    def _rows(self) -> Path:
        return self.folder / "rows"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "unfinished"

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"A cache key needs 16 to 128 hexadecimal digits. Got {key!r}. Make it with cache_key.")
        return self._rows / key[:2] / key

    def _adopt(self, key: str | None) -> int:
        n_rows = 0
        for folder in _unfinished.orphans(self._unfinished, key):
            description = _unfinished.read_description(folder)
            if description is not None:
                try:
                    kept = {kind: self._has(key, description.samples) for kind, key in description.keys.items()}
                    n_rows += _unfinished.keep_rows(folder, description, {}, self._add, kept)
                except OutputError:
                    continue
            _unfinished.remove(folder)
        return n_rows

    def _has(self, key: str, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return find(self.samples(key), digests) >= 0

    def _add(
        self,
        key: str,
        digests: NDArray[np.uint8],
        values: NDArray[np.float32],
        metadata: Mapping[str, Any],
    ) -> None:
        place = self._place(key)
        first = np.sort(np.unique(as_words(digests), return_index=True)[1])
        if len(first) < len(digests):
            digests, values = digests[first], values[first]
        chunks = segment_chunks(key, digests, crcs(values), values.shape[1], [values], metadata)
        try:
            make_folder(place)
            paths = _segments(place)
            # Numbered, so that rows added later never take the place of those that somebody has read.
            number = 1 + int(paths[-1].name.split("-")[0]) if paths else 0
            write_whole(place / f"{number:010d}-{secrets.token_hex(8)}.safetensors", chunks, self._rows)
        except OSError as error:
            raise not_kept(self.folder, error) from error
        if len(paths) >= MAX_SEGMENTS:
            with suppress(OSError, DamagedError):  # the rows are kept: the next writer tries again
                _merge(place, key, self._rows)


def _read(place: Path, key: str, asked: NDArray[np.uint8], *, may_vanish: bool) -> KnownRows:
    known = np.zeros(len(asked), dtype=np.bool_)
    values = np.empty((len(asked), 0), dtype=np.float32)
    width: int | None = None
    said: list[Mapping[str, Any]] = []
    for path in _segments(place):
        try:
            with open_segment(path, key) as segment:
                _check_width(segment, width)
                places = np.flatnonzero(~known)
                found = find(segment.digests, asked[places])
                places, found = places[found >= 0], found[found >= 0]
                out = values if width else np.empty((len(asked), segment.width), dtype=np.float32)
                segment.read_into(out, found, places)
        except FileNotFoundError:
            if not may_vanish:
                raise
        except DamagedError:
            _remove_damaged(path, key, width)
        except OSError:  # not ours to read
            continue
        else:
            values, width = out, width or segment.width
            known[places] = True
            said.append(segment.metadata)
    if not known.all():
        values[~known] = np.nan
    return KnownRows(values=values, known=known, width=width, metadata=joined(said))


def joined(said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several adds said of one key; joining some of them first gives the same.

    Example:
        >>> joined([{"layer": "pool", "n_timed": 2, "warnings": ["a"]}, {"n_timed": 3, "warnings": ["b", "a"]}])
        {'layer': 'pool', 'n_timed': 5, 'warnings': ['a', 'b']}
    """
    together: dict[str, Any] = {}
    for metadata in said:
        for name, value in metadata.items():
            if isinstance(value, list):
                before = together[name] if isinstance(together.get(name), list) else []
                together[name] = [*before, *(item for item in value if item not in before)]
            elif name not in together:
                together[name] = value
            elif _is_amount(name, value) and _is_amount(name, together[name]):
                together[name] += value
            elif _is_peak(name, value) and _is_peak(name, together[name]):
                together[name] = max(together[name], value)
    return together


def _is_amount(name: str, value: object) -> bool:
    return (name.startswith("n_") or name.endswith("_seconds")) and isinstance(value, int | float)


def _is_peak(name: str, value: object) -> bool:
    return name.startswith("peak_") and isinstance(value, int | float)


def _segments(place: Path) -> list[Path]:
    """Return the files of a key in the order of their numbers."""
    try:
        return sorted(path for path in place.iterdir() if _SEGMENT.fullmatch(path.name))
    except OSError:
        return []


def _check_width(segment: Segment, width: int | None) -> None:
    if width and segment.width not in (0, width):
        raise DamagedError("rows of another width than those before")


def _remove_damaged(path: Path, key: str, width: int | None) -> None:
    """Remove a file that is still damaged when nobody else can be replacing it."""
    with suppress(OSError), _alone(path.parent) as alone:
        if not alone:
            return
        try:
            with open_segment(path, key) as segment:
                _check_width(segment, width)
                segment.read(np.arange(len(segment.digests)))
        except DamagedError:
            path.unlink()


def _merge(place: Path, key: str, parts: Path) -> None:
    """Put the rows of many segments into the first of them, and remove the others.

    The first stays the first, so which of two rows of a sample counts does not change; whoever reads meanwhile finds
    each row in at least one file, or finds a file gone and looks again.

    Raises:
        DamagedError: one of them is not whole; nothing has changed.
        OSError: the disk is full or the like; nothing is lost.
    """
    with _alone(place) as alone, ExitStack() as opened:
        paths = _worth_merging(_segments(place))
        if not alone or len(paths) < 2:
            return
        segments = [opened.enter_context(open_segment(path, key)) for path in paths]
        width = next((segment.width for segment in segments if segment.width), 0)
        for segment in segments:
            _check_width(segment, width)
        digests = np.empty((0, 16), dtype=np.uint8)
        new = []
        for segment in segments:
            new.append(np.flatnonzero(find(digests, segment.digests) < 0))
            digests = np.concatenate([digests, segment.digests[new[-1]]])
        row_crcs = np.concatenate([segment.row_crcs[rows] for segment, rows in zip(segments, new, strict=True)])
        parts_of_rows = (segment.read(rows) for segment, rows in zip(segments, new, strict=True))
        metadata = joined([segment.metadata for segment in segments])
        write_whole(paths[0], segment_chunks(key, digests, row_crcs, width, parts_of_rows, metadata), parts)
        for path in paths[1:]:
            path.unlink()


def _worth_merging(paths: list[Path]) -> list[Path]:
    """Leave out the first files that are larger than all after them together: a row is rewritten log(n) times."""
    sizes = [path.stat().st_size for path in paths]
    first = 0
    while first < len(paths) and sizes[first] > sum(sizes[first + 1 :]):
        first += 1
    return paths[first:]


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Give whether nobody else merges or removes files of this key, for as long as it lasts; never waits."""
    descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)
