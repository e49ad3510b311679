"""From samples and labels in memory to a target; shared by the readers of arrays and archives."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.readers._columns import LABEL_NAMES, image_suffix
from neuralrank.readers._fingerprint import array_content, files_content
from neuralrank.readers._label_rows import as_indicators
from neuralrank.readers._labels import Labels, as_list
from neuralrank.readers._options import Options, check_name, counted, quoted
from neuralrank.readers._pixels import as_array, channels_last, is_tensor, is_unit_float
from neuralrank.readers._samples import ArraySamples, FileSamples, ImageSamples, TextSamples
from neuralrank.readers._splits import ALIASES, choose_splits, split_name
from neuralrank.readers._table_target import object_content
from neuralrank.readers._target import Found, build_target
from neuralrank.types import Modality, Samples, Target

INPUT_KEYS = ("images", "image", "x", "features", "inputs", "input", "data", "texts", "text")
LABEL_KEYS = (*LABEL_NAMES, "targets", "classes")
GROUP_KEYS = ("groups", "group")
NAME_KEYS = ("class_names", "label_names", "target_names")
SCALED_NOTE = "Image values from 0 to 1 were multiplied by 255 and rounded."
_CHECK_BYTES = 2**26


def mapping_target(arrays: Mapping[str, Any], options: Options, *, name: str) -> Target:
    """Return the target in named arrays; keys are found by their names, whatever their case.

    Raises:
        UsageError: no such key or split.
        DataError: no samples or labels, or they do not fit together.
    """
    keys, note = _split_keys(list(arrays), options, name)
    chosen: dict[str, str | None] = {}
    notes = [note]
    for option, known in (("input_column", INPUT_KEYS), ("label_column", LABEL_KEYS), ("group_column", GROUP_KEYS)):
        wanted = getattr(options, option)
        if wanted is not None:
            chosen[option] = keys.get(wanted) or check_name(wanted, arrays, option, f"a key of {name!r}")
            continue
        chosen[option] = next((keys[key] for key in known if key in keys), None)
        if option != "group_column" and chosen[option] is not None:
            what = "Samples" if option == "input_column" else "Labels"
            flag = option.replace("_", "-")
            notes.append(f"{what} come from {chosen[option]!r} (by its name); --{flag} names another.")
    for option, example in (("input_column", "X"), ("label_column", "y")):
        if chosen[option] is None:
            what = "samples" if option == "input_column" else "labels"
            raise DataError(
                f"Arrays need a key for the {what}, such as {example!r}. Got {quoted(arrays)} in {name!r}. "
                f"Name it with --{option.replace('_', '-')}."
            )
    group_key = chosen["group_column"]
    names_key = next((keys[key] for key in NAME_KEYS if key in keys), None)
    return pair_target(
        arrays[chosen["input_column"] or ""],
        as_indicators(
            Labels(
                values=arrays[chosen["label_column"] or ""],
                where=f"{chosen['label_column']!r} of {name!r}",
                names=None if names_key is None else tuple(str(value) for value in as_list(arrays[names_key])),
            )
        ),
        options,
        name=name,
        groups=None if group_key is None or options.groups is not None else arrays[group_key],
        notes=notes,
    )


def pair_target(
    samples: Any,
    labels: Labels,
    options: Options,
    *,
    name: str,
    groups: Any = None,
    notes: Sequence[str | None] = (),
) -> Target:
    """Return the target of samples and labels in memory.

    Raises:
        DataError: the samples are of no known kind, or samples and labels do not fit together.
    """
    modality, found, content, note = _samples(samples)
    return build_target(
        Found(
            name=name, modality=modality, samples=found, labels=labels, content=content, groups=groups,
            notes=(*notes, note),
        ),
        options,
    )  # fmt: skip


def _split_keys(keys: Sequence[str], options: Options, name: str) -> tuple[dict[str, str], str | None]:
    """Return the keys of the chosen split by their lower-case names without it: {'x': 'x_train'}."""
    by_split: dict[str | None, dict[str, str]] = {}
    for key in keys:
        head, _, tail = key.lower().rpartition("_")
        first, _, rest = key.lower().partition("_")
        if head and split_name(tail):
            by_split.setdefault(ALIASES[tail], {})[head] = key
        elif rest and split_name(first):
            by_split.setdefault(ALIASES[first], {})[rest] = key
        else:
            by_split.setdefault(None, {})[key.lower()] = key
    chosen, note = choose_splits([split for split in by_split if split], options.split, repr(name))
    if len(chosen) > 1:
        raise DataError(
            f"One split of {name!r} needs to be named. Got {quoted(chosen)}. Name one with --split."
        )  # joining arrays of different splits would copy them all
    return {**by_split.get(None, {}), **(by_split[chosen[0]] if chosen else {})}, note


def _samples(samples: Any) -> tuple[Modality, Samples, Iterator[bytes], str | None]:
    if is_tensor(samples) or (hasattr(samples, "dtype") and hasattr(samples, "shape")):
        array = as_array(samples)
        if array.dtype.kind != "O":
            return _array_samples(array, is_tensor(samples))
        samples = array
    items = as_list(samples) if not isinstance(samples, list | tuple) else list(samples)
    if not items:
        raise DataError("A target needs samples. Got none. Pass at least one per class.")
    if all(isinstance(item, str) for item in items) and not all(image_suffix(item) for item in items):
        return "text", TextSamples(items), (item.encode("utf-8", "surrogatepass") for item in items), None
    if all(isinstance(item, str | Path) for item in items):
        paths = [Path(item).expanduser() for item in items]
        names = [str(item) for item in items]
        return "image", FileSamples(paths, names), files_content([path.name for path in paths], paths), None
    first = items[0]
    if hasattr(first, "mode") and hasattr(first, "getpixel"):
        images = ImageSamples(items)
        return "image", images, object_content(images), None
    if isinstance(first, list | tuple | int | float | np.ndarray | np.generic) or is_tensor(first):
        arrays = [as_array(item) for item in items]
        if len({array.shape for array in arrays}) == 1:
            return _array_samples(np.stack(arrays), is_tensor(first))
        if all(array.ndim in (2, 3) for array in arrays):
            images = ImageSamples(items)
            note = SCALED_NOTE if any(map(is_unit_float, arrays)) else None
            return "image", images, object_content(images), note
        raise DataError(
            f"Vectors need to be of one length. Got shapes {arrays[0].shape} and "
            f"{next(array.shape for array in arrays if array.shape != arrays[0].shape)}. Make them alike."
        )
    raise DataError(
        f"Samples need to be texts, images, paths of images or arrays of numbers. Got a {type(first).__name__}. "
        "Convert them to one of these."
    )


def _array_samples(array: NDArray[Any], from_tensor: bool) -> tuple[Modality, Samples, Iterator[bytes], str | None]:
    if array.dtype.kind in "UT" and array.ndim == 1:
        return "text", ArraySamples(array), array_content(array), None
    if array.dtype.kind not in "biuf":
        raise DataError(f"Arrays of samples need numbers or texts. Got dtype {array.dtype}. Convert them.")
    if array.ndim == 2:
        _check_finite(array)
        return "tabular", ArraySamples(array), array_content(array), None
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(
            "Arrays need shape (n, d) for features, (n, height, width) or (n, height, width, channels) for images. "
            f"Got {array.shape}. Reshape them."
        )
    note = None
    if array.dtype != np.uint8:
        _check_range(array)
        note = SCALED_NOTE if is_unit_float(array) else None
    channels_last(array[0], prefer_first=from_tensor)
    return "image", ArraySamples(array, from_tensor), array_content(array), note


def _check_finite(array: NDArray[Any]) -> None:
    # Models take float32, in which a large double is infinite.
    with np.errstate(over="ignore"):
        bad = [np.flatnonzero(~np.isfinite(part.astype(np.float32)).all(axis=1)) + at for at, part in _parts(array)]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *bad])
    if len(rows):
        raise DataError(
            f"Features need finite numbers. Got {counted(len(rows), 'row')} with NaN or infinity out of "
            f"{len(array):,}, the first is row {rows[0]}. Remove or correct {'it' if len(rows) == 1 else 'them'}."
        )


def _check_range(array: NDArray[Any]) -> None:
    low = min(part.min() for _, part in _parts(array))
    high = max(part.max() for _, part in _parts(array))
    top = 1 if array.dtype.kind in "fb" else 255
    if not (low >= 0 and high <= top):
        raise DataError(
            f"Image arrays need uint8 values, or floats from 0 to 1. Got {array.dtype} from {low} to {high}. "
            "Pass the pixels before any normalisation: every model brings its own."
        )


def _parts(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    n_rows = max(1, _CHECK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), n_rows):
        yield start, array[start : start + n_rows]
