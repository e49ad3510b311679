"""NCE: the negative conditional entropy of the labels given the class that the model's own head names."""

from __future__ import annotations

import numpy as np

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score


@scorer(
    family="head",
    tasks={"classification"},
    paper="Tran et al. 2019, ICCV (NCE)",
    needs="probabilities",
    invariances={"sample order", "rotation", "duplicated columns"},
    noise_from=(0.0, 0.02),
)
def nce(prepared: Prepared) -> Score:
    """Score -H(Y|Z) = mean_i log p(y_i|z_i), with z the most probable source class.

    Returns:
        Score in [-log n_classes, 0], in nats; `terms` are per sample. In sample.

    Cost: O(n · s) for s source classes.
    """
    named = np.unique(prepared.head_probabilities.argmax(axis=1), return_inverse=True)[1]
    joint = np.zeros((prepared.n_classes, int(named.max()) + 1))
    np.add.at(joint, (prepared.class_indices, named), 1.0)
    terms = np.log((joint / joint.sum(axis=0))[prepared.class_indices, named])
    return Score(value=float(terms.mean()), terms=terms)
