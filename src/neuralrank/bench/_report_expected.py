"""The section of the write-up on the expected accuracy: how often its interval held what heads reached."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from neuralrank.bench import _report_words as words
from neuralrank.bench._expected import Coverage, coverage, pairs
from neuralrank.bench._report_material import Material

_STATED = 0.95


def expected(material: Material) -> str:
    """Say how far the expected accuracy is off, and how often its interval holds the truth, on both halves."""
    judged = _coverages(material, "confirmation", material.targets)
    if not judged:
        return "The tables hold no held-out accuracies; make them anew with: `neuralrank bench score`"
    chosen = _coverages(material, "development", material.development_targets)
    rows = [
        (half, words.code(one.target), f"{one.n_samples:,}", str(one.n_pairs), *_figures(one))
        for half, found in (("confirmation", judged), ("development", chosen))
        for one in found
    ]
    titles = ("half", "target", "samples", "pairs", "error, points", "± half, points", "held, %")
    held = float(np.mean([one.held for one in judged]))
    return (
        "A ranking gives the accuracy to expect of a logistic head trained on as many samples as the probe has, with "
        f"an interval that is to hold it in {100 * _STATED:.0f} % of cases. Shift and spread were fitted on the "
        f"development half; on the confirmation half the interval holds the accuracy in {100 * held:.1f} % of the "
        "pairs of a network and a draw of the probe, targets and sizes counted alike. Error: expected less reached, on "
        f"average.\n\n{words.table(titles, rows, n_left=2)}"
    )


def _coverages(material: Material, half: str, targets: Collection[str]) -> list[Coverage]:
    return [coverage(one) for one in pairs(material.tables, half=half, targets=targets)]


def _figures(one: Coverage) -> tuple[str, str, str]:
    return (
        words.number(100 * one.mean_error, 1, sign="+"),
        words.number(100 * one.mean_half, 1),
        words.number(100 * one.held, 1),
    )
