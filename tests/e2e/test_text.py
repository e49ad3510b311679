"""Texts from a table, ranked with a Transformers directory written by hand; image models beside it do not fit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tiny_texts import WIDTH, write_bert
from tiny_zoo import Run


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = ["id,review,label"]
    for number in range(80):
        filler = " ".join(rng.choice(["the", "film", "was", "very"], size=rng.integers(3, 12)))
        rows.append(f"{number},{filler} {'good' if number % 2 else 'bad'},{number % 2}")
    (tmp_path / "reviews.csv").write_text("\n".join(rows))
    return tmp_path / "reviews.csv"


def test_text_models_are_ranked_for_texts_and_image_models_do_not_fit(
    run: Run, own_models: Path, reviews: Path
) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("the transformers extra is not installed")
    write_bert(own_models / "bert")
    outcome = run("rank", own_models, "--data", reviews, "--format", "json")
    assert outcome.code == 0
    [row] = outcome.ranking["ranking"]
    assert (row["name"], row["format"], row["n_features"]) == ("bert", "transformers_folder", WIDTH)
    assert row["score"] > 0.8  # the mean over tokens still knows whether 'good' was among them
    assert outcome.ranking["target"]["modality"] == "text"
    assert set(outcome.failures) == {"crafted.onnx", "deep/random.onnx", "plain.onnx"}
    assert {stage for stage, _ in outcome.failures.values()} == {"match"}


def test_image_models_alone_rank_nothing_on_texts(run: Run, models: Path, reviews: Path) -> None:
    outcome = run("rank", models, "--data", reviews, "--quiet")
    assert outcome.code == 1
    assert "No model could be ranked: 3 models failed." in outcome.out
    assert "The target data set needs a text model. Got an image model." in " ".join(outcome.out.split())
