"""Near relatives: families, copies, what two models have in common, and the likeness of their features."""

import random
import time
from dataclasses import replace

import numpy as np
import pytest

from neuralrank.entries import ModelEntry
from neuralrank.errors import DataError
from neuralrank.queries._copies import stem
from neuralrank.queries.likeness import family, likeness, representation_likeness, same_model

SHA = "0123456789abcdef0123456789abcdef01234567"


def entry(name, *, source="hf", revision="1", **fields):
    location = fields.pop("location", name)
    return ModelEntry(
        model_id=f"{source}:{name}@{revision}", source=source, name=name, location=location, stamp="", **fields
    )


def names_of_groups(entries):
    return {frozenset(entries[i].name for i in group) for group in same_model(entries) if len(group) > 1}


# --- families ----------------------------------------------------------------------------------------------------

ARCHITECTURES = {
    "resnet50": "resnet",
    "resnetv2_101x1_bit": "resnet",
    "wide_resnet50_2": "resnet",
    "seresnext50_32x4d": "resnext",
    "legacy_seresnet50": "resnet",
    "ResNetForImageClassification": "resnet",
    "ResNet, 3 residual blocks, width 8": "resnet",
    "vit_base_patch16_224": "vit",
    "ViTForImageClassification": "vit",
    "ViTMAEForPreTraining": "vit",
    "levit_128s": "levit",
    "mobilevit_s": "mobilevit",
    "deit3_small_patch16_224": "deit",
    "swinv2_tiny_window8_256": "swin",
    "convnext_tiny": "convnext",
    "convnextv2_femto": "convnext",
    "tf_efficientnetv2_b0": "efficientnet",
    "MobileNetV2ForImageClassification": "mobilenet",
    "mobilenet_v1_0.25_128 (8-bit weights)": "mobilenet",
    "dla102x2": "dla",
    "res2net50d": "res2net",
    "regnety_016": "regnet",
    "dm_nfnet_f4": "nfnet",
    "eva02_large_patch14": "eva",
    "BertForMaskedLM": "bert",
    "TFBertModel": "bert",
    "DistilBertForSequenceClassification": "distilbert",
    "XLMRobertaForTokenClassification": "roberta",
    "CamembertModel": "bert",
    "GPT2LMHeadModel": "gpt",
    "T5ForConditionalGeneration": "t5",
    "Wav2Vec2ForCTC": "wav2vec",
    "HubertModel": "hubert",
    "CLIPVisionModelWithProjection": "clip",
    "Dinov2Model": "dino",
    "MCUNet (VWW, 80 px)": "mcunet",
    "big Xception": "xception",
}


@pytest.mark.parametrize(("architecture", "expected"), ARCHITECTURES.items())
def test_an_architecture_has_its_family(architecture, expected):
    assert family(entry("x", architecture=architecture)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("google/vit-base-patch16-224", "vit"),
        ("cardiffnlp/twitter-roberta-base-sentiment", "roberta"),
        ("sentence-transformers/all-MiniLM-L6-v2", "minilm"),
        ("models/resnet50_int8.onnx", "resnet"),
        ("exp1/best.onnx", ""),
        ("someone/swing-dance-classifier", ""),
        ("vitamins", ""),
    ],
)
def test_a_name_tells_a_family_only_if_it_is_a_known_one(name, expected):
    assert family(entry(name)) == expected


# --- copies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mistral-7B-Instruct-v0.1.Q4_K_M.gguf", "mistral-7b-instruct-v0.1"),
        ("Llama-3-8B-GPTQ-4bit-128g", "llama-3-8b"),
        ("X-Large-8.0bpw-exl2", "x-large"),
        ("resnet50_int8.onnx", "resnet50"),
        ("model-fp16.safetensors", "model"),
        ("vit-base-MLX-4bit", "vit-base"),
        ("gemma-2b-pt", "gemma-2b-pt"),
        ("resnetv2_101x1_bit", "resnetv2_101x1_bit"),
        ("dm_nfnet_f4", "dm_nfnet_f4"),
        ("efficientnet_b5", "efficientnet_b5"),
        ("gguf", "gguf"),
    ],
)
def test_a_stem_has_no_marks_of_quantisation_and_format(name, expected):
    assert stem(name) == expected


