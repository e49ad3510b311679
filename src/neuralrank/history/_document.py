"""A prior as JSON values, and back: a ranking carries it beside its own evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from neuralrank.history._prior import Prior, PriorRow, SimilarTarget
from neuralrank.history._similarity import Similarity


def prior_document(prior: Prior) -> dict[str, Any]:
    """Return a prior as JSON values."""
    return asdict(prior)


def prior_from_document(document: Mapping[str, Any]) -> Prior:
    """Return the prior that `prior_document` was given."""
    return Prior(
        data=document["data"],
        rows=tuple(PriorRow(**row) for row in document["rows"]),
        similar=tuple(
            SimilarTarget(**{**each, "similarity": Similarity(**each["similarity"])}) for each in document["similar"]
        ),
    )
