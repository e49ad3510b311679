"""What past data sets say about models before any of them runs: a prior, to be shown beside the evidence of this data.

Two kinds of results count: outcomes, accuracies that the user reported, and past rankings. Both are compared within
their own data set only; a data set counts by its similarity to the one asked about.

A prior never enters a score or an order of `rank`. Nothing of the data set asked about is used for it but accuracies
that were reported on that very data, and rankings of it for the similarity alone.
"""

from neuralrank.history._document import prior_document, prior_from_document
from neuralrank.history._prior import Prior, PriorRow, SimilarTarget, expected_order
from neuralrank.history._read import prior_for, read_history
from neuralrank.history._relatives import KnownModel
from neuralrank.history._results import History
from neuralrank.history._similarity import Similarity, TargetFacts, similarity, target_facts
from neuralrank.history._text import prior_text

__all__ = [
    "History",
    "KnownModel",
    "Prior",
    "PriorRow",
    "SimilarTarget",
    "Similarity",
    "TargetFacts",
    "expected_order",
    "prior_document",
    "prior_for",
    "prior_from_document",
    "prior_text",
    "read_history",
    "similarity",
    "target_facts",
]
