"""Which files of a repository on the Hub make a model that is loaded, chosen by their names; else why there is none.

One format is chosen, safetensors before ONNX before torch.export, and one ONNX file of several. Nothing that can run
code while it is read is ever chosen: no pickles and no programs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from neuralrank.sources._refused import OTHERS, is_pickle

SETTINGS = """
    config.json README.md preprocessor_config.json processor_config.json tokenizer.json tokenizer_config.json
    special_tokens_map.json added_tokens.json vocab.json vocab.txt merges.txt spiece.model sentencepiece.bpe.model
    tokenizer.model spm.model source.spm target.spm bpe.codes dict.txt sentencepiece.model vocab-src.json
    vocab-tgt.json entity_vocab.json word_shape.json word_pronunciation.json
    """.split()  # noqa: SIM905
"""Beside the weights, and brought before them; every other file of such a folder stays where it is."""

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_REDUCED = re.compile(r"(quant|int8|uint8|int4|q4|q8|bnb|fp16|float16|f16|bf16|_o[1-4]\b|arm64|avx|vnni|decoder)")
_PLAIN_PATH = re.compile(r"(?!/)(?!.*(^|/)\.{1,2}(/|$))[^\\\x00-\x1f\x7f]{1,500}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a repository is to be loaded."""

    format: str | None
    target: str = ""
    """The file that is the model, relative to the repository; empty where it is the whole folder."""
    files: tuple[str, ...] = ()
    refusal: str | None = None
    """Why nothing can be loaded, and the way out."""


def is_plain_path(path: str) -> bool:
    """Say whether a path stays within the folder it is relative to, and can be a file's name on any system."""
    return _PLAIN_PATH.fullmatch(path) is not None and all(len(part.encode()) <= 255 for part in path.split("/"))


def choose(name: str, paths: list[str], config: Mapping[str, Any], *, library: str | None) -> Choice:
    """Choose the files of one model.

    Args:
        name: what messages call the repository.
        paths: its files, relative to it.
        config: what is known of its `config.json`; empty if nothing is.
        library: the library that its authors name.
    """
    present = {path for path in paths if is_plain_path(path)}
    if "adapter_config.json" in present:
        refusal = (
            f"{name} needs to hold a whole model. Got an adapter of another one. Merge the two and save the result."
        )
        return Choice(format="adapter", refusal=refusal)
    weights = _safetensors(present)
    if weights and "config.json" in present:
        is_timm = library == "timm" or ("architecture" in config and "model_type" not in config)
        files = (*(file for file in SETTINGS if file in present), *weights)
        chosen = "timm_folder" if is_timm else "transformers_folder"
        return Choice(format=chosen, files=files, refusal=None if is_timm else _code_needed(name, config))
    for suffix, chosen in ((".onnx", "onnx"), (".pt2", "torch_export")):
        found = sorted((path for path in present if path.lower().endswith(suffix)), key=_preference)
        if found:
            return Choice(format=chosen, target=found[0], files=_with_company(found[0], present))
    return _refused(name, present)


def unnamed(name: str, config: Mapping[str, Any]) -> str | None:
    """Return why a folder with this config.json is of no library that is loaded, None if it is of one."""
    if isinstance(config.get("architectures"), list) or {"model_type", "architecture"} & set(config):
        return None
    return (
        f"{name} needs a config.json that names a Transformers or timm architecture. Got one that names neither. "
        "Choose another model, or export it to ONNX."
    )


def _safetensors(present: set[str]) -> tuple[str, ...]:
    if _WEIGHTS in present:
        return (_WEIGHTS,)
    shards = sorted(path for path in present if _SHARD.fullmatch(path))
    return (_INDEX, *shards) if _INDEX in present and shards else ()


def _preference(path: str) -> tuple[bool, int, bool, int, str]:
    """Order ONNX files: whole before reduced precision, outer before inner folders, then the plainest name."""
    parts = path.lower().split("/")
    depth = 1 if parts[:-1] == ["onnx"] else len(parts)
    stem = PurePosixPath(parts[-1]).stem
    return _REDUCED.search(parts[-1]) is not None, depth, stem != "model", len(path), path


def _with_company(target: str, present: set[str]) -> tuple[str, ...]:
    """Return the file with the weights that lie outside of it, its card, and the README."""
    stem = target.rpartition(".")[0]
    outside = sorted(
        path
        for path in present
        if path != target
        and (path.startswith((f"{target}_", f"{target}.")) or path in (f"{stem}.data", f"{stem}.weights"))
        and "/" not in path[len(stem) :]
        and not is_pickle(Path(path))
        and not path.endswith((".py", ".json"))
    )
    others = [path for path in (f"{stem}.json", "README.md") if path in present]
    return (target, *outside, *others)


def _code_needed(name: str, config: Mapping[str, Any]) -> str | None:
    """Refuse a model whose program is among its files, unless the installed Transformers has its architecture.

    Many models that once came with code are part of Transformers by now; without it installed, loading will tell.
    """
    if "auto_map" not in config:
        return None
    kind = config.get("model_type")
    installed = find_spec("transformers")
    folders = installed.submodule_search_locations if installed else None
    plain = isinstance(kind, str) and re.fullmatch(r"[A-Za-z0-9_\-]{1,100}", kind) is not None
    if plain and (not folders or (Path(folders[0]) / "models" / str(kind).replace("-", "_").lower()).is_dir()):
        return None
    return (
        f"{name} needs program code that it brings along ('auto_map'). Got a network that the installed Transformers "
        "does not know, and no code of a checkpoint is run. Update Transformers, or export the model to ONNX."
    )


def _refused(name: str, present: set[str]) -> Choice:
    """Return why none of the files can be loaded."""
    ordered = sorted(present, key=lambda path: (path.count("/"), path))
    if "model_index.json" in present:
        refusal = f"{name} needs to be one network. Got a diffusers pipeline of several. Choose another model."
        return Choice(format="diffusers", refusal=refusal)
    alone = next((path for path in ordered if path.endswith(".safetensors")), None)
    if alone is not None:
        missing = "its safetensors beside config.json" if "config.json" in present else "a config.json"
        refusal = (
            f"{name} needs model.safetensors and the config.json of its architecture in its outermost folder. "
            f"Got {_shown(alone)} without {missing}. Choose another model."
        )
        return Choice(format="safetensors", refusal=refusal)
    for path in ordered:
        suffix = PurePosixPath(path).suffix.lower()
        if is_pickle(Path(path)):
            refusal = (
                f"{name} needs to be safetensors, torch.export (.pt2) or ONNX. Got {_shown(path)}, a pickle, and "
                "loading a pickle runs code from the file. Choose another model, or convert it where you trust it."
            )
            return Choice(format=suffix.removeprefix("."), refusal=refusal)
        if suffix in OTHERS:
            refusal = (
                f"{name} needs a format that neuralrank loads. Got {suffix}, which it does not yet. "
                "Choose another model, or export it to ONNX."
            )
            return Choice(format=suffix.removeprefix("."), refusal=refusal)
    refusal = f"{name} needs files of weights. Got none of a known kind. Choose another model."
    return Choice(format=None, refusal=refusal)


def _shown(path: str) -> str:
    return "".join(char for char in path if char.isprintable())[:100]
