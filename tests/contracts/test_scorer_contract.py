"""What holds for every scorer, ours and plugged in: a new file is tested without editing this one."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.scorers import score

SCORERS = registry.names("scorers")
pytestmark = pytest.mark.parametrize("name", SCORERS)


def test_the_value_is_finite_and_separable_beats_shuffled(name, blobs):
    features, labels = blobs
    shuffled = np.random.default_rng(1).permutation(labels)
    value = score(name, features, labels).value
    assert np.isfinite(value)
    assert value > score(name, features, shuffled).value


def test_sample_order_does_not_matter(name, blobs):
    features, labels = blobs
    order = np.random.default_rng(2).permutation(len(labels))
    value = score(name, features[order], labels[order]).value
    assert value == pytest.approx(score(name, features, labels).value, abs=1e-6)


def test_label_names_do_not_matter(name, blobs):
    features, labels = blobs
    value = score(name, features, labels).value
    renamed = np.array(["zebra", "ant", "cat"])[labels]
    assert score(name, features, renamed).value == pytest.approx(value, abs=1e-9)
    assert score(name, features, np.array([7, 300, -4])[labels]).value == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("change", ["rotation", "scale", "offset", "dead column", "float32"])
def test_what_says_nothing_about_the_labels_does_not_matter(name, blobs, change):
    features, labels = blobs
    changed = {
        "rotation": lambda x: x @ np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0],
        "scale": lambda x: 1e4 * x,
        "offset": lambda x: x + np.arange(6) * 10.0,
        "dead column": lambda x: np.hstack([x, np.full((len(x), 1), 3.3)]),
        "float32": lambda x: x.astype(np.float32),
    }[change](features)
    assert score(name, changed, labels).value == pytest.approx(score(name, features, labels).value, abs=1e-4)


@pytest.mark.parametrize("shape", [(2, 3), (12, 500), (1000, 2)], ids=["two samples", "wide", "many classes"])
def test_odd_shapes_give_a_finite_value(name, shape):
    features = np.random.default_rng(4).normal(size=shape)
    labels = np.arange(shape[0]) % max(2, shape[0] // 2)
    assert np.isfinite(score(name, features, labels).value)


def test_a_class_with_one_sample_gives_a_finite_value(name, blobs):
    features, labels = blobs
    labels = labels.copy()
    labels[17] = 9
    assert np.isfinite(score(name, features, labels).value)


def test_a_declaration_names_the_paper_and_the_tasks(name):
    scorer = registry.get("scorers", name)
    assert scorer.name == name
    assert scorer.paper
    assert "classification" in scorer.tasks
    assert scorer.__doc__
    assert "Returns:" in scorer.__doc__


def test_repeating_gives_the_same_bits(name, blobs):
    features, labels = blobs
    assert score(name, features, labels).value == score(name, features, labels).value
