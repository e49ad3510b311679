"""Linear centred kernel alignment between the features and the labels."""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="similarity",
    tasks={"classification", "regression", "multilabel"},
    paper="Cortes et al. 2012, JMLR; Kornblith et al. 2019, ICML",
    noise_from=(1.0, None),
)
def linear_cka(prepared: Prepared) -> Score:
    """Score ||X'Y||² / (||X'X|| ||Y'Y||) of centred features and targets, Frobenius norms.

    Regression targets are standardised first, so that each counts the same.

    Returns:
        Score in [0, 1], no unit.

    Cost: the one decomposition plus O(rank · k).
    """
    centred = prepared.targets - prepared.target_means
    projected = prepared.projected
    if prepared.task == "regression":
        centred = centred / np.sqrt(prepared.target_squares)
        projected = projected / np.sqrt(prepared.target_squares)
    squares = prepared.spectrum.values**2
    aligned = float(squares @ np.sum(projected**2, axis=1))
    return Score(value=aligned / float(np.linalg.norm(squares) * np.linalg.norm(centred.T @ centred)))
