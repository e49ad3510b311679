"""Near relatives: how much two models have in common, by what is known of them and by what they compute.

    likeness = 1 - Π (1 - weight · share)

over the kinds of evidence below: any of them alone makes two models relatives, several make them closer, and none
counts against another. The weights are judgements, not measurements. `representation_likeness` looks at features
instead, and is not part of that number.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from neuralrank.entries import ModelEntry
from neuralrank.errors import DataError
from neuralrank.queries._copies import base_names, hub_name, same_model
from neuralrank.queries._family import family
from neuralrank.queries.concepts import index_concepts

__all__ = ["Likeness", "family", "likeness", "representation_likeness", "same_model"]

COPY = 0.95
ADAPTED = 0.8
SAME_BASE = 0.6
SAME_ARCHITECTURE = 0.5
SAME_FAMILY = 0.3
SAME_LABELS = 0.4
"""Times the share of concepts that their label sets have in common."""
SAME_DATA = 0.2
"""Times the share of data sets that both were trained on."""
SAME_WORDS = 0.3
"""Times the cosine of their sets of words: tags, name, task, languages and the start of the description."""

_ROUNDING = 1e-12
"""Share of the squared variance below which nothing but rounding is left of a dependence."""

_DESCRIPTION_CHARS = 2_000
_WORD = re.compile(r"[^\W_]{3,}")
_EMPTY_WORDS = frozenset(
    {
        "the",
        "and",
        "for",
        "with",
        "this",
        "that",
        "are",
        "was",
        "from",
        "can",
        "you",
        "your",
        "has",
        "have",
        "not",
        "its",
    }
    | {
        "model",
        "models",
        "use",
        "used",
        "using",
        "http",
        "https",
        "com",
        "org",
        "www",
        "license",
        "region",
        "safetensors",
    }
)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How much two models have in common."""

    value: float
    """In [0, 1]; 1 for one and the same model, 0 if nothing in common is known."""
    reasons: tuple[str, ...]
    """One phrase each, the strongest first."""


def likeness(a: ModelEntry, b: ModelEntry) -> Likeness:
    """Say how much two models have in common, by what is known of them; the order of the two does not matter.

    Args:
        a: one model.
        b: the other.
    """
    if a.model_id == b.model_id:
        return Likeness(value=1.0, reasons=("the same model",))
    found = sorted(_evidence(a, b), key=lambda one: -one[0])
    return Likeness(
        value=1.0 - prod(1.0 - strength for strength, _ in found), reasons=tuple(reason for _, reason in found)
    )


