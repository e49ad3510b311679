"""Arrays, texts and images in Python: a pair (samples, labels), or a mapping of named arrays."""

from collections.abc import Mapping
from typing import Any

from neuralrank.errors import UsageError
from neuralrank.readers._array_target import mapping_target, pair_target
from neuralrank.readers._labels import Labels
from neuralrank.readers._options import Groups, Options, refuse_options
from neuralrank.types import Target, Task


def arrays(
    data: Any,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read samples and labels that are in memory.

    Args:
        data: a pair (samples, labels), or a mapping with keys like 'X' and 'y', 'x_train' and 'y_train'. Samples are
            an array or tensor of shape (n, d) for features, (n, height, width[, channels]) for images (tensors may
            have the channels first), or a list of texts, Pillow images, arrays or paths of images.
        split: of a mapping: 'train' if not given and there is one.
        input_column: of a mapping: the key of the samples.
        label_column: of a mapping: the key of the labels.
        group_column: of a mapping: the key of the groups; 'groups' is found by itself.
        groups: shape (n_samples,); samples of one value belong together.
        task: None decides by the labels: fractions make a regression, lists or rows of 0 and 1 a multi-label target.

    Raises:
        UsageError: data of another form, or no such key or split.
        DataError: samples and labels do not fit together.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    if isinstance(data, Mapping):
        return mapping_target(data, options, name="arrays")
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UsageError(
            f"Arrays need labels beside them. Got a {type(data).__name__} alone. Pass a pair (samples, labels), or a "
            "mapping with the keys 'X' and 'y'."
        )
    refuse_options(options, ("split", "input_column", "label_column", "group_column"), "a pair of arrays")
    labels = Labels(values=data[1], where="the labels", remedy="Add samples of a second class.")
    return pair_target(data[0], labels, options, name="arrays")
