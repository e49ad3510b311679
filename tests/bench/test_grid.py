"""The declarative grid of the evidence."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from neuralrank.bench._grid import FACTORS, GRIDS, make_grid
from neuralrank.bench._networks import n_parameters

FULL = make_grid(GRIDS["full"])
BASE = FULL[: GRIDS["full"].n_base]


def test_the_full_grid_has_at_least_120_networks_of_distinct_names():
    assert len(FULL) >= 120
    assert len({spec.name for spec in FULL}) == len(FULL)


def test_the_same_seed_gives_the_same_networks_and_another_seed_others():
    grid = dataclasses.replace(GRIDS["full"], n_tables=1)
    found = make_grid(grid)
    make_grid.cache_clear()
    assert make_grid(grid) == found
    other = make_grid(dataclasses.replace(grid, seed=1))
    assert [spec.name for spec in other] != [spec.name for spec in found]


@pytest.mark.parametrize("factor", [*FACTORS, "pretraining_data"])
def test_every_level_of_a_factor_comes_equally_often(factor):
    levels = FACTORS.get(factor, GRIDS["full"].data_sets)
    counts = Counter(getattr(spec, factor) for spec in BASE)
    wanted = {level: levels.count(level) * len(BASE) / len(levels) for level in levels}
    if factor == "n_steps":
        assert counts == wanted
    assert all(abs(counts[level] - wanted[level]) <= levels.count(level) for level in levels)


@pytest.mark.parametrize("factor", ["n_features", "n_steps", "n_samples", "label_noise", "class_share"])
def test_size_does_not_go_with_what_makes_networks_good(factor):
    sizes = [n_parameters(spec.architecture, spec.width, spec.depth, spec.n_features) for spec in BASE]
    assert abs(spearmanr(sizes, [getattr(spec, factor) for spec in BASE]).statistic) < 0.1


def test_parents_come_before_their_children_and_share_their_lineage():
    places = {spec.name: place for place, spec in enumerate(FULL)}
    children = [spec for spec in FULL if spec.parent]
    assert len(children) > 30
    for spec in children:
        parent = FULL[places[spec.parent]]
        assert places[parent.name] < places[spec.name]
        assert parent.lineage == spec.lineage


def test_no_lineage_lies_in_both_halves():
    halves = {}
    for spec in FULL:
        halves.setdefault(spec.lineage, set()).add(spec.half)
    assert all(len(found) == 1 for found in halves.values())
    counts = Counter(spec.half for spec in FULL)
    assert set(counts) == {"development", "confirmation"}
    assert min(counts.values()) > 50


def test_a_near_duplicate_differs_from_its_original_in_the_seed_alone():
    by_name = {spec.name: spec for spec in FULL}
    found = [spec for spec in FULL if spec.parent is None and spec.lineage != spec.name]
    assert len(found) == GRIDS["full"].n_duplicates
    for spec in found:
        original = by_name[spec.lineage]
        same = [field for field in FACTORS if getattr(spec, field) == getattr(original, field)]
        assert same == list(FACTORS)
        assert spec.data_seed == original.data_seed
        assert spec.seed != original.seed


def test_a_fine_tuned_network_was_trained_on_other_data_than_its_parent():
    by_name = {spec.name: spec for spec in FULL}
    found = [spec for spec in FULL if spec.algorithm == "fine_tuned"]
    assert len(found) == GRIDS["full"].n_fine_tuned
    assert all(spec.pretraining_data != by_name[spec.parent].pretraining_data for spec in found)


def test_the_quick_grid_is_a_cut_of_twelve_networks_and_two_targets():
    quick = GRIDS["quick"]
    assert len(make_grid(quick)) == 12
    assert len(quick.targets) == 2
    assert np.all([spec.n_steps <= 360 for spec in make_grid(quick)])
