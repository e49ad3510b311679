"""What the JSON files of a Transformers folder say: modality, architecture, label names, and what must be refused.

Nothing here imports Transformers. Two kinds of folders are turned away before anything is loaded: those that are only
an adapter of another model, and those that name a download. Those that need program code they bring along need trust.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.formats._model_folder import first_text, read_json, readme_description, readme_facts, refuse_pickles
from neuralrank.formats._stored_state import folder_weights
from neuralrank.types import Modality, ModelFacts

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = """
    tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json vocab.txt merges.txt
    spiece.model sentencepiece.bpe.model tokenizer.model spm.model source.spm target.spm bpe.codes dict.txt
    sentencepiece.model vocab-src.json vocab-tgt.json entity_vocab.json word_shape.json word_pronunciation.json
    """.split()  # noqa: SIM905
VOCABULARY_FILES = tuple(
    name
    for name in TOKENIZER_FILES
    if name not in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
)
AUDIO_KEYS = ("num_mel_bins", "conv_kernel", "sampling_rate", "audio_channels", "feat_extract_norm")
IMAGE_KEYS = ("image_size", "num_channels", "vision_config", "patch_size", "backbone_config")
TEXT_KEYS = ("vocab_size", "vocabulary_size", "n_vocab")
PLAIN_LABEL = re.compile(r"LABEL_\d+")
MODEL_TYPE = re.compile(r"[A-Za-z0-9_\-\.]{1,100}")
MAX_DEPTH = 20
MAX_CODE_FILES = 1_000


def describe_folder(path: Path) -> ModelFacts | None:
    """Say what the folder holds, None if it is not a Transformers folder."""
    config = read_json(path / "config.json") if path.is_dir() else None
    if config is None or not ("model_type" in config or isinstance(config.get("architectures"), list)):
        return None
    if isinstance(config.get("architecture"), str) and "pretrained_cfg" in config:
        return None
    _refuse_unsafe(path, config)
    code = _own_code(path, config)
    weights = folder_weights(path)
    if weights is None:
        refuse_pickles(path)
        return None
    processor = read_processor(path)
    tokenizer = [path / name for name in TOKENIZER_FILES if (path / name).is_file()]
    modality = _modality(config, processor, bool(tokenizer))
    settings = [path / name for name in PROCESSOR_FILES if (path / name).is_file()]
    used = settings if modality == "image" else [*tokenizer, *settings] if modality == "audio" else tokenizer
    readme = readme_facts(path)
    return ModelFacts(
        format="transformers_folder",
        files=(path / "config.json", *weights.files, *used, *code),
        modality=modality,
        architecture=_architecture(config),
        n_params=weights.n_params,
        licence=first_text(config.get("license"), readme.get("licence")),
        label_names=_label_names(config),
        pretraining_data=readme.get("pretraining_data"),
        needs_trust=_why(path, code) if code else None,
        assumptions=_assumptions(modality, processor),
        description=readme_description(path, library="transformers"),
    )


def read_processor(path: Path) -> Mapping[str, Any] | None:
    """Return the settings of the image processor or feature extractor, None if the folder has none."""
    for name in PROCESSOR_FILES:
        content = read_json(path / name)
        if content is None:
            continue
        nested = content.get("image_processor") or content.get("feature_extractor")
        if isinstance(nested, dict):
            return nested
        if name == "preprocessor_config.json" or "image_processor_type" in content:
            return content
    return None


def _refuse_unsafe(path: Path, config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type is not None and (not isinstance(model_type, str) or MODEL_TYPE.fullmatch(model_type) is None):
        raise ModelError(
            f"config.json needs a plain name as 'model_type'. Got {repr(model_type)[:100]}. Correct the file."
        )
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{path.name} needs to hold a whole model. Got an adapter of another one. "
            "Merge the two, and save the result."
        )
    for key, value in _items(config):
        # Transformers fetches and runs an attention kernel that a configuration names as owner/name
        if "attn_implementation" in key and any("/" in text for text in _texts(value)):
            raise ModelError(
                f"config.json needs an attention that is part of Transformers. Got {repr(value)[:100]}, a program to "
                "download. Remove that line."
            )
        if key in ("use_pretrained_backbone", "use_kernels") and value:
            raise ModelError(f"config.json needs {key!r} to be false. Got {value!r}, a download. Save the whole model.")


def _own_code(path: Path, config: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the program files of a folder whose architecture the installed Transformers does not know.

    Raises:
        ModelError: its program is elsewhere, or is not there.
    """
    named = config.get("auto_map")
    if named is None or _is_known(config.get("model_type")):
        return ()
    texts = [text for _, value in _items(named) for text in ([value] if isinstance(value, str) else [])]
    elsewhere = next((text for text in texts if "--" in text or "/" in text), None)
    if elsewhere is not None:
        raise ModelError(
            f"config.json needs program code of its own folder in 'auto_map'. Got {elsewhere[:100]!r}, a download. "
            "Put the code into the folder and name it there."
        )
    files = tuple(sorted(path.rglob("*.py")))
    if not files:
        raise code_needed(path.name)
    if len(files) > MAX_CODE_FILES:
        raise ModelError(
            f"{path.name} needs at most {MAX_CODE_FILES} files of program code. Got {len(files)}. Remove those that "
            "the model does not use."
        )
    return files


