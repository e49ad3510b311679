import dataclasses

import numpy as np
import pytest

from neuralrank import scores
from neuralrank.probe import read_probe
from neuralrank.readers._open import open_target
from neuralrank.scores import score_features
from neuralrank.storage.feature_cache import feature_cache

NAMES = ("neuralrank", "log_me", "h_score", "knn")


@pytest.fixture
def probe():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    return read_probe(open_target((vectors, np.arange(60) % 3)), n_samples=60, seed=0, max_unreadable=0.0, cache=None)


@pytest.fixture
def values():
    rng = np.random.default_rng(1)
    return (np.eye(3)[np.arange(60) % 3] + rng.normal(size=(60, 3))).astype(np.float32)


def only_from(cache, monkeypatch):
    """Let nothing be computed any more."""

    def refuse(*_):
        raise AssertionError("a score was computed")

    monkeypatch.setattr(scores, "_computed", refuse)
    return cache


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], ("log_me",)], ids=["all", "reversed", "jackknifed"])
def test_kept_scores_come_back_to_the_bit(values, probe, tmp_path, monkeypatch, names):
    cache = feature_cache(tmp_path)
    made = score_features(values, probe, names, seed=0, key="k", cache=cache)
    found = score_features(values, probe, names, seed=0, key="k", cache=only_from(cache, monkeypatch))
    np.testing.assert_array_equal(found.terms, made.terms)
    assert found.terms.mean() == pytest.approx(made.scores[names[0]].value)
    for name in names:
        kept = dataclasses.replace(made.scores[name], terms=None)
        assert found.scores[name] == kept


@pytest.mark.parametrize("change", ["labels", "groups", "names", "seed", "features"])
def test_what_a_score_depends_on_makes_it_new(values, probe, tmp_path, monkeypatch, change):
    cache = feature_cache(tmp_path)
    arguments = {"probe": probe, "names": NAMES, "seed": 0, "key": "k"}
    score_features(values, cache=cache, **arguments)
    arguments |= {
        "labels": {"probe": dataclasses.replace(probe, labels=probe.labels[::-1].copy())},
        "groups": {"probe": dataclasses.replace(probe, groups=np.arange(60) // 2)},
        "names": {"names": NAMES[:2]},
        "seed": {"seed": 1},
        "features": {"key": "other"},
    }[change]
    with pytest.raises(AssertionError, match="a score was computed"):
        score_features(values, cache=only_from(cache, monkeypatch), **arguments)


def test_changed_code_of_the_scorers_makes_scores_new(values, probe, tmp_path, monkeypatch):
    cache = feature_cache(tmp_path)
    score_features(values, probe, NAMES, seed=0, key="k", cache=cache)
    monkeypatch.setattr(scores, "_code_digest", lambda _: "another")
    with pytest.raises(AssertionError, match="a score was computed"):
        score_features(values, probe, NAMES, seed=0, key="k", cache=only_from(cache, monkeypatch))


def test_scores_of_plug_ins_are_not_kept():
    assert scores._code_digest(("neuralrank", "somebody_elses")) is None
    assert scores._code_digest(("neuralrank",)) is not None
