"""`.skops` files: saved here, run against scikit-learn, damaged, and turned into weapons that must not go off."""

import io
import zipfile
from pathlib import Path
from typing import Any

import hostile_sklearn
import numpy as np
import pytest
import skops.io
from hostile_sklearn import forest, pipeline, rows
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import neuralrank
from neuralrank import registry
from neuralrank.errors import ModelError

SKOPS = registry.get("formats", "skops_file")
X, LABELS = rows()
BATCH = {"x": X.astype(np.float32)}
EXACT = BATCH["x"].astype(np.float64)


def saved(model: Any, path: Path) -> Path:
    skops.io.dump(model, path)
    return path


def load(path: Path) -> Any:
    return SKOPS(path, SKOPS.describe(path), n_threads=1)


def values(encoder: Any, layer: str | None) -> Any:
    return encoder.encode(BATCH, [layer])[layer].values


def probabilities(logits: Any) -> Any:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


# --- what a model says and gives ---------------------------------------------------------------------------------


def test_a_pipeline_says_what_it_is(tmp_path: Path) -> None:
    path = saved(pipeline(), tmp_path / "m.skops")
    facts = SKOPS.describe(path)
    assert (facts.format, facts.modality, facts.files) == ("skops_file", "tabular", (path,))
    assert (facts.architecture, facts.label_names) == ("LogisticRegression", ("a", "b", "c"))
    assert (facts.needs_trust, facts.assumptions) == (None, ())


def test_a_pipeline_gives_its_steps(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(X, LABELS)
    encoder = load(saved(model, tmp_path / "m.skops"))
    assert encoder.layers == ("standardscaler", "pca", "logits")
    assert (encoder.feature_layer, encoder.head_layer, encoder.preprocessing) == ("pca", "logits", None)
    np.testing.assert_allclose(values(encoder, "pca"), model[:-1].transform(EXACT), atol=1e-5)
    np.testing.assert_allclose(values(encoder, "standardscaler"), model[0].transform(EXACT), atol=1e-5)
    np.testing.assert_allclose(values(encoder, "logits"), model.decision_function(EXACT), atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_a_network_gives_its_hidden_layers(activation: str, tmp_path: Path) -> None:
    model = MLPClassifier((6, 5), activation=activation, max_iter=3000, random_state=0).fit(X, LABELS)
    path = saved(model, tmp_path / "m.skops")
    facts = SKOPS.describe(path)
    encoder = load(path)
    assert encoder.layers == ("hidden.1", "hidden.2", "logits")
    assert encoder.feature_layer == "hidden.2"
    assert values(encoder, "hidden.2").shape == (60, 5)
    np.testing.assert_allclose(probabilities(values(encoder, "logits")), model.predict_proba(EXACT), atol=1e-5)
    assert facts.n_params == sum(part.size for part in (*model.coefs_, *model.intercepts_))


def test_a_regression_network_has_no_head(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=3000, random_state=0)).fit(
        X, X.sum(1)
    )
    encoder = load(saved(model, tmp_path / "m.skops"))
    assert encoder.layers == ("standardscaler", "hidden.1", "prediction")
    assert (encoder.feature_layer, encoder.head_layer) == ("hidden.1", None)
    np.testing.assert_allclose(values(encoder, "prediction")[:, 0], model.predict(EXACT), atol=1e-5)


def test_a_forest_gives_what_each_tree_says(tmp_path: Path) -> None:
    model = forest()
    encoder = load(saved(model, tmp_path / "m.skops"))
    assert (encoder.layers, encoder.feature_layer) == (("trees", "logits"), "trees")
    trees = values(encoder, "trees").reshape(60, 3, 3)
    np.testing.assert_allclose(trees.mean(1), model.predict_proba(EXACT), atol=1e-6)
    np.testing.assert_allclose(probabilities(values(encoder, "logits")), model.predict_proba(EXACT), atol=1e-6)
    regressor = RandomForestRegressor(4, random_state=0).fit(X, X[:, 0])
    encoder = load(saved(regressor, tmp_path / "m.skops"))
    np.testing.assert_allclose(values(encoder, "trees").mean(1), regressor.predict(EXACT), atol=1e-6)


def test_a_large_forest_is_cut_to_its_first_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuralrank.formats._sklearn_encoder.MAX_TREE_FEATURES", 7)
    encoder = load(saved(forest(), tmp_path / "m.skops"))
    np.testing.assert_allclose(values(encoder, "trees")[:, 3:], forest().estimators_[1].predict_proba(EXACT))


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        LinearSVC(),
        DecisionTreeClassifier(max_depth=3),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_alone_gives_its_logits(model: Any, n_classes: int, tmp_path: Path) -> None:
    kept = np.isin(LABELS, ["a", "b", "c"][:n_classes])
    model.fit(X[kept], LABELS[kept])
    encoder = load(saved(model, tmp_path / "m.skops"))
    assert (encoder.layers, encoder.feature_layer, encoder.head_layer) == (("logits",), "logits", "logits")
    found = values(encoder, "logits")
    assert found.shape == (60, n_classes)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(probabilities(found), model.predict_proba(EXACT), atol=1e-5)
    np.testing.assert_array_equal(model.classes_[found.argmax(1)], model.predict(EXACT))


def test_a_search_and_a_transformer_and_a_regression(tmp_path: Path) -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1, 2]})
    path = saved(search.fit(X, LABELS).best_estimator_, tmp_path / "m.skops")
    assert load(path).layers == ("standardscaler", "logits")
    encoder = load(saved(PCA(3).fit(X), tmp_path / "m.skops"))
    assert (encoder.layers, encoder.head_layer) == (("features",), None)
    encoder = load(saved(LinearRegression().fit(X, X[:, :2]), tmp_path / "m.skops"))
    assert values(encoder, "prediction").shape == (60, 2)
    hot = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(X.round(), LABELS)
    path = saved(hot, tmp_path / "m.skops")
    assert load(path).feature_layer == "onehotencoder"


