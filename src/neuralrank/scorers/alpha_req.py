"""α-ReQ: how fast the eigenvalues of the feature covariance fall, a diagnostic that never sees a label.

Where we differ from the paper, and why: the paper calls features good whose exponent α is near 1; a score has to be
higher where that holds, so it is -|α - 1| and α itself is in the details.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_FIRST, _LAST = 10, 50


@scorer(
    family="label-free",
    tasks={"classification", "regression", "multilabel"},
    paper="Agrawal et al. 2022, NeurIPS (α-ReQ)",
    noise_from=(0.0, 0.0),
)
def alpha_req(prepared: Prepared) -> Score:
    """Score -|α - 1| with α the slope of -log(eigenvalue) over log(its place), by least squares.

    Places 11 to 50 are fitted, as usual for neural codes (Stringer et al. 2019); all places where there are fewer.

    Returns:
        Score <= 0, no unit; `alpha` is in the details. One dimension has no slope and counts as α = 0.

    Cost: the one decomposition.
    """
    alpha = spectral_exponent(prepared.spectrum.values**2)
    return Score(value=-abs(alpha - 1.0), details={"alpha": alpha})


def spectral_exponent(eigenvalues: NDArray[np.float64]) -> float:
    """Return the exponent α of eigenvalue ∝ place^-α, for eigenvalues in descending order."""
    if len(eigenvalues) < 2:
        return 0.0
    fitted = slice(_FIRST, _LAST) if len(eigenvalues) >= _LAST else slice(None)
    places = np.log(np.arange(1, len(eigenvalues) + 1))
    return -float(np.polyfit(places[fitted], np.log(eigenvalues[fitted]), 1)[0])
