"""Which models are relatives: of one lineage, or of one family of architectures.

A lineage is what was adapted from one base model, that model included; so are revisions under one name. A family is
the first word of the architecture's name: resnet18 and ResNet-50d are one, resnet18 and resnext50 are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from neuralrank.entries import ModelEntry

_NO_FAMILY = frozenset(
    ("tiny", "mini", "small", "base", "medium", "large", "big", "huge", "giant", "nano", "micro", "tf", "hf", "timm")
)
"""Words of size and origin that may come first."""
_VERSION = re.compile(r"(?<=[a-z]{4})_?v(?=\d)", re.IGNORECASE)
_HEAD = re.compile(r"(?:For[A-Z]|Model$|Model[^a-z]|With[A-Z]|Encoder).*$")
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """What tells the relatives of a model."""

    model_id: str
    name: str
    architecture: str | None = None
    base_model: tuple[str, ...] = ()


def known_model(entry: ModelEntry) -> KnownModel:
    """Return what a catalogue entry says of a model's relatives."""
    return KnownModel(
        model_id=entry.model_id, name=entry.name, architecture=entry.architecture, base_model=entry.base_model
    )


def family(architecture: str | None) -> str | None:
    """Return the family of an architecture; None where there is none to tell.

    Example:
        >>> [family(a) for a in ("resnet18", "ResNet-50d", "BertForMaskedLM", "MobileNetV1 0.25", "tf_efficientnet_b0")]
        ['resnet', 'resnet', 'bert', 'mobilenet', 'efficientnet']
        >>> family("mini Xception"), family("vit_base_patch16_224"), family("123")
        ('xception', 'vit', None)
    """
    if not architecture:
        return None
    words = _WORD.findall(_VERSION.sub(" ", _HEAD.sub("", architecture)).lower())
    return next((word for word in words if word not in _NO_FAMILY), words[0] if words else None)


def lineages(models: Iterable[KnownModel]) -> Mapping[str, str]:
    """Return the name of the oldest known ancestor of each model, by model id."""
    listed = list(models)
    parents = {_name(model.name): _name(model.base_model[0]) for model in listed if model.base_model}
    found = {}
    for model in listed:
        name, seen = _name(model.name), set[str]()
        while name in parents and name not in seen:
            seen.add(name)
            name = parents[name]
        found[model.model_id] = name
    return found


def _name(text: str) -> str:
    return text.strip().casefold()
