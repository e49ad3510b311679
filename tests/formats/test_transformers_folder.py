"""Transformers folders with small real models, most of them made by scripts/make_text_models.py."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError, ModelError
from neuralrank.formats._torchvision import repair_torchvision

torch = pytest.importorskip("torch")
repair_torchvision()
transformers = pytest.importorskip("transformers")

FOLDER = registry.get("formats", "transformers_folder")
POOL = registry.get("modalities", "text")().pool
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_text_models.py"
TEXTS = [
    "Return the number of items.",
    "Open the file and read every line of it; close it when the block ends, even if an error is raised in between.",
    "",
    "a",
    "Raise ValueError if the text is not a number.",
    "Read.",
    "naïve café — 東京",
    "Sort the list in place, from the smallest to the largest.",
]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
KINDS = ("bert", "albert", "gpt2", "distilbert", "roberta", "electra", "bart", "byt5")


@pytest.fixture(scope="module")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the script makes in its quick form."""
    out = tmp_path_factory.mktemp("text")
    spec = importlib.util.spec_from_file_location("make_text_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules["make_text_models"] = script
    spec.loader.exec_module(script)
    script.main([str(out), "--quick"])
    return out


def load(folder: Path) -> Any:
    return FOLDER(folder, FOLDER.describe(folder), n_threads=1)


def features(encoder: Any, texts: list[str], layer: str = "features") -> Any:
    return POOL(encoder.encode(encoder.preprocessing(texts), [layer])[layer])


def save_image_model(folder: Path, model: Any, *, processor: bool = True) -> Path:
    model.save_pretrained(folder)
    if processor:
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def pictures(n: int) -> list[Any]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8) for i in range(n)]


