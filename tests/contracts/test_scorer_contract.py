"""What holds for every scorer, ours and plugged in: a new file is tested without editing this one."""

import functools
import inspect
import random
import warnings
from typing import get_args

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from neuralrank import registry
from neuralrank.errors import DataError
from neuralrank.scorers import Invariance, Scorer, StaticScorer, score, score_many
from neuralrank.scorers._prepared import prepare
from neuralrank.scorers._spectrum import decompose

COMPONENTS = {name: registry.get("scorers", name) for name in registry.names("scorers")}
SCORERS = [name for name, component in COMPONENTS.items() if isinstance(component, Scorer)]
STATIC = [name for name, component in COMPONENTS.items() if isinstance(component, StaticScorer)]
INVARIANCES = get_args(Invariance)
DECLARED = [(name, each) for name in SCORERS for each in INVARIANCES if each in COMPONENTS[name].invariances]
UNDECLARED = [(name, each) for name in SCORERS for each in INVARIANCES if each not in COMPONENTS[name].invariances]
every_scorer = pytest.mark.parametrize("name", SCORERS)


# --- data: read-only, so that a scorer that writes to its inputs fails everywhere ---------------------------------


def _blobs(rng):
    labels = np.repeat(np.arange(3), 50)
    return 2 * np.eye(3, 6)[labels] + rng.normal(size=(150, 6)), labels


def _skewed(rng):
    labels = np.repeat(np.arange(4), (40, 25, 10, 5))
    mixed = rng.normal(size=(4, 10))[labels] + rng.normal(size=(80, 10)) @ rng.normal(size=(10, 10))
    return np.exp(0.3 * mixed), labels


def _weak(rng):
    labels = rng.permutation(np.arange(120) % 3)
    features = rng.normal(size=(120, 8)) * np.arange(1, 9)
    features[:, 0] += labels
    return features, labels


def _wide(rng):
    labels = rng.permutation(np.arange(40) % 4)
    return 0.7 * rng.normal(size=(4, 60))[labels] + rng.normal(size=(40, 60)) * np.linspace(0.5, 2, 60), labels


DATA = {"blobs": _blobs, "skewed": _skewed, "weak": _weak, "wide": _wide}
ROUNDING = {"blobs": 1e-9, "skewed": 1e-9, "weak": 1e-9, "wide": 1e-5}
"""Relative; in-sample covariances of fewer samples than dimensions are singular, which costs digits."""


@functools.cache
def data(kind):
    """Return features, labels and logits of a head that knows the labels a little."""
    rng = np.random.default_rng(5)
    features, labels = DATA[kind](rng)
    logits = rng.normal(size=(len(labels), 7))
    logits[np.arange(len(labels)), labels] += 2
    for array in (features, labels, logits):
        array.flags.writeable = False
    return features, labels, logits


@functools.cache
def base_value(name, kind):
    features, labels, logits = data(kind)
    return score(name, features, labels, logits=logits).value


def reordered(features, labels, logits):
    order = np.random.default_rng(2).permutation(len(labels))
    return features[order], labels[order], logits[order]


def rotated(features, labels, logits):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(features.shape[1],) * 2))[0]
    return features @ turn, labels, logits


