"""The exact sentence for every wrong input: what was needed, what was got, what to do."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError, UnknownNameError, UsageError
from neuralrank.scorers import score, score_many

GOOD = np.random.default_rng(0).normal(size=(20, 4))
HALVES = np.arange(20) % 2
TARGETS = GOOD[:, 0] + 0.01
FEATURES_SHAPE = "Features need the shape (n_samples, n_features), neither of them 0."
LABELS_SHAPE = "Labels need the shape (n_samples,), or (n_samples, n_targets) for several."
HEAD_SHAPE = "need the shape (n_samples, n_source_classes), numbers of at least 2 classes."


def with_value(value):
    changed = GOOD.copy()
    changed[[3, 7], 1] = value
    return changed


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        pytest.param(GOOD[:, 0], f"{FEATURES_SHAPE} Got (20,). Pool each sample to one row first.", id="flat"),
        pytest.param(GOOD[:, :, None], f"{FEATURES_SHAPE} Got (20, 4, 1). Pool each sample to one row first.", id="3d"),
        pytest.param(GOOD[:, :0], f"{FEATURES_SHAPE} Got (20, 0). Pool each sample to one row first.", id="empty"),
        pytest.param(3.0, f"{FEATURES_SHAPE} Got (). Pool each sample to one row first.", id="number"),
        pytest.param(
            [[1.0, 2.0], [3.0]],
            "An array needs rows of one length. Got lists of unlike lengths. Give each sample as many values.",
            id="ragged",
        ),
        pytest.param(
            np.array([[None]] * 20),
            "Features need to be numbers. Got an array of type object. Convert them to float32.",
            id="objects",
        ),
        pytest.param(
            np.array([["a"]] * 20),
            "Features need to be numbers. Got an array of type <U1. Convert them to float32.",
            id="strings",
        ),
        pytest.param(
            GOOD.astype(complex),
            "Features need to be numbers. Got an array of type complex128. Convert them to float32.",
            id="complex",
        ),
        pytest.param(
            with_value(np.nan),
            "Features need to be finite. Got NaN or infinity in 2 of 20 rows. Check the model that made them.",
            id="NaN",
        ),
        pytest.param(
            with_value(-np.inf),
            "Features need to be finite. Got NaN or infinity in 2 of 20 rows. Check the model that made them.",
            id="infinity",
        ),
        pytest.param(
            np.full((20, 4), 0.1),
            "Features need to differ between samples. Got the same values for all. Check the model or the layer.",
            id="constant",
        ),
        pytest.param(
            None, "neuralrank needs features. Got None. Give one row of features per sample.", id="none at all"
        ),
        pytest.param(
            GOOD[:19],
            "A score needs one label per feature row. Got 19 rows and 20 labels. Build both from the same probe.",
            id="another number of rows",
        ),
    ],
)
def test_bad_features_get_one_sentence(features, sentence):
    with pytest.raises(DataError) as error:
        score("neuralrank", features, HALVES)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("labels", "task", "sentence"),
    [
        pytest.param(
            HALVES[:19],
            None,
            "A score needs one label per feature row. Got 20 rows and 19 labels. Build both from the same probe.",
            id="another number of labels",
        ),
        pytest.param([], None, f"{LABELS_SHAPE} Got (0,). Give one label per sample.", id="empty"),
        pytest.param(None, None, f"{LABELS_SHAPE} Got (). Give one label per sample.", id="none"),
        pytest.param(np.zeros((20, 2, 2)), None, f"{LABELS_SHAPE} Got (20, 2, 2). Give one label per sample.", id="3d"),
        pytest.param(
            np.zeros(20, dtype=int),
            None,
            "A score needs at least 2 classes. Got 1. Use data with more classes.",
            id="one class",
        ),
        pytest.param(
            np.array(["a", 1] * 10, dtype=object),
            None,
            "Labels need to be of one kind. Got strings and numbers mixed. Convert them first.",
            id="mixed",
        ),
        pytest.param(
            np.array(["a", None] * 10, dtype=object),
            None,
            "Labels need a value for every sample. Got None or NaN for some. Leave those samples out.",
            id="missing",
        ),
        pytest.param(
            np.array(["a", np.nan] * 10, dtype=object),
            None,
            "Labels need a value for every sample. Got None or NaN for some. Leave those samples out.",
            id="missing in pandas",
        ),
        pytest.param(
            np.array([{}, ()] * 10, dtype=object),
            None,
            "Labels need to be strings, whole numbers or floats. Got other objects. Convert them first.",
            id="objects",
        ),
        pytest.param(
            np.where(HALVES, np.nan, 1.0),
            None,
            "Labels need to be finite. Got NaN or infinity. Leave those samples out.",
            id="NaN",
        ),
        pytest.param(
            np.full(20, 0.5),
            None,
            "Regression needs labels that differ. Got one value. Choose another label column.",
            id="one value",
        ),
        pytest.param(
            np.column_stack([TARGETS, np.ones(20)]),
            None,
            "Regression needs labels that differ. Got one value. Choose another label column.",
            id="one value of one target",
        ),
        pytest.param(
            ["a", "b"] * 10,
            "regression",
            "Regression needs numeric labels. Got <U1. Choose --task classification.",
            id="strings for regression",
        ),
        pytest.param(
            np.column_stack([HALVES, HALVES]),
            "classification",
            "Classification needs labels of shape (n_samples,). Got (20, 2). Choose --task multilabel.",
            id="columns for classification",
        ),
        pytest.param(
            HALVES,
            "multilabel",
            "Multilabel needs labels of shape (n_samples, n_labels), each 0 or 1. Got int64 of shape (20,). "
            "Give one column per label.",
            id="one column for multilabel",
        ),
        pytest.param(
            np.column_stack([HALVES, np.ones(20, dtype=int)]),
            None,
            "Every label needs samples with and without it. Got 1 of 2 labels that all or none have. Leave those out.",
            id="a label that all have",
        ),
    ],
)
def test_bad_labels_get_one_sentence(labels, task, sentence):
    with pytest.raises(DataError) as error:
        score("neuralrank", GOOD, labels, task=task)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        pytest.param(
            [1, 2, 3], "Groups need the shape (20,). Got (3,). Give one group per sample.", id="another number"
        ),
        pytest.param(
            np.zeros((20, 2)), "Groups need the shape (20,). Got (20, 2). Give one group per sample.", id="two columns"
        ),
        pytest.param(
            ["p"] * 20, "Held-out scores need at least 2 groups. Got 1. Choose another group column.", id="one group"
        ),
        pytest.param(
            np.array(["p", None] * 10, dtype=object),
            "Groups need a value for every sample. Got None or NaN for some. Leave those samples out.",
            id="missing",
        ),
        pytest.param(
            np.array(["p", 1] * 10, dtype=object),
            "Groups need to be of one kind. Got strings and numbers mixed. Convert them first.",
            id="mixed",
        ),
        pytest.param(
            np.where(HALVES, np.nan, np.arange(20.0)),
            "Groups need to be finite. Got NaN or infinity. Leave those samples out.",
            id="NaN",
        ),
    ],
)
def test_bad_groups_get_one_sentence(groups, sentence):
    with pytest.raises(DataError) as error:
        score("neuralrank", GOOD, HALVES, groups=groups)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        pytest.param(
            {"probabilities": np.full((20, 2), 0.6)},
            "Probabilities need to be at least 0 with rows that sum to 1. Got values from 0.6 and row sums from 1.2 to "
            "1.2. Pass the head's logits as logits= instead.",
            id="sums",
        ),
        pytest.param(
            {"probabilities": np.tile([1.5, -0.5], (20, 1))},
            "Probabilities need to be at least 0 with rows that sum to 1. Got values from -0.5 and row sums from 1 to "
            "1. Pass the head's logits as logits= instead.",
            id="negative",
        ),
        pytest.param(
            {"probabilities": np.full((19, 2), 0.5)},
            "A score needs one label per probability row. Got 19 rows and 20 labels. Build both from the same probe.",
            id="another number of probabilities",
        ),
        pytest.param(
            {"logits": np.zeros((3, 2))},
            "A score needs one label per logit row. Got 3 rows and 20 labels. Build both from the same probe.",
            id="another number of logits",
        ),
        pytest.param(
            {"probabilities": np.ones(20)},
            f"Probabilities {HEAD_SHAPE} Got float64 of shape (20,). Give one row of the model's head per sample.",
            id="flat",
        ),
        pytest.param(
            {"logits": np.zeros((20, 1))},
            f"Logits {HEAD_SHAPE} Got float64 of shape (20, 1). Give one row of the model's head per sample.",
            id="one class",
        ),
        pytest.param(
            {"probabilities": np.full((20, 2), np.nan)},
            "Probabilities need to be finite. Got NaN or infinity in 20 of 20 rows. Check the model that made them.",
            id="NaN",
        ),
        pytest.param(
            {},
            "leep needs the class probabilities of the model's own head. Got none. Pass probabilities= or logits=, or "
            "choose a score of the features.",
            id="no head",
        ),
    ],
)
def test_a_bad_head_gets_one_sentence(head, sentence):
    with pytest.raises(DataError) as error:
        score("leep", GOOD, HALVES, **head)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("probabilities", "got"),
    [(None, "none"), (np.full((20, 2), 0.5), "probabilities, which have lost them")],
    ids=["no head", "probabilities"],
)
def test_energy_needs_logits(probabilities, got):
    with pytest.raises(DataError) as error:
        score("energy", GOOD, HALVES, probabilities)
    assert str(error.value) == (
        f"energy needs the logits of the model's own head. Got {got}. Pass logits=, or choose a score of the features."
    )


def test_a_score_that_is_not_defined_for_the_task_says_so():
    with pytest.raises(DataError) as error:
        score("silhouette", GOOD, TARGETS)
    assert str(error.value) == (
        "silhouette is defined for classification. Got regression labels. Choose another score; "
        "`neuralrank scores` lists what supports what."
    )


def test_an_unknown_score_gets_a_suggestion():
    with pytest.raises(UnknownNameError) as error:
        score("hscor", GOOD, HALVES)
    available = ", ".join(registry.names("scorers"))
    assert str(error.value) == f"Unknown scorer 'hscor'. Did you mean 'h_score'? Available: {available}."


def test_an_unknown_score_among_several_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr("neuralrank.scorers.prepare", None)
    with pytest.raises(UnknownNameError, match=r"^Unknown scorer 'hscor'\. Did you mean 'h_score'\?"):
        score_many(["knn", "hscor"], GOOD, HALVES)


def test_an_unknown_option_gets_a_suggestion():
    with pytest.raises(UsageError) as error:
        score("knn", GOOD, HALVES, neighbors=3)
    assert str(error.value) == (
        "knn has no option 'neighbors'. Did you mean 'neighbours'? It has: neighbours, metric, max_queries."
    )


def test_an_option_of_a_score_without_any_is_refused():
    with pytest.raises(UsageError) as error:
        score("h_score", GOOD, HALVES, neighbours=3)
    assert str(error.value) == "h_score has no option 'neighbours'. It has: none."


def test_an_unknown_task_gets_a_suggestion():
    with pytest.raises(UsageError) as error:
        score("knn", GOOD, HALVES, task="regresion")
    assert str(error.value) == (
        "Unknown task 'regresion'. Did you mean 'regression'? Available: classification, multilabel, regression."
    )


@pytest.mark.parametrize("name", ["log_params", "reported_accuracy", "size"])
def test_a_static_score_is_none_of_arrays(name):
    with pytest.raises(DataError) as error:
        score(name, GOOD, HALVES)
    assert str(error.value) == (
        f"{name} is a fact of a model's record, not a score of arrays. Got arrays. "
        f"Rank models with it: `neuralrank rank … --score {name}`."
    )


def test_one_name_in_place_of_several_is_refused():
    with pytest.raises(UsageError) as error:
        score_many("h_score", GOOD, HALVES)
    assert str(error.value) == "score_many needs a list of names. Got the text 'h_score'. Write ['h_score']."
