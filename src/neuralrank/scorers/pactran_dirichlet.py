"""PACTran-Dirichlet: a PAC-Bayesian bound of the transfer loss with a Dirichlet prior on p(label | source class).

Where we differ from the public code, and why: the sign is turned, because the bound is a loss; the sums over labels
and source classes are class sums, where the public code holds an array of n · k · s numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._variational import assign, check_concentration, prior_counts
from neuralrank.types import Score


@scorer(
    family="evidence",
    tasks={"classification"},
    paper="Ding et al. 2022, ECCV (PACTran)",
    needs="probabilities",
    invariances={"sample order", "rotation", "duplicated columns"},
)
def pactran_dirichlet(prepared: Prepared, *, concentration: float = 1.0) -> Score:
    """Score the variational bound of the log likelihood of the labels, divided by n · k.

    Args:
        prepared: labels and head probabilities.
        concentration: sum of the prior pseudo-counts, which are proportional to the class frequencies; > 0.

    Returns:
        Score <= 0, in nats per sample and class.

    Cost: 10 steps of O(n · s) for s source classes.
    """
    check_concentration(concentration, "pactran_dirichlet")
    prior = prior_counts(prepared, concentration)
    counts, divergence = assign(prepared, prior, lambda given: digamma(given) - digamma(given.sum(axis=0)))
    gained = counts.shape[1] * _log_normalisers(prior).sum() - _log_normalisers(counts).sum()
    return Score(value=float(gained - divergence) / prepared.targets.size)


def _log_normalisers(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log Γ(Σ a) - Σ log Γ(a) of each column."""
    return np.asarray(gammaln(counts.sum(axis=0)) - gammaln(counts).sum(axis=0))
