"""Features between the probe and the scores: jobs, limits, layers, checks on what a worker returns."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from tiny_zoo import CARD, convolution, random_filters, save

from neuralrank import Limits, rank
from neuralrank.encoding import extract_in_worker
from neuralrank.errors import UsageError
from neuralrank.features import Extraction, Features
from neuralrank.machine import available_cores
from neuralrank.probe import read_probe, write_samples
from neuralrank.ranking import list_models
from neuralrank.readers._open import open_target
from neuralrank.storage.batch_log import read_batches
from neuralrank.storage.feature_cache import feature_cache
from neuralrank.types import Failure


@pytest.fixture
def probe(photos):
    return read_probe(open_target(photos), n_samples=60, seed=0, max_unreadable=0.0, cache=None)


@pytest.fixture
def record(models):
    return next(item for item in list_models(models) if item.name == "crafted.onnx")


def test_a_process_keeps_the_model_it_ran_last_and_no_other(probe, tmp_path):
    (tmp_path / "samples").mkdir()
    write_samples(probe, tmp_path / "samples")
    for place, name in enumerate("ab"):
        save(convolution(random_filters(3 + place, seed=place)), tmp_path / f"{name}.onnx", CARD)

    def asked(name, rows):
        log = tmp_path / f"{name}{rows[0]}.log"
        told = extract_in_worker(
            {
                **{"format": "onnx", "path": str(tmp_path / f"{name}.onnx"), "samples": str(tmp_path / "samples")},
                **{"modality": "image", "layer": None, "n_labels": 0, "n_threads": 1, "trusted": False},
                **{"began": time.monotonic(), "rows": rows, "kinds": ["features"], "log": str(log)},
            },
            lambda _: None,
        )
        [batch] = read_batches(log, len(probe))
        assert batch.rows.tolist() == rows
        return told["n_starts"], batch.values.shape[1]

    assert [asked("a", [3]), asked("a", [0, 5]), asked("b", [3]), asked("b", [7]), asked("a", [4])] == [
        (1, 3), (0, 3), (1, 4), (0, 4), (1, 3),
    ]  # fmt: skip


def test_the_number_of_jobs_does_not_change_the_ranking(models, photos, tmp_path):
    alone = rank(models, photos, limits=Limits(n_jobs=1), cache_dir=tmp_path / "a")
    together = rank(models, photos, limits=Limits(n_jobs=3), cache_dir=tmp_path / "b")
    assert [model.model_id for model in alone.models] == [model.model_id for model in together.models]
    np.testing.assert_allclose(
        [model.score for model in alone.models], [model.score for model in together.models], atol=1e-6
    )


def test_jobs_share_cores_and_memory():
    limits = Limits(n_jobs=2)
    assert limits.threads_each == max(1, available_cores() // 2)
    assert limits.memory_each_bytes == pytest.approx(Limits(n_jobs=1).memory_each_bytes / 2, rel=1e-6)
    assert Limits(n_threads=5, memory_bytes=7).threads_each == 5
    assert Limits(n_threads=5, memory_bytes=7).memory_each_bytes == 7


def test_features_are_pooled_rows_in_the_order_of_the_probe(record, probe, photos):
    with Extraction(probe=probe, cache=None) as extraction:
        features = extraction.features(record)
        assert isinstance(features, Features)
        again = extraction.features(record)
    assert features.values.shape == (60, features.values.shape[1])
    assert features.values.dtype == np.float32
    assert not features.cached
    np.testing.assert_array_equal(features.values, again.values)
    # Out of order, the rows would agree with the labels by chance, a quarter of them.
    centres = np.stack([features.values[probe.labels == c].mean(axis=0) for c in range(4)])
    nearest = np.linalg.norm(features.values[:, None] - centres, axis=2).argmin(axis=1)
    assert np.mean(nearest == probe.labels) > 0.45


def test_what_is_known_starts_no_worker(record, probe, tmp_path):
    cache = feature_cache(tmp_path / "cache")
    with Extraction(probe=probe, cache=cache) as first:
        made = first.features(record)
    gone = dataclasses.replace(record, path=tmp_path / "gone.onnx")
    with Extraction(probe=probe, cache=cache) as second:
        found = second.features(gone)
        assert not second._scratch, "no sample was decoded"
    assert isinstance(found, Features)
    assert found.cached
    np.testing.assert_array_equal(found.values, made.values)


def test_an_unknown_layer_names_the_ones_there_are(record, probe):
    with Extraction(probe=probe, cache=None) as extraction:
        failure = extraction.features(record, layer="nowhere")
    assert isinstance(failure, Failure)
    assert failure.error.startswith("--layer needs a layer of this model. Got 'nowhere'. Its last layers are: ")


def test_the_scratch_folder_is_gone_afterwards(record, probe):
    with Extraction(probe=probe, cache=None) as extraction:
        extraction.features(record)
        scratch = extraction.scratch
        assert (scratch / "samples" / "samples.bin").exists()
    assert not scratch.exists()


def test_stopping_ends_a_model_that_hangs(probe, toy_format, tmp_path):
    (tmp_path / "hang.toy").write_text("import time\ntime.sleep(600)")
    hanging = next(iter(list_models(tmp_path / "hang.toy")))
    with Extraction(probe=probe, cache=None) as extraction:
        threading.Timer(0.5, extraction.stop.set).start()
        start = time.monotonic()
        failure = extraction.features(hanging)
    assert isinstance(failure, Failure)
    assert failure.error == "The run was stopped before this model was done."
    assert time.monotonic() - start < 30


def test_options_for_reading_do_not_go_with_data_that_are_read(models, photos):
    with pytest.raises(UsageError) as error:
        rank(models, open_target(photos), split="train", groups=[0] * 120)
    assert str(error.value) == "A Target is read already. Got groups, split as well. Pass them to read_target."
