"""`neuralrank.rank` from Python: every kind of data, what comes back, and that nothing of the caller's is touched."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_zoo import CLASSES, Outcome, network, save

import neuralrank
from neuralrank.errors import DataError, NothingRankedError, UsageError

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture
def crafted(models: Path) -> Path:
    return models / "crafted.onnx"


@pytest.fixture
def expected(crafted: Path, photos: Path, warm_cache: Path) -> float:
    """The score of the crafted model on the photos; arrays of the same pixels are the same samples."""
    best = neuralrank.rank(crafted, photos, also=(), cache_dir=warm_cache).best()
    assert best is not None
    assert best.cached
    return best.score


def score(ranking: neuralrank.Ranking) -> float:
    assert ranking.failures == ()
    best = ranking.best()
    assert best is not None
    return best.score


# --- kinds of data -----------------------------------------------------------------------------------------------


def test_pair_of_arrays(crafted: Path, images: Images, warm_cache: Path, expected: float) -> None:
    pixels, labels = images
    before = pixels.copy(), labels.copy()
    ranking = neuralrank.rank(crafted, (pixels, labels), also=(), cache_dir=warm_cache)
    assert score(ranking) == expected
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert ranking.target.class_names == ("0", "1", "2", "3")


def test_path_as_text_and_a_list_of_models(models: Path, photos: Path, warm_cache: Path) -> None:
    paths = [str(models / "deep"), str(models / "plain.onnx")]
    ranking = neuralrank.rank(paths, str(photos), cache_dir=str(warm_cache))
    assert [model.name for model in ranking.models] == ["random.onnx", "plain.onnx"]


def test_pandas_frame_of_paths(crafted: Path, photos: Path, warm_cache: Path, expected: float) -> None:
    pandas = pytest.importorskip("pandas")
    paths = sorted(photos.rglob("*.png"))
    frame = pandas.DataFrame({"picture": [str(path) for path in paths], "kind": [path.parent.name for path in paths]})
    before = frame.copy()
    ranking = neuralrank.rank(crafted, frame, label_column="kind", also=(), cache_dir=warm_cache)
    assert score(ranking) == expected
    assert ranking.target.class_names == CLASSES
    pandas.testing.assert_frame_equal(frame, before)


def test_hugging_face_dataset(crafted: Path, images: Images, warm_cache: Path, expected: float) -> None:
    datasets = pytest.importorskip("datasets")
    pixels, labels = images
    encoded = []
    for array in pixels:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, format="PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    features = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=list(CLASSES))})
    data = datasets.Dataset.from_dict({"img": encoded, "fine": labels.tolist()}, features=features)
    ranking = neuralrank.rank(crafted, data, also=(), cache_dir=warm_cache)
    assert score(ranking) == expected
    assert ranking.target.class_names == CLASSES


def test_torch_dataset(crafted: Path, images: Images, warm_cache: Path, expected: float) -> None:
    torch = pytest.importorskip("torch")
    pixels, labels = images
    data = torch.utils.data.TensorDataset(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))
    assert score(neuralrank.rank(crafted, data, also=(), cache_dir=warm_cache)) == expected


def test_target_read_before(crafted: Path, photos: Path, warm_cache: Path, expected: float) -> None:
    target = neuralrank.read_target(photos)
    assert score(neuralrank.rank(crafted, target, also=(), cache_dir=warm_cache)) == expected


def test_list_of_samples_and_labels(crafted: Path, images: Images, warm_cache: Path, expected: float) -> None:
    pairs = [(pixels, int(label)) for pixels, label in zip(*images, strict=True)]
    assert score(neuralrank.rank(crafted, pairs, also=(), cache_dir=warm_cache)) == expected


# --- what is scored ----------------------------------------------------------------------------------------------


def test_groups_argument_holds_groups_out_together(crafted: Path, images: Images, warm_cache: Path) -> None:
    pixels, labels = images
    groups = [f"patient {number // 3}" for number in range(len(labels))]
    ranking = neuralrank.rank(crafted, (pixels, labels), groups=groups, also=(), cache_dir=warm_cache)
    assert ranking.target.n_groups == 40
    with pytest.raises(DataError, match=r"^Groups need one entry per sample\. Got 120 samples and 3 group entries\."):
        neuralrank.rank(crafted, (pixels, labels), groups=groups[:3], cache_dir=warm_cache)
    with pytest.raises(DataError, match=r"^Held-out scores need at least 2 groups of samples\. Got 1\."):
        neuralrank.rank(crafted, (pixels, labels), groups=["same"] * 120, cache_dir=warm_cache)


def test_order_of_the_samples_does_not_matter(crafted: Path, images: Images, expected: float) -> None:
    pixels, labels = images
    order = np.random.default_rng(0).permutation(len(labels))
    ranking = neuralrank.rank(crafted, (pixels[order], labels[order]), also=())
    assert score(ranking) == pytest.approx(expected, abs=1e-6)


def test_shuffled_labels_are_at_chance(crafted: Path, images: Images, warm_cache: Path) -> None:
    pixels, labels = images
    shuffled = np.random.default_rng(0).permutation(labels)
    ranking = neuralrank.rank(crafted, (pixels, shuffled), also=(), cache_dir=warm_cache)
    assert score(ranking) <= 0.02
    assert ranking.models[0].warnings[0] == "no better than chance (neuralrank of 0.00)."


def test_two_calls_do_not_disturb_each_other(models: Path, images: Images, warm_cache: Path) -> None:
    pixels, labels = images

    def call(chosen: NDArray[np.int64], seed: int) -> Any:
        data = (pixels[chosen], labels[chosen])
        return neuralrank.rank(models, data, seed=seed, cache_dir=warm_cache)

    state = np.random.get_state()[1]
    everything, half = np.arange(120), np.arange(0, 120, 2)
    first, other, again = call(everything, 0), call(half, 1), call(everything, 0)
    assert first.models == again.models
    assert first.models != other.models
    assert first.run_id != again.run_id
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_progress_is_told_and_may_stop_the_run(models: Path, photos: Path, warm_cache: Path) -> None:
    told: list[Any] = []
    neuralrank.rank(models, photos, also=(), cache_dir=warm_cache, progress=told.append)
    ends = [event for event in told if event.outcome is not None]
    assert sorted(event.model for event in ends) == ["crafted.onnx", "deep/random.onnx", "plain.onnx"]
    assert [(event.n_models_done, event.n_models) for event in ends] == [(1, 3), (2, 3), (3, 3)]

    def stop(event: Any) -> None:
        if event.n_models_done == 2:
            raise KeyboardInterrupt

    ranking = neuralrank.rank(models, photos, also=(), cache_dir=warm_cache, progress=stop)
    assert len(ranking.models) == 2
    assert ranking.stopped == "interrupted after 2 of 3 models"


def test_limits_stop_one_model(models: Path, own_models: Path, photos: Path, warm_cache: Path) -> None:
    import bad_models

    bad_models.endless_model(own_models)
    limits = neuralrank.Limits(timeout_seconds=2.5)
    ranking = neuralrank.rank(own_models, photos, also=(), cache_dir=warm_cache, limits=limits)
    assert [failure.model_id.partition("@")[0] for failure in ranking.failures] == ["folder:bad.onnx"]
    assert "gave no sign of progress for 2.5 s" in ranking.failures[0].error
    assert len(ranking.models) == 3


def test_wrong_arguments_raise_the_errors_of_the_command_line(models: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Unknown scorer 'knnn'\. Did you mean 'knn'\?"):
        neuralrank.rank(models, photos, score="knnn")
    with pytest.raises(NothingRankedError, match=r"^A ranking needs at least one model\. Got none in "):
        neuralrank.rank(tmp_path, photos)
    with pytest.raises(UsageError, match=r"^--score silhouette is not defined for regression\."):
        neuralrank.rank(models, (np.zeros((20, 8, 8), np.uint8), np.linspace(0, 1.5, 20)), score="silhouette")


# --- what comes back ---------------------------------------------------------------------------------------------


@pytest.fixture
def ranking(models: Path, photos: Path, warm_cache: Path) -> neuralrank.Ranking:
    return neuralrank.rank(models, photos, cache_dir=warm_cache)


def test_ranking_as_json_and_html(ranking: neuralrank.Ranking) -> None:
    rows = Outcome(code=0, out=ranking.to_json(), err="").ranking["ranking"]
    assert [row["model_id"] for row in rows] == [model.model_id for model in ranking.models]
    assert json.loads(ranking.to_json())["ranking"][0]["score"] == ranking.models[0].score
    page = ranking.to_html()
    assert page.startswith("<!doctype html>")
    assert all(name in page for name in ("crafted.onnx", "random.onnx", "plain.onnx"))


def test_ranking_as_a_frame(ranking: neuralrank.Ranking) -> None:
    pytest.importorskip("pandas")
    frame = ranking.to_pandas()
    assert list(frame["name"]) == ["crafted.onnx", "deep/random.onnx", "plain.onnx"]
    assert list(frame["score"]) == [model.score for model in ranking.models]
    assert frame["score"].is_monotonic_decreasing


def test_ranking_as_a_figure(ranking: neuralrank.Ranking, tmp_path: Path) -> None:
    figure = ranking.plot()
    figure.savefig(tmp_path / "scores.png")
    with Image.open(tmp_path / "scores.png") as picture:
        assert min(picture.size) > 200
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "crafted.onnx  1", "deep/random.onnx  2", "plain.onnx  3",
    ]  # fmt: skip


# --- other tasks -------------------------------------------------------------------------------------------------


def test_regression_on_images(models: Path, images: Images, tmp_path: Path) -> None:
    pixels, _ = images
    redness = pixels[..., 0].mean(axis=(1, 2)) / 7.5 + np.random.default_rng(0).normal(0, 0.5, len(pixels))
    np.savez(tmp_path / "redness.npz", images=pixels, labels=redness)
    ranking = neuralrank.rank(models, tmp_path / "redness.npz", probe=100)
    assert ranking.target.task == "regression"
    assert ranking.target.n_classes is None
    best = ranking.best()
    assert best is not None
    assert best.name == "crafted.onnx"
    assert best.score > 0.9
    assert best.score == best.expected_accuracy
    assert set(best.scores) == {"neuralrank", "log_me", "knn"}  # lda_probe is for classes
    assert best.per_class == {}
    assert json.loads(ranking.to_json())["target"]["label_entropy_bits"] is None
    assert "R²" in ranking.to_html()


def table_model(folder: Path, weights: NDArray[np.float32], name: str) -> None:
    from onnx import helper

    body = [helper.make_node("MatMul", ["image", "w"], ["hidden"]), helper.make_node("Relu", ["hidden"], ["features"])]
    stored = {"w": weights}
    save(network(*body, n_features=weights.shape[1], shape=("n", len(weights)), stored=stored), folder / name)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_of_numbers_are_ranked_with_models_that_take_vectors(task: str, models: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5)).astype(np.float32)
    value = np.abs(rows[:, 0])  # no linear function of the rows
    labels = value > np.median(value) if task == "classification" else value.astype(np.float64)
    folding = np.zeros((5, 2), dtype=np.float32)
    folding[0] = (1, -1)
    table_model(tmp_path, folding, "folding.onnx")
    table_model(tmp_path, rng.normal(size=(5, 2)).astype(np.float32), "random.onnx")
    ranking = neuralrank.rank([tmp_path, models / "plain.onnx"], (rows, labels))
    assert (ranking.target.modality, ranking.target.task) == ("tabular", task)
    assert [model.name for model in ranking.models] == ["folding.onnx", "random.onnx"]
    assert ranking.models[0].score > 0.6
    assert ranking.models[0].warnings == ()
    [failure] = ranking.failures
    assert failure.stage == "match"
    assert failure.error.startswith("The target data set needs a tabular model. Got an image model.")


def test_table_with_other_columns_than_the_model_takes_is_a_failure(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table_model(tmp_path, rng.normal(size=(5, 2)).astype(np.float32), "five.onnx")
    ranking = neuralrank.rank(tmp_path, (rng.normal(size=(40, 6)), np.arange(40) % 2))
    assert ranking.best() is None
    assert ranking.failures[0].stage == "extract"
    assert ranking.failures[0].error == (
        "five.onnx needs samples of shape 5. Got 6. Choose a model made for such samples."
    )
