"""The last step of every reader: labels, groups and checks that all data sets share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuralrank.errors import DataError
from neuralrank.readers._fingerprint import fingerprint
from neuralrank.readers._labels import Labels, encode_groups, encode_labels
from neuralrank.readers._options import Options, check_options, counted
from neuralrank.readers._row_encoding import encode_label_rows
from neuralrank.readers._samples import KeptSamples
from neuralrank.types import Modality, Samples, Target


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader found, before the labels are made numbers."""

    name: str
    modality: Modality
    samples: Samples
    labels: Labels
    content: Iterable[bytes]
    """What identifies the samples, for the fingerprint."""
    groups: Any = None
    """One value per sample, from a column; None: there are none."""
    notes: Sequence[str | None] = ()


def build_target(found: Found, options: Options) -> Target:
    """Return the target: classes numbered, samples without a label left out, groups numbered.

    Raises:
        DataError: labels or groups do not fit the samples or the task.
        UsageError: the options do not agree with each other.
    """
    check_options(options)
    n_samples, n_labels = len(found.samples), len(found.labels.values)
    if n_samples != n_labels:
        raise DataError(
            f"A target needs one label per sample. Got {counted(n_samples, 'sample')} and "
            f"{counted(n_labels, 'label')}. Build both from the same rows."
        )
    encoded = encode_label_rows(found.labels, options.task) or encode_labels(found.labels, options.task)
    given = found.groups if options.groups is None else options.groups
    groups, group_notes = (None, ()) if given is None else encode_groups(given, n_samples)
    everything = len(encoded.kept) == n_samples
    return Target(
        name=found.name,
        modality=found.modality,
        task=encoded.task,
        samples=found.samples if everything else KeptSamples(found.samples, encoded.kept),
        labels=encoded.labels,
        class_names=encoded.class_names,
        groups=groups if groups is None else np.unique(groups[encoded.kept], return_inverse=True)[1].astype(np.int64),
        fingerprint=fingerprint(found.content, encoded.labels, encoded.class_names),
        notes=(*(note for note in found.notes if note), *encoded.notes, *group_notes),
    )
