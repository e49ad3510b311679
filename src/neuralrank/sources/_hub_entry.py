"""What the Hub says about one model, as an entry of the catalogue.

Everything here was written by strangers: what is of the wrong type or absurd is left out, and the rest still counts.
"""

import re
from collections.abc import Mapping
from typing import Any

from neuralrank.entries import ModelEntry, ReportedResult
from neuralrank.sources import _hub_json as read
from neuralrank.sources._entry import estimated_memory
from neuralrank.sources._hub_cache import REVISION, is_repository
from neuralrank.sources._hub_files import Choice, choose
from neuralrank.types import Failure, Modality

MAX_LABELS = 50_000
MAX_FILES = 20_000
_PLAIN_LABEL = re.compile(r"LABEL_\d+")
_ACCURACY = re.compile(r"(top.?1.)?acc(uracy)?(@1)?(.top.?1)?", flags=re.IGNORECASE)
_NOT_SHOWN = ("license:", "dataset:", "base_model:", "region:", "deploy:")
_BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16, "F4": 4}

_MODALITIES: Mapping[Modality, frozenset[str]] = {
    "image": frozenset(
        """image-classification image-feature-extraction zero-shot-image-classification image-segmentation
        object-detection zero-shot-object-detection depth-estimation mask-generation keypoint-detection image-to-image
        unconditional-image-generation image-to-text image-text-to-text visual-question-answering""".split()  # noqa: SIM905
    ),
    "text": frozenset(
        """text-classification token-classification zero-shot-classification fill-mask feature-extraction
        sentence-similarity text-generation text2text-generation translation summarization question-answering
        table-question-answering text-ranking multiple-choice""".split()  # noqa: SIM905
    ),
    "audio": frozenset(
        """audio-classification automatic-speech-recognition text-to-speech text-to-audio audio-to-audio
        voice-activity-detection""".split()  # noqa: SIM905
    ),
    "tabular": frozenset({"tabular-classification", "tabular-regression"}),
}
_LOADED: Mapping[str, tuple[str, tuple[Modality, ...]]] = {
    "transformers_folder": ("Transformers", ("image", "text")),
    "onnx": ("ONNX", ("image", "tabular")),
}
_AUDIO_NAMES = ("ForAudio", "ForCTC", "ForSpeech", "ForXVector", "Wav2Vec2", "Hubert", "Whisper", "AudioSpectrogram")
_IMAGE_NAMES = ("ForImageClassification", "ViTModel", "Dinov2Model", "CLIPModel", "SiglipModel", "SwinModel")


def location_of(info: Any) -> str | None:
    """Return the name of the repository, None if what came is no description of one."""
    name = read.table(info).get("id") or read.table(info).get("modelId")
    return name if isinstance(name, str) and is_repository(name) else None


def revision_of(info: Mapping[str, Any]) -> str | None:
    """Return the commit that was described."""
    sha = info.get("sha")
    return sha if isinstance(sha, str) and REVISION.fullmatch(sha) else None


def stamp_of(info: Mapping[str, Any], *, has_token: bool) -> str:
    """Return what changes when the model does, or when logging in opens it; empty if nothing tells."""
    known = revision_of(info) or read.moment(info.get("lastModified")) or ""
    return f"{known} gated" if known and info.get("gated") and not has_token else known


def entry_of(info: Any, *, source: str = "hf", has_token: bool = False) -> ModelEntry | Failure:
    """Return the entry of a model from the JSON that the Hub gives for it.

    Args:
        info: one item of its listing, or the answer about one model; `config` may hold the whole config.json.
        source: the source that lists it.
        has_token: whether requests are made in the name of a user, to whom gated models may be open.
    """
    location = location_of(info)
    if location is None:
        got = read.text(read.table(info).get("id"), 80)
        error = f"The Hub needs to name a model as owner/name. Got {got!r}. Report it to the Hub."
        return Failure(model_id=f"{source}:{got or 'unnamed'}", stage="list", error=error)
    card, config = read.table(info.get("cardData")), read.table(info.get("config"))
    tags = read.texts(info.get("tags"))
    task = read.text(info.get("pipeline_tag")) or read.text(card.get("pipeline_tag"))
    library = read.text(info.get("library_name")) or read.text(card.get("library_name"))
    library = library or ("timm" if "timm" in tags else None)
    sizes = sizes_of(info)
    choice = choose(location, list(sizes), config, library=library)
    architecture = _architecture(config, location, choice)
    modality = _modality(task, architecture, choice)
    params = read.whole(read.table(info.get("safetensors")).get("total")) or None
    size = _size(info, choice, sizes)
    results = _results(info.get("model-index") or card.get("model-index"))
    return ModelEntry(
        model_id=f"{source}:{location}@{revision_of(info) or 'unknown'}",
        source=source,
        name=location,
        location=location,
        stamp=stamp_of(info, has_token=has_token),
        format=choice.format,
        refusal=_closed(info, location, has_token) or choice.refusal or _not_loaded(location, choice, modality),
        modality=modality,
        task=task,
        library=library,
        architecture=architecture,
        license=_licence(card, tags),
        languages=read.texts(card.get("language"), limit=40),
        tags=tuple(tag for tag in tags if not tag.startswith(_NOT_SHOWN)),
        label_names=_label_names(config),
        pretraining_data=_named(card.get("datasets"), tags, "dataset:"),
        base_model=_named(card.get("base_model"), tags, "base_model:"),
        results=results,
        accuracy=_accuracy(results, task),
        params=params,
        size_bytes=size,
        memory_bytes=estimated_memory(params, size),
        downloads=read.whole(info.get("downloads")),
        likes=read.whole(info.get("likes")),
        created=read.moment(info.get("createdAt")),
        updated=read.moment(info.get("lastModified")),
    )


