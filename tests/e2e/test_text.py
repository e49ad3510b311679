"""Texts from a table, ranked with a Transformers directory written by hand; image models beside it do not fit."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_zoo import Run

WIDTH = 16
WORDS = ("[PAD]", "[UNK]", "the", "film", "was", "good", "bad", "very", "not")


def write_bert(folder: Path, seed: int = 0) -> Path:
    """Write an untrained BERT of one layer, with a tokenizer that splits at spaces."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    layer = "encoder.layer.0."
    linear = [f"{layer}attention.self.{part}" for part in ("query", "key", "value")]
    linear += [f"{layer}attention.output.dense", f"{layer}intermediate.dense", f"{layer}output.dense", "pooler.dense"]
    norms = ["embeddings.LayerNorm", f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    shapes = {"word": len(WORDS), "position": 32, "token_type": 2}
    weights = {f"embeddings.{name}_embeddings.weight": rng.normal(size=(n, WIDTH)) for name, n in shapes.items()}
    weights |= {f"{name}.weight": rng.normal(0, 0.2, size=(WIDTH, WIDTH)) for name in linear}
    weights |= {f"{name}.weight": np.ones(WIDTH) for name in norms}
    weights |= {f"{name}.bias": np.zeros(WIDTH) for name in linear + norms}
    folder.mkdir(parents=True)
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": WIDTH,
        "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    for name, content in (("config", config), ("tokenizer", tokenizer), ("tokenizer_config", settings)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


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
