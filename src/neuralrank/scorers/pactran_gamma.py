"""PACTran-Gamma: a PAC-Bayesian bound of the transfer loss with Gamma-Poisson labels, negative.

Where we differ from the public code, and why: the sign is turned, because the bound is a loss; the sums over labels
and source classes are class sums, where the public code holds an array of n · k · s numbers.
"""

from __future__ import annotations

import numpy as np
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
    noise_from=(0.2, None),
)
def pactran_gamma(prepared: Prepared, *, concentration: float = 1.0) -> Score:
    """Score the negative of the Gamma bound, divided by n · k, less 1 as in the public code.

    Args:
        prepared: labels and head probabilities.
        concentration: sum of the prior shapes, which are proportional to the class frequencies; > 0. Rates are 1.

    Returns:
        Score in nats per sample and class, about -1.

    Cost: 10 steps of O(n · s) for s source classes.
    """
    check_concentration(concentration, "pactran_gamma")
    prior = prior_counts(prepared, concentration)
    shapes, divergence = assign(prepared, prior, digamma)
    expected = np.log(
        prepared.head_probabilities @ shapes.sum(axis=0)
    )  # log of the expected number of labels, per sample
    kept = shapes.shape[1] * gammaln(prior).sum() - gammaln(shapes).sum()
    bound = float(kept) + divergence + float(np.sum(expected - 1.0))
    return Score(value=-(bound / prepared.targets.size + 1.0))
