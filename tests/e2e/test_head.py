"""Logits beside features: one pass, the cache, and heads that cannot be used."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tiny_zoo import CARD, convolution, crafted_filters, network, save

from neuralrank import features as features_module
from neuralrank.encoding import HEAD_UNUSABLE
from neuralrank.engines.worker import Worker
from neuralrank.features import Extraction, Features
from neuralrank.passes import make_worker
from neuralrank.probe import open_samples, read_probe
from neuralrank.ranking import list_models
from neuralrank.readers._open import open_target
from neuralrank.storage.feature_cache import feature_cache
from neuralrank.types import Failure

PLUGIN = """
import json
import numpy as np
from pathlib import Path
from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.types import Hidden, ImagePreprocessing, ModelFacts

def describe(path):
    if path.suffix != ".count":
        return None
    facts = json.loads(path.read_text())
    names = tuple(facts["names"]) if "names" in facts else None
    return ModelFacts(format="counting", files=(path,), modality="image", label_names=names,
                      preprocessing=ImagePreprocessing(size=(8, 8)))

class Counting:
    layers = ("mean", "logits")
    feature_layer = "mean"
    warnings = ("A warning of the model.",)

    def __init__(self, path, facts):
        self.settings = json.loads(path.read_text())
        self.log = Path(self.settings["log"])
        self.head_layer = "logits" if self.settings["kind"] != "none" else None
        self.preprocessing = facts.preprocessing

    def encode(self, batch, layers):
        with self.log.open("a") as log:
            log.write(",".join(layers) + "\\n")
        kind, values = self.settings["kind"], next(iter(batch.values()))
        if kind == "fails" and "logits" in layers:
            raise ModelError("The head does not run.")
        mean = values.mean(axis=(2, 3))
        logits = np.concatenate([mean, -mean], axis=1)
        if kind == "nan":
            logits[0] = np.nan
        if kind == "maps":
            logits = logits[:, :, None, None] * np.ones((1, 1, 2, 2), np.float32)
        if kind == "ones":
            logits = logits[:, :, None, None]
        return {layer: Hidden(values=logits if layer == "logits" else mean) for layer in layers}

