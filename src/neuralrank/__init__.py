"""Rank the pretrained networks of a repository for a data set, without training them.

The public names are imported when first used: `import neuralrank` loads no framework and costs little.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuralrank.entries import FoundModel, ModelEntry, SearchResult
    from neuralrank.indexing import index_sources as index
    from neuralrank.limits import Limits
    from neuralrank.ranking import rank
    from neuralrank.readers._open import open_target as read_target
    from neuralrank.scorers import score, score_many
    from neuralrank.searching import search
    from neuralrank.storage.catalogue import Catalogue, open_catalogue
    from neuralrank.types import Failure, RankedModel, Ranking, Score, Target

__version__ = version("neuralrank")

__all__ = [
    "Catalogue",
    "Failure",
    "FoundModel",
    "Limits",
    "ModelEntry",
    "RankedModel",
    "Ranking",
    "Score",
    "SearchResult",
    "Target",
    "index",
    "open_catalogue",
    "rank",
    "read_target",
    "score",
    "score_many",
    "search",
]

_HOMES = {
    "Catalogue": ("storage.catalogue", "Catalogue"),
    "Failure": ("types", "Failure"),
    "FoundModel": ("entries", "FoundModel"),
    "Limits": ("limits", "Limits"),
    "ModelEntry": ("entries", "ModelEntry"),
    "RankedModel": ("types", "RankedModel"),
    "Ranking": ("types", "Ranking"),
    "Score": ("types", "Score"),
    "SearchResult": ("entries", "SearchResult"),
    "Target": ("types", "Target"),
    "index": ("indexing", "index_sources"),
    "open_catalogue": ("storage.catalogue", "open_catalogue"),
    "rank": ("ranking", "rank"),
    "read_target": ("readers._open", "open_target"),
    "score": ("scorers", "score"),
    "score_many": ("scorers", "score_many"),
    "search": ("searching", "search"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
