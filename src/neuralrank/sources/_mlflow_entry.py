"""What a registry says about one model version, and which of its files make a model, as an entry of the catalogue.

The flavors are read from `MLmodel`, a small text beside the weights; no weights are. Whoever registered a model wrote
all of it: what is of the wrong type or absurd is left out.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from neuralrank.entries import ModelEntry
from neuralrank.sources import _hub_json as read
from neuralrank.sources._entry import estimated_memory
from neuralrank.sources._hub_card import prose
from neuralrank.sources._hub_files import Choice, choose
from neuralrank.sources._mlflow_artifacts import Store, all_files, read_small
from neuralrank.types import Modality

MLMODEL = "MLmodel"
MAX_MLMODEL_BYTES = 2**20
MAX_CONFIG_BYTES = 2**24
ACCURACIES = ("test_accuracy", "val_accuracy", "accuracy")
"""Metrics of a run that tell the accuracy, the one on data furthest from training first."""

_GENERAL = "python_function"
_WEIGHTS_BESIDE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.data)?|[^/]+\.data")
"""MLflow has ONNX keep weights outside of the graph, in a file with a drawn name."""

_MODALITIES: Mapping[str, Modality] = {
    "image": "image", "object": "image", "depth": "image", "text": "text", "token": "text", "fill": "text",
    "sentence": "text", "summarization": "text", "translation": "text", "question": "text", "audio": "audio",
    "automatic": "audio", "tabular": "tabular",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a registry says about a name, which all its versions share."""

    description: str = ""
    tags: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]]
    """By version."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The files of one version: what there is, and what of it makes a model."""

    flavors: Mapping[str, Any]
    mlmodel: Mapping[str, Any]
    config: Mapping[str, Any]
    choice: Choice
    files: Mapping[str, str]
    """What to fetch, by its place in the folder to load from."""
    size_bytes: int | None


def named_of(model: Any) -> Named:
    """Return what a registered model has for all its versions."""
    aliases: dict[str, tuple[str, ...]] = {}
    for alias, version in sorted(read.table(model.aliases).items()):
        aliases[str(version)] = (*aliases.get(str(version), ()), alias)
    return Named(description=read.text(model.description, 20_000) or "", tags=_tags(model.tags), aliases=aliases)


def stamp_of(version: Any, named: Named) -> str:
    """Return what changes when a version, its aliases, or what is said about its name does."""
    said = (version.status, version.source, named.description, named.tags, named.aliases.get(str(version.version)))
    mark = hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]
    return f"{version.version}.{version.last_updated_timestamp}.{mark}"


def read_contents(store: Store, model: str) -> Contents:
    """List the files of a version and choose those that make a model; reads `MLmodel` and `config.json`.

    Raises:
        ModelError: the files cannot be listed, or their names are not those of a model.
    """
    sizes = all_files(store, model)
    mlmodel = _mlmodel(store) if MLMODEL in sizes else {}
    flavors = read.table(mlmodel.get("flavors"))
    places = _places(list(sizes))
    config = _json(store, places["config.json"]) if "config.json" in places else {}
    choice = choose(model, list(places), config, library=None)
    if choice.refusal is not None:
        choice = _refused(model, choice, flavors)
    elif choice.format == "onnx":
        choice = replace(choice, files=(*choice.files, *_weights_beside(choice, places)))
    chosen = [sizes[places[path]] for path in choice.files] or list(sizes.values())
    size = sum(size for size in chosen if size is not None) if None not in chosen else None
    return Contents(
        flavors=flavors,
        mlmodel=mlmodel,
        config=config,
        choice=choice,
        files={path: places[path] for path in choice.files},
        size_bytes=read.whole(size) or read.whole(mlmodel.get("model_size_bytes")),
    )


def entry_of(version: Any, named: Named, contents: Contents, metrics: Mapping[str, Any]) -> ModelEntry:
    """Return the entry of a version.

    Args:
        version: MLflow's ModelVersion.
        named: what is said about its name.
        contents: its files.
        metrics: those of the run that made it.
    """
    flavor = next((name for name in contents.flavors if name != _GENERAL), None)
    transformers = read.table(contents.flavors.get("transformers"))
    tags = read.table(version.tags)
    task = read.text(transformers.get("task")) or read.text(tags.get("task"))
    base = read.text(transformers.get("source_model_name"))
    number = str(version.version)
    aliases = tuple(f"alias:{alias}" for alias in named.aliases.get(number, ()))
    words = (prose(version.description or ""), prose(named.description))
    return ModelEntry(
        model_id=f"mlflow:{version.name}@{number}",
        source="mlflow",
        name=version.name,
        location=f"{version.name}/{number}",
        stamp=stamp_of(version, named),
        format=contents.choice.format,
        refusal=contents.choice.refusal,
        modality=_modality(task, contents),
        task=task,
        library="timm" if contents.choice.format == "timm_folder" else read.text(flavor),
        architecture=_architecture(contents.config) or read.text(transformers.get("pipeline_model_type")),
        license=read.text(tags.get("license")),
        tags=tuple(dict.fromkeys((*aliases, *_tags(tags), *named.tags))),
        label_names=_label_names(contents.config),
        base_model=(base,) if base else (),
        accuracy=_accuracy(metrics),
        size_bytes=contents.size_bytes,
        memory_bytes=estimated_memory(None, contents.size_bytes),
        created=_moment(version.creation_timestamp),
        updated=_moment(version.last_updated_timestamp),
        description=" ".join(filter(None, dict.fromkeys(words))),
    )


