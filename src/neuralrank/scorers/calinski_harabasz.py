"""Calinski-Harabasz index: Fisher's ratio with each scatter divided by its degrees of freedom."""

from __future__ import annotations

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._scatter import scatter
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Caliński and Harabasz 1974, Communications in Statistics",
)
def calinski_harabasz(prepared: Prepared) -> Score:
    """Score [tr(B) / (k - 1)] / [tr(W) / (n - k)] of sums of squares between and within the classes.

    Returns:
        Score >= 0, no unit: about 1 for labels that say nothing. 1 where every sample is a class of its own.

    Cost: O(n · d).
    """
    between, within = scatter(prepared)
    n_free = prepared.n_samples - prepared.n_classes
    if n_free == 0:
        return Score(value=1.0)
    return Score(value=(between / (prepared.n_classes - 1)) / (within / n_free))