def duplicated(features, labels, logits):
    return np.hstack([features, features[:, : features.shape[1] // 2]]), labels, logits


CHANGES = {"sample order": reordered, "rotation": rotated, "duplicated columns": duplicated}


def changed_value(name, kind, change):
    features, labels, logits = change(*data(kind))
    return score(name, features, labels, logits=logits).value


# --- what each score declares -------------------------------------------------------------------------------------


@every_scorer
def test_a_declaration_names_the_paper_and_the_tasks_and_the_docstring_the_range_and_the_cost(name):
    scorer = COMPONENTS[name]
    assert scorer.name == name
    assert scorer.paper
    assert "classification" in scorer.tasks
    assert scorer.__doc__
    assert "Returns:" in scorer.__doc__
    assert "Cost:" in scorer.__doc__


@every_scorer
def test_options_are_keywords_with_defaults(name):
    options = list(inspect.signature(COMPONENTS[name].formula).parameters.values())[1:]
    assert all(option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("name", "invariance"), DECLARED)
def test_a_declared_invariance_holds(name, invariance, kind):
    value = changed_value(name, kind, CHANGES[invariance])
    assert value == pytest.approx(base_value(name, kind), rel=ROUNDING[kind], abs=ROUNDING[kind])


@pytest.mark.parametrize(("name", "invariance"), UNDECLARED)
def test_an_invariance_that_is_not_declared_is_broken_by_some_data(name, invariance):
    moved = [abs(changed_value(name, kind, CHANGES[invariance]) - base_value(name, kind)) for kind in DATA]
    assert max(moved) > 1e-5


# --- what none depends on -----------------------------------------------------------------------------------------

SAME = {
    "scale up": lambda x, y, z: (1e4 * x, y, z),
    "scale down": lambda x, y, z: (1e-5 * x, y, z),
    "offset": lambda x, y, z: (x + 1000.0 + 10.0 * np.arange(x.shape[1]), y, z),
    "dead columns": lambda x, y, z: (np.hstack([x[:, :2], np.full((len(x), 3), 3.3), x[:, 2:]]), y, z),
    "renumbered labels": lambda x, y, z: (x, np.array([30, -4, 7, 99])[y], z),
    "named labels": lambda x, y, z: (x, np.array(["zebra", "ant", "mole", "cat"])[y], z),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("change", SAME)
@every_scorer
def test_what_says_nothing_about_the_labels_does_not_matter(name, change, kind):
    value = changed_value(name, kind, SAME[change])
    assert value == pytest.approx(base_value(name, kind), rel=ROUNDING[kind], abs=ROUNDING[kind])


@pytest.mark.parametrize("kind", DATA)
@every_scorer
def test_float32_features_give_the_value_of_float64_to_their_precision(name, kind):
    value = changed_value(name, kind, lambda x, y, z: (x.astype(np.float32), y, z))
    assert value == pytest.approx(base_value(name, kind), rel=1e-5, abs=1e-6)


# --- odd shapes ---------------------------------------------------------------------------------------------------


def normal(n_samples, n_features):
    return np.random.default_rng(4).normal(size=(n_samples, n_features))


ODD = {
    "two samples": (normal(2, 3), np.arange(2)),
    "two samples in one dimension": (normal(2, 1), np.arange(2)),
    "two samples in many dimensions": (normal(2, 300), np.arange(2)),
    "fewer samples than dimensions": (normal(12, 500), np.arange(12) % 3),
    "a class of one sample": (normal(40, 4), np.where(np.arange(40) == 17, 2, np.arange(40) % 2)),
    "half the samples alone in their class": (normal(30, 4), np.maximum(np.arange(30) - 14, np.arange(30) % 2)),
    "every sample a class": (normal(12, 4), np.arange(12)),
    "every sample a class in many dimensions": (normal(12, 40), np.arange(12)),
    "a thousand classes": (normal(1200, 4), np.arange(1200) % 1000),
    "one column": (normal(30, 1), np.arange(30) % 3),
    "one column of two values": (np.repeat([[0.0], [1.0]], 10, axis=0), np.repeat([0, 1], 10)),
    "classes that are points": (np.repeat(np.eye(3), 10, axis=0), np.repeat(np.arange(3), 10)),
    "points without any relation to the labels": (np.repeat(np.eye(3), 10, axis=0), np.arange(30) % 3),
    "every sample several times": (np.repeat(normal(5, 3), 8, axis=0), np.arange(40) % 4),
    "mostly zeros": (np.maximum(normal(100, 50) - 2, 0), np.arange(100) % 4),
    "one sample far away": (np.vstack([normal(50, 4), [[1e8, 0, 0, 0]]]), np.arange(51) % 3),
    "columns of scales far apart": (normal(60, 5) * [1e8, 1e4, 1, 1e-4, 1e-8], np.arange(60) % 3),
    "a rare class": (normal(500, 10), np.repeat([0, 1], (2, 498))),
}


@pytest.mark.parametrize("case", ODD)
@every_scorer
def test_an_odd_shape_gives_a_finite_value(name, case):
    features, labels = ODD[case]
    result = score(name, features, labels, logits=np.random.default_rng(0).normal(size=(len(labels), 5)))
    assert np.isfinite(result.value)
    assert np.isfinite(list(result.details.values())).all()
    if result.terms is not None:
        assert result.terms.mean() == pytest.approx(result.value, rel=1e-9, abs=1e-12)


# --- tasks --------------------------------------------------------------------------------------------------------


def sees_labels(name):
    return COMPONENTS[name].family != "label-free" and name != "energy"


@functools.cache
def related(task):
    """Return features, labels they determine in part, and logits that follow the labels."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 6)) * np.linspace(1.0, 2.5, 6)
    numbers = features @ rng.normal(size=(6, 3)) + rng.normal(size=(120, 3))
    labels = {
        "classification": numbers.argmax(axis=1),
        "regression": numbers[:, 0],
        "several regression targets": numbers,
        "multilabel": (numbers > [0.0, 0.8, -0.8]).astype(int),
    }[task]
    return features, labels, 2 * numbers + rng.normal(size=(120, 3))


TASKS = ["classification", "regression", "several regression targets", "multilabel"]


def task_of(title):
    return "regression" if "regression" in title else title


DEFINED = [(name, title) for name in SCORERS for title in TASKS if task_of(title) in COMPONENTS[name].tasks]
NOT_DEFINED = [(name, title) for name in SCORERS for title in TASKS if task_of(title) not in COMPONENTS[name].tasks]


@pytest.mark.parametrize(("name", "title"), [each for each in DEFINED if sees_labels(each[0])])
def test_related_labels_score_higher_than_permuted_ones(name, title):
    features, labels, logits = related(title)
    value = score(name, features, labels, logits=logits).value
    permuted = score(name, features, np.random.default_rng(1).permutation(labels), logits=logits).value
    assert np.isfinite(value)
    assert value > permuted + 0.005


@pytest.mark.parametrize(("name", "title"), [each for each in DEFINED if not sees_labels(each[0])])
def test_a_score_that_does_not_see_the_labels_gives_the_same_for_all(name, title):
    features, labels, logits = related(title)
    value = score(name, features, labels, logits=logits).value
    assert score(name, features, np.random.default_rng(1).permutation(labels), logits=logits).value == value


@pytest.mark.parametrize(("name", "title"), NOT_DEFINED)
def test_a_task_that_is_not_declared_is_refused_in_one_sentence(name, title):
    features, labels, logits = related(title)
    with pytest.raises(DataError) as error:
        score(name, features, labels, logits=logits)
    assert str(error.value) == (
        f"{name} is defined for {' and '.join(sorted(COMPONENTS[name].tasks))}. Got {task_of(title)} labels. "
        "Choose another score; `neuralrank scores` lists what supports what."
    )


# --- what it is computed from -------------------------------------------------------------------------------------


@every_scorer
def test_what_a_score_needs_is_enough_and_nothing_less(name):
    features, labels, logits = data("blobs")
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = {"features": (features, {}), "probabilities": (None, {"probabilities": probabilities})}
    given["logits"] = (None, {"logits": logits})
    rows, head = given.pop(COMPONENTS[name].needs)
    assert score(name, rows, labels, **head).value == pytest.approx(base_value(name, "blobs"), rel=1e-12)
    if COMPONENTS[name].needs == "probabilities":
        given.pop("logits")  # they give the probabilities
    for rows, head in given.values():
        with pytest.raises(DataError, match=f"^{name} needs "):
            score(name, rows, labels, **head)


@every_scorer
def test_a_warning_of_noise_is_given_where_it_applies(name):
    features, labels, logits = data("wide")
    expected = COMPONENTS[name].noise_warning(prepare(features, labels, logits=logits))
    found = score(name, features, labels, logits=logits).warnings
    assert [warning for warning in found if "noise" in warning] == ([] if expected is None else [expected])


# --- purity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["blobs", "wide"])
@every_scorer
def test_repeating_gives_the_same_bits(name, kind):
    features, labels, logits = data(kind)
    first, second = (score(name, features, labels, logits=logits, seed=3) for _ in range(2))
    assert first.value == second.value
    assert first.details == second.details
    np.testing.assert_array_equal(first.terms, second.terms)


@every_scorer
def test_inputs_are_not_written_to(name):
    given = [array.copy() for array in data("blobs")]  # these could be written to
    score(name, given[0], given[1], logits=given[2], groups=np.arange(150) // 3)
    for array, original in zip(given, data("blobs"), strict=True):
        np.testing.assert_array_equal(array, original)


@every_scorer
def test_no_global_state_is_changed(name):
    features, labels, logits = data("blobs")
    score(name, features, labels, logits=logits)  # what is imported late may set its own state
    states = (repr(np.random.get_state()), random.getstate(), np.geterr(), list(warnings.filters))
    score(name, features, labels, logits=logits, seed=7)
    assert states == (repr(np.random.get_state()), random.getstate(), np.geterr(), list(warnings.filters))


@every_scorer
def test_the_global_seed_does_not_matter(name):
    state = np.random.get_state()
    try:
        np.random.seed(99)
        assert changed_value(name, "blobs", lambda *given: given) == base_value(name, "blobs")
    finally:
        np.random.set_state(state)


@every_scorer
def test_the_number_of_threads_does_not_matter(name):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 5
    features = rng.normal(size=(300, 100)) @ rng.normal(size=(100, 100)) / 10 + np.eye(5, 100)[labels]
    logits = rng.normal(size=(300, 9))
    values = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            values.append(score(name, features, labels, logits=logits).value)
    assert values[0] == pytest.approx(values[1], rel=1e-9, abs=1e-12)


# --- several at once ----------------------------------------------------------------------------------------------


def test_several_scores_are_those_of_each_alone():
    features, labels, logits = data("skewed")
    together = score_many(SCORERS, features, labels, logits=logits, seed=2)
    assert list(together) == SCORERS
    alone = {name: score(name, features, labels, logits=logits, seed=2).value for name in SCORERS}
    assert {name: each.value for name, each in together.items()} == alone


@pytest.mark.parametrize("groups", [None, np.arange(80) // 2], ids=["samples", "groups"])
def test_several_scores_share_one_decomposition_beside_that_of_compressed_features(monkeypatch, groups):
    calls = []
    monkeypatch.setattr(
        "neuralrank.scorers._prepared.decompose", lambda *given: calls.append(given[0].shape) or decompose(*given)
    )
    features, labels, logits = data("skewed")
    score_many(SCORERS, features, labels, logits=logits, groups=groups)
    assert calls == [(80, 10)] * 2


@pytest.mark.parametrize("title", ["regression", "several regression targets", "multilabel"])
def test_several_scores_of_other_tasks_share_decompositions(monkeypatch, title):
    calls = []
    monkeypatch.setattr(
        "neuralrank.scorers._prepared.decompose", lambda *given: calls.append(given[0].shape) or decompose(*given)
    )
    features, labels, logits = related(title)
    names = [name for name in SCORERS if task_of(title) in COMPONENTS[name].tasks]
    score_many(names, features, labels, logits=logits)
    assert calls == [(120, 6)] * (2 if title == "multilabel" else 1)


# --- static scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATIC)
def test_a_static_score_declares_itself_and_refuses_arrays(name):
    component = COMPONENTS[name]
    assert component.name == name
    assert component.paper
    assert component.__doc__
    assert "Returns:" in component.__doc__
    features, labels, _ = data("blobs")
    with pytest.raises(DataError, match=f"^{name} is a fact of a model's record"):
        score_many(["knn", name], features, labels)


@pytest.mark.parametrize("name", STATIC)
def test_a_static_score_is_higher_for_more_and_none_where_nothing_is_known(name, record):
    small, large = (record(size_bytes=size, n_params=size, reported_accuracy=float(size)) for size in (1, 10))
    unknown = record(size_bytes=0)
    component = COMPONENTS[name]
    assert component.of_record(large) > component.of_record(small)
    assert component.of_record(unknown) is None


def test_the_standard_error_is_that_of_the_mean_of_the_terms():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = rng.normal(size=(4, 5))[labels] + rng.normal(size=(400, 5))
    result = score("neuralrank", features, labels)
    assert result.terms is not None
    assert result.stderr == pytest.approx(result.terms.std(ddof=1) / 20)
    assert score("log_me", features, labels).stderr is None  # no mean of terms


def test_samples_of_one_group_count_once_in_the_standard_error():
    rng = np.random.default_rng(1)
    labels = np.arange(100) % 4
    features = rng.normal(size=(4, 5))[labels] + rng.normal(size=(100, 5))
    alone = score("silhouette", features, labels)
    fourfold = score("silhouette", np.repeat(features, 4, axis=0), np.repeat(labels, 4), groups=np.arange(400) // 4)
    assert alone.stderr is not None
    assert fourfold.stderr == pytest.approx(alone.stderr, rel=0.05)  # a copy is nearer to its own class


@pytest.mark.parametrize("name", SCORERS)
def test_values_and_details_are_plain_floats(name):
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3
    features = rng.normal(size=(3, 8))[labels] + rng.normal(size=(60, 8))
    result = score(name, features, labels, logits=rng.normal(size=(60, 5)))
    assert {type(value) for value in (result.value, *result.details.values())} == {float}
    assert "terms" not in repr(result)  # one number a sample