def representation_likeness(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Compare two sets of features of the same samples by their unbiased linear centred kernel alignment.

    Args:
        a: shape (n_samples, n_features_a), finite.
        b: shape (n_samples, n_features_b), finite; row i belongs to the same sample as row i of `a`.

    Returns:
        In [-1, 1], no unit: 1 for features that are equal up to rotation, scale and shift, about 0 for unrelated
        ones, also where samples are few and dimensions many; then it may be a little below 0. 0 if one of them is
        constant, or but for one sample.

    Raises:
        DataError: the rows do not fit together, there are fewer than 4, or values are not finite.

    References:
        Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", ICML, for the alignment.
        Song et al. 2012, "Feature Selection via Dependence Maximization", JMLR 13, equation 4, for the estimate without
        bias of each of its three terms; Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", ICLR,
        use it so. The published linear CKA is near 1 for noise as soon as dimensions outnumber samples.
        Cost O(n d²) or O(n² d), whichever is less.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [4.0], [7.0]])
        >>> round(representation_likeness(x, np.hstack([3 * x + 1, 0 * x])), 6)
        1.0
    """
    x, y = _centred(a, "a"), _centred(b, "b")
    if len(x) != len(y) or len(x) < 4:
        raise DataError(
            f"representation_likeness needs features of the same 4 or more samples. Got {len(x)} and {len(y)} rows. "
            "Extract both from the same probe."
        )
    own_x, own_y = _dependence(x, x), _dependence(y, y)
    if min(own_x / max(np.sum(x * x) ** 2, 1e-300), own_y / max(np.sum(y * y) ** 2, 1e-300)) < _ROUNDING:
        return 0.0
    return float(np.clip(_dependence(x, y) / sqrt(own_x * own_y), -1.0, 1.0))


def _evidence(a: ModelEntry, b: ModelEntry) -> Iterator[tuple[float, str]]:
    """Yield (strength in (0, 1], reason) of everything that two models have in common."""
    if len(same_model((a, b))) == 1:
        yield COPY, "copies of one model"
    yield from _lineage(a, b)
    if a.modality is None or b.modality is None or a.modality == b.modality:
        yield from _architecture(a, b)
    if a.label_names and b.label_names:
        share = _overlap(_concepts(a.label_names), _concepts(b.label_names))
        if share == 1:
            yield SAME_LABELS, f"the same {len(a.label_names):,} classes"
        elif share > 0:
            yield SAME_LABELS * share, f"{100 * share:.0f} % of their classes in common"
    data = _lower(a.pretraining_data) & _lower(b.pretraining_data)
    if data:
        share = len(data) / len(_lower(a.pretraining_data) | _lower(b.pretraining_data))
        yield SAME_DATA * share, f"both trained on {', '.join(sorted(data)[:3])}"
    words_a, words_b = _words(_text_of(a)), _words(_text_of(b))
    common = words_a & words_b
    if common:
        share = len(common) / sqrt(len(words_a) * len(words_b))
        tags = sorted(_lower(a.tags) & _lower(b.tags))
        yield (
            SAME_WORDS * share,
            f"tags {', '.join(tags[:3])}" if tags else f"{100 * share:.0f} % of their words in common",
        )


def _lineage(a: ModelEntry, b: ModelEntry) -> Iterator[tuple[float, str]]:
    names = {one.model_id: {name for name in (hub_name(one), one.name.lower()) if name} for one in (a, b)}
    for child, parent in ((a, b), (b, a)):
        if names[parent.model_id].intersection(base_names(child)):
            yield ADAPTED, f"{child.name} was adapted from {parent.name}"
            return
    bases = set(base_names(a)) & set(base_names(b))
    if bases:
        yield SAME_BASE, f"both adapted from {', '.join(sorted(bases)[:2])}"


def _architecture(a: ModelEntry, b: ModelEntry) -> Iterator[tuple[float, str]]:
    kind = family(a)
    if a.architecture and b.architecture and a.architecture.lower() == b.architecture.lower():
        yield SAME_ARCHITECTURE, f"the same architecture {a.architecture}"
    elif kind and kind == family(b):
        yield SAME_FAMILY, f"the same family {kind}"


def _lower(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(text.lower() for text in texts)


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


@lru_cache(maxsize=1024)
def _concepts(labels: tuple[str, ...]) -> frozenset[str]:
    """Return the names of a label set, without what they are kinds of."""
    return frozenset(key for key in index_concepts(labels) if key[0] not in "~?")


def _text_of(entry: ModelEntry) -> str:
    fixed = (*entry.tags, *entry.languages, entry.task or "", entry.name.rpartition("/")[2])
    return " ".join((*fixed, entry.description[:_DESCRIPTION_CHARS]))


@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _EMPTY_WORDS


def _centred(features: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """Return features with mean 0 and largest value 1; 0 everywhere if they are constant."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise DataError(
            f"representation_likeness needs finite features of shape (n_samples, n_features). Got {name!r} of shape "
            f"{np.shape(features)}. Use features as they were extracted."
        )
    if not x.size:
        return x
    largest = np.abs(x).max()
    x = x / largest if largest > 0 else x
    x = x - x.mean(axis=0)
    spread = np.abs(x).max()
    return x / spread if spread > 1e-12 else np.zeros_like(x)


def _dependence(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the unbiased HSIC of two centred linear kernels, times n (n - 3).

    With K = x x', L = y y', their diagonals p and q set to 0, and rows that sum to -p and -q since x and y are centred,
    equation 4 of Song et al. is |x'y|² - n/(n-2) p·q + Σp Σq / ((n-1)(n-2)).
    """
    n = len(x)
    p, q = np.sum(x * x, axis=1), np.sum(y * y, axis=1)
    if min(x.shape[1], y.shape[1]) == 0:
        return 0.0
    smaller = x.shape[1] * y.shape[1] <= n * (x.shape[1] + y.shape[1])
    whole = np.sum((x.T @ y) ** 2) if smaller else np.sum((x @ x.T) * (y @ y.T))
    return float(whole - n / (n - 2) * (p @ q) + p.sum() * q.sum() / ((n - 1) * (n - 2)))
