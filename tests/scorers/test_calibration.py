import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from neuralrank.scorers import _calibration as calibration

PRIOR = np.log([0.5, 0.3, 0.2])


def classes(strength):
    """Evidence that points to the labels as strongly as asked for: away from them where negative."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=70_000)  # more than one block
    return rng.normal(size=(70_000, 3)) + strength * np.eye(3)[labels], labels


def mean_loss(t, evidence, labels):
    return -log_softmax(PRIOR + t * evidence, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("strength", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("start", [1e-6, 1.0, 900.0])
def test_the_temperature_is_the_one_of_the_least_loss(strength, start):
    evidence, labels = classes(strength)
    best = minimize_scalar(
        mean_loss, bounds=(0, 50), method="bounded", args=(evidence, labels), options={"xatol": 1e-9}
    )
    found = calibration.softmax_temperature(evidence, PRIOR, labels, start=start)
    assert found == pytest.approx(best.x, rel=1e-5)


def test_a_search_that_starts_at_its_end_stays_there(monkeypatch):
    evidence, labels = classes(1.0)
    best = calibration.softmax_temperature(evidence, PRIOR, labels, tolerance=1e-14)
    monkeypatch.setattr(calibration, "_NEWTON_STEPS", 1)
    assert calibration.softmax_temperature(evidence, PRIOR, labels, start=best) == pytest.approx(best, rel=1e-9)


def test_evidence_that_points_away_counts_for_nothing():
    evidence, labels = classes(-1.0)
    assert calibration.softmax_temperature(evidence, PRIOR, labels) == pytest.approx(0.0, abs=1e-5)


def test_evidence_without_a_mistake_counts_as_much_as_it_may():
    labels = np.arange(30) % 3
    assert calibration.softmax_temperature(np.eye(3)[labels], PRIOR, labels) > 20


@pytest.mark.parametrize("t", [0.0, 1.0, 1e3])
def test_losses_are_those_of_a_softmax(t):
    evidence, labels = classes(1.0)
    losses, right = calibration.softmax_losses(evidence, PRIOR, labels, t)
    assert losses.mean() == pytest.approx(mean_loss(t, evidence, labels), rel=1e-9)
    assert right.tolist() == ((PRIOR + t * evidence).argmax(axis=1) == labels).tolist()


def test_each_label_has_a_temperature_and_losses_of_its_own():
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 3)) < [0.2, 0.5, 0.9]).astype(float)
    evidence = rng.normal(size=(500, 3)) + targets * [0.2, 1.0, 5.0]
    log_odds = np.log(targets.mean(axis=0)) - np.log1p(-targets.mean(axis=0))

    def loss(t, label):
        logits = log_odds[label] + t * evidence[:, label]
        return -np.mean(np.where(targets[:, label] == 1, log_expit(logits), log_expit(-logits)))

    best = [
        minimize_scalar(loss, bounds=(0, 50), method="bounded", args=(j,), options={"xatol": 1e-9}) for j in range(3)
    ]
    found = calibration.sigmoid_temperatures(evidence, log_odds, targets, start=np.array([1e-3, 1.0, 500.0]))
    assert found == pytest.approx([each.x for each in best], rel=1e-5)
    losses = calibration.sigmoid_losses(evidence, log_odds, targets, found).mean(axis=0)
    assert losses == pytest.approx([each.fun for each in best], rel=1e-9)
