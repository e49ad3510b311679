"""The shipped default is what the published evidence chose."""

from pathlib import Path

import numpy as np
import pytest

from neuralrank import expectation, registry
from neuralrank.bench._cells import REGIMES, Question, ScoreBook, make_cells
from neuralrank.bench._expected import coverages, fitted, pairs
from neuralrank.bench.published_features import N_SAMPLES, ProbeFeatures, read_features
from neuralrank.bench.tables import DEVELOPMENT_TARGETS, Tables, read_tables
from neuralrank.evaluation import weighted_tau
from neuralrank.ranking import DEFAULT_SCORE
from neuralrank.scorers._prepared import prepare

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
    assert np.abs(away).max() < 0.03, "features are published in eight bits"
    assert np.abs(away).mean() < 0.002


def test_the_default_leads_on_the_development_half_for_heads(evidence):
    heads = tuple(regime for regime in REGIMES if regime.kind == "head")
    question = Question(half="development", targets=DEVELOPMENT_TARGETS, regimes=heads, details=False)
    book, cells = ScoreBook(evidence), make_cells(evidence, question)

    def tau(score):
        values = [(row, cell) for cell in cells for row in book.values(score, cell, N_SAMPLES).values]
        return np.mean([weighted_tau(np.nan_to_num(row, nan=-np.inf), cell.accuracy) for row, cell in values])

    taus = {score: tau(score) for score in (*book.names(), *book.lists())}
    assert max(taus, key=lambda score: taus[score]) == DEFAULT_SCORE == question.default


def test_the_shipped_expectation_is_fitted_to_the_tables(evidence):
    found = pairs(evidence)
    assert len({one.target for one in found}) == 5
    shift, spread = fitted(found)
    assert pytest.approx(shift, abs=0.01) == expectation.SHIFT
    assert pytest.approx(spread, abs=0.01) == expectation.SPREAD
    assert np.mean([one.held for one in coverages(found)]) > 0.8
