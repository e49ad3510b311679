"""A tiny text model, written without a framework."""

import json
from pathlib import Path

import numpy as np

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
