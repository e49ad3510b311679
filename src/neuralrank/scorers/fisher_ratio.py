"""Fisher's ratio of the scatter between the classes to the scatter within them."""

from __future__ import annotations

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.scorers._scatter import scatter
from neuralrank.types import Score


@scorer(
    family="separability",
    tasks={"classification"},
    paper="Fisher 1936, Annals of Eugenics",
)
def fisher_ratio(prepared: Prepared) -> Score:
    """Score tr(B) / tr(W), the traces of the covariance of the class means and within the classes.

    Returns:
        Score >= 0, no unit; capped where the classes are points.

    Cost: O(n · d).
    """
    between, within = scatter(prepared)
    return Score(value=between / within)
