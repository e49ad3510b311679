"""Read the small files of a model folder: JSON settings and the front matter of its README. No weights, no code."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralrank.errors import ModelError
from neuralrank.types import Description

MAX_JSON_BYTES = 64 * 2**20
MAX_README_BYTES = 2**20
MAX_TEXT = 2_000
MAX_TAG = 200
MAX_TAGS = 200
PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in `path`, None if there is no such file.

    Raises:
        ModelError: the file is too long, is not JSON, or holds something other than an object.
    """
    if not path.is_file():
        return None
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise ModelError(f"{path.name} needs at most {MAX_JSON_BYTES} bytes. Got {size}. Download it again.")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelError(f"{path.name} could not be read. Got {error.strerror}. Mend its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} needs to be JSON. Got text that is not. Download it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} needs one JSON object. Got a {type(content).__name__}. Download it again.")
    return content


def readme_facts(folder: Path) -> Mapping[str, str]:
    """Return `licence` and `pretraining_data` from the front matter of README.md, where they are there."""
    lists, _ = _readme(folder)
    facts = {"licence": lists.get("license", [])[:1], "pretraining_data": lists.get("datasets", [])}
    return {name: ", ".join(values)[:MAX_TEXT] for name, values in facts.items() if values}


def readme_description(folder: Path, *, library: str) -> Description:
    """Return what README.md says of the model: its front matter and the first of its prose."""
    lists, prose = _readme(folder)
    return Description(
        task=_first(lists, "pipeline_tag"),
        library=_first(lists, "library_name") or library,
        languages=_many(lists, "language"),
        tags=_many(lists, "tags"),
        base_model=_many(lists, "base_model"),
        text=plain_text(prose)[:MAX_TEXT],
    )


def plain_text(markdown: str) -> str:
    """Return the words of a Markdown text without code, tables, links' addresses and marks.

    Example:
        >>> plain_text("# A *model* of [the paper](http://x.y).")
        'A model of the paper.'
    """
    text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", " ", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<[^<>]{0,500}>|^\|.*$|^[ >#\-*+=]+", " ", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\[\]]*)\]\([^()\s]*\)", r"\1", text)
    return " ".join(re.sub(r"[*`_]{1,3}(?=\S)|(?<=\S)[*`]{1,3}", "", text).split())


def _readme(folder: Path) -> tuple[dict[str, list[str]], str]:
    """Return the front matter of README.md as lists of texts, and what follows it.

    Only plain `key: value` lines and `- item` lists are read; whatever else YAML allows is left alone.
    """
    path = folder / "README.md"
    try:
        if not path.is_file() or path.stat().st_size > MAX_README_BYTES:
            return {}, ""
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}, ""
    match = re.match(r"\ufeff?---\r?\n(.*?)\r?\n---", text, flags=re.DOTALL)
    return (_front_matter(match.group(1)), text[match.end() :]) if match else ({}, text)


def _first(lists: Mapping[str, list[str]], key: str) -> str | None:
    return next(iter(_many(lists, key)), None)


def _many(lists: Mapping[str, list[str]], key: str) -> tuple[str, ...]:
    return tuple(value[:MAX_TAG] for value in lists.get(key, []) if value)[:MAX_TAGS]


def _front_matter(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    key = ""
    for line in text.splitlines():
        if item := re.fullmatch(r"\s*-\s+([^{\[:]+)", line):
            values.setdefault(key, []).append(_plain(item.group(1)))
        elif pair := re.fullmatch(r"([A-Za-z_]+):\s*(.*)", line):
            key = pair.group(1)
            inline = pair.group(2).strip().removeprefix("[").removesuffix("]")
            values[key] = [_plain(part) for part in inline.split(",") if part.strip()]
    return values


def _plain(text: str) -> str:
    return text.strip().strip("'\"")


def first_text(*values: Any) -> str | None:
    """Return the first value that is a text with something in it."""
    return next((value[:2_000] for value in values if isinstance(value, str) and value), None)


def refuse_pickles(folder: Path) -> None:
    """Raise the ModelError for a folder without safetensors; return if it has other files that can be ranked."""
    if any(True for pattern in ("*.onnx", "*.pt2", "*/*.onnx", "*/*.pt2") for _ in folder.glob(pattern)):
        return
    found = sorted(path.name for pattern in PICKLED_WEIGHTS for path in folder.glob(pattern))
    if found:
        raise ModelError(
            f"{folder.name} needs its weights as safetensors. Got {found[0]!r}, a format that can run code while it is "
            "read. Convert it where you trust it: safetensors.torch.save_file(torch.load(the file, "
            "weights_only=True), 'model.safetensors')."
        )
    raise ModelError(
        f"{folder.name} needs the file 'model.safetensors'. Got a config.json without weights. Download it again."
    )
