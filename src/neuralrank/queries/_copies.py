"""Groups of entries that are one model: uploaded again, quantised, or converted to another format.

Four kinds of evidence join two entries, none of which looks at weights: the same content hash or commit; the same name
on the Hub; a declared base model whose name is that of the copy; names that differ in nothing but marks of a
quantisation or format. Two owners who gave their models one name prove nothing: hundreds follow the same tutorial.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from neuralrank.entries import ModelEntry

SAME_PARAMS = 0.02
"""Relative difference of parameter counts up to which a conversion may change them, by folding a layer for example."""

_HUB = ("hf", "hf_cache", "timm")
_CONVERTERS = frozenset(
    {"xenova", "onnx-community", "mlx-community", "thebloke", "bartowski", "lmstudio-community", "quantfactory"}
    | {"mradermacher", "ggml-org", "unsloth", "neuralmagic", "redhatai", "optimum", "openvino", "litert-community"}
)
"""Accounts of the Hub that convert and quantise models of others."""

_LIBRARIES = frozenset({"gguf", "ggml", "mlx", "transformers.js", "openvino", "coreml", "tflite", "litert"})
_CONTENT = re.compile(r"[0-9a-f]{12,64}")
_RELATION = re.compile(r"(?:base_model:)?(quantized|finetune|adapter|merge):")
_FILE = re.compile(
    r"\.(?:onnx|ort|pt2?|pth|ckpt|bin|safetensors|gguf|ggml|tflite|mlmodel|mlpackage|engine|xml|h5|keras|timm|torchscript)$"
)
_PACKED = re.compile(r"[-_.](?:gptq|awq|exl\d|aqlm|hqq|bnb|nf4|fp4|\d[-_]?bits?|int4|w4a\d+)(?:[-_.]|$)")
"""Quantisations that keep several weights in one stored number, whose count then says little."""

_MARK = re.compile(
    r"[-_. ]+(?:gguf|ggml|awq|gptq|exl[23]|aqlm|hqq|eetq|bnb4?|dwq|imatrix|i1|(?:32|64|128)g|gs(?:32|64|128)"
    r"|i?q[1-8](?:f16|f32)?(?:[-_]k)?(?:[-_](?:xxs|xs|xl|s|m|l|nl|[01]))?|u?int(?:2|3|4|8|16|32)|bf16|(?:mx|nv)?fp(?:4|8|16|32|64)(?:[-_]dynamic)?"
    r"|nf4|f16|f32|[if]8|[2-8][-_]?bits?|[2-8](?:\.\d+)?bpw|w\d+a\d+|quanti[sz]ed|quant|onnx|ort|openvino|ov|coreml|mlmodel|tflite|litert"
    r"|tensorrt|trt|mlx|torchscript|safetensors)$"
)

_LONGEST_MARK = 16


def same_model(entries: Sequence[ModelEntry]) -> list[list[int]]:
    """Group entries that are copies of one model, as far as they tell.

    Args:
        entries: in any order, which does not matter. Which model a name is a copy of may depend on what else is there.

    Returns:
        Every index once, in groups of ascending indices, ordered by the first of each; a model without copies stands
        alone. Cost near linear in the number of entries.
    """
    groups = _Groups(n=len(entries))
    buckets: dict[Hashable, list[int]] = {}
    for index, entry in enumerate(entries):
        for evidence in _evidence(entry):
            groups.join(index, evidence)
        buckets.setdefault(_bucket(entry), []).append(index)
    for bucket in buckets.values():
        if len(bucket) > 1:
            _join_by_name(bucket, entries, groups)
    return groups.listed()


def base_names(entry: ModelEntry) -> tuple[str, ...]:
    """Return the names of the models that it was adapted from, lower case and without the relation."""
    return tuple(_RELATION.sub("", base).lower() for base in entry.base_model)


def hub_name(entry: ModelEntry) -> str | None:
    """Return owner/model in lower case for what comes from the Hub, whichever way; None for others."""
    if entry.source not in _HUB:
        return None
    return (f"timm/{entry.name}" if entry.source == "timm" and "/" not in entry.name else entry.name).lower()


@lru_cache(maxsize=16384)
def stem(name: str) -> str:
    """Return a name in lower case without marks of quantisation and format.

    Example:
        >>> stem("Mistral-7B-Instruct-v0.1.Q4_K_M.gguf"), stem("resnet50_int8.onnx"), stem("gemma-2b-pt")
        ('mistral-7b-instruct-v0.1', 'resnet50', 'gemma-2b-pt')
    """
    bare = _FILE.sub("", name.lower())
    while (mark := _MARK.search(bare, max(1, len(bare) - _LONGEST_MARK))) is not None:
        bare = bare[: mark.start()]
    return bare


@dataclass(frozen=True)
class _Groups:
    """Disjoint sets of indices (union-find); pieces of evidence are members too."""

    n: int
    parents: list[int] = field(default_factory=list)
    of_evidence: dict[Hashable, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parents.extend(range(self.n))

    def join(self, index: int, other: Hashable) -> None:
        """Put an index into the group of another index or of a piece of evidence."""
        if not isinstance(other, int):
            node = self.of_evidence.get(other)
            if node is None:
                node = self.of_evidence[other] = len(self.parents)
                self.parents.append(node)
            other = node
        first, second = self._root(index), self._root(other)
        self.parents[max(first, second)] = min(first, second)

    def listed(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in range(self.n):
            groups.setdefault(self._root(index), []).append(index)
        return list(groups.values())

    def _root(self, node: int) -> int:
        while self.parents[node] != node:
            self.parents[node] = self.parents[self.parents[node]]
            node = self.parents[node]
        return node


def _evidence(entry: ModelEntry) -> list[tuple[str, str]]:
    """Return what every copy of a model has in common and no other model has."""
    found = [("id", entry.model_id)]
    _, _, revision = entry.model_id.rpartition("@")
    if _CONTENT.fullmatch(revision):
        found.append(("content", revision))
    if name := hub_name(entry):
        found.append(("hub", name))
    own = stem(entry.name.rpartition("/")[2]) if entry.base_model else ""
    for base, written in zip(base_names(entry), entry.base_model, strict=True):
        original = stem(base.rpartition("/")[2])
        declared = (relation := _RELATION.match(written)) is not None and relation[1] == "quantized"
        named = own == original or own.endswith(("-" + original, "_" + original, "." + original))
        if declared or (named and len(entry.base_model) == 1 and _is_copy(entry)):
            found.append(("hub", base))
    return found


def _bucket(entry: ModelEntry) -> tuple[str, ...]:
    """Return what entries share whose names differ in marks only: on the Hub the model, elsewhere the folder too."""
    place, _, name = (entry.location if entry.source == "folder" else entry.name).rpartition("/")
    return ("hub", stem(name)) if entry.source in _HUB else (entry.source, place, stem(name))


def _join_by_name(bucket: Sequence[int], entries: Sequence[ModelEntry], groups: _Groups) -> None:
    """Join copies among entries of one name to their original; those that have none to each other.

    Files of one name side by side are copies, whatever their endings. On the Hub the original is the one of the same
    owner, else the only one; accounts that convert models of others start from the one that most people use.
    """
    order = sorted(bucket, key=lambda i: (-(entries[i].downloads or 0), entries[i].name, entries[i].model_id))
    is_copy = {i: entries[i].source == "folder" or _is_copy(entries[i]) for i in order}
    alone: dict[str, list[int]] = {}
    for copy in (i for i in order if is_copy[i]):
        owner = _owner(entries[copy])
        fitting = [i for i in order if not is_copy[i] and _same_params(entries[copy], entries[i])]
        own = [i for i in fitting if _owner(entries[i]) == owner]
        if own or (fitting and (len(fitting) == 1 or owner in _CONVERTERS)):
            groups.join(copy, (own or fitting)[0])
        else:
            alone.setdefault("" if owner in _CONVERTERS else owner, []).append(copy)
    for copies in alone.values():
        copies.sort(key=lambda i: (entries[i].params or 0, entries[i].model_id))
        for first, second in pairwise(copies):
            if _same_params(entries[first], entries[second]):
                groups.join(first, second)


def _owner(entry: ModelEntry) -> str:
    return entry.name.rpartition("/")[0].lower()


def _is_copy(entry: ModelEntry) -> bool:
    """Say whether an entry shows itself to be quantised or converted."""
    name = entry.name.rpartition("/")[2].lower()
    marked = stem(name) != _FILE.sub("", name) or (entry.library or "").lower() in _LIBRARIES
    return marked or (entry.source in _HUB and _owner(entry) in _CONVERTERS)


def _same_params(one: ModelEntry, other: ModelEntry) -> bool:
    """Say whether two may have the same parameters: what is unknown, or was packed, contradicts nothing."""
    if (
        one.params is None
        or other.params is None
        or _PACKED.search(one.name.lower())
        or _PACKED.search(other.name.lower())
    ):
        return True
    return abs(one.params - other.params) <= SAME_PARAMS * max(one.params, other.params)