@checkpoint_format(describe)
def counting(path, facts, *, n_threads=0):
    return Counting(path, facts)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """A model that writes down which layers each of its passes was asked for."""

    record: Any
    log: Path

    @property
    def passes(self) -> list[str]:
        """What was asked for since the last look."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Counted]]:
    site = tmp_path / "site"
    information = site / "counting-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "counting_format.py").write_text(PLUGIN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[neuralrank.formats]\ncounting = counting_format:counting\n")
    monkeypatch.syspath_prepend(site)

    def with_log(*arguments: Any, **options: Any) -> Worker:
        """Open the walls around the worker for the log."""
        worker = make_worker(*arguments, **options)
        worker.writable = [*worker.writable, tmp_path / "log.txt"]
        return worker

    monkeypatch.setattr(features_module, "make_worker", with_log)

    def make(kind: str = "good", **more: Any) -> Counted:
        path, log = tmp_path / "model.count", tmp_path / "log.txt"
        path.write_text(json.dumps({"kind": kind, "log": str(log), **more}))
        return Counted(record=next(iter(list_models(path))), log=log)

    yield make
    sys.modules.pop("counting_format", None)


@pytest.fixture
def probe(photos):
    return read_probe(open_target(photos), n_samples=60, seed=0, max_unreadable=0.0, cache=None)


@pytest.fixture
def record(models):
    return next(item for item in list_models(models) if item.name == "crafted.onnx")


def extract(probe: Any, record: Any, cache: Any = None, **options: Any) -> Features:
    with Extraction(probe=probe, cache=cache) as extraction:
        found = extraction.features(record, **options)
    assert isinstance(found, Features)
    return found


# --- what comes back -----------------------------------------------------------------------------------------------


def test_logits_are_those_of_the_runtime_in_the_order_of_the_probe(record, probe):
    with Extraction(probe=probe, cache=None) as extraction:
        features = extraction.features(record, head=True)
        samples = np.stack(list(open_samples(extraction.scratch / "samples")))
    images = samples.transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected = onnxruntime.InferenceSession(record.path).run(["logits"], {"image": images})[0]
    assert isinstance(features, Features)
    assert features.logits is not None
    assert (features.logits.shape, features.logits.dtype) == ((60, 10), np.float32)
    np.testing.assert_allclose(features.logits, expected, rtol=1e-4, atol=1e-5)


def test_the_head_changes_no_feature_and_comes_only_when_asked_for(record, probe):
    plain, both = extract(probe, record), extract(probe, record, head=True)
    assert plain.logits is None
    np.testing.assert_allclose(plain.values, both.values, rtol=1e-6, atol=1e-7)
    assert (plain.key, plain.layer, plain.warnings) == (both.key, both.layer, both.warnings)


def test_features_and_logits_come_from_the_same_passes(counted, probe):
    model = counted()
    features = extract(probe, model.record, head=True)
    assert set(model.passes) == {"mean,logits"}
    np.testing.assert_array_equal(features.logits, np.concatenate([features.values, -features.values], axis=1))


def test_a_chosen_layer_has_logits_beside_it(record, probe):
    chosen = extract(probe, record, layer="maps", head=True)
    assert chosen.layer == "maps"
    np.testing.assert_allclose(chosen.logits, extract(probe, record, head=True).logits, rtol=1e-5, atol=1e-6)
    same = extract(probe, record, layer="logits", head=True)
    np.testing.assert_array_equal(same.logits, same.values)


def test_axes_of_length_1_are_dropped(counted, probe):
    assert extract(probe, counted("ones").record, head=True).logits.shape == (60, 6)


# --- heads that cannot be used -------------------------------------------------------------------------------------


def test_a_model_without_a_head_gives_none_and_no_warning(counted, probe):
    model = counted("none")
    features = extract(probe, model.record, head=True)
    assert features.logits is None
    assert features.warnings == ("A warning of the model.",)
    assert set(model.passes) == {"mean"}


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        pytest.param("nan", {}, "Got NaN or infinity for 2 of 60 samples at layer 'logits'.", id="not-finite"),
        pytest.param(
            "maps", {}, "Layer 'logits' needs 2 to 65,536 logits per sample. Got shape (8, 6, 2, 2).", id="maps"
        ),
        pytest.param(
            "good", {"names": list("abc")}, "Layer 'logits' needs 3 logits per sample. Got shape (8, 6).", id="names"
        ),
        pytest.param("fails", {}, "The head does not run.", id="fails"),
    ],
)
def test_a_head_that_cannot_be_used_is_a_warning_and_the_features_are_good(counted, probe, kind, more, reason):
    model = counted(kind, **more)
    features = extract(probe, model.record, head=True)
    assert features.logits is None
    assert features.warnings == ("A warning of the model.", f"{HEAD_UNUSABLE} {reason}")
    assert np.isfinite(features.values).all()


def test_a_layer_that_fails_is_a_failure_with_a_head_too(record, probe):
    with Extraction(probe=probe, cache=None) as extraction:
        failure = extraction.features(record, layer="nowhere", head=True)
    assert isinstance(failure, Failure)


def test_a_card_of_another_number_of_classes_leaves_no_head(tmp_path, probe):
    path = save(convolution(crafted_filters()), tmp_path / "m.onnx", {**CARD, "num_classes": 7})
    features = extract(probe, next(iter(list_models(path))), head=True)
    assert features.logits is None
    assert features.warnings == ()


def test_a_network_that_gives_maps_has_no_head(tmp_path, probe):
    from onnx import helper

    model = network(helper.make_node("Transpose", ["image"], ["last"], perm=[0, 2, 3, 1]), tail="last", n_features=3)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for size in (0, 32, 32, 10):
        axis = model.graph.output[0].type.tensor_type.shape.dim.add()
        if size:
            axis.dim_value = size
    features = extract(probe, next(iter(list_models(save(model, tmp_path / "m.onnx", CARD)))), head=True)
    assert features.logits is None


# --- the cache -----------------------------------------------------------------------------------------------------


def test_a_second_run_with_the_head_runs_no_model(counted, probe, tmp_path):
    cache, model = feature_cache(tmp_path / "cache"), counted()
    made = extract(probe, model.record, cache, head=True)
    gone = dataclasses.replace(model.record, path=tmp_path / "gone.count")
    with Extraction(probe=probe, cache=cache) as extraction:
        found = extraction.features(gone, head=True)
        assert not extraction._scratch, "no sample was decoded"
    assert isinstance(found, Features)
    assert (made.cached, found.cached) == (False, True)
    np.testing.assert_array_equal(found.logits, made.logits)
    np.testing.assert_array_equal(found.values, made.values)


@pytest.mark.parametrize("kind", ["none", "nan", "maps"])
def test_that_there_is_no_usable_head_is_remembered(counted, probe, tmp_path, kind):
    cache, model = feature_cache(tmp_path / "cache"), counted(kind)
    made = extract(probe, model.record, cache, head=True)
    gone = dataclasses.replace(model.record, path=tmp_path / "gone.count")
    found = extract(probe, gone, cache, head=True)
    assert found.logits is None
    assert found.warnings == made.warnings


def test_features_of_an_earlier_run_stay_valid_and_one_pass_adds_the_logits(counted, probe, tmp_path):
    cache, model = feature_cache(tmp_path / "cache"), counted()
    made = extract(probe, model.record, cache)
    assert set(model.passes) == {"mean"}
    added = extract(probe, model.record, cache, head=True)
    assert set(model.passes) == {"logits"}
    assert added.cached
    np.testing.assert_array_equal(added.values, made.values)
    assert added.logits is not None
    extract(probe, model.record, cache, head=True)
    assert model.passes == []


def test_the_logits_serve_every_layer(counted, probe, tmp_path):
    cache, model = feature_cache(tmp_path / "cache"), counted()
    first = extract(probe, model.record, cache, head=True)
    assert set(model.passes) == {"mean,logits"}
    second = extract(probe, model.record, cache, layer="logits", head=True)
    assert set(model.passes) == {"logits"}
    np.testing.assert_array_equal(second.logits, first.logits)


def test_a_pass_that_failed_is_tried_again(counted, probe, tmp_path):
    cache, model = feature_cache(tmp_path / "cache"), counted("fails")
    extract(probe, model.record, cache, head=True)
    assert model.passes.count("mean,logits") == 1
    again = extract(probe, model.record, cache, head=True)
    assert model.passes == ["logits"]
    assert again.warnings[-1] == f"{HEAD_UNUSABLE} The head does not run."


def test_features_survive_a_model_that_is_gone_when_its_logits_are_wanted(counted, probe, tmp_path):
    cache, model = feature_cache(tmp_path / "cache"), counted()
    made = extract(probe, model.record, cache)
    gone = dataclasses.replace(model.record, path=tmp_path / "gone.count")
    found = extract(probe, gone, cache, head=True)
    np.testing.assert_array_equal(found.values, made.values)
    assert found.logits is None
    assert found.warnings[-1].startswith(f"{HEAD_UNUSABLE} ")
