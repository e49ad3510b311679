"""What scores of pairs of samples share: which samples they look at, and distances in blocks of bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError
from neuralrank.scorers._prepared import Prepared

BLOCK_BYTES = 64 * 2**20
"""Bound of one block of pairs; a few of them are alive at once."""
_PARTS, _LEAST_ROWS = 16, 128


def draw_samples(
    prepared: Prepared, max_samples: int, score: str, *, option: str = "max_samples"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the samples whose pairs are looked at, ascending, and a sentence where they are not all.

    The draw is stratified by class and depends on the labels and the seed alone: every model of a ranking is judged
    on the same samples.

    Args:
        prepared: features and labels.
        max_samples: how many at most, at least 2; each class keeps at least two of its samples, or, where they are too
            many for that, each of the classes that are drawn.
        score: name for the sentence.
        option: what the score calls `max_samples`.
    """
    if max_samples < 2:
        raise DataError(f"{score} needs {option} >= 2. Got {max_samples}. Use 2000 if unsure.")
    n_samples = prepared.n_samples
    if n_samples <= max_samples:
        return np.arange(n_samples), ()
    rng = np.random.default_rng(prepared.seed)
    keys = rng.random(n_samples)
    if prepared.task == "classification":
        # The place of each sample in the random order of its class, as a share of the class: the lowest are taken.
        labels, counts = prepared.class_indices, prepared.class_counts
        order = np.lexsort((keys, labels))
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        place = np.empty(n_samples)
        place[order] = np.arange(n_samples) - starts[labels[order]]
        keys = np.where(place < 2, rng.random(prepared.n_classes)[labels] - 1.0, (place + keys) / counts[labels])
    chosen = np.sort(np.argsort(keys, kind="stable")[:max_samples])
    note = f"{score} looked at {max_samples:,} of {n_samples:,} samples, drawn by class with seed {prepared.seed}."
    return chosen, (note,)


def distances_to_classes(points: NDArray[np.float64], labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Return the sum of the Euclidean distances of each sample to the samples of each class, in blocks.

    Args:
        points: shape (n_samples, n_features).
        labels: shape (n_samples,); class indices, every class present.
        n_classes: number of classes.

    Returns:
        Shape (n_samples, n_classes).
    """
    order = np.argsort(labels, kind="stable")
    grouped, classes = points[order], labels[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=n_classes))[:-1]])
    squares = np.einsum("ij,ij->i", grouped, grouped)
    sums = np.zeros((len(points), n_classes))
    n_rows = max(1, min(BLOCK_BYTES // (8 * len(points)), max(_LEAST_ROWS, len(points) // _PARTS)))
    for start in range(0, len(points), n_rows):
        # Each pair once: a block of samples, in the order of the classes, against itself and all that follow.
        stop = min(start + n_rows, len(points))
        distances = _distances(grouped[start:stop], grouped[start:], squares[start:stop], squares[start:])
        first, last = classes[start], classes[stop - 1]
        sums[start:stop, first:] += np.add.reduceat(distances, np.maximum(starts[first:] - start, 0), axis=1)
        if stop < len(points):
            places = np.maximum(starts[first : last + 1] - start, 0)
            sums[stop:, first : last + 1] += np.add.reduceat(distances[:, stop - start :], places, axis=0).T
    unsorted = np.empty_like(sums)
    unsorted[order] = sums
    return unsorted


def _distances(
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    row_squares: NDArray[np.float64],
    column_squares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the Euclidean distances of samples to themselves, the first of the columns, and to others."""
    distances = rows @ columns.T
    distances *= -2.0
    distances += row_squares[:, None]
    distances += column_squares
    np.maximum(distances, 0.0, out=distances)
    np.fill_diagonal(distances, 0.0)  # a sample's distance from itself, without rounding
    return np.sqrt(distances, out=distances)
