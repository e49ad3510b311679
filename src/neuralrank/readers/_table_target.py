"""From the rows of a table to a target; shared by every reader of tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.readers._columns import Columns, choose_columns, is_text
from neuralrank.readers._fingerprint import files_content, spaced
from neuralrank.readers._labels import Labels
from neuralrank.readers._options import Options, counted
from neuralrank.readers._pixels import raw_image
from neuralrank.readers._rows import MemoryRows, Rows, class_label_names
from neuralrank.readers._samples import FileSamples, ImageSamples
from neuralrank.readers._target import Found, build_target
from neuralrank.types import RawSample, Samples, Target

MAX_OBJECTS_HASHED = 16_384


@dataclass(frozen=True)
class ColumnSamples:
    """Texts or encoded files in one column of a table."""

    rows: Rows
    column: str

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield texts, encoded files, or the paths of files; an empty cell reads as an empty text or file."""
        empty: RawSample = "" if is_text(self.rows.schema.field(self.column).type) else b""
        for value in self.rows.values(self.column, np.asarray(indices, dtype=np.int64)):
            if isinstance(value, dict):
                yield value.get("bytes") or (self.rows.folder / value["path"] if value.get("path") else b"")
            elif value is None:
                yield empty
            else:
                yield value

    def name(self, index: int) -> str:
        """Return 'row 17'."""
        return self.rows.row_name(index)


def table_target(
    rows: Rows,
    options: Options,
    *,
    objects: Mapping[str, Sequence[Any]] | None = None,
    notes: Sequence[str | None] = (),
) -> Target:
    """Return the target in the rows of a table.

    Args:
        rows: the table.
        options: what the user named; the rest is detected.
        objects: further columns, of images in memory, one entry per row.
        notes: what the reader has to say already.

    Raises:
        UsageError: a named column is not there.
        DataError: columns cannot be detected, or labels do not fit.
    """
    chosen = choose_columns(rows, options, tuple(objects or ()))
    samples, content = _samples(rows, chosen, objects or {})
    found = Found(
        name=rows.name,
        modality=chosen.modality,
        samples=samples,
        labels=Labels(
            values=rows.column(chosen.label),
            where=f"column {chosen.label!r} of {rows.name!r}",
            names=class_label_names(rows.features.get(chosen.label)),
        ),
        content=content,
        groups=None if options.group_column is None else rows.column(options.group_column),
        notes=(*notes, *chosen.notes, _empty_texts(rows, chosen)),
    )
    return build_target(found, options)


def _samples(rows: Rows, chosen: Columns, objects: Mapping[str, Sequence[Any]]) -> tuple[Samples, Iterator[bytes]]:
    if chosen.kind == "object":
        images = ImageSamples(objects[chosen.input])
        return images, object_content(images)
    if chosen.kind == "paths":
        texts = rows.column(chosen.input).to_pylist()
        names = [text or rows.row_name(index) for index, text in enumerate(texts)]
        paths: list[Path | None] = [rows.folder / text if text else None for text in texts]
        return FileSamples(paths, names), files_content(names, paths)
    content = rows.content([chosen.input, chosen.label])
    return ColumnSamples(rows, chosen.input), chain(content, _outside_files(rows, chosen))


def object_content(samples: Samples) -> Iterator[bytes]:
    """Yield the pixels of images in memory: all up to 16,384 of them, above that as many evenly spaced ones."""
    for raw in samples.read(spaced(len(samples), MAX_OBJECTS_HASHED)):
        value = raw_image(raw)
        if isinstance(value, Path):
            yield from files_content([value.name], [value])
        elif isinstance(value, np.ndarray):
            yield f"{value.shape}".encode()
            yield value.tobytes()
        elif isinstance(value, bytes):
            yield value


def _outside_files(rows: Rows, chosen: Columns) -> Iterator[bytes]:
    """Yield the content of files that an image or audio column only points to."""
    if chosen.kind != "media":
        return
    first = next((value for value in rows.head(chosen.input, 16) if value), None)
    if isinstance(first, dict) and not first.get("bytes") and first.get("path"):
        texts = [value["path"] for value in rows.column(chosen.input).to_pylist() if value and value.get("path")]
        yield from files_content(texts, [rows.folder / text for text in texts])


def _empty_texts(rows: Rows, chosen: Columns) -> str | None:
    """Return a note on missing texts of a table in memory, where counting them costs nothing."""
    if chosen.kind != "text":
        return None
    n_empty = rows.column(chosen.input).null_count if isinstance(rows, MemoryRows) else 0
    return f"{counted(n_empty, 'text')} missing in column {chosen.input!r}: read as empty." if n_empty else None
