"""The shipped default is what the published evidence chose."""

from pathlib import Path

import numpy as np
import pytest

from neuralrank import expectation, registry
from neuralrank.bench._cells import REGIMES, Question, make_cells
from neuralrank.bench._expected import coverage, fitted, pairs
from neuralrank.bench.published_features import N_SAMPLES, ProbeFeatures, read_features
from neuralrank.bench.tables import DEVELOPMENT_TARGETS, Tables, read_tables
from neuralrank.evaluation import weighted_tau
from neuralrank.ranking import DEFAULT_SCORE
from neuralrank.scorers._prepared import Prepared, prepare

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "evidence"


@pytest.fixture(scope="module")
def evidence() -> Tables:
    return read_tables(FOLDER)


@pytest.fixture(scope="module")
def probes(evidence) -> list[ProbeFeatures]:
    """Features of the development half on the development targets."""
    half = dict(zip(evidence.networks.model, evidence.networks.half, strict=True))
    return [
        each
        for each in read_features(FOLDER)
        if half[each.model] == "development" and each.target in DEVELOPMENT_TARGETS
    ]


def values(probes: list[ProbeFeatures]) -> dict[tuple[str, str], float]:
    scorer = registry.get("scorers", DEFAULT_SCORE)
    return {(each.target, each.model): scorer.of(prepare(each.features, each.labels)).value for each in probes}


@pytest.fixture(scope="module")
def shipped(probes) -> dict[tuple[str, str], float]:
    return values(probes)


def mean_tau(evidence: Tables, found: dict[tuple[str, str], float]) -> float:
    heads = tuple(regime for regime in REGIMES if regime.kind == "head")
    question = Question(half="development", targets=DEVELOPMENT_TARGETS, regimes=heads, details=False)
    taus = []
    for cell in make_cells(evidence, question):
        names = [evidence.networks.model[place] for place in cell.networks]
        taus.append(weighted_tau(np.array([found[cell.target, name] for name in names]), cell.accuracy))
    return float(np.mean(taus))


def test_the_tables_were_made_with_the_shipped_formula(evidence, shipped):
    scores = evidence.scores
    first = (
        (scores.score.codes == scores.score.names.index(DEFAULT_SCORE))
        & (scores.n_probe == N_SAMPLES)
        & (scores.draw == 0)
    )
    stored = {
        (scores.target.names[target], scores.model.names[model]): value
        for target, model, value in zip(
            scores.target.codes[first], scores.model.codes[first], scores.value[first], strict=True
        )
    }
    away = np.array([value - stored[key] for key, value in shipped.items()])
    assert len(away) > 100
    assert np.abs(away).max() < 0.02, "features are published in eight bits"
    assert np.abs(away).mean() < 0.002


def test_the_shipped_formula_ranks_the_development_half_better_than_without_compression(
    evidence, probes, shipped, monkeypatch
):
    monkeypatch.setattr(Prepared, "compressed", property(lambda prepared: prepared))
    assert mean_tau(evidence, shipped) > mean_tau(evidence, values(probes)) + 0.005


def test_the_shipped_expectation_is_fitted_to_the_development_half(evidence):
    found = pairs(evidence, half="development", targets=DEVELOPMENT_TARGETS)
    assert len(found) >= 2
    shift, spread = fitted(found)
    assert pytest.approx(shift, abs=0.01) == expectation.SHIFT
    assert pytest.approx(spread, abs=0.01) == expectation.SPREAD
    assert all(0.85 < coverage(one).held <= 1 for one in found)