# --- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_folder_says_what_it_is(kind: str, text_models: Path):
    folder = text_models / f"{kind}-tiny-untrained"
    facts = FOLDER.describe(folder)
    names = {file.name for file in facts.files}
    assert (facts.format, facts.modality, facts.licence) == ("transformers_folder", "text", "apache-2.0")
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= names
    assert "README.md" not in names
    assert facts.n_params > 100_000
    assert facts.label_names is None


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_batch_size_do_not_change_features(kind: str, text_models: Path):
    encoder = load(text_models / f"{kind}-tiny-untrained")
    together = features(encoder, TEXTS)
    alone = np.concatenate([features(encoder, [text]) for text in TEXTS])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=2e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    assert encoder.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_the_hidden_states(kind: str, text_models: Path):
    encoder = load(text_models / f"{kind}-tiny-untrained")
    assert encoder.layers == ("embeddings", "layer.1", "layer.2", "mean_of_layers", "features")
    one, two, mean = (features(encoder, TEXTS, layer) for layer in ("layer.1", "layer.2", "mean_of_layers"))
    np.testing.assert_allclose(mean, (one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(features(encoder, TEXTS), two, atol=1e-5)


def test_features_are_those_of_transformers_itself(text_models: Path):
    folder = text_models / "bert-tiny-untrained"
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[..., None]
    expected = (states * mask).sum(axis=1) / mask.sum(axis=1)
    np.testing.assert_allclose(features(load(folder), TEXTS[:2]), expected, atol=1e-5)


def test_fast_and_slow_tokenizers_are_told_apart(text_models: Path):
    assert load(text_models / "bert-tiny-untrained").processing_backend == "tokenizers"
    assert load(text_models / "byt5-tiny-untrained").processing_backend == "python"


@pytest.mark.parametrize(("kind", "limit"), [("bert", 64), ("roberta", 64), ("gpt2", 64), ("byt5", 256)])
def test_long_texts_are_cut_to_what_the_model_takes(kind: str, limit: int, text_models: Path):
    encoder = load(text_models / f"{kind}-tiny-untrained")
    batch = encoder.preprocessing(["word " * 2_000])
    assert batch["input_ids"].shape == (1, limit)
    assert np.isfinite(encoder.encode(batch, ["features"])["features"].values).all()


def test_an_empty_text_has_features(text_models: Path):
    encoder = load(text_models / "gpt2-tiny-untrained")
    batch = encoder.preprocessing([""])
    assert batch["attention_mask"].tolist() == [[1]]
    assert np.isfinite(features(encoder, ["", "word"])).all()


def test_a_model_that_ignores_the_mask_is_padded_to_one_length_and_said(tmp_path: Path):
    config = transformers.CanineConfig(
        **SMALL, num_hash_buckets=64, max_position_embeddings=128, local_transformer_stride=16
    )
    transformers.CanineModel(config).save_pretrained(tmp_path)
    transformers.CanineTokenizer(model_max_length=64).save_pretrained(tmp_path)
    encoder = load(tmp_path)
    assert encoder.warnings == ("Padding changes the features of this model, so every text is padded to 64 tokens.",)
    alone = np.concatenate([features(encoder, [text]) for text in TEXTS])
    np.testing.assert_allclose(features(encoder, TEXTS), alone, rtol=1e-4, atol=2e-5)


def test_label_names_are_read_unless_they_are_plain(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "bert-tiny-untrained", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for names, expected in ((["LABEL_0", "LABEL_1"], None), (["good", "bad"], ("good", "bad"))):
        config["id2label"] = dict(enumerate(names))
        (folder / "config.json").write_text(json.dumps(config))
        assert FOLDER.describe(folder).label_names == expected


def test_images_given_to_a_text_model_are_refused(text_models: Path):
    with pytest.raises(DataError, match=r"A text model needs texts. Got other samples. Choose a data set of texts."):
        load(text_models / "bert-tiny-untrained").preprocessing(pictures(1))


def test_a_model_in_two_shards_gives_the_same_features(text_models: Path, tmp_path: Path):
    whole = text_models / "bert-tiny-untrained"
    folder = shutil.copytree(whole, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    transformers.BertForMaskedLM.from_pretrained(whole).save_pretrained(folder, max_shard_size="2MB")
    facts = FOLDER.describe(folder)
    assert facts.files[1].name == "model.safetensors.index.json"
    assert facts.n_params == FOLDER.describe(whole).n_params
    np.testing.assert_allclose(features(load(folder), TEXTS), features(load(whole), TEXTS), atol=1e-6)


def test_a_shard_outside_the_folder_is_refused(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "bert-tiny-untrained", tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = {"weight_map": {"w": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError) as error:
        FOLDER.describe(folder)
    assert str(error.value) == (
        "model.safetensors.index.json needs to name .safetensors files of its own folder. Got '../model.safetensors'. "
        "Download it again."
    )


def without_vocabulary(source: Path, folder: Path, **settings: Any) -> Path:
    """Copy a model with nothing of its tokenizer but the settings."""
    shutil.copytree(source, folder)
    for file in folder.glob("*"):
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("kind", "tokenizer", "got"),
    [
        ("bert", "BertTokenizer", "the special tokens and 0 more"),
        ("gpt2", "GPT2Tokenizer", "the special tokens and 0 more"),
        ("byt5", "T5Tokenizer", "the special tokens and 1 more"),
        ("bert", "MPNetTokenizer", "the special tokens and 0 more"),
        ("bert", "ProphetNetTokenizer", "none of its files"),
        ("bert", "PreTrainedTokenizerFast", "none of its files"),
    ],
)
def test_a_tokenizer_without_its_vocabulary_is_refused(
    kind: str, tokenizer: str, got: str, text_models: Path, tmp_path: Path
):
    source = text_models / f"{kind}-tiny-untrained"
    with pytest.raises(ModelError) as error:
        load(without_vocabulary(source, tmp_path / "model", tokenizer_class=tokenizer))
    assert str(error.value) == (
        f"model needs the vocabulary of its tokenizer, as tokenizer.json, vocab.txt or the like. Got {got}. "
        "Download the tokenizer's files too."
    )


@pytest.mark.parametrize(("words", "is_enough"), [("A C G T", True), ("A B", False), ("", False)])
def test_a_vocabulary_needs_an_alphabet(words: str, is_enough: bool, text_models: Path, tmp_path: Path):
    source = text_models / "bert-tiny-untrained"
    folder = without_vocabulary(source, tmp_path / "model", tokenizer_class="BertTokenizer", do_lower_case=False)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()]))
    if not is_enough:
        with pytest.raises(ModelError, match="needs the vocabulary of its tokenizer"):
            load(folder)
        return
    n_rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert load(folder).warnings == (
        f"The tokenizer knows 9 of the {n_rows:,} tokens of the model: is its file whole?",
    )


ENDLESS = {"Regex": r"^(([a-z ])+.)+[A-Z]([a-z ])+$"}


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        pytest.param(
            {"normalizer": {"type": "Replace", "pattern": ENDLESS, "content": ""}},
            "Onig: Regex search error: retry-limit-in-match over",
            id="a-panic",
        ),
        pytest.param(
            {"model": {"type": "WordLevel", "vocab": dict(zip("abcdef", range(6), strict=True)), "unk_token": "?"}},
            "WordLevel error: Missing [UNK] token from the vocabulary",
            id="a-plain-exception",
        ),
    ],
)
def test_a_fault_inside_the_tokenizer_is_a_sentence_of_ours(changes: Any, got: str, text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "bert-tiny-untrained", tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(
        json.dumps({**tokenizer, "added_tokens": [], "post_processor": None, **changes})
    )
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError) as error:
        load(folder).preprocessing(
            ["the film was good and the actors were not bad at all said the critic in the paper"]
        )
    assert str(error.value) == (
        f"The model needs a tokenizer that can split every text. Got the fault {got!r} inside it. "
        "Correct the patterns and the vocabulary in its tokenizer.json, or choose another model."
    )


