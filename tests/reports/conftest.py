"""A realistic ranking: 20 models, 10 classes, ties, warnings, failures; and one whose names are attacks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neuralrank.types import Failure, RankedModel, Ranking, TargetSummary

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# name, architecture, score, accuracy, tie group, parameters, dimensions, seconds
MODELS: tuple[tuple[str, str | None, float, float, int, int | None, int, float], ...] = (
    ("cifar100_resnet56", "resnet56 (CIFAR, option A)", 0.8123, 0.941, 1, 853_018, 64, 11.23),
    ("cifar100_resnet44", "resnet44 (CIFAR, option A)", 0.8061, 0.938, 1, 658_586, 64, 8.91),
    ("cifar100_resnet20", "resnet20 (CIFAR, option A)", 0.7998, 0.935, 1, 269_722, 64, 4.02),
    ("mlperf/resnet_large", "ResNet8 wide (MLPerf Tiny large)", 0.7712, 0.921, 2, 480_330, 160, 6.4),
    ("mobilenetv2_100_224_tf2ptq", "mobilenetv2_100", 0.7305, 0.903, 3, 3_489_097, 1280, 41.7),
    ("mobilenetv2_inat_bird", "mobilenetv2_100", 0.7281, 0.9, 3, 3_442_981, 1280, 40.9),
    ("mobilenetv1_050_160_q", "mobilenet_v1_0.5_160 (8-bit weights)", 0.671, 0.871, 4, 1_326_633, 512, 19.3),
    ("mlperf/resnet8", "ResNet8", 0.6624, 0.868, 4, 78_666, 64, 1.8),
    ("squeezenet10_deepcompression", "SqueezeNet v1.0", 0.6109, 0.842, 5, 1_248_424, 512, 28.8),
    ("squeezenet11_keras_notop", "SqueezeNet v1.1", 0.6043, 0.84, 5, 722_496, 512, 22.1),
    ("mobilenetv1_025_224_keras", "MobileNetV1 0.25", 0.5822, 0.829, 6, 475_544, 256, 17.5),
    ("mobilenetv1_025_128_q", "mobilenet_v1_0.25_128", 0.5497, 0.81, 7, 467_593, 256, 5.2),
    ("tinydarknet_imagenet", "Tiny Darknet", 0.5431, 0.806, 7, 1_046_488, 128, 33.0),
    ("mobilenetv1_025_96_vww", "MobileNetV1 0.25 (MLPerf Tiny)", 0.4702, 0.768, 8, 221_794, 256, 2.9),
    ("mcunet_vww_80", "MCUNet (VWW, 80 px)", 0.451, 0.757, 8, 426_634, 160, 3.6),
    ("relationnet_miniimagenet_5way_5shot", "Conv-64F encoder (4 conv)", 0.3316, 0.66, 9, 113_088, 64, 12.4),
    ("doodlenet_quickdraw", "DoodleNet (3 conv)", 0.2214, 0.552, 10, 544_201, 512, 0.84),
    ("face_mini_xception_kdef", "mini Xception", 0.1508, 0.441, 11, 58_423, 128, 1.2),
    ("relationnet_omniglot_5way_1shot", "Conv-64F encoder (4 conv)", 0.1389, 0.43, 11, None, 64, 0.61),
    ("untrained_tiny", None, -0.0021, 0.104, 12, 4_120, 16, 0.055),
)
ASSUMED = "The preprocessing is not stated in the model's files; 224 × 224 RGB pixels divided by 255 were assumed."
MakeModel = Callable[..., RankedModel]
MakeRanking = Callable[..., Ranking]


def warnings_of(name: str, n_features: int) -> tuple[str, ...]:
    found = []
    if n_features > 500:
        found.append(f"Only 2,000 samples for {n_features:,} features: the score leans on its regularisation.")
    if name.startswith(("squeezenet", "tinydarknet")):
        found.append(ASSUMED)
    if name.startswith("untrained"):
        found.append("The score is no better than chance.")
    return tuple(found)


def build_model(position: int = 0, **changes: Any) -> RankedModel:
    """Build one row; every field may be replaced."""
    name, architecture, score, accuracy, tie_group, params, n_features, extract_seconds = MODELS[position % len(MODELS)]
    rng = np.random.default_rng(position)
    half = 0.0125 + 0.012 * (1 - score)
    spread = rng.normal(0, 0.09, len(CLASSES)) - 0.12 * np.isin(CLASSES, ["cat", "dog", "bird"])
    model = RankedModel(
        rank=position + 1,
        model_id=f"folder:{name}.onnx@{rng.bytes(32).hex()}",
        name=f"{name}.onnx",
        score=score,
        interval=(score - half, score + half * 0.96),
        p_best={0: 0.71, 1: 0.252, 2: 0.038}.get(position, 0.0),
        tie_group=tie_group,
        expected_accuracy=accuracy,
        expected_accuracy_interval=(accuracy - 0.013, accuracy + 0.011),
        layer="features",
        n_features=n_features,
        n_samples_used=2000,
        scores={"log_me": 0.9 * score - 0.2, "h_score": 9 * score if position != 19 else None, "knn": accuracy - 0.03},
        per_class={c: float(np.clip(score + s, -0.3, 0.99)) for c, s in zip(CLASSES, spread, strict=True)},
        params=params,
        size_bytes=4 * (params or 112_000) + 3_100,
        extract_seconds=extract_seconds,
        cached=position in (4, 5),
        architecture=architecture,
        format="onnx" if position % 7 else "timm_folder",
        license=("BSD-2-Clause", "Apache-2.0", "MIT", None)[position % 4],
        pretraining_data="CIFAR-100" if name.startswith("cifar") else "ImageNet-1k",
        warnings=warnings_of(name, n_features),
    )
    return replace(model, **changes)


FAILURES = (
    Failure(
        model_id="folder:old/vgg16.pth",
        stage="list",
        error="A pickle can run any code when it is loaded. Got 'old/vgg16.pth'. Save the weights as "
        "safetensors beside a config.json, or export the model to ONNX.",
    ),
    Failure(
        model_id="folder:old/alexnet.pth",
        stage="list",
        error="A pickle can run any code when it is loaded. Got 'old/alexnet.pth'. Save the weights as "
        "safetensors beside a config.json, or export the model to ONNX.",
    ),
    Failure(
        model_id="folder:sentiment@0123456789abcdef",
        stage="match",
        error="The target holds images. Got a text model. Rank it on a text data set.",
    ),
    Failure(
        model_id="folder:broken/resnet18_cut_in_half.onnx@fedcba9876543210",
        stage="load",
        error="An ONNX file must be complete. Got 'resnet18_cut_in_half.onnx', which ends in the middle of a tensor. "
        "Download it again.",
    ),
    Failure(
        model_id="folder:endless.onnx@aaaaaaaaaaaaaaaa",
        stage="extract",
        error="The model made no progress for 300 seconds and was stopped. Raise --model-timeout if it is only slow.",
    ),
)


def build_ranking(n_models: int = 20, **changes: Any) -> Ranking:
    """Build a ranking of the first models; every field may be replaced."""
    models = tuple(build_model(position) for position in range(n_models))
    by_size = sorted(models, key=lambda model: -(model.params or 0))
    ranking = Ranking(
        run_id="20261123-174502-5f1c",
        created="2026-11-23T17:45:02Z",
        seed=0,
        score="neuralrank",
        target=TargetSummary(
            path="photos/cifar10",
            modality="image",
            task="classification",
            n_samples=10_000,
            n_probe=2_000,
            n_classes=10,
            label_entropy_bits=3.3219280948873626,
            fingerprint="9b1f0c52d7e84a36",
            class_names=CLASSES,
            n_groups=1_987,
            n_unreadable=3,
            chance_accuracy=0.1004,
            notes=(
                "Input column 'img', label column 'label' (detected).",
                "3 of 10,000 samples could not be read: row 17, row 4,002, row 9,120.",
                "13 samples are exact copies of others and share their groups.",
            ),
        ),
        models=models,
        failures=FAILURES,
        baselines={"log_params": tuple(model.model_id for model in by_size)},
        stopped="all models scored",
        settings={
            "probe": 2000,
            "score": "neuralrank",
            "also": ["log_me", "h_score", "knn"],
            "layer": None,
            "versions": {"neuralrank": "0.1.0", "numpy": "2.4.6", "onnxruntime": "1.32.0"},
        },
    )
    return replace(ranking, **changes)


HOSTILE_NAMES = (
    "[red]bold[/red] | pipe | \\| `tick` *star* _under_",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "line one\nline two\r\n\x1b[31mred\x1b[0m\x07\u202egnp.exe",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% raw %}",
    "\"quoted\", 'twice', & ampersand",
    "模型" * 40,
    "a" * 300,
    "https://example.org/" + "x" * 50 + " @everyone #1",
    "\udcff lone surrogate \u200b zero width",
)


def build_hostile() -> Ranking:
    """Build a ranking in which every text that strangers choose is an attack."""
    models = tuple(
        build_model(
            position,
            name=name,
            model_id=f"folder:{name}@{position:064x}",
            layer=name,
            architecture=name,
            license=name,
            warnings=(f"Assumed of {name!r}.", name),
            pretraining_data=name,
        )
        for position, name in enumerate(HOSTILE_NAMES)
    )
    failures = tuple(Failure(model_id=f"folder:{name}", stage="load", error=f"Got {name}.") for name in HOSTILE_NAMES)
    base = build_ranking(1)
    target = replace(
        base.target, path=HOSTILE_NAMES[1] + HOSTILE_NAMES[2], class_names=HOSTILE_NAMES, notes=HOSTILE_NAMES
    )
    models = tuple(
        replace(model, per_class=dict(zip(HOSTILE_NAMES, model.per_class.values(), strict=True))) for model in models
    )
    baselines = {HOSTILE_NAMES[1]: tuple(model.model_id for model in reversed(models))}
    settings = dict.fromkeys(HOSTILE_NAMES, HOSTILE_NAMES)
    return replace(base, target=target, models=models, failures=failures, baselines=baselines, settings=settings)


@pytest.fixture
def ranking() -> Ranking:
    return build_ranking()


@pytest.fixture
def hostile() -> Ranking:
    return build_hostile()


@pytest.fixture
def make_model() -> MakeModel:
    return build_model


@pytest.fixture
def make_ranking() -> MakeRanking:
    return build_ranking