def test_equal_content_is_one_model():
    entries = [
        entry("a/model.onnx", source="folder", revision="0123456789abcdef", location="/m/a/model.onnx"),
        entry("b/other.onnx", source="folder", revision="0123456789abcdef", location="/m/b/other.onnx"),
        entry("c/model.onnx", source="folder", revision="fedcba9876543210", location="/m/c/model.onnx"),
    ]
    assert same_model(entries) == [[0, 1], [2]]


def test_one_name_on_the_hub_is_one_model_whichever_way_it_is_listed():
    entries = [
        entry("timm/resnet50.a1_in1k", revision=SHA),
        entry("resnet50.a1_in1k", source="timm", revision="1.0.31", location="timm/resnet50.a1_in1k"),
        entry("timm/resnet50.a1_in1k", source="hf_cache", revision=SHA[::-1], location=f"timm/resnet50.a1_in1k@{SHA}"),
        entry("resnet50.a2_in1k", source="timm", revision="1.0.31"),
    ]
    assert same_model(entries) == [[0, 1, 2], [3]]


def test_quantised_and_converted_copies_join_their_original():
    entries = [
        entry("mistralai/Mistral-7B-v0.1", params=7_241_732_096),
        entry("TheBloke/Mistral-7B-v0.1-GGUF", base_model=("mistralai/Mistral-7B-v0.1",)),
        entry("TheBloke/Mistral-7B-v0.1-GPTQ", params=1_200_000_000),
        entry("bartowski/mistralai_Mistral-7B-v0.1-GGUF", base_model=("mistralai/Mistral-7B-v0.1",)),
        entry("mlx-community/Mistral-7B-v0.1-4bit", library="mlx"),
        entry("someone/anything-at-all", base_model=("quantized:mistralai/Mistral-7B-v0.1",)),
        entry("someone/Mistral-7B-v0.1-chat", base_model=("mistralai/Mistral-7B-v0.1",)),
        entry("someone/mistral-ner-onnx", base_model=("mistralai/Mistral-7B-v0.1",)),
    ]
    assert same_model(entries) == [[0, 1, 2, 3, 4, 5], [6], [7]]


def test_copies_whose_original_is_not_there_are_one_group():
    entries = [
        entry("bartowski/X-9B-GGUF", base_model=("lab/X-9B",)),
        entry("lab/Y-9B"),
        entry("other/X-9B-AWQ", base_model=("lab/X-9B",)),
    ]
    assert same_model(entries) == [[0, 2], [1]]


def test_one_name_of_two_owners_proves_nothing():
    entries = [entry(f"user{n}/bert-finetuned-emotion", params=109_000_000) for n in range(5)]
    assert same_model(entries) == [[0], [1], [2], [3], [4]]


def test_a_copy_goes_to_the_original_of_its_owner():
    entries = [entry("ann/bert-ner", downloads=900), entry("bob/bert-ner", downloads=1), entry("bob/bert-ner-onnx")]
    assert same_model(entries) == [[0], [1, 2]]


def test_a_converted_copy_goes_to_the_original_that_most_people_use():
    entries = [entry("bob/bert-base"), entry("google/bert-base", downloads=900), entry("Xenova/bert-base")]
    assert same_model(entries) == [[0], [1, 2]]


def test_other_parameters_are_another_model():
    entries = [
        entry("lab/net", params=10_000),
        entry("lab/net-int8", params=10_100),
        entry("lab/net-fp16", params=20_000),
    ]
    assert same_model(entries) == [[0, 1], [2]]


def test_files_of_one_name_side_by_side_are_copies():
    names = ["a/net.onnx", "a/net_int8.onnx", "a/net.pt2", "b/net.onnx", "a/net2.onnx"]
    entries = [entry(name, source="folder", location=f"/models/{name}") for name in names]
    assert same_model(entries) == [[0, 1, 2], [3], [4]]
    elsewhere = [replace(entries[0], location="/other/a/net.onnx", model_id="folder:x@2"), entries[1]]
    assert same_model(elsewhere) == [[0], [1]]


