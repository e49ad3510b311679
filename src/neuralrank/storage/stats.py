"""What a catalogue holds, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from neuralrank.storage._connection import told
from neuralrank.storage.catalogue import Catalogue, Root

GROUPED = ("source", "task", "library", "format", "license")


@dataclass(frozen=True, kw_only=True)
class CatalogueStats:
    """Counts of a catalogue."""

    folder: str
    n_models: int
    n_loadable: int
    n_removed: int
    n_label_sets: int
    n_runs: int
    n_outcomes: int
    roots: tuple[Root, ...]
    failures: Mapping[str, int]
    """By repository."""
    groups: Mapping[str, Mapping[str | None, int]]
    """For each of `GROUPED`, how many models have which value, most first."""
    size_bytes: Mapping[str, int]
    """On disk, by part."""


def catalogue_stats(catalogue: Catalogue) -> CatalogueStats:
    """Count what a catalogue holds.

    Raises:
        CatalogueError: it cannot be read.
    """
    with told(catalogue.folder):
        run = catalogue.connection.execute
        failures = run("SELECT spec, count(*) FROM failure JOIN root ON root.id = root GROUP BY spec ORDER BY spec")
        kinds = run(
            f"SELECT removed IS NOT NULL, loadable, count(*), {', '.join(GROUPED)} FROM entry "
            f"GROUP BY 1, 2, {', '.join(GROUPED)}"
        ).fetchall()
        n_label_sets, n_runs, n_outcomes = (
            int(run(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("label_set", "run", "outcome")
        )
        return CatalogueStats(
            folder=str(catalogue.folder),
            n_models=sum(n for gone, _, n, *_ in kinds if not gone),
            n_loadable=sum(n for gone, loadable, n, *_ in kinds if not gone and loadable),
            n_removed=sum(n for gone, _, n, *_ in kinds if gone),
            n_label_sets=n_label_sets,
            n_runs=n_runs,
            n_outcomes=n_outcomes,
            roots=tuple(catalogue.roots()),
            failures=dict(failures.fetchall()),
            groups={name: _grouped(kinds, 3 + place) for place, name in enumerate(GROUPED)},
            size_bytes=_sizes(catalogue),
        )


def _grouped(kinds: Sequence[tuple[Any, ...]], place: int) -> dict[str | None, int]:
    counts: dict[str | None, int] = {}
    for kind in kinds:
        if not kind[0]:
            counts[kind[place]] = counts.get(kind[place], 0) + kind[2]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0] or "")))


def _sizes(catalogue: Catalogue) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path in catalogue.folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process replaces what is made from the catalogue
            if path.is_file():
                part = path.relative_to(catalogue.folder).parts[0]
                sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return dict(sorted(sizes.items()))
