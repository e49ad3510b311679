"""What a catalogue holds, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        one = lambda statement: int(catalogue.connection.execute(statement).fetchone()[0])  # noqa: E731
        there = "FROM entry WHERE removed IS NULL"
        groups = {
            name: dict(
                catalogue.connection.execute(
                    f"SELECT {name}, count(*) {there} GROUP BY {name} ORDER BY count(*) DESC, {name}"
                ).fetchall()
            )
            for name in GROUPED
        }
        failures = dict(
            catalogue.connection.execute(
                "SELECT spec, count(*) FROM failure JOIN root ON root.id = root GROUP BY spec ORDER BY spec"
            ).fetchall()
        )
        return CatalogueStats(
            folder=str(catalogue.folder),
            n_models=one(f"SELECT count(*) {there}"),
            n_loadable=one(f"SELECT count(*) {there} AND refusal IS NULL"),
            n_removed=one("SELECT count(*) FROM entry WHERE removed IS NOT NULL"),
            n_label_sets=one("SELECT count(*) FROM label_set"),
            n_runs=one("SELECT count(*) FROM run"),
            n_outcomes=one("SELECT count(*) FROM outcome"),
            roots=tuple(catalogue.roots()),
            failures=failures,
            groups=groups,
            size_bytes=_sizes(catalogue),
        )


def _sizes(catalogue: Catalogue) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path in catalogue.folder.rglob("*"):
        if path.is_file():
            part = path.relative_to(catalogue.folder).parts[0]
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return dict(sorted(sizes.items()))
