"""Guess which column of a table holds the samples and which the labels, and say so."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._options import Options, check_name, quoted
from neuralrank.readers._rows import Rows, class_label_names
from neuralrank.types import Modality

LABEL_NAMES = ("label", "labels", "target", "class", "category", "intent", "y")
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif"}
)
_N_HEAD = 1000
_SIGNATURES: tuple[tuple[Modality, bytes, int], ...] = (
    ("image", b"\xff\xd8\xff", 0), ("image", b"\x89PNG", 0), ("image", b"GIF8", 0), ("image", b"BM", 0),
    ("image", b"WEBP", 8), ("image", b"II*\0", 0), ("image", b"MM\0*", 0), ("image", b"ftypavif", 4),
    ("audio", b"WAVE", 8), ("audio", b"fLaC", 0), ("audio", b"OggS", 0), ("audio", b"ID3", 0),
    ("audio", b"\xff\xfb", 0), ("audio", b"\xff\xf3", 0),
)  # fmt: skip

Kind = Literal["object", "media", "paths", "text"]
_RANK: Mapping[Kind, int] = {"object": 0, "media": 0, "paths": 1, "text": 2}
_HOW: Mapping[Kind, str] = {
    "object": "it holds images",
    "media": "it holds encoded files",
    "paths": "it holds paths of images",
    "text": "the longest text",
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns chosen, and what was guessed."""

    input: str
    kind: Kind
    modality: Modality
    label: str
    notes: tuple[str, ...]


def choose_columns(rows: Rows, options: Options, objects: Collection[str] = ()) -> Columns:
    """Return the columns named by the options, or the likeliest ones with a note each.

    Args:
        rows: the table.
        options: what the user named.
        objects: further columns, of images in memory, that are not part of the Arrow table.

    Raises:
        UsageError: a named column is not there, or one column is named for both.
        DataError: no column, or more than one, could be meant.
    """
    names = (*rows.schema.names, *objects)
    if len(set(names)) < len(names):
        raise DataError(
            f"A table needs columns of different names. Got {quoted(names)} in {rows.name!r}. Rename the double ones."
        )
    for option in ("input_column", "label_column", "group_column"):
        value = getattr(options, option)
        if value is not None:
            check_name(value, names, option, f"a column of {rows.name!r}")
    if options.input_column is not None and options.input_column == options.label_column:
        raise UsageError(
            f"--input-column and --label-column need two columns. Got {options.input_column!r} for both. Name another."
        )
    taken = {options.input_column, options.group_column}
    label = options.label_column or _label_by_name(names, taken)
    column, kind, modality = _choose_input(rows, options, {label, options.group_column}, objects)
    notes = []
    if options.input_column is None:
        notes.append(f"Samples come from column {column!r} ({_HOW[kind]}); --input-column names another.")
    if options.label_column is None:
        how = "by its name"
        if label is None:
            label, how = _label_by_content(rows, taken | {column})
        notes.append(f"Labels come from column {label!r} ({how}); --label-column names another.")
    assert label is not None
    return Columns(input=column, kind=kind, modality=modality, label=label, notes=tuple(notes))


