"""Which networks the evidence is made of: a declarative grid, drawn so that its factors do not go together.

Every factor lists its levels; a level that is listed twice is drawn twice as often. Each column is filled with its
levels in equal shares and shuffled on its own, so that no factor says anything about another: a large network is as
likely to be trained on little data as a small one. Of many such tables the one is taken in which the number of
parameters goes least with anything that makes networks good. From these base networks others are derived, as models
of a real repository are: fine-tuned, distilled, damaged, or trained again with another seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from neuralrank.bench._data import DATA_SETS
from neuralrank.bench._networks import n_parameters

Damage = Literal["none", "shuffled", "pruned", "quantised"]
RANDOM_LABELS = 1.0

FACTORS: Mapping[str, Sequence[Any]] = {
    "class_share": (1.0, 1.0, 1 / 2, 1 / 3),
    "n_samples": (500, 2_000, 8_000, 50_000),
    "label_noise": (0.0, 0.0, 0.0, 0.0, 0.3, 0.6, RANDOM_LABELS),
    "corruption": ("none", "none", "none", "noise", "blur", "inverted", "occluded"),
    "algorithm": ("sgd", "adam", "sgd", "adam", "simclr", "rotation"),
    "architecture": ("mlp", "lenet", "vgg", "resnet", "mobilenet", "convnext", "vit"),
    "width": (8, 16, 24),
    "depth": (1, 2),
    "n_features": (32, 64, 96),
    "learning_rate": (0.3, 1.0, 3.0),
    "weight_decay": (0.0, 1e-4, 1e-2),
    "n_steps": (200, 600, 1_800),
    "augmentation": ("none", "shift", "strong"),
}
"""Levels of each factor, beside the data sets. The learning rate is a multiple of what suits the algorithm."""
_ORDERED = ("n_features", "n_steps", "n_samples", "label_noise", "class_share", "learning_rate")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """How one network comes about."""

    name: str
    seed: int
    """Of the weights, the batches and the damage."""
    data_seed: int
    """Of the choice of classes, samples and wrong labels; relatives on the same data share it."""
    pretraining_data: str
    class_share: float
    n_samples: int
    """At most; a data set may have fewer."""
    label_noise: float
    """Share of the training labels that are drawn anew."""
    corruption: str
    algorithm: str
    architecture: str
    width: int
    depth: int
    n_features: int
    learning_rate: float
    weight_decay: float
    n_steps: int
    augmentation: str
    parent: str | None = None
    """The network this one was fine-tuned from, distilled from, or damaged."""
    lineage: str
    """The first ancestor; near-duplicates share one too."""
    damage: Damage = "none"
    half: str = ""
    """'development' or 'confirmation': on which half the default score was chosen, and on which it was judged."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A whole repository in numbers."""

    name: str
    data_sets: tuple[str, ...]
    """What networks are trained on; a factor like the others."""
    n_base: int
    n_untrained: int
    n_fine_tuned: int
    n_distilled: int
    n_damaged: int
    n_duplicates: int
    targets: tuple[str, ...]
    max_probe: int = 5_000
    """Samples of the largest probe that is scored."""
    max_draws: int = 5
    """Probes of one size that are scored."""
    n_tables: int = 1
    """Tables of base networks that are drawn, to take the one with the least dependence on size."""
    steps_factor: float = 1.0
    """Multiplies the steps of training and of fine-tuning; less than 1 for a quick look."""
    repeats: bool = True
    """Whether a third of the networks is fine-tuned with further seeds."""
    seed: int = 0


GRIDS = {
    "full": Grid(
        name="full", data_sets=DATA_SETS, n_base=84, n_untrained=7, n_fine_tuned=14, n_distilled=7, n_damaged=15,
        n_duplicates=9, targets=DATA_SETS, n_tables=2_000,
    ),
    "quick": Grid(
        name="quick", data_sets=("kmnist_10k", "sign_digits"), n_base=7, n_untrained=1, n_fine_tuned=1, n_distilled=1,
        n_damaged=1, n_duplicates=1, targets=("kmnist_10k", "sign_digits"), max_probe=500, max_draws=2,
        steps_factor=0.05, repeats=False,
    ),
}  # fmt: skip


