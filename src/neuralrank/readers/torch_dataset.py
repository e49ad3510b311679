"""Torch data sets: anything with a length whose items are (sample, label) or mappings of the two.

Works without importing torch: the items say what they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._array_target import GROUP_KEYS, INPUT_KEYS, LABEL_KEYS, SCALED_NOTE
from neuralrank.readers._fingerprint import spaced
from neuralrank.readers._label_rows import as_indicators
from neuralrank.readers._labels import Labels, as_list
from neuralrank.readers._options import Groups, Options, check_name, quoted, refuse_options
from neuralrank.readers._pixels import as_array, is_tensor, is_unit_float, raw_image
from neuralrank.readers._samples import row_name
from neuralrank.readers._target import Found, build_target
from neuralrank.types import Modality, RawSample, Target, Task

N_HASHED = 1024
_TARGET_ATTRIBUTES = ("targets", "labels", "_labels", "y")


@dataclass(frozen=True)
class ItemSamples:
    """The samples of a data set whose items hold them at `key`."""

    dataset: Any
    key: int | str
    modality: Modality

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, indices: NDArray[np.int64]) -> Iterator[RawSample]:
        """Yield images as uint8, vectors as float32, and texts; an item that cannot be opened is an empty file."""
        for index in indices:
            try:
                value = self.dataset[int(index)][self.key]
            except OSError:
                # Pillow's error for a broken image: the sample is counted as unreadable, the others are used.
                yield b""
                continue
            if self.modality == "text":
                yield str(value)
            elif self.modality == "tabular":
                yield as_array(value).astype(np.float32)
            else:
                yield raw_image(value)

    def name(self, index: int) -> str:
        """Return 'row 17'."""
        return row_name(index)


def torch_dataset(
    data: Any,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read a map-style torch data set, or a list of (sample, label).

    Labels come from an attribute such as `targets` where it agrees with the items, else every item is read once. The
    fingerprint covers 1,024 evenly spaced samples and all labels.

    Args:
        data: items are (sample, label, ...) or mappings; a sample is a Pillow image, a tensor (channels, height,
            width) or array with uint8 values or floats from 0 to 1, a vector, or a text.
        split: a torch data set has none.
        input_column: of mappings: the key of the samples.
        label_column: of mappings: the key of the labels.
        group_column: of mappings: the key of the groups.
        groups: shape (n_samples,); samples of one value belong together.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        UsageError: a data set without a length, or no such key.
        DataError: items of another form, or labels that do not fit.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    name = type(data).__name__
    refuse_options(options, ("split",), "a torch data set")
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise UsageError(
            f"A torch data set needs a length and items by number. Got a {name}. Collect its items in a list."
        )
    if len(data) == 0:
        raise DataError(f"A target needs samples. Got the empty {name}. Pass at least one sample per class.")
    item = data[0]
    input_key, label_key, group_key = _keys(item, options, name)
    modality, note = _modality(item[input_key], name)
    labels = find_labels(data, label_key)
    read_all = None
    if labels is None:
        labels = [data[index][label_key] for index in range(len(data))]
        read_all = f"Every sample of the {name} was read once for its label, as it has no list of them."
    samples = ItemSamples(data, input_key, modality)
    found = Found(
        name=name,
        modality=modality,
        samples=samples,
        labels=as_indicators(
            Labels(
                values=labels, where=f"the labels of the {name}", remedy="Add samples of a second class.",
                names=_class_names(data, labels),
            )
        ),
        content=chain([str(len(data)).encode()], _content(samples)),
        groups=None if group_key is None else [data[index][group_key] for index in range(len(data))],
        notes=(note, read_all),
    )  # fmt: skip
    return build_target(found, options)


def find_labels(data: Any, key: int | str = 1) -> list[Any] | None:
    """Return the labels a data set lists, without reading its samples; None if it lists none that fit its items."""
    labels = _listed(data)
    if labels is None or len(labels) != len(data):
        return None
    # A target_transform changes the labels of the items but not the list.
    agrees = all(_same(data[int(index)][key], labels[int(index)]) for index in spaced(len(data), 3))
    return labels if agrees else None


def _listed(data: Any) -> list[Any] | None:
    if hasattr(data, "dataset") and hasattr(data, "indices"):
        inner = _listed(data.dataset)
        return None if inner is None else [inner[int(index)] for index in data.indices]
    if isinstance(getattr(data, "datasets", None), list):
        parts = [_listed(part) for part in data.datasets]
        return None if any(part is None for part in parts) else [label for part in parts for label in part or []]
    tensors = getattr(data, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) > 1:
        return _one_per_sample(tensors[1])
    for attribute in _TARGET_ATTRIBUTES:
        values = getattr(data, attribute, None)
        if (isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)) or is_tensor(values):
            return _one_per_sample(values)
    return None


def _one_per_sample(values: Any) -> list[Any]:
    """Return the labels as a list; several numbers per sample stay arrays."""
    if hasattr(values, "ndim") and values.ndim > 1:
        return list(as_array(values))
    return as_list(values)


def _plain(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        return value
    array = as_array(value)
    return array.item() if array.size == 1 else array.tolist()


def _same(first: Any, second: Any) -> bool:
    one, other = _plain(first), _plain(second)
    return type(one) is type(other) and bool(one == other)


def _class_names(data: Any, labels: Sequence[Any]) -> tuple[str, ...] | None:
    while hasattr(data, "dataset") and hasattr(data, "indices"):
        data = data.dataset
    names = getattr(data, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    plain = [_plain(value) for value in labels]
    rows = [value for value in plain if isinstance(value, list | tuple | set)]
    if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1 and all(set(row) <= {0, 1} for row in rows):
        return tuple(names) if len(rows[0]) == len(names) else None  # indicators, one per name
    numbers = [entry for row in rows for entry in row] if rows else plain
    fits = all(isinstance(number, int) and 0 <= number < len(names) for number in numbers)
    return tuple(names) if fits else None


def _keys(item: Any, options: Options, name: str) -> tuple[int | str, int | str, int | str | None]:
    if isinstance(item, Mapping):
        found: list[str | None] = []
        for option, known in (("input_column", INPUT_KEYS), ("label_column", LABEL_KEYS), ("group_column", GROUP_KEYS)):
            wanted = getattr(options, option)
            if wanted is not None:
                check_name(wanted, [str(key) for key in item], option, f"a key of the items of {name}")
            found.append(wanted or next((key for key in known if key in item), None))
        if found[0] is None or found[1] is None:
            missing = "input" if found[0] is None else "label"
            raise DataError(
                f"The items of a torch data set need a sample and a label. Got the keys {quoted(item)} in {name}. "
                f"Name one with --{missing}-column."
            )
        return found[0], found[1], found[2]
    refuse_options(options, ("input_column", "label_column", "group_column"), f"a {name} of pairs")
    if isinstance(item, tuple | list) and len(item) >= 2:
        return 0, 1, None
    raise DataError(
        f"The items of a torch data set need to be (sample, label). Got a {type(item).__name__} from {name}. "
        "Return both from __getitem__."
    )


def _modality(sample: Any, name: str) -> tuple[Modality, str | None]:
    if isinstance(sample, str):
        return "text", None
    if isinstance(sample, bytes | Path) or hasattr(sample, "getpixel"):
        return "image", None
    array = as_array(sample)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3):
        raise DataError(
            f"Samples need to be texts, images, or arrays of numbers with 1 to 3 axes. Got a {type(sample).__name__} "
            f"from {name}. Convert them."
        )
    if array.ndim == 1:
        return "tabular", None
    raw_image(sample)
    return "image", SCALED_NOTE if is_unit_float(array) else None


def _content(samples: ItemSamples) -> Iterator[bytes]:
    for raw in samples.read(spaced(len(samples), N_HASHED)):
        if isinstance(raw, np.ndarray):
            yield f"{raw.shape}".encode()
            yield raw.tobytes()
        else:
            yield raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")
