"""What accuracy to expect of a head, from the held-out accuracy of a probe, with an interval.

The score's own discriminant is fitted to a squared error and predicts every sample once. A logistic head trained on as
many samples and tested on others is a little better, by an amount that differs between networks and data sets. Shift
and spread were fitted on all networks and targets of the evidence; how often the interval holds the truth on a target
that had no part in the fit is in docs/evidence.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

SHIFT = 0.07
"""How much better a head is than the held-out discriminant, in log-odds of being right."""
SPREAD = 0.17
"""Standard deviation of that over networks and data sets, in log-odds."""
_NORMAL_95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """An accuracy in [0, 1] with its 95 % interval."""

    value: float
    low: float
    high: float


def expected_head_accuracy(
    held_out: float, n_samples: int, *, shift: float = SHIFT, spread: float = SPREAD
) -> Expectation:
    """Return what a logistic head on the same features will reach when it is trained on as many samples.

    Args:
        held_out: share of the samples that were predicted rightly when held out.
        n_samples: how many there were; where they come in groups, how many groups.
        shift: in log-odds, as `SHIFT`.
        spread: in log-odds, as `SPREAD`.
    """
    shown, drawn = log_odds(held_out, n_samples)
    half = _NORMAL_95 * np.sqrt(drawn + spread**2)
    centre = shown + shift
    return Expectation(value=float(expit(centre)), low=float(expit(centre - half)), high=float(expit(centre + half)))


def log_odds(held_out: ArrayLike, n_samples: int) -> tuple[Any, Any]:
    """Return the log-odds of held-out accuracies, and their variance over draws of so many samples."""
    smoothed = (np.asarray(held_out) * n_samples + 0.5) / (n_samples + 1)  # finite, where all or none are right
    return logit(smoothed), 1.0 / (n_samples * smoothed * (1.0 - smoothed))