def _is_known(model_type: Any) -> bool:
    """Say whether the installed Transformers lists a model type; its files are read, not imported."""
    found = find_spec("transformers")
    folders = found.submodule_search_locations if found else None
    if not isinstance(model_type, str) or not folders:
        return False
    lists = [Path(folders[0]) / "models" / "auto" / name for name in ("configuration_auto.py", "auto_mappings.py")]
    return any(f'"{model_type}"' in file.read_text(encoding="utf-8") for file in lists if file.is_file())


def _why(path: Path, code: tuple[Path, ...]) -> str:
    names = ", ".join(file.name for file in code[:3]) + (f" and {len(code) - 3} more" if len(code) > 3 else "")
    return f"{path.name} brings program code of its own ({names}), and loading it runs that code."


def code_needed(name: str) -> ModelError:
    """Return the error for a model whose program is among its own files."""
    return ModelError(
        f"{name} needs program code that it brings along ('auto_map'). Got a network that the installed "
        "Transformers does not know, and none of that code in its folder. Update Transformers, or "
        "export the model to ONNX."
    )


def _items(value: Any, depth: int = 0) -> list[tuple[str, Any]]:
    """List every key and value of nested JSON, to a depth that no real configuration reaches."""
    if depth > MAX_DEPTH:
        raise ModelError(f"config.json needs at most {MAX_DEPTH} levels. Got more. Download it again.")
    children = value.items() if isinstance(value, dict) else (("", child) for child in value)
    found = []
    for key, child in children:
        found.append((str(key), child))
        if isinstance(child, dict | list):
            found.extend(_items(child, depth + 1))
    return found


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for child in value.values() for text in _texts(child)]
    return [value] if isinstance(value, str) else []


def _modality(config: Mapping[str, Any], processor: Mapping[str, Any] | None, tokenizer: bool) -> Modality | None:
    """Decide by the configuration first: a tokenizer file may lie beside an image model, and the reverse."""
    names = " ".join(str(config.get(key)) for key in ("model_type", "architectures")).lower()
    extractor = str((processor or {}).get("feature_extractor_type", "")).lower()
    looks_for_images = processor is not None and (
        "image_processor_type" in processor or "image_mean" in processor or "do_resize" in processor
    )
    if any(key in config for key in AUDIO_KEYS) and not looks_for_images:
        return "audio"
    if any(word in extractor for word in ("wav2vec", "audio", "whisper", "speech", "spectrogram")):
        return "audio"
    if "vision_config" in config or (looks_for_images and not any(key in config for key in TEXT_KEYS)):
        return "image"
    if any(key in config for key in IMAGE_KEYS) and not any(key in config for key in TEXT_KEYS):
        return "image"
    if tokenizer or any(key in config for key in TEXT_KEYS):
        return "text"
    if looks_for_images or "forimageclassification" in names:
        return "image"
    return None


def _architecture(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    return first_text(*(names if isinstance(names, list) else ()), config.get("model_type"))


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = config.get("id2label")
    if not isinstance(labels, dict) or not labels:
        return None
    if not all(str(key).isdigit() and isinstance(name, str) for key, name in labels.items()):
        return None
    if all(PLAIN_LABEL.fullmatch(name) for name in labels.values()):
        return None
    return tuple(labels[key] for key in sorted(labels, key=int))


def _assumptions(modality: Modality | None, processor: Mapping[str, Any] | None) -> tuple[str, ...]:
    if modality != "image" or processor is not None:
        return ()
    return (
        "The preprocessing was assumed: stretched to the input size, bilinear, pixels / 255, then the mean and "
        "standard deviation of ImageNet.",
    )
