"""Write the JSON card beside an ONNX file: what the model is, how to feed it, and how it was made."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .data import DATA_SETS, DataSet
from .export import OPSET
from .networks import BODIES
from .recipe import Recipe
from .training import Trained

ALGORITHMS = {
    "supervised": "supervised classification",
    "rotation": "self-supervised: predict by how many quarter turns an image was rotated",
    "autoencoder": "self-supervised: autoencoder, reconstruct the image from its features",
    "untrained": "none: random initial weights",
    "damaged": "none: a copy of {start} whose largest layer had its weights shuffled",
}
LABELS = {
    "true": "as published",
    "noisy50": "half of them replaced by random classes",
    "random": "all replaced by random classes",
    "none": "not used",
}


def write_card(recipe: Recipe, parents: list[Recipe], trained: Trained, n_parameters: int, onnx_file: Path) -> None:
    """Write `NAME.json` beside `NAME.onnx`.

    Args:
        recipe: how the model was made.
        parents: the recipes it was started from, nearest first.
        trained: the model and its held-out measurements.
        n_parameters: of the exported network.
        onnx_file: the exported file.
    """
    facts = DATA_SETS[recipe.data]
    content = onnx_file.read_bytes()
    sources = [recipe, *(parent for parent in parents if recipe.algorithm != "damaged")]
    licences = dict.fromkeys(DATA_SETS[source.data].licence for source in sources)
    card: dict[str, Any] = {
        "name": recipe.name,
        "architecture": BODIES[recipe.network][1].format(width=recipe.width),
        "family": recipe.network,
        "parameters": n_parameters,
        **_describe_input(facts),
        "outputs": ["logits", "features"] if recipe.has_classifier else ["features"],
        "batch": "dynamic",
        "num_classes": len(trained.class_names) if trained.class_names else None,
        "class_names": trained.class_names,
        "feature_dim": trained.model.n_features,
        "pretraining_data": ", before that ".join(_describe_data(source) for source in sources),
        "pretraining_data_licence": "; ".join(licence for licence in licences if licence) or None,
        "initialised_from": recipe.start,
        "reported_accuracy": None if trained.accuracy is None else round(trained.accuracy, 2),
        "reported_accuracy_source": _describe_accuracy(recipe, trained),
        "licence": "Apache-2.0",
        "weights": "float32",
        "training": _describe_training(recipe, trained),
        "onnx": {
            "file": onnx_file.name,
            "opset": OPSET,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        },
    }
    onnx_file.with_suffix(".json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _describe_input(facts: DataSet) -> dict[str, Any]:
    grey = facts.size[0] == 1
    limits = [(limit - mean) / std for limit in (0, 1) for mean, std in zip(facts.mean, facts.std, strict=True)]
    scale = "pixels / 255, then (pixel - mean) / std, in colour_order"
    return {
        "input_size": facts.size,
        "colour_order": "grey" if grey else "RGB",
        "mean": facts.mean,
        "std": facts.std,
        "pixel_scale": scale + ("; grey = 0.299 R + 0.587 G + 0.114 B" if grey else ""),
        "value_range": [round(min(limits), 4), round(max(limits), 4)],
        "resize": {
            "rule": "stretch to input_size without cropping",
            "interpolation": "bilinear",
            "antialias": True,
            "align_corners": False,
        },
    }


def _describe_data(recipe: Recipe) -> str:
    facts = DATA_SETS[recipe.data]
    if facts.folder is None:
        return "none (random weights)"
    if recipe.classes is None:
        return facts.title
    return f"{facts.title}, classes {recipe.classes[0]} to {recipe.classes[1]}"


def _describe_accuracy(recipe: Recipe, trained: Trained) -> dict[str, str] | None:
    if trained.accuracy is None:
        return None
    what = "4 rotations of " if recipe.algorithm == "rotation" else ""
    return {
        "what": f"{what}{_describe_data(recipe)} top-1",
        "where": "measured by scripts/train_demo_models.py on 2,000 or fewer images of the test split",
    }


def _describe_training(recipe: Recipe, trained: Trained) -> dict[str, Any]:
    untouched = recipe.algorithm in {"untrained", "damaged"}
    return {
        "algorithm": ALGORITHMS[recipe.algorithm].format(start=recipe.start),
        "optimiser": None if untouched else f"{recipe.optimiser}, rate {recipe.learning_rate:g}, cosine decay",
        "epochs": recipe.n_epochs,
        "samples": 0 if untouched else trained.n_samples,
        "labels": LABELS[recipe.labels],
        "seed": recipe.seed,
        "held_out_squared_error": None if trained.error is None else round(trained.error, 4),
    }
