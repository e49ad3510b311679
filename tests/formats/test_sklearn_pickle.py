"""Pickled estimators: looked at as text, refused unless trusted, and the same encoder as `.skops` where they are."""

import pickle
from pathlib import Path
from typing import Any

import hostile_sklearn
import joblib
import numpy as np
import pytest
from hostile_sklearn import forest, pipeline, rows

import neuralrank
from neuralrank import registry
from neuralrank.errors import ModelError

PICKLE = registry.get("formats", "sklearn_pickle")
X, LABELS = rows()
BATCH = {"x": X.astype(np.float32)}


def by_pickle(model: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(model))


WRITERS = {
    "m.pkl": by_pickle,
    "m.pickle": lambda model, path: path.write_bytes(pickle.dumps(model, protocol=2)),
    "m.joblib": joblib.dump,
    "zlib.joblib": lambda model, path: joblib.dump(model, path, compress=3),
    "gzip.joblib": lambda model, path: joblib.dump(model, path, compress=("gzip", 3)),
    "bz2.joblib": lambda model, path: joblib.dump(model, path, compress=("bz2", 3)),
    "xz.joblib": lambda model, path: joblib.dump(model, path, compress=("xz", 3)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_pickle_is_described_without_being_read(name: str, tmp_path: Path) -> None:
    WRITERS[name](pipeline(), tmp_path / name)
    facts = PICKLE.describe(tmp_path / name)
    assert (facts.format, facts.modality, facts.architecture) == ("sklearn_pickle", "tabular", "Pipeline")
    assert facts.needs_trust == (
        f"{name} needs to be skops or ONNX. Got a pickle of 'sklearn.pipeline.Pipeline', and loading a pickle runs "
        "code from the file. Convert it where you trust it: skops.io.dump(model, 'model.skops')."
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_trusted_pickle_gives_what_scikit_learn_gives(name: str, tmp_path: Path) -> None:
    model = pipeline()
    WRITERS[name](model, tmp_path / name)
    encoder = PICKLE(tmp_path / name, PICKLE.describe(tmp_path / name), n_threads=1)
    assert (encoder.layers, encoder.feature_layer) == (("standardscaler", "logits"), "standardscaler")
    found = encoder.encode(BATCH, ["logits"])["logits"].values
    np.testing.assert_allclose(found, model.decision_function(BATCH["x"].astype(np.float64)), atol=1e-5)


def test_other_pickles_are_not_claimed(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    for content in (b"", b"x", pickle.dumps([1, 2]), pickle.dumps(Path("x")), b"PK\x03\x04sklearn.", b"\x80\x04"):
        path.write_bytes(content)
        assert PICKLE.describe(path) is None
    by_pickle(pipeline(), tmp_path / "m.bin")
    assert PICKLE.describe(tmp_path / "m.bin") is None


@pytest.mark.parametrize("make", hostile_sklearn.PICKLES, ids=lambda make: make.__name__)
def test_looking_at_a_payload_does_nothing(make: Any, tmp_path: Path) -> None:
    path, trace = tmp_path / "m.joblib", tmp_path / "trace"
    make(path, trace)
    facts = PICKLE.describe(path)
    assert not trace.exists()
    if make is hostile_sklearn.pickled_call:
        assert facts is None
    else:
        assert "It also names 'posix.system'." in facts.needs_trust


def test_a_trusted_pickle_that_is_damaged_fails_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump(pipeline(), path)
    whole, facts = path.read_bytes(), PICKLE.describe(path)
    for length in np.linspace(0, len(whole) - 1, 20).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"^m\.joblib needs a pickle that joblib can load\. Got: [^\n]+$"):
            PICKLE(path, facts)


def test_a_trusted_pickle_of_something_else_fails_with_a_sentence(tmp_path: Path) -> None:
    by_pickle({"model": pipeline()}, tmp_path / "m.pkl")
    with pytest.raises(ModelError) as failure:
        PICKLE(tmp_path / "m.pkl", PICKLE.describe(tmp_path / "m.pkl"))
    assert str(failure.value) == ("m.pkl needs a fitted scikit-learn estimator. Got dict. Save the estimator itself.")


# --- the whole path ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    by_pickle(pipeline(), models / "linear.pkl")
    joblib.dump(forest(), models / "forest.joblib")
    hostile_sklearn.pickled_call(models / "payload.pkl", tmp_path / "trace")
    hostile_sklearn.pickled_call_in_a_model(models / "carrier.pkl", tmp_path / "trace")
    np.savez(tmp_path / "rows.npz", X=X, y=LABELS)
    return tmp_path


def test_without_trust_no_pickle_is_opened(folder: Path) -> None:
    ranking = neuralrank.rank(folder / "models", folder / "rows.npz")
    assert ranking.models == ()
    assert len(ranking.failures) == 4
    assert all("runs code from the file" in failure.error for failure in ranking.failures)
    assert not (folder / "trace").exists()


def test_only_the_pickle_that_is_named_is_opened(folder: Path) -> None:
    from neuralrank.sources.folder import folder as source

    named = {item.name: item.model_id for item in source(folder / "models").list_models() if hasattr(item, "name")}
    ranking = neuralrank.rank(folder / "models", folder / "rows.npz", trust=(named["linear.pkl"],))
    assert [model.name for model in ranking.models] == ["linear.pkl"]
    errors = {failure.model_id.split(":")[1].split("@")[0]: failure.error for failure in ranking.failures}
    assert errors["forest.joblib"].endswith(f"If you trust it, add --trust '{named['forest.joblib']}'.")
    assert set(errors) == {"forest.joblib", "carrier.pkl", "payload.pkl"}
    assert not (folder / "trace").exists()