def test_a_panic_while_a_tokenizer_is_read_is_a_sentence_of_ours(
    text_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class PanicException(BaseException):
        pass

    def panic(*_: Any, **__: Any) -> None:
        raise PanicException("index out of bounds: the len is 3 but the index is 9\nnote: run with RUST_BACKTRACE=1")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", panic)
    with pytest.raises(ModelError) as error:
        load(text_models / "bert-tiny-untrained")
    assert str(error.value) == (
        "Transformers could not read the tokenizer of bert-tiny-untrained. Got 'index out of bounds: the len is 3 but "
        "the index is 9'. Download it again, or save it with a current version of Transformers."
    )


def test_bytes_need_no_vocabulary(text_models: Path, tmp_path: Path):
    source = text_models / "byt5-tiny-untrained"
    encoder = load(without_vocabulary(source, tmp_path / "model", tokenizer_class="ByT5Tokenizer"))
    np.testing.assert_allclose(features(encoder, TEXTS), features(load(source), TEXTS), atol=1e-6)
    assert encoder.warnings == ()


# --- the classifier of a text model --------------------------------------------------------------------------------


def text_classifier(source: Path, folder: Path, **changes: Any) -> Any:
    """Give a text model a classifier of four classes with weights far from zero, and save it."""
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(source, num_labels=4).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2 and len(parameter) == 4:
            torch.nn.init.normal_(parameter)
    shutil.copytree(source, folder)
    model.save_pretrained(folder)
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def without_weights(folder: Path, *starts: str) -> Path:
    from safetensors.torch import load_file, save_file

    stored = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith(starts)}
    assert len(kept) < len(stored)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_a_text_are_those_of_transformers_alone_with_it(kind: str, text_models: Path, tmp_path: Path):
    source = text_models / f"{kind}-tiny-untrained"
    model = text_classifier(source, tmp_path / "model")
    encoder, plain = load(tmp_path / "model"), load(source)
    assert (encoder.head_layer, plain.head_layer) == ("logits", None)
    assert encoder.layers == (*plain.layers, "logits")
    passes: list[int] = []
    encoder._model.register_forward_hook(lambda *_: passes.append(1))
    both = encoder.encode(encoder.preprocessing(TEXTS), encoder.layers)
    assert len(passes) == 1
    if kind == "gpt2":
        model.config.pad_token_id = encoder.preprocessing.pad_token_id
    for text, logits in zip(TEXTS, both["logits"].values, strict=True):
        batch = {name: torch.from_numpy(array) for name, array in encoder.preprocessing([text]).items()}
        with torch.inference_mode():
            np.testing.assert_allclose(logits, model(**batch).logits[0].numpy(), rtol=1e-4, atol=1e-4)
    for layer in plain.layers:
        np.testing.assert_allclose(POOL(both[layer]), features(plain, TEXTS, layer), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(POOL(both["features"]), features(encoder, TEXTS))


def test_a_text_classifier_with_random_weights_is_no_head(text_models: Path, tmp_path: Path):
    source = text_models / "bert-tiny-untrained"
    for place, lost in enumerate(("classifier.", "bert.pooler.")):
        folder = tmp_path / str(place)
        text_classifier(source, folder)
        encoder = load(without_weights(folder, lost))
        assert encoder.head_layer is None
        np.testing.assert_allclose(features(encoder, TEXTS), features(load(source), TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"problem_type": "regression"}, id="regression"),
        pytest.param({"id2label": {"0": "one"}, "label2id": {"one": 0}}, id="another-number-of-labels"),
        pytest.param({"architectures": ["BertModel"]}, id="no-classifier"),
    ],
)
def test_a_text_model_that_tells_no_classes_apart_has_no_head(changes: Any, text_models: Path, tmp_path: Path):
    source = text_models / "bert-tiny-untrained"
    text_classifier(source, tmp_path / "model", **changes)
    encoder = load(tmp_path / "model")
    assert encoder.head_layer is None
    np.testing.assert_allclose(features(encoder, TEXTS), features(load(source), TEXTS), atol=1e-6)


