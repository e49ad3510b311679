"""NumPy archives of features, uint8 images or texts with labels."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuralrank.errors import DataError
from neuralrank.readers._array_target import mapping_target
from neuralrank.readers._options import Groups, Options, existing_path
from neuralrank.types import Target, Task


def npz(
    path: str | Path,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read an .npz file of arrays; nothing pickled is ever loaded.

    Args:
        path: holds samples under a key like 'X', 'features' or 'images' and labels under one like 'y' or 'labels',
            each perhaps with a split before or after it: 'x_train', 'test_labels'. Samples have shape (n, d) for
            features, (n, height, width) or (n, height, width, channels) for images, (n,) for texts.
        split: 'train' if not given and there is one.
        input_column: the key of the samples.
        label_column: the key of the labels.
        group_column: the key of the groups; 'groups' is found by itself.
        groups: shape (n_samples,); samples of one value belong together.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        UsageError: no such key or split.
        DataError: the file is damaged, pickled, or its arrays do not fit together.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    name, found = str(path), existing_path(path)
    if not zipfile.is_zipfile(found):
        raise _damaged(name, "it is not a zip archive")
    with np.load(found, allow_pickle=False) as archive:
        return mapping_target(_Archive(name, archive), options, name=name)


@dataclass(frozen=True)
class _Archive(Mapping[str, Any]):
    """The arrays of an open archive, each read when it is asked for."""

    name: str
    archive: Any

    def __iter__(self) -> Iterator[str]:
        return iter(self.archive.files)

    def __len__(self) -> int:
        return len(self.archive.files)

    def __getitem__(self, key: str) -> Any:
        try:
            return self.archive[key]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise _damaged(self.name, str(error)) from None
            raise DataError(
                f"An .npz file needs arrays of numbers or texts. Got Python objects under {key!r} in {self.name!r}, "
                "which could run code when loaded. Save the array with a plain dtype."
            ) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, SyntaxError, tokenize.TokenError) as error:
            raise _damaged(self.name, str(error)) from None


def _damaged(name: str, reason: str) -> DataError:
    return DataError(f"An .npz file needs to be whole. Got {name!r}: {reason.rstrip('.')}. Copy or save it again.")