def test_sample_order_and_batch_size_do_not_matter(tmp_path: Path) -> None:
    for model in (pipeline(), forest()):
        encoder = load(saved(model, tmp_path / "m.skops"))
        layer = encoder.feature_layer
        single = [encoder.encode({"x": BATCH["x"][i : i + 1]}, [layer])[layer].values for i in reversed(range(8))]
        eight = encoder.encode({"x": BATCH["x"][:8]}, [layer])[layer].values
        np.testing.assert_allclose(eight[::-1], np.concatenate(single), atol=1e-6)


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    encoder = load(saved(pipeline(), tmp_path / "m.skops"))
    with pytest.raises(ModelError) as failure:
        encoder.encode({"x": np.zeros((2, 7), dtype=np.float32)}, ["logits"])
    assert str(failure.value) == ("m.skops needs vectors of 4 numbers. Got 7. Choose a model made for these columns.")


def test_another_version_of_scikit_learn_is_said(tmp_path: Path) -> None:
    def change(schema: Any, entries: Any) -> None:
        schema["content"]["content"]["_sklearn_version"]["content"] = '"1.2.0"'

    hostile_sklearn.changed(tmp_path / "m.skops", pipeline(), change)
    (sentence,) = SKOPS.describe(tmp_path / "m.skops").assumptions
    assert sentence.startswith("It was made with scikit-learn 1.2.0; ")
    assert load(tmp_path / "m.skops").layers == ("standardscaler", "logits")


@pytest.mark.parametrize("model", [StandardScaler(), LogisticRegression(), make_pipeline(StandardScaler())])
def test_a_model_that_was_never_fitted_fails_with_a_sentence(model: Any, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "m.skops")
    assert complaint(lambda: values(load(path), load(path).feature_layer)) is not None


# --- damage and weapons ------------------------------------------------------------------------------------------


def complaint(action: Any) -> str | None:
    """Return the one line that an action fails with, None if it does not fail."""
    try:
        action()
    except ModelError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = saved(pipeline(), tmp_path / "m.skops").read_bytes()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        (tmp_path / "m.skops").write_bytes(whole[:length])
        assert complaint(lambda: load(tmp_path / "m.skops")) is not None


def test_flipped_bits_are_refused_or_harmless(tmp_path: Path) -> None:
    whole, rng, n_refused = saved(forest(), tmp_path / "m.skops").read_bytes(), np.random.default_rng(0), 0
    for place in rng.integers(0, len(whole), 100):
        flipped = bytes([whole[place] ^ 1 << int(rng.integers(8))])
        (tmp_path / "m.skops").write_bytes(whole[:place] + flipped + whole[place + 1 :])
        n_refused += complaint(lambda: load(tmp_path / "m.skops")) is not None
    assert n_refused > 60


@pytest.mark.parametrize("make", hostile_sklearn.SKOPS_CODE, ids=lambda make: make.__name__)
def test_types_that_run_code_need_trust(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "m.skops", tmp_path / "trace")
    facts = SKOPS.describe(tmp_path / "m.skops")
    assert facts.needs_trust.startswith("m.skops needs types that are known to be harmless. Got ")
    assert not (tmp_path / "trace").exists()


REFUSED = (*hostile_sklearn.SKOPS_NUMBERS, *hostile_sklearn.SKOPS_ARCHIVES)


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_hostile_file_is_refused_and_does_nothing(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "m.skops", tmp_path / "trace")
    message = complaint(lambda: load(tmp_path / "m.skops"))
    assert message is not None
    assert message.startswith("m.skops")
    assert not (tmp_path / "trace").exists()


def test_a_type_that_skops_does_not_know_is_named_and_loads_with_trust(tmp_path: Path) -> None:
    path = saved(SVC().fit(X, LABELS), tmp_path / "m.skops")
    facts = SKOPS.describe(path)
    assert facts.needs_trust == (
        "m.skops needs types that are known to be harmless. Got 'sklearn.svm._classes.SVC', which may run code, or "
        "native code that believes the file. Export it with skl2onnx."
    )
    assert values(SKOPS(path, facts), "logits").shape == (60, 3)


def test_files_of_other_kinds_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(b"x")
    assert SKOPS.describe(tmp_path / "m.zip") is None
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("a.txt", "x")
    assert complaint(lambda: SKOPS.describe(tmp_path / "m.skops")) == (
        "m.skops needs the entry 'schema.json'. Got none. Save the model again."
    )


def test_compressed_files_are_read(tmp_path: Path) -> None:
    skops.io.dump(pipeline(), tmp_path / "m.skops", compression=zipfile.ZIP_DEFLATED)
    assert load(tmp_path / "m.skops").layers == ("standardscaler", "logits")


# --- the whole path ----------------------------------------------------------------------------------------------


def test_a_folder_of_estimators_is_ranked(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    saved(pipeline(), models / "linear.skops")
    saved(forest(), models / "forest.skops")
    saved(PCA(2).fit(np.random.default_rng(0).normal(size=(50, 7))), models / "other.skops")
    stream = io.BytesIO()
    np.savez(stream, X=X, y=LABELS)
    (tmp_path / "rows.npz").write_bytes(stream.getvalue())
    ranking = neuralrank.rank(models, tmp_path / "rows.npz", also=("leep",))
    assert {model.name for model in ranking.models} == {"linear.skops", "forest.skops"}
    assert all(model.scores["leep"] is not None for model in ranking.models)
    (failure,) = ranking.failures
    assert failure.error == "other.skops needs vectors of 7 numbers. Got 4. Choose a model made for these columns."