# --- images --------------------------------------------------------------------------------------------------------


def classifiers() -> dict[str, Any]:
    resnet = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    convnext = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32}
    return {
        "vit": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, num_labels=5)),
        "resnet": lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig(**resnet, num_labels=5)),
        "convnext": lambda: transformers.ConvNextForImageClassification(
            transformers.ConvNextConfig(**convnext, num_labels=5)
        ),
    }


@pytest.mark.parametrize(("kind", "width"), [("vit", 32), ("resnet", 16), ("convnext", 16)])
def test_image_features_are_the_input_of_the_classifier(kind: str, width: int, tmp_path: Path):
    torch.manual_seed(0)
    model = classifiers()[kind]().eval()
    folder = save_image_model(tmp_path, model)
    facts = FOLDER.describe(folder)
    encoder = load(folder)
    assert (facts.modality, facts.preprocessing, encoder.processing_backend) == ("image", None, "pillow")
    assert facts.n_params == sum(parameter.numel() for parameter in model.parameters())
    batch = encoder.preprocessing(pictures(8))
    values = encoder.encode(batch, ["features"])["features"].values
    assert values.shape == (8, width)
    head = next(part for part in reversed(list(model.modules())) if isinstance(part, torch.nn.Linear))
    with torch.inference_mode():
        logits = model(torch.from_numpy(batch["pixel_values"])).logits.numpy()
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    np.testing.assert_allclose(values @ weight.T + bias, logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext"])
def test_image_batches_of_1_and_8_agree(kind: str, tmp_path: Path):
    encoder = load(save_image_model(tmp_path, classifiers()[kind]()))
    together = encoder.encode(encoder.preprocessing(pictures(8)), ["features"])["features"].values
    batches = [encoder.preprocessing([picture]) for picture in pictures(8)]
    alone = [encoder.encode(batch, ["features"])["features"].values for batch in batches]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-5)
    assert encoder.layers == ("embeddings", "layer.1", "layer.2", "features", "logits")
    assert len(encoder.encode(encoder.preprocessing(pictures(2)), ["layer.1"])["layer.1"].values) == 2


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext"])
def test_image_logits_are_those_of_transformers_from_one_pass(kind: str, tmp_path: Path):
    torch.manual_seed(0)
    model = classifiers()[kind]().eval()
    encoder = load(save_image_model(tmp_path, model))
    assert encoder.head_layer == "logits"
    batch, passes = encoder.preprocessing(pictures(8)), []
    encoder._model.register_forward_hook(lambda *_: passes.append(1))
    both = encoder.encode(batch, encoder.layers)
    assert len(passes) == 1
    with torch.inference_mode():
        logits = model(torch.from_numpy(batch["pixel_values"])).logits.numpy()
    np.testing.assert_allclose(both["logits"].values, logits, atol=1e-5)
    for layer in encoder.layers:
        np.testing.assert_array_equal(both[layer].values, encoder.encode(batch, [layer])[layer].values)