@cache
def make_grid(grid: Grid) -> tuple[NetworkSpec, ...]:
    """Return every network of a grid, parents before those derived from them; the same list for the same seed."""
    generator = np.random.default_rng(grid.seed)
    base = _base_networks(grid, generator)
    derived = [
        *_untrained(grid, generator),
        *_fine_tuned(grid, base, generator),
        *_distilled(grid, base, generator),
        *_damaged(grid, base, generator),
        *_duplicates(grid, base, generator),
    ]
    specs = [_numbered(spec, place, grid) for place, spec in enumerate([*base, *derived])]
    names = {old.name: new.name for old, new in zip([*base, *derived], specs, strict=True)}
    specs = [
        replace(spec, parent=names.get(spec.parent or ""), lineage=names.get(spec.lineage, spec.name)) for spec in specs
    ]
    return tuple(_in_halves(specs, generator))


def _base_networks(grid: Grid, generator: np.random.Generator) -> list[NetworkSpec]:
    tables = [_table(grid, generator) for _ in range(grid.n_tables)]
    rows = min(tables, key=_dependence_on_size)
    return [
        NetworkSpec(name=f"base-{place}", lineage=f"base-{place}", seed=0, data_seed=place, **row)
        for place, row in enumerate(rows)
    ]


def _table(grid: Grid, generator: np.random.Generator) -> list[dict[str, Any]]:
    factors = {"pretraining_data": grid.data_sets, **FACTORS}
    columns = {factor: _balanced(levels, grid.n_base, generator) for factor, levels in factors.items()}
    return [{factor: column[place] for factor, column in columns.items()} for place in range(grid.n_base)]


def _dependence_on_size(rows: list[dict[str, Any]]) -> float:
    """Return the largest rank correlation, in absolute value, of the parameters with a factor that has an order."""
    sizes = [n_parameters(row["architecture"], row["width"], row["depth"], row["n_features"]) for row in rows]
    columns = np.array([sizes, *([row[factor] for row in rows] for factor in _ORDERED)])
    correlations = np.corrcoef(rankdata(columns, axis=1))[0, 1:]
    return float(np.abs(correlations).max())


