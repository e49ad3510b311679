"""The section of the write-up on the expected accuracy: how often its interval held what heads reached."""

from __future__ import annotations

import numpy as np

from neuralrank.bench import _report_words as words
from neuralrank.bench._expected import Coverage, coverages, pairs
from neuralrank.bench._report_material import Material

_STATED = 0.95


def expected(material: Material) -> str:
    """Say how far the expected accuracy is off, and how often its interval holds the truth on a target not fitted."""
    found = pairs(material.tables)
    if len({one.target for one in found}) < 2:
        return "The tables hold too few held-out accuracies; make them anew with: `neuralrank bench score`"
    judged = coverages(found)
    rows = [(words.code(one.target), f"{one.n_samples:,}", f"{one.n_pairs:,}", *_figures(one)) for one in judged]
    held = float(np.mean([one.held for one in judged]))
    return (
        "A ranking gives the accuracy to expect of a logistic head trained on as many samples as the probe has, with "
        f"an interval that is to hold it in {100 * _STATED:.0f} % of cases. Shift and spread of the expectation are "
        "fitted on all networks. Each row below is judged by those fitted without its target: then the interval holds "
        f"the accuracy in {100 * held:.1f} % of the pairs of a network and a draw of the probe, rows counted alike. "
        f"Error: expected less reached, on average.\n\n{words.table(_TITLES, rows)}"
    )


_TITLES = ("target", "samples", "pairs", "error, points", "± half, points", "held, %")


def _figures(one: Coverage) -> tuple[str, str, str]:
    return (
        words.number(100 * one.mean_error, 1, sign="+"),
        words.number(100 * one.mean_half, 1),
        words.number(100 * one.held, 1),
    )
