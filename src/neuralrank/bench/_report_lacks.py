"""What could not be measured on published networks, and why: `remarks.json` in a short table."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralrank.bench import _report_words as words
from neuralrank.errors import DataError

_N_NAMES, _N_CHARACTERS = 3, 60
"""Networks and findings that are named in a row, and the length of a finding."""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Something that was not measured, and why: an item of `remarks.json`."""

    model: str
    kind: str
    target: str | None
    """None for all."""
    reason: str


def read_lacks(path: Path) -> tuple[Lack, ...]:
    """Read `remarks.json`.

    Raises:
        DataError: it is not there or holds something else.
    """
    try:
        return tuple(Lack(**item) for item in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        got = error.strerror if isinstance(error, OSError) else "something else"
        raise DataError(
            f"The report needs {str(path)!r} to list what was not measured. Got: {got}. "
            "Make it with: neuralrank bench zoo"
        ) from error


def lacking(lacks: Sequence[Lack]) -> str:
    """Write a table of what was not measured; empty where nothing is lacking."""
    rows = [
        (f"{kind} on {words.listed(targets)}" if targets else kind, _named(models), _escaped(why))
        for kind, targets, models, why in _grouped(lacks)
    ]
    return words.table(("", "networks", "why"), rows, n_left=3) if rows else ""


def _grouped(lacks: Sequence[Lack]) -> Iterator[tuple[str, tuple[str, ...], list[str], str]]:
    """Yield kind, targets (empty for all), networks and reason, the most frequent first.

    What is not measured is not fine-tuned either; that is not told twice. Networks differ in what was found wrong with
    them, so the reason is what was needed, with a few of the things that were found.
    """
    unmeasured = {(lack.model, lack.target) for lack in lacks if lack.kind == "not measured"}
    targets: dict[tuple[str, str, str], list[str | None]] = {}
    found: dict[str, list[str]] = {}
    for lack in lacks:
        if lack.kind == "not measured" or (lack.model, lack.target) not in unmeasured:
            needed, got = _parted(lack)
            targets.setdefault((lack.kind, needed, lack.model), []).append(lack.target)
            found.setdefault(needed, []).append(got)
    models: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for (kind, needed, model), where in targets.items():
        on = () if None in where else tuple(sorted(target for target in where if target))
        models.setdefault((kind, on, needed), []).append(model)
    for (kind, on, needed), own in sorted(models.items(), key=lambda item: (-len(item[1]), item[0])):
        yield kind, on, own, _with_examples(needed, list(dict.fromkeys(filter(None, found[needed]))))


def _parted(lack: Lack) -> tuple[str, str]:
    """Return what was needed, without the name of the file, and what was found; empty where that is not told."""
    stem = re.escape(lack.model.partition("@")[0])
    sentences = re.split(r"(?<=\.) (?=[A-Z])", re.sub(rf"^{stem}\.\w+ ", "", lack.reason))
    needed = sentences[0].partition(": ")[0].rstrip(".")
    got = next((sentence for sentence in sentences if sentence.startswith("Got")), "")
    return needed[:1].upper() + needed[1:], got.removeprefix("Got").lstrip(": ").rstrip(".")


def _with_examples(needed: str, examples: Sequence[str]) -> str:
    shown = [textwrap.shorten(each, _N_CHARACTERS, placeholder=" …") for each in examples[:_N_NAMES]]
    rest = ["…"] if len(examples) > _N_NAMES else []
    return f"{needed}; got {', '.join([*shown, *rest])}" if shown else needed


def _named(models: Sequence[str]) -> str:
    rest = len(models) - _N_NAMES
    named = [words.code(model) for model in models[:_N_NAMES]]
    return f"{len(models)}: {words.listed([*named, f'{rest} more'] if rest > 0 else named)}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
