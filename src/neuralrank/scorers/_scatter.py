"""How the scatter of the features divides into that between the classes and that within them."""

from __future__ import annotations

import numpy as np

from neuralrank.scorers._prepared import Prepared

_POINTS = 1e-12
"""Scatter within the classes below this share of all is rounding: the classes are points."""


def scatter(prepared: Prepared) -> tuple[float, float]:
    """Return the sums of squares between the classes and within them; the second is never 0."""
    total = float(prepared.features.size)  # of features of root mean square 1
    between = float(prepared.class_counts @ np.sum(prepared.class_means**2, axis=1))
    return between, max(total - between, _POINTS * total)