def _mlmodel(store: Store) -> Mapping[str, Any]:
    """Return what `MLmodel` says, nothing if it is no such text."""
    import yaml  # type: ignore[import-untyped]

    content = read_small(store, MLMODEL, MAX_MLMODEL_BYTES)
    # The safe loader makes texts, numbers, lists and tables alone. Merging tables into tables, which MLflow does not
    # use, could make them grow without end.
    safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = type("Loader", (safe,), {"flatten_mapping": lambda *_: None})
    try:
        return read.table(yaml.load(content or b"", loader))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}


def _json(store: Store, path: str) -> Mapping[str, Any]:
    content = read_small(store, path, MAX_CONFIG_BYTES)
    try:
        return read.table(read.parsed(content or b""))
    except ValueError:
        return {}


def _places(paths: list[str]) -> dict[str, str]:
    """Return the files by their places in the folder to load from.

    MLflow keeps a Transformers model in `model` and its tokenizer in `components/tokenizer`; loading wants both in
    one folder.
    """
    here = sorted(paths, key=lambda path: (path.count("/"), path))
    weights = {str(PurePosixPath(path).parent) for path in here if path.endswith(".safetensors")}
    base = next((path[: -len("config.json")] for path in here if _is_config(path, weights)), "")
    places = {path.removeprefix(base): path for path in here if path.startswith(base)}
    if base:
        for path in here:
            if re.fullmatch(r"components/[^/]+/[^/]+", path):
                places.setdefault(path.rpartition("/")[2], path)
    return places


def _is_config(path: str, weights: set[str]) -> bool:
    return PurePosixPath(path).name == "config.json" and str(PurePosixPath(path).parent) in weights


def _weights_beside(choice: Choice, places: Mapping[str, str]) -> list[str]:
    folder = str(PurePosixPath(choice.target).parent)
    beside = [path for path in places if str(PurePosixPath(path).parent) == folder and path not in choice.files]
    return [path for path in beside if _WEIGHTS_BESIDE.fullmatch(PurePosixPath(path).name)]


def _refused(model: str, choice: Choice, flavors: Mapping[str, Any]) -> Choice:
    """Say of a model without known weights what its flavor is."""
    flavor = next((name for name in flavors if name != _GENERAL), None)
    reference = read.text(read.table(flavors.get("transformers")).get("source_model_name"))
    if choice.format is not None or flavor is None:
        return choice
    if reference is not None:
        refusal = f"{model} needs its weights in the registry. Got a reference alone. Use hf:{reference} instead."
        return replace(choice, format="transformers", refusal=refusal)
    shown = read.text(flavor, 40)
    refusal = (
        f"{model} needs the flavor onnx, transformers, or pytorch with serialization_format='pt2'. Got {shown!r}. "
        "Log it again as one of these, for example as ONNX."
    )
    return replace(choice, format=shown, refusal=refusal)


def _modality(task: str | None, contents: Contents) -> Modality | None:
    """Judge by the task, else by the shape of the only input in the signature."""
    if contents.choice.format == "timm_folder":
        return "image"
    if task is not None and task.partition("-")[0] in _MODALITIES:
        return _MODALITIES[task.partition("-")[0]]
    said = read.table(contents.mlmodel.get("signature")).get("inputs")
    try:
        inputs = read.rows(read.parsed(said.encode())) if isinstance(said, str) else []
    except ValueError:
        return None
    if len(inputs) != 1:
        return None
    if read.table(inputs[0]).get("type") == "string":
        return "text"
    ranks: Mapping[int, Modality] = {4: "image", 2: "tabular"}
    return ranks.get(len(read.rows(read.table(read.table(inputs[0]).get("tensor-spec")).get("shape"))))


def _architecture(config: Mapping[str, Any]) -> str | None:
    names = read.texts(config.get("architectures"), n=1)
    return names[0] if names else read.text(config.get("architecture"))


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in order, none if they are only numbered."""
    labels = {key: name for key, name in read.table(config.get("id2label")).items() if str(key).isdecimal()}
    names = [read.text(labels[key]) for key in sorted(labels, key=lambda key: int(str(key)[:18]))[:50_000]]
    kept = tuple(name for name in names if name is not None)
    return kept if len(kept) == len(labels) and not all(re.fullmatch(r"LABEL_\d+", name) for name in kept) else ()


def _accuracy(metrics: Mapping[str, Any]) -> float | None:
    """Return the accuracy in per cent; runs give shares as well as per cents."""
    for name in ACCURACIES:
        value = read.number(metrics.get(name))
        if value is not None and 0 <= value <= 100:
            return round(100 * value, 6) if value <= 1 else value
    return None


def _tags(tags: Any) -> tuple[str, ...]:
    """Return tags as 'key:value', without those that MLflow keeps for itself."""
    shown = []
    for key, value in list(read.table(tags).items())[: read.MAX_ITEMS]:
        name, said = read.text(key, 100), read.text(value, 200)
        if name is not None and not name.startswith("mlflow."):
            shown.append(f"{name}:{said}" if said else name)
    return tuple(shown)


def _moment(milliseconds: Any) -> str | None:
    value = read.whole(milliseconds)
    try:
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return None