def test_sizes_in_a_name_are_no_quantisation():
    entries = [entry(f"dm_nfnet_f{n}.dm_in1k", source="timm", revision="1.0") for n in range(7)]
    assert len(same_model(entries)) == 7


def test_the_order_does_not_matter_for_the_groups():
    entries = crowd(400)
    expected = names_of_groups(entries)
    assert len(expected) > 20
    for seed in range(5):
        assert names_of_groups(random.Random(seed).sample(entries, len(entries))) == expected


def test_groups_are_a_partition_in_order():
    groups = same_model(crowd(300))
    assert sorted(index for group in groups for index in group) == list(range(300))
    assert groups == sorted(sorted(group) for group in groups)


def test_grouping_takes_time_in_proportion():
    def seconds(n):
        entries = crowd(n)
        return min(timed(lambda: same_model(entries)) for _ in range(3))

    assert seconds(8000) < 12 * seconds(2000)  # 4 if exactly in proportion, 16 if quadratic


def crowd(n):
    """Entries of every kind: originals, copies of any order of marks, files, and unrelated ones."""
    rng = random.Random(7)
    owners = ["lab", "ann", "bob", "TheBloke", "Xenova"]
    found = []
    for i in range(n):
        name = f"net{rng.randrange(n // 5)}{rng.choice(['', '', '-GGUF', '-int8', '_q4', '-onnx-fp16', '-chat'])}"
        full = f"{rng.choice(owners)}/{name}"
        base = (f"lab/{name.split('-')[0]}",) if rng.random() < 0.3 else ()
        params = rng.choice([None, 1000, 1005, 2000])
        found.append(entry(f"{full}", revision=f"{i}", base_model=base, params=params, downloads=i))
    return found


def timed(call):
    start = time.process_time()
    call()
    return time.process_time() - start


# --- likeness ----------------------------------------------------------------------------------------------------

ONE = entry(
    "lab/vit-flowers",
    architecture="ViTForImageClassification",
    modality="image",
    label_names=("rose", "tulip"),
    base_model=("google/vit-base",),
    tags=("flowers", "vision"),
    pretraining_data=("imagenet-21k",),
)
BASE = entry("google/vit-base", architecture="ViTModel", modality="image")
SIBLING = replace(ONE, model_id="hf:ann/other@1", name="ann/other", label_names=("Roses", "daisy"), tags=("garden",))
TEXT = entry("lab/bert-news", architecture="BertForSequenceClassification", modality="text", label_names=("sports",))


def test_likeness_worked_by_hand():
    found = likeness(
        replace(ONE, base_model=(), tags=(), name="lab/ab"), replace(SIBLING, base_model=(), tags=(), name="c/de")
    )
    # the same architecture, one of three classes, the same pretraining data, no words of three letters in common
    assert found.value == pytest.approx(1 - (1 - 0.5) * (1 - 0.4 / 3) * (1 - 0.2))
    assert found.reasons == (
        "the same architecture ViTForImageClassification",
        "both trained on imagenet-21k",
        "33 % of their classes in common",
    )


def test_lineage_is_named():
    assert likeness(ONE, BASE).reasons[:2] == (
        "lab/vit-flowers was adapted from google/vit-base",
        "the same family vit",
    )
    assert likeness(ONE, SIBLING).reasons[0] == "both adapted from google/vit-base"
    assert likeness(ONE, BASE).value > likeness(ONE, SIBLING).value - 0.2


def test_copies_are_the_nearest_relatives():
    assert likeness(BASE, entry("Xenova/vit-base")).value >= 0.95
    assert likeness(BASE, entry("Xenova/vit-base")).reasons[0] == "copies of one model"


def test_a_model_is_like_itself_and_unlike_what_it_shares_nothing_with():
    assert likeness(ONE, ONE).value == 1
    assert likeness(ONE, TEXT) == likeness(TEXT, ONE)
    assert likeness(BASE, TEXT).value == 0
    assert likeness(BASE, TEXT).reasons == ()


def test_another_modality_is_no_relative_by_architecture():
    spoken = entry("lab/heard", architecture="ViTModel", modality="audio")
    assert likeness(BASE, spoken).reasons == ()
    assert likeness(BASE, replace(spoken, modality=None)).reasons == ("the same architecture ViTModel",)