def test_an_image_classifier_with_random_weights_is_no_head(tmp_path: Path):
    folder = save_image_model(tmp_path, classifiers()["vit"]())
    encoder = load(without_weights(folder, "classifier."))
    assert (encoder.head_layer, encoder.layers[-1]) == (None, "features")
    assert encoder.encode(encoder.preprocessing(pictures(2)), ["features"])["features"].values.shape == (2, 32)


def test_an_image_model_without_classifier_has_no_head(tmp_path: Path):
    folder = save_image_model(tmp_path, transformers.ViTModel(transformers.ViTConfig(**VISION)))
    assert load(folder).head_layer is None


def test_a_pooler_counts_only_with_stored_weights(tmp_path: Path):
    config = transformers.ViTConfig(**VISION)
    whole = save_image_model(tmp_path / "whole", transformers.ViTModel(config))
    bare = save_image_model(tmp_path / "bare", transformers.ViTModel(config, add_pooling_layer=False))
    for folder, shape in ((whole, (2, 32)), (bare, (2, 17, 32))):
        encoder = load(folder)
        assert encoder.encode(encoder.preprocessing(pictures(2)), ["features"])["features"].values.shape == shape


def test_of_two_towers_the_image_tower_is_used(tmp_path: Path):
    text = {
        "vocab_size": 99,
        "num_hidden_layers": 1,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    model = transformers.CLIPModel(config).eval()
    encoder = load(save_image_model(tmp_path, model))
    batch = encoder.preprocessing(pictures(3))
    with torch.inference_mode():
        expected = model.vision_model(torch.from_numpy(batch["pixel_values"])).pooler_output.numpy()
    np.testing.assert_allclose(encoder.encode(batch, ["features"])["features"].values, expected, atol=1e-5)


def test_an_image_model_without_processor_has_its_preprocessing_assumed(tmp_path: Path):
    folder = save_image_model(tmp_path, classifiers()["vit"](), processor=False)
    facts = FOLDER.describe(folder)
    assert facts.assumptions == (
        "The preprocessing was assumed: stretched to the input size, bilinear, pixels / 255, then the mean and "
        "standard deviation of ImageNet.",
    )
    preprocessing = load(folder).preprocessing
    assert (preprocessing.size, preprocessing.resize) == ((32, 32), "stretch")


# --- what is refused -----------------------------------------------------------------------------------------------


def changed(source: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(source, folder)
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def sentence_of(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        load(folder)
    return str(error.value)


def test_code_of_the_folder_needs_trust_and_describing_runs_none_of_it(text_models: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", model_type="evil", auto_map=auto_map)
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    facts = FOLDER.describe(folder)
    assert facts.needs_trust == ("model brings program code of its own (evil.py), and loading it runs that code.")
    assert folder / "evil.py" in facts.files
    assert not marker.exists()


def test_code_to_download_is_refused(text_models: Path, tmp_path: Path):
    auto_map = {"AutoModel": "someone/else--evil.Model"}
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", model_type="evil", auto_map=auto_map)
    assert sentence_of(folder) == (
        "config.json needs program code of its own folder in 'auto_map'. Got 'someone/else--evil.Model', a download. "
        "Put the code into the folder and name it there."
    )


def test_code_that_is_not_there_is_told(text_models: Path, tmp_path: Path):
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", model_type="evil", auto_map={})
    assert sentence_of(folder) == (
        "model needs program code that it brings along ('auto_map'). Got a network that the installed "
        "Transformers does not know, and none of that code in its folder. Update Transformers, or "
        "export the model to ONNX."
    )


def test_code_beside_a_known_architecture_does_not_run(text_models: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    assert np.isfinite(features(load(folder), TEXTS)).all()
    assert not marker.exists()


def test_an_attention_to_download_is_refused(text_models: Path, tmp_path: Path):
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", attn_implementation="someone/kernel")
    assert sentence_of(folder) == (
        "config.json needs an attention that is part of Transformers. Got 'someone/kernel', a program to download. "
        "Remove that line."
    )


def test_an_unknown_architecture_is_told(text_models: Path, tmp_path: Path):
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", model_type="tomorrow")
    assert sentence_of(folder) == (
        f"The installed Transformers {transformers.__version__} does not know the model type 'tomorrow' of model. "
        "Update it: pip install -U transformers"
    )


def test_random_numbers_never_stand_in_for_missing_weights(text_models: Path, tmp_path: Path):
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", num_hidden_layers=3)
    assert sentence_of(folder) == (
        "model needs 53 weights for its features. Got 37, without 'encoder.layer.2.attention.output.LayerNorm.bias'. "
        "Random numbers would stand in for them: download the whole model, or correct config.json."
    )


def test_weights_of_another_shape_are_told(text_models: Path, tmp_path: Path):
    folder = changed(text_models / "bert-tiny-untrained", tmp_path / "model", intermediate_size=100)
    assert "needs weights of the shapes that its config.json gives. Got " in sentence_of(folder)


def test_a_folder_cut_in_half_is_told(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "electra-tiny-untrained", tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert sentence_of(folder) == (
        f"model.safetensors is cut short. Needed {len(whole)} bytes. Got {len(whole) // 2}. Download it again."
    )


def test_weights_that_torch_did_not_write_are_refused(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "electra-tiny-untrained", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert sentence_of(folder).startswith("pytorch_model.bin needs to be a file of torch.save. Got ")


def test_a_folder_without_weights_is_told_unless_it_has_other_models(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "electra-tiny-untrained", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert sentence_of(folder) == (
        "model needs the file 'model.safetensors'. Got a config.json without weights. Download it again."
    )
    (folder / "model.onnx").write_bytes(b"")
    assert FOLDER.describe(folder) is None


def test_an_adapter_alone_is_refused(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "electra-tiny-untrained", tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}")
    assert sentence_of(folder) == (
        "model needs to hold a whole model. Got an adapter of another one. Merge the two, and save the result."
    )


def test_a_damaged_tokenizer_is_told(text_models: Path, tmp_path: Path):
    folder = shutil.copytree(text_models / "bert-tiny-untrained", tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    assert sentence_of(folder).startswith("Transformers could not read the tokenizer of model. Got ")


def test_an_audio_model_is_recognised_and_refused(tmp_path: Path):
    small = {"conv_dim": [8], "conv_stride": [5], "conv_kernel": [10], "num_feat_extract_layers": 1}
    config = transformers.Wav2Vec2Config(**SMALL, **small, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    assert FOLDER.describe(tmp_path).modality == "audio"
    assert sentence_of(tmp_path) == (
        f"{tmp_path.name} needs to be an image or text model. Got audio: Wav2Vec2Model. Choose another model."
    )


def test_other_folders_and_files_are_not_recognised(tmp_path: Path):
    assert FOLDER.describe(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": {}}))
    assert FOLDER.describe(tmp_path) is None
    assert FOLDER.describe(tmp_path / "config.json") is None


def test_describing_needs_no_framework(text_models: Path):
    import subprocess

    program = (
        "import sys, pathlib; from neuralrank import registry; "
        "facts = registry.get('formats', 'transformers_folder').describe(pathlib.Path(sys.argv[1])); "
        "print(facts.modality, sorted({'torch', 'transformers', 'timm', 'safetensors'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(text_models / "bert-tiny-untrained")]
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": source})
    assert done.stdout == "text []\n"