def sizes_of(info: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the files by path, with their sizes where they are known."""
    files = [read.table(item) for item in read.rows(info.get("siblings"), MAX_FILES)]
    return {file["rfilename"]: read.whole(file.get("size")) for file in files if isinstance(file.get("rfilename"), str)}


def _size(info: Mapping[str, Any], choice: Choice, sizes: Mapping[str, int | None]) -> int | None:
    """Return the bytes of the chosen files, or of the weights by their numbers and types."""
    chosen = [sizes.get(path) for path in choice.files]
    if chosen and None not in chosen:
        return sum(size for size in chosen if size is not None)
    kinds = read.table(read.table(info.get("safetensors")).get("parameters"))
    counts = [(read.whole(count) or 0) * _BITS.get(kind, 8) // 8 for kind, count in list(kinds.items())[:20]]
    return read.whole(sum(counts)) or None


def _architecture(config: Mapping[str, Any], location: str, choice: Choice) -> str | None:
    if choice.format == "timm_folder":
        return read.text(config.get("architecture")) or read.text(location.split("/")[-1].split(".")[0])
    names = read.texts(config.get("architectures"), n=1)
    return names[0] if names else read.text(config.get("architecture")) or read.text(config.get("model_type"))


def _modality(task: str | None, architecture: str | None, choice: Choice) -> Modality | None:
    """Judge by the architecture where it is plain, since tasks such as feature-extraction are of several kinds."""
    if choice.format == "timm_folder":
        return "image"
    for names, modality in ((_AUDIO_NAMES, "audio"), (_IMAGE_NAMES, "image")):
        if architecture is not None and any(name in architecture for name in names):
            return modality  # type: ignore[return-value]
    return next((modality for modality, tasks in _MODALITIES.items() if task in tasks), None)


def _closed(info: Mapping[str, Any], location: str, has_token: bool) -> str | None:
    if info.get("disabled") is True:
        return f"{location} needs to be open. Got a repository that the Hub has closed. Choose another model."
    if info.get("gated") and not has_token:
        return (
            f"{location} needs access that its authors grant. Got no token. "
            "Ask for access on its page, then run: hf auth login"
        )
    return None


def _not_loaded(location: str, choice: Choice, modality: Modality | None) -> str | None:
    """Return why a model of this modality is not loaded although its format is, None if it is or nothing tells."""
    name, loaded = _LOADED.get(choice.format or "", ("", ()))
    if not loaded or modality is None or modality in loaded:
        return None
    return (
        f"{location} needs to be of {' or '.join(loaded)} to be loaded as {name}. Got a model of {modality}. "
        "Choose another model."
    )


def _licence(card: Mapping[str, Any], tags: tuple[str, ...]) -> str | None:
    named = read.texts(card.get("license"), n=1)
    if named == ("other",):
        return read.text(card.get("license_name")) or "other"
    return named[0] if named else next((tag[8:] or None for tag in tags if tag.startswith("license:")), None)


def _named(value: Any, tags: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """Return what the card lists, else what the tags do: `base_model:finetune:owner/name` repeats owner/name."""
    tagged = [tag.removeprefix(prefix).rpartition(":")[2] for tag in tags if tag.startswith(prefix)]
    return read.texts(value) or tuple(dict.fromkeys(filter(None, tagged)))


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in order, none if they are only numbered."""
    listed = config.get("label_names") or read.table(config.get("pretrained_cfg")).get("label_names")
    if isinstance(listed, list):
        names = listed
    else:
        labels = {key: name for key, name in read.table(config.get("id2label")).items() if str(key).isdecimal()}
        names = [labels[key] for key in sorted(labels, key=lambda key: int(str(key)[:18]))]
    cleaned = [read.text(name) for name in names[: MAX_LABELS + 1]]
    kept = tuple(name for name in cleaned if name is not None)
    sound = len(kept) == len(cleaned) <= MAX_LABELS and not all(map(_PLAIN_LABEL.fullmatch, kept))
    return kept if sound else ()


def _results(index: Any) -> tuple[ReportedResult, ...]:
    """Return what the model-index reports, entries without a number left out."""
    found = []
    for item in read.rows(index, 20):
        for result in read.rows(read.table(item).get("results"), 50):
            task, data = (read.table(read.table(result).get(key)) for key in ("task", "dataset"))
            for metric in read.rows(read.table(result).get("metrics"), 20):
                value = read.number(read.table(metric).get("value"))
                name = read.text(read.table(metric).get("type")) or read.text(read.table(metric).get("name"))
                if value is not None and name is not None:
                    found.append(
                        ReportedResult(
                            task=read.text(task.get("type")) or "",
                            data=read.text(data.get("name")) or read.text(data.get("type")) or "",
                            metric=name,
                            value=value,
                        )
                    )
    return tuple(found[: read.MAX_ITEMS])


def _accuracy(results: tuple[ReportedResult, ...], task: str | None) -> float | None:
    """Return the first accuracy on the model's own task, in per cent; authors give shares as well as per cents."""
    for result in results:
        if _ACCURACY.fullmatch(result.metric) and task in (result.task, None) and 0 <= result.value <= 100:
            return 100 * result.value if result.value <= 1 else result.value
    return None
