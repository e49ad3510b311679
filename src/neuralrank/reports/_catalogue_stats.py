"""The counts of a catalogue as text; takes any value with the attributes of `storage.stats.CatalogueStats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuralrank.reports import _numbers
from neuralrank.reports._names import clean, shorten, width

_MOST = 8
_NAME = 60


def stats_text(stats: Any) -> str:
    """Write the counts of a catalogue for people."""
    counts = [
        ("models", stats.n_models),
        ("of them loadable", stats.n_loadable),
        ("removed", stats.n_removed),
        ("label sets", stats.n_label_sets),
        ("rankings", stats.n_runs),
        ("outcomes", stats.n_outcomes),
    ]
    blocks = [clean(stats.folder), _table([(name, _numbers.count(value)) for name, value in counts])]
    roots = []
    for root in stats.roots:
        failed = stats.failures.get(root.spec, 0)
        when = f"listed {root.indexed[:10]}" if root.indexed else "never listed to its end"
        roots.append((root.spec, f"{root.n_models:,} models, {when}{f', {failed:,} failed' if failed else ''}"))
    if roots:
        blocks += ["\nrepositories", _table(roots)]
    for name, values in stats.groups.items():
        blocks += [f"\n{name}", _table(_most(values))]
    sizes = [(name, _numbers.file_size(size)) for name, size in stats.size_bytes.items()]
    blocks += ["\non disk", _table(sizes)]
    return "\n".join(blocks)


def _most(values: Mapping[str | None, int]) -> list[tuple[str, str]]:
    rows = [(name if name is not None else "not known", f"{count:,}") for name, count in values.items()]
    rest = sum(list(values.values())[_MOST:])
    return [*rows[:_MOST], *([(f"{len(rows) - _MOST:,} more", f"{rest:,}")] if len(rows) > _MOST else [])]


def _table(rows: list[tuple[str, str]]) -> str:
    cells = [(shorten(clean(name), _NAME), clean(value)) for name, value in rows]
    wide = max((width(name) for name, _ in cells), default=0)
    return "\n".join(f"  {name}{' ' * (wide - width(name))}  {value}" for name, value in cells)
