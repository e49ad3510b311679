"""What the scorers declare of noise is what the benchmark measured."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.scorers import Scorer, score

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "noise.py"
SCORERS = [name for name in registry.names("scorers") if isinstance(registry.get("scorers", name), Scorer)]
NEVER = [name for name in SCORERS if registry.get("scorers", name).noise_from == (None, None)]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("noise_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured(benchmark):
    return benchmark.read_results()


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_declares_what_was_measured(name, benchmark, measured):
    assert any(row["score"] == name for row in measured), "measure it with benchmarks/noise.py"
    assert registry.get("scorers", name).noise_from == benchmark.noise_from(measured, name)


def test_neuralrank_was_not_beaten_by_noise():
    assert "neuralrank" in NEVER


def weak_and_noise(n_samples, n_dims, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_samples) % 10
    weak = 0.35 * rng.normal(size=(10, 16))[labels] + rng.normal(size=(n_samples, 16))
    return weak, rng.normal(size=(n_samples, n_dims)), labels


@pytest.mark.parametrize("n_dims", [16, 256, 2_048])
@pytest.mark.parametrize("name", [name for name in NEVER if registry.get("scorers", name).needs == "features"])
def test_weak_features_beat_noise_of_any_dimension_where_that_is_declared(name, n_dims):
    weak, noise, labels = weak_and_noise(200, n_dims, seed=n_dims)
    assert score(name, weak, labels).value > score(name, noise, labels).value
    assert not any("noise" in warning for warning in score(name, noise, labels).warnings)


@pytest.mark.parametrize("name", ["h_score", "sfda", "etran", "transrate", "silhouette", "lfc"])
def test_a_score_that_noise_beats_says_so_there(name):
    weak, noise, labels = weak_and_noise(200, 512, seed=0)
    beaten, warned = score(name, weak, labels), score(name, noise, labels)
    assert warned.value > beaten.value
    assert warned.warnings[-1] == f"{name} can prefer noise at 512 dimensions for 200 samples."


def test_few_samples_are_judged_by_the_measurement_at_few_samples():
    rng = np.random.default_rng(0)
    few, many = (score("lfc", rng.normal(size=(n, 1_000)), np.arange(n) % 4).warnings for n in (600, 700))
    assert few
    assert not many
