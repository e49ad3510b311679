"""What is known of a model whose files are at hand, as an entry of the catalogue."""

from datetime import UTC, datetime

from neuralrank.entries import ModelEntry
from neuralrank.types import ModelRecord

BYTES_PER_PARAMETER = 4
WORKING_SHARE = 0.25
"""Of the weights, for activations: batches are small."""

_TASKS = {
    "ForImageClassification": "image-classification",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "ForAudioClassification": "audio-classification",
    "ForCTC": "automatic-speech-recognition",
    "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "image-segmentation",
}
_LIBRARIES = {
    "onnx": "onnx",
    "torch_export": "pytorch",
    "torchscript": "pytorch",
    "state_dict": "pytorch",
    "trusted_module": "pytorch",
    "keras_archive": "keras",
    "skops_file": "sklearn",
    "sklearn_pickle": "sklearn",
}
_CLASSIFIES = {"image": "image-classification", "text": "text-classification", "audio": "audio-classification"}


def entry_from_record(record: ModelRecord, *, source: str, location: str, stamp: str) -> ModelEntry:
    """Return the catalogue's entry of a model that was described."""
    facts, written = record.facts, record.facts.description
    return ModelEntry(
        model_id=record.model_id,
        source=source,
        name=record.name,
        location=location,
        stamp=stamp,
        format=facts.format,
        modality=facts.modality,
        task=written.task or _task(record),
        library=written.library or _LIBRARIES.get(facts.format),
        architecture=facts.architecture,
        license=facts.licence,
        languages=written.languages,
        tags=written.tags,
        label_names=facts.label_names or (),
        pretraining_data=(facts.pretraining_data,) if facts.pretraining_data else (),
        base_model=written.base_model,
        accuracy=facts.reported_accuracy,
        params=facts.n_params,
        size_bytes=record.size_bytes,
        memory_bytes=estimated_memory(facts.n_params, record.size_bytes),
        updated=last_changed(record),
        description=written.text,
    )


def estimated_memory(params: int | None, size_bytes: int | None) -> int | None:
    """Return the bytes that running a model takes, roughly: its weights in single precision and room to work in."""
    weights = params * BYTES_PER_PARAMETER if params else size_bytes
    return round(weights * (1 + WORKING_SHARE)) if weights else None


def last_changed(record: ModelRecord) -> str | None:
    """Return when a file of the model last changed, UTC; None if that cannot be told."""
    try:
        latest = max(file.stat().st_mtime for file in record.facts.files)
        return datetime.fromtimestamp(latest, UTC).isoformat()
    except (OSError, ValueError, OverflowError):  # files that are gone, or times that are none
        return None


def _task(record: ModelRecord) -> str | None:
    """Return what the model does, from the ending of its architecture or from its having classes."""
    architecture = record.facts.architecture or ""
    for ending, task in _TASKS.items():
        if architecture.endswith(ending):
            return task
    return _CLASSIFIES.get(record.facts.modality or "") if record.facts.label_names else None
