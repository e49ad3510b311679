"""The energy of the model's own head: how strongly it answers to the samples, whatever their labels.

Where we differ from the public code of ETran, and why: the public code takes the energy of the features and of the
lowest 0.5 % of the samples; this is the energy of the logits, over all samples. Logits are used as the head gives them:
an offset of all logits is part of the energy.
"""

from __future__ import annotations

from scipy.special import logsumexp

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="head",
    tasks={"classification", "regression", "multilabel"},
    paper="Liu et al. 2020, NeurIPS; as a transferability score: Gholami et al. 2023, ICCV",
    needs="logits",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.0, 0.0),
)
def energy(prepared: Prepared) -> Score:
    """Score mean_i log Σ_z exp(logit_iz), the negative free energy.

    Returns:
        Score in nats, unbounded; `terms` are per sample. Labels are not used.

    Cost: O(n · s) for s source classes.
    """
    terms = logsumexp(prepared.head_logits, axis=1)
    return Score(value=float(terms.mean()), terms=terms)