def _balanced(levels: Sequence[Any], n: int, generator: np.random.Generator) -> list[Any]:
    """Return n draws in which every level comes equally often, as nearly as n allows, in random order."""
    repeated = [level for _ in range(-(-n // len(levels))) for level in generator.permutation(len(levels))][:n]
    return [levels[place] for place in generator.permutation(repeated)]


def _untrained(grid: Grid, generator: np.random.Generator) -> list[NetworkSpec]:
    architectures = _balanced(FACTORS["architecture"], grid.n_untrained, generator)
    widths = _balanced(FACTORS["width"], grid.n_untrained, generator)
    depths = _balanced(FACTORS["depth"], grid.n_untrained, generator)
    n_features = _balanced(FACTORS["n_features"], grid.n_untrained, generator)
    return [
        NetworkSpec(
            name=f"untrained-{place}", lineage=f"untrained-{place}", seed=0, data_seed=0, pretraining_data="none",
            class_share=1.0, n_samples=0, label_noise=0.0, corruption="none", algorithm="untrained",
            architecture=architecture, width=widths[place], depth=depths[place], n_features=n_features[place],
            learning_rate=0.0, weight_decay=0.0, n_steps=0, augmentation="none",
        )
        for place, architecture in enumerate(architectures)
    ]  # fmt: skip


def _parents(base: list[NetworkSpec], n: int, generator: np.random.Generator) -> list[NetworkSpec]:
    """Draw parents, every architecture alike, as far as there are such base networks."""
    order = [base[place] for place in generator.permutation(len(base))]
    by_architecture: dict[str, list[NetworkSpec]] = {}
    for spec in order:
        by_architecture.setdefault(spec.architecture, []).append(spec)
    found: list[NetworkSpec] = []
    while len(found) < n:
        for candidates in by_architecture.values():
            if candidates and len(found) < n:
                found.append(candidates.pop())
    return found


def _fine_tuned(grid: Grid, base: list[NetworkSpec], generator: np.random.Generator) -> list[NetworkSpec]:
    found = []
    sizes = _balanced((500, 2_000, 8_000), grid.n_fine_tuned, generator)
    for place, parent in enumerate(_parents(base, grid.n_fine_tuned, generator)):
        others = [name for name in grid.data_sets if name != parent.pretraining_data]
        found.append(
            replace(
                parent, name=f"fine-tuned-{place}", parent=parent.name, lineage=parent.name, data_seed=1_000 + place,
                algorithm="fine_tuned", pretraining_data=str(generator.choice(others)), class_share=1.0,
                n_samples=sizes[place], label_noise=0.0, corruption="none", learning_rate=1.0, n_steps=400,
                augmentation="shift",
            )
        )  # fmt: skip
    return found


def _distilled(grid: Grid, base: list[NetworkSpec], generator: np.random.Generator) -> list[NetworkSpec]:
    """Students of another architecture that learn what their teacher answers."""
    found = []
    teachers = [spec for spec in base if spec.algorithm in ("sgd", "adam")]
    for place, teacher in enumerate(_parents(teachers, grid.n_distilled, generator)):
        others = [name for name in FACTORS["architecture"] if name != teacher.architecture]
        found.append(
            replace(
                teacher, name=f"distilled-{place}", parent=teacher.name, lineage=teacher.name,
                algorithm="distilled", architecture=str(generator.choice(others)),
                width=int(generator.choice(FACTORS["width"])),
                n_features=int(generator.choice(FACTORS["n_features"])), learning_rate=1.0, n_steps=600,
            )
        )  # fmt: skip
    return found


def _damaged(grid: Grid, base: list[NetworkSpec], generator: np.random.Generator) -> list[NetworkSpec]:
    kinds: list[Damage] = _balanced(("shuffled", "pruned", "quantised"), grid.n_damaged, generator)
    return [
        replace(
            parent, name=f"damaged-{place}", parent=parent.name, lineage=parent.name, damage=kinds[place], n_steps=0
        )
        for place, parent in enumerate(_parents(base, grid.n_damaged, generator))
    ]


def _duplicates(grid: Grid, base: list[NetworkSpec], generator: np.random.Generator) -> list[NetworkSpec]:
    return [
        replace(parent, name=f"duplicate-{place}", lineage=parent.name)
        for place, parent in enumerate(_parents(base, grid.n_duplicates, generator))
    ]


def _numbered(spec: NetworkSpec, place: int, grid: Grid) -> NetworkSpec:
    """Give a network its final name, a seed of its own, and as many steps as the grid allows."""
    parts = [f"{place:03d}", f"{spec.architecture}{spec.width}x{spec.depth}", spec.pretraining_data]
    parts.append(spec.algorithm if spec.damage == "none" else spec.damage)
    steps = max(20, round(spec.n_steps * grid.steps_factor)) if spec.n_steps else 0
    return replace(spec, name="-".join(parts), seed=1_000 * grid.seed + place, n_steps=steps)


def _in_halves(specs: list[NetworkSpec], generator: np.random.Generator) -> list[NetworkSpec]:
    """Put whole lineages into one half or the other, architecture by architecture."""
    roots = sorted({spec.lineage for spec in specs})
    architecture = {spec.name: spec.architecture for spec in specs}
    shuffled = [roots[place] for place in generator.permutation(len(roots))]
    ordered = sorted(shuffled, key=lambda name: architecture[name])  # stable: random within an architecture
    half = {name: ("development", "confirmation")[place % 2] for place, name in enumerate(ordered)}
    return [replace(spec, half=half[spec.lineage]) for spec in specs]