def image_suffix(path: str) -> bool:
    """Return whether a path ends like an image file."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def _label_by_name(names: Collection[str], taken: Collection[str | None]) -> str | None:
    lowered = {name.lower(): name for name in names if name not in taken}
    return next((lowered[name] for name in LABEL_NAMES if name in lowered), None)


def _label_by_content(rows: Rows, taken: Collection[str | None]) -> tuple[str, str]:
    free = [field for field in rows.schema if field.name not in taken]
    for field in free:
        if class_label_names(rows.features.get(field.name)):
            return field.name, "it has class names"
    few = [field.name for field in free if _holds_categories(field.type) and _has_few_values(rows, field.name)]
    if len(few) == 1:
        return few[0], "it has few distinct values"
    found = f"{quoted(few)} as possible ones" if few else "none that looks like it"
    raise DataError(
        f"A table needs a label column. Got {found} in {rows.name!r}. Name it with --label-column; "
        f"the columns are {quoted(rows.schema.names)}."
    )


def _holds_categories(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _has_few_values(rows: Rows, name: str) -> bool:
    n_distinct = pc.count_distinct(rows.column(name)).as_py()
    return bool(2 <= n_distinct <= min(1000, len(rows) // 2))


def is_text(kind: Any) -> bool:
    """Return whether an Arrow type holds texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _choose_input(
    rows: Rows, options: Options, taken: Collection[str | None], objects: Collection[str]
) -> tuple[str, Kind, Modality]:
    if options.input_column is not None:
        found = _input_kind(rows, options.input_column, objects)
        if found is None:
            kind = rows.schema.field(options.input_column).type
            raise DataError(
                f"An input column needs images, audio or texts. Got {kind} in column {options.input_column!r} of "
                f"{rows.name!r}. Name another with --input-column."
            )
        if found[0] == "paths":
            _check_some_exist(rows, options.input_column)
        return options.input_column, *found
    candidates = []
    for name in (*objects, *rows.schema.names):
        found = None if name in taken else _input_kind(rows, name, objects)
        if found is not None:
            candidates.append((_RANK[found[0]], -_mean_length(rows, name) if found[0] == "text" else 0.0, name, *found))
    candidates.sort(key=lambda candidate: candidate[:2])
    first_without_files = next((name for _, _, name, kind, _ in candidates if kind == "paths"), None)
    candidates = [found for found in candidates if found[3] != "paths" or _some_exist(rows, found[2])]
    if not candidates:
        if first_without_files is not None:
            _check_some_exist(rows, first_without_files)
        raise DataError(
            f"A table needs a column of images, audio or texts. Got none in {rows.name!r}. "
            f"Name it with --input-column; the columns are {quoted(rows.schema.names)}."
        )
    return candidates[0][2], candidates[0][3], candidates[0][4]


def _input_kind(rows: Rows, name: str, objects: Collection[str]) -> tuple[Kind, Modality] | None:
    if name in objects:
        return "object", "image"
    kind = rows.schema.field(name).type
    if is_text(kind):
        texts = [text for text in rows.head(name, _N_HEAD) if text]
        looks_like_paths = sum(map(image_suffix, texts)) > 0.9 * len(texts)
        return ("paths", "image") if looks_like_paths and texts else ("text", "text") if texts else None
    if pa.types.is_struct(kind) and {"bytes", "path"} >= {kind.field(i).name for i in range(kind.num_fields)}:
        modality = _media_modality(rows, name)
        return None if modality is None else ("media", modality)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        modality = _media_modality(rows, name)
        return None if modality is None else ("media", modality)
    return None


def _media_modality(rows: Rows, name: str) -> Modality | None:
    stated = {"Image": "image", "Audio": "audio"}.get(str(rows.features.get(name, {}).get("_type")))
    if stated == "image" or stated == "audio":
        return "image" if stated == "image" else "audio"
    first = next((value for value in rows.head(name, 16) if value), None)
    data = first if isinstance(first, bytes) else (first or {}).get("bytes")
    path = first.get("path") if isinstance(first, dict) else None
    if data:
        return next((m for m, sign, at in _SIGNATURES if data[at : at + len(sign)] == sign), None)
    return "image" if path and image_suffix(path) else "audio" if path else None


def _mean_length(rows: Rows, name: str) -> float:
    texts = [text for text in rows.head(name, _N_HEAD) if text]
    return sum(map(len, texts)) / max(1, len(texts))


def _some_exist(rows: Rows, name: str) -> bool:
    texts = [text for text in rows.head(name, _N_HEAD) if text]
    return any((rows.folder / text).is_file() for text in texts)


def _check_some_exist(rows: Rows, name: str) -> None:
    if not _some_exist(rows, name):
        first = next(text for text in rows.head(name, _N_HEAD) if text)
        raise DataError(
            f"Image paths need to be relative to the folder of their table, or absolute. Got {first!r} in column "
            f"{name!r}, and no such file in {str(rows.folder)!r}. Correct the paths or move the table."
        )
