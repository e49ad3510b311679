"""`SearchResult` → a list for the terminal, JSON, CSV or Markdown. A search is no ranking: this is no report of one."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuralrank.entries import FoundModel, ModelEntry, SearchResult
from neuralrank.fields import FIELDS
from neuralrank.reports import _numbers
from neuralrank.reports._names import clean, shorten, shorten_apart, width
from neuralrank.reports.spreadsheet import cell

if TYPE_CHECKING:
    from rich.text import Text

SCHEMA = "neuralrank/search/1"
_GAP = "  "
_MIN_NAME = 24
_OWN = ("rank", "relevance", "coverage", "likeness", "n_copies", "snippet")


@dataclass(frozen=True, kw_only=True)
class _Column:
    title: str
    cells: tuple[str, ...]
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(width, (self.title, *self.cells)))


def found_text(result: SearchResult, *, columns: int = 100, color: bool = False) -> str:
    """Write a search as text for people: a table, and below each model why it was found.

    Args:
        result: of a search.
        columns: cells of a line.
        color: whether to write ANSI colours; nothing else of the text changes.
    """
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=columns, force_terminal=color, color_system="standard" if color else None,
        no_color=not color, force_jupyter=False, legacy_windows=False, markup=False, highlight=False, emoji=False,
        _environ={},
    )  # fmt: skip
    with console.capture() as capture:
        for line in _lines(result, columns):
            console.print(line, soft_wrap=True)
    return re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", capture.get(), flags=re.MULTILINE)


def found_json(result: SearchResult, *, indent: int | None = 2) -> str:
    """Write a search as JSON: every field of every model that was found."""
    content = {
        "schema": SCHEMA,
        "n_models": result.n_models,
        "n_matches": result.n_matches,
        "n_unknown": result.n_unknown,
        "unknown": result.unknown,
        "sorted_by": result.sorted_by,
        "corrections": dict(result.corrections),
        "n_full": result.n_full,
        "seconds": round(result.seconds, 6),
        "notes": list(result.notes),
        "models": [_row(found) for found in result.models],
    }
    return json.dumps(content, indent=indent, ensure_ascii=True, allow_nan=False)


def found_csv(result: SearchResult) -> str:
    """Write the models that were found as CSV, one row each; lists are joined by spaces."""
    names = [*_OWN, *(field.name for field in FIELDS)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(names)
    for found in result.models:
        row = _row(found)
        writer.writerow([cell(tuple(row[name]) if isinstance(row[name], list) else row[name]) for name in names])
    return buffer.getvalue()


def found_markdown(result: SearchResult) -> str:
    """Write the models that were found as a Markdown table."""
    shown = [_Column(title="#", cells=tuple(str(found.rank) for found in result.models), right=True)]
    shown.append(_Column(title="model", cells=tuple(clean(found.entry.name) for found in result.models)))
    shown += _facts(result)
    head = "| " + " | ".join(column.title for column in shown) + " |"
    rule = "|" + "|".join("--:" if column.right else ":--" for column in shown) + "|"
    rows = [
        "| " + " | ".join(_escaped(column.cells[place]) for column in shown) + " |"
        for place in range(len(result.models))
    ]
    return "\n".join([_counts(result), "", head, rule, *rows, *(f"\n{note}" for note in _notes(result))])


def entry_text(entry: ModelEntry, *, removed: str | None = None) -> str:
    """Write all that is known of one model, a line for each field that has a value."""
    rows = [(field.name, _shown(field.name, getattr(entry, field.name))) for field in FIELDS]
    rows += [("location", clean(entry.location))]
    rows += [("removed", removed)] if removed else []
    rows += [("cannot load", clean(entry.refusal))] if entry.refusal else []
    results = (f"{r.metric} {_numbers.number(r.value, 4)} on {r.data} ({r.task})" for r in entry.results[:20])
    rows += [("reported", clean(text)) for text in results]
    rows += [("card", clean(entry.description))] if entry.description else []
    known = [(name, text) for name, text in rows if text]
    wide = max(len(name) for name, _ in known)
    return "\n".join(f"{name:<{wide}}  {text}" for name, text in known)


def _row(found: FoundModel) -> dict[str, Any]:
    entry = found.entry
    fields = {field.name: getattr(entry, field.name) for field in FIELDS}
    return {
        "rank": found.rank,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()},
        "location": entry.location,
        "refusal": entry.refusal,
        "results": [
            {"task": one.task, "data": one.data, "metric": one.metric, "value": one.value} for one in entry.results
        ],
        "relevance": found.relevance,
        "coverage": found.coverage,
        "covered": dict(found.covered),
        "likeness": found.likeness,
        "reasons": list(found.reasons),
        "snippet": found.snippet,
        "marks": [list(mark) for mark in found.marks],
        "n_copies": found.n_copies,
    }


def _lines(result: SearchResult, columns: int) -> Iterator[Text]:
    from rich.text import Text

    yield Text(shorten(_counts(result), columns))
    for note in _notes(result):
        yield Text(note, style="yellow")
    if not result.models:
        return
    yield Text("")
    facts = _facts(result)
    number = _Column(title="#", cells=tuple(str(found.rank) for found in result.models), right=True)
    room = columns - number.width - len(_GAP)
    while facts and room - sum(column.width + len(_GAP) for column in facts) < _MIN_NAME:
        facts.pop()
    room -= sum(column.width + len(_GAP) for column in facts)
    names = shorten_apart([clean(found.entry.name) for found in result.models], room)
    shown = [number, _Column(title="model", cells=tuple(names)), *facts]
    yield Text(_GAP.join(_padded(column.title, column) for column in shown).rstrip(), style="bold")
    indent = " " * (number.width + len(_GAP))
    for place, found in enumerate(result.models):
        cells = _GAP.join(_padded(column.cells[place], column) for column in shown)
        yield Text(cells.rstrip(), style="" if found.entry.loadable else "dim")
        why = _why(found, columns - len(indent))
        if why is not None:
            yield Text(indent).append_text(why)


def _why(found: FoundModel, room: int) -> Text | None:
    """Return one line on why a model was found: labels, likeness, or the words in their place."""
    from rich.text import Text

    parts = []
    if found.covered:
        parts.append(_labels_phrase(found))
    parts += [clean(reason) for reason in found.reasons]
    if found.n_copies:
        parts.append(f"+ {found.n_copies:,} {'copy' if found.n_copies == 1 else 'copies'}")
    if not found.entry.loadable:
        parts.append(f"listed only: {clean(found.entry.refusal or '').split('. ')[0]}")
    said = " · ".join(parts)
    if found.snippet is None:
        return Text(shorten(said, room), style="dim") if said else None
    line = Text(f"{said} · " if said else "", style="dim")
    start = len(line)
    line.append(re.sub(r"[^\S ]|[\x00-\x1f\x7f]", " ", found.snippet), style="dim")
    for begin, end in found.marks:
        line.stylize("bold not dim", start + begin, start + end)
    if not any(character for character in line.plain if clean(character) != character):
        line.truncate(room, overflow="ellipsis")
        return line
    return Text(shorten(clean(line.plain), room), style="dim")


def _labels_phrase(found: FoundModel) -> str:
    there = {wanted: label for wanted, label in found.covered.items() if label is not None}
    missing = [wanted for wanted in found.covered if wanted not in there]
    otherwise = [f"{wanted}: {label}" for wanted, label in there.items() if label != wanted]
    parts = [_some(otherwise)] if otherwise else []
    parts += [f"without {_some(missing)}"] if missing and there else []
    phrase = f"{len(there)} of {len(found.covered)} labels"
    return clean(f"{phrase} ({'; '.join(parts)})" if parts else phrase)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _counts(result: SearchResult) -> str:
    models = "model" if result.n_models == 1 else "models"
    return f"{result.n_matches:,} of {result.n_models:,} {models} match, sorted by {result.sorted_by}."


def _notes(result: SearchResult) -> Iterator[str]:
    for word, replacement in result.corrections.items():
        yield f"No model has {clean(word)!r}: looked for {clean(replacement)!r}."
    if result.n_full is not None and result.n_full < len(result.models):
        having = "No model has" if not result.n_full else f"Only the first {result.n_full:,} have"
        yield f"{having} all these words: {'those' if not result.n_full else 'after them, those'} with most of them."
    if result.n_unknown:
        done = "kept" if result.unknown == "keep" else "left out; --unknown keep shows them"
        models = "model" if result.n_unknown == 1 else "models"
        yield f"{result.n_unknown:,} {models} of which the condition is unknown: {done}."
    yield from map(clean, result.notes)


def _facts(result: SearchResult) -> list[_Column]:
    """Return the columns that say something here, the ones to drop first last."""
    entries = [found.entry for found in result.models]
    columns = [
        ("labels", [_numbers.percent(found.coverage) for found in result.models], True),
        ("like", [_numbers.number(found.likeness, 2) for found in result.models], True),
        ("params", [_numbers.short_count(entry.params) for entry in entries], True),
        ("task", [clean(entry.task or _numbers.UNKNOWN) for entry in entries], False),
        ("size", [_numbers.file_size(entry.size_bytes) for entry in entries], True),
        ("licence", [shorten(clean(entry.license or _numbers.UNKNOWN), 16) for entry in entries], False),
        ("acc. %", [_numbers.number(entry.accuracy, 1) for entry in entries], True),
        ("downloads", [_numbers.short_count(entry.downloads) for entry in entries], True),
        ("source", [entry.source for entry in entries], False),
        ("updated", [(entry.updated or _numbers.UNKNOWN)[:10] for entry in entries], False),
    ]
    known = [(title, cells, right) for title, cells, right in columns if set(cells) != {_numbers.UNKNOWN}]
    told = [(t, c, r) for t, c, r in known if t != "source" or len(set(c)) > 1]
    return [_Column(title=title, cells=tuple(cells), right=right) for title, cells, right in told]


def _shown(name: str, value: Any) -> str:
    if value is None or value == ():
        return ""
    if name.endswith("_bytes"):
        return _numbers.file_size(value)
    if name in ("params", "downloads", "likes", "n_labels"):
        return _numbers.count(value)
    if isinstance(value, tuple):
        shown = ", ".join(map(clean, value[:30]))
        return f"{shown}, … ({len(value):,} in all)" if len(value) > 30 else shown
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return clean(str(value))


def _padded(text: str, column: _Column) -> str:
    space = " " * (column.width - width(text))
    return space + text if column.right else text + space


def _escaped(text: str) -> str:
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", text)
