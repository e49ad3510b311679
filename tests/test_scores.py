import dataclasses

import numpy as np
import pytest

from neuralrank import registry, scores
from neuralrank.features import Cost, Features
from neuralrank.probe import read_probe
from neuralrank.readers._open import open_target
from neuralrank.scores import Wanted, score_model
from neuralrank.storage.feature_cache import feature_cache
from neuralrank.types import ModelFacts, ModelRecord

NAMES = ("neuralrank", "log_me", "h_score_shrunk", "knn")


@pytest.fixture
def probe():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    return read_probe(open_target((vectors, np.arange(60) % 3)), n_samples=60, seed=0, max_unreadable=0.0, cache=None)


@pytest.fixture
def features():
    rng = np.random.default_rng(1)
    values = (np.eye(3)[np.arange(60) % 3] + rng.normal(size=(60, 3))).astype(np.float32)
    return Features(
        values=values,
        key="k",
        rows_key="k",
        layer="last",
        extract_seconds=1.0,
        cached=False,
        warnings=(),
        cost=Cost(),
    )


def wanted(*names, ordering=None, seed=0):
    return Wanted(names=names, ordering=(ordering or names[0],), seed=seed)


def record(tmp_path, **facts):
    return ModelRecord(
        model_id="folder:a@0", name="a", path=tmp_path, content_hash="0", size_bytes=1_000,
        facts=ModelFacts(format="onnx", files=(), **facts),
    )  # fmt: skip


def only_from(cache, monkeypatch):
    """Let nothing be computed any more."""

    def refuse(*_):
        raise AssertionError("a score was computed")

    monkeypatch.setattr(scores, "_computed", refuse)
    return cache


@pytest.mark.parametrize(
    "names", [NAMES, NAMES[::-1], ("log_me",), ("leep", "knn")], ids=["all", "reversed", "jackknifed", "one missing"]
)
def test_kept_scores_come_back_to_the_bit(features, probe, tmp_path, monkeypatch, names):
    cache = feature_cache(tmp_path)
    which = Wanted(names=names, ordering=names[:2], seed=0)
    made = score_model(record(tmp_path), features, probe, which, cache=cache)
    found = score_model(record(tmp_path), features, probe, which, cache=only_from(cache, monkeypatch))
    assert list(found.terms) == [name for name in names[:2] if name in made.scores]
    for name, terms in made.terms.items():
        np.testing.assert_array_equal(found.terms[name], terms)
        assert terms.mean() == pytest.approx(made.scores[name].value)
    assert (found.scores, found.missing) == (made.scores, made.missing)


@pytest.mark.parametrize("change", ["labels", "groups", "names", "ordering", "seed", "features", "head"])
def test_what_a_score_depends_on_makes_it_new(features, probe, tmp_path, monkeypatch, change):
    cache = feature_cache(tmp_path)
    arguments = {"features": features, "probe": probe, "wanted": wanted(*NAMES)}
    score_model(record(tmp_path), **arguments, cache=cache)
    arguments |= {
        "labels": {"probe": dataclasses.replace(probe, labels=probe.labels[::-1].copy())},
        "groups": {"probe": dataclasses.replace(probe, groups=np.arange(60) // 2)},
        "names": {"wanted": wanted(*NAMES[:2])},
        "ordering": {"wanted": wanted(*NAMES, ordering="log_me")},
        "seed": {"wanted": wanted(*NAMES, seed=1)},
        "features": {"features": dataclasses.replace(features, key="other")},
        "head": {"features": dataclasses.replace(features, logits=np.zeros((60, 2), dtype=np.float32))},
    }[change]
    with pytest.raises(AssertionError, match="a score was computed"):
        score_model(record(tmp_path), **arguments, cache=only_from(cache, monkeypatch))


def test_changed_code_of_the_scorers_makes_scores_new(features, probe, tmp_path, monkeypatch):
    cache = feature_cache(tmp_path)
    score_model(record(tmp_path), features, probe, wanted(*NAMES), cache=cache)
    monkeypatch.setattr(scores, "_code_digest", lambda _: "another")
    with pytest.raises(AssertionError, match="a score was computed"):
        score_model(record(tmp_path), features, probe, wanted(*NAMES), cache=only_from(cache, monkeypatch))


def test_scores_of_plug_ins_are_not_kept():
    assert scores._code_digest(("neuralrank", "somebody_elses")) is None
    assert scores._code_digest(("neuralrank",)) is not None


def test_a_score_without_a_value_leaves_the_others_and_says_why(features, probe, tmp_path):
    sheet = score_model(
        record(tmp_path), features, probe, wanted("neuralrank", "leep", "reported_accuracy", "size"), cache=None
    )
    assert list(sheet.scores) == ["neuralrank", "size"]
    assert sheet.scores["size"].value == 1_000
    assert sheet.missing == {
        "leep": "The model has no classifier of its own that could be used.",
        "reported_accuracy": "The model's record does not say it.",
    }


def test_the_head_is_scored_where_there_is_one(features, probe, tmp_path):
    logits = 3.0 * np.eye(3, dtype=np.float32)[probe.labels]
    sheet = score_model(
        record(tmp_path), dataclasses.replace(features, logits=logits), probe, wanted("nce", "energy"), cache=None
    )
    assert sheet.scores["nce"].value == pytest.approx(0.0)
    assert sheet.scores["energy"].value == pytest.approx(np.log(np.exp(3.0) + 2.0), rel=1e-6)


@pytest.mark.parametrize(("names", "needed"), [(("knn", "size"), False), (("knn", "leep"), True)])
def test_the_head_is_asked_for_only_where_a_score_needs_it(names, needed):
    assert wanted(*names).needs_head == needed


def test_static_scores_read_the_record(tmp_path):
    stated = record(tmp_path, n_params=1_000_000, reported_accuracy=71.5)
    values = {name: registry.get("scorers", name).of_record(stated) for name in registry.names("scorers")
              if scores.is_static(name)}  # fmt: skip
    assert values == {"log_params": 6.0, "size": 1_000.0, "reported_accuracy": 71.5}
    assert registry.get("scorers", "log_params").of_record(record(tmp_path)) is None