def test_likeness_is_symmetric_and_bounded():
    rng = random.Random(3)
    entries = [*crowd(40), ONE, BASE, SIBLING, TEXT]
    for _ in range(300):
        a, b = rng.choice(entries), rng.choice(entries)
        assert likeness(a, b).value == pytest.approx(likeness(b, a).value)
        assert 0 <= likeness(a, b).value <= 1


def test_the_same_classes_are_counted():
    many = tuple(f"kind {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(60))
    found = likeness(entry("a/x", label_names=many), entry("b/y", label_names=many[::-1]))
    assert found.value == pytest.approx(0.4)
    assert found.reasons == ("the same 60 classes",)


# --- likeness of features ----------------------------------------------------------------------------------------


def hsic_by_definition(k, length):
    """Equation 4 of Song et al. 2012 as it is written."""
    n = len(k)
    k, length = k - np.diag(np.diag(k)), length - np.diag(np.diag(length))
    one = np.ones(n)
    first = np.trace(k @ length)
    second = (one @ k @ one) * (one @ length @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ length @ one)
    return (first + second - third) / (n * (n - 3))


def cka_by_definition(x, y):
    k, length = x @ x.T, y @ y.T
    own = hsic_by_definition(k, k) * hsic_by_definition(length, length)
    return hsic_by_definition(k, length) / np.sqrt(own)


@pytest.mark.parametrize(("n", "d_a", "d_b"), [(30, 4, 7), (12, 40, 3), (9, 50, 80), (200, 5, 5), (4, 3, 3)])
def test_features_agree_with_the_definition(n, d_a, d_b):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d_a)) + 3
    y = np.hstack([x[:, :2] * 5, rng.normal(size=(n, d_b - 2))]) - 1
    assert representation_likeness(x, y) == pytest.approx(cka_by_definition(x, y), abs=1e-10)


def test_noise_in_many_dimensions_is_not_alike():
    rng = np.random.default_rng(0)
    found = [representation_likeness(rng.normal(size=(50, 2000)), rng.normal(size=(50, 2000))) for _ in range(30)]
    biased = [x.T @ x for x in (rng.normal(size=(2000, 50)), rng.normal(size=(2000, 50)))]
    assert abs(np.mean(found)) < 0.02
    assert np.max(np.abs(found)) < 0.12
    centre = np.eye(50) - 1 / 50
    k, length = (centre @ kernel @ centre for kernel in biased)
    assert np.sum(k * length) / (np.linalg.norm(k) * np.linalg.norm(length)) > 0.95  # what the published one says


def test_rotation_scale_and_shift_change_nothing():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 8)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert representation_likeness(x, x) == pytest.approx(1)
    assert representation_likeness(x, 1e4 * (x @ rotation) + 1e3) == pytest.approx(1, abs=1e-5)


def test_what_is_shared_counts():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 6))
    values = [representation_likeness(x, x + noise * rng.normal(size=x.shape)) for noise in (0, 0.5, 1, 3, 100)]
    assert values == sorted(values, reverse=True)
    assert values[1] > 0.8
    assert abs(values[-1]) < 0.1


@pytest.mark.parametrize(
    "still",
    [np.zeros((20, 3)), np.full((20, 3), 7.3), np.eye(20)[:, :1], np.empty((20, 0)), np.full((20, 2), 1e30)],
    ids=["zeros", "constant", "one-sample", "no-features", "large"],
)
def test_features_without_structure_are_like_nothing(still):
    assert representation_likeness(still, np.random.default_rng(0).normal(size=(20, 5))) == 0
    assert representation_likeness(still, still) == 0


def test_inputs_are_not_changed():
    x = np.random.default_rng(0).normal(size=(20, 5))
    before = x.copy()
    representation_likeness(x, x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((5, 2)), np.zeros((6, 2))),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.zeros(5), np.zeros(5)),
        (np.full((5, 2), np.nan), np.zeros((5, 2))),
    ],
    ids=["rows", "few", "shape", "nan"],
)
def test_features_that_do_not_fit_are_refused(a, b):
    with pytest.raises(DataError, match="representation_likeness needs"):
        representation_likeness(a, b)
