"""Tiny real data and tiny real networks, made on the fly, and what one run of the command leaves behind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("amber", "bars", "posts", "teal")
N_PER_CLASS = 30
SIDE = 32
CARD = {
    "input_size": [3, SIDE, SIDE],
    "colour_order": "RGB",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "scale": 1 / 255,
    "resize": {"rule": "stretch", "interpolation": "bilinear"},
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def ranking(self) -> dict[str, Any]:
        """The JSON on standard output, which holds nothing else."""
        content: dict[str, Any] = json.loads(self.out)
        return content

    @property
    def scores(self) -> dict[str, float]:
        return {row["name"]: row["score"] for row in self.ranking["ranking"]}

    @property
    def failures(self) -> dict[str, tuple[str, str]]:
        """Stage and sentence by the name in the model id."""
        return {
            row["model_id"].removeprefix("folder:").partition("@")[0]: (row["stage"], row["error"])
            for row in self.ranking["failures"]
        }


Run = Callable[..., Outcome]


# --- data --------------------------------------------------------------------------------------------------------


def draw_images(seed: int = 0, n_per_class: int = N_PER_CLASS) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noisy images, shape (n, 32, 32, 3), and labels: two classes differ in colour, two in their stripes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), n_per_class)
    images = 128 + 40 * rng.normal(size=(len(labels), 1, 1, 3)) + 50 * rng.normal(size=(len(labels), SIDE, SIDE, 3))
    stripes = 25 * np.where(np.arange(SIDE) % 4 < 2, 1, -1)
    images[labels == 0] += (40, 0, -40)
    images[labels == 1] += stripes[:, None, None]
    images[labels == 2] += stripes[None, :, None]
    images[labels == 3] += (-40, 10, 20)
    return np.clip(images, 0, 255).astype(np.uint8), labels


def write_class_folders(folder: Path, *, suffix: str = ".png") -> Path:
    images, labels = draw_images()
    for place, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / CLASSES[label] / f"{place:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


# --- models ------------------------------------------------------------------------------------------------------


def crafted_filters() -> NDArray[np.float32]:
    """Return filters that see what the classes differ in: the three colours, and edges of both directions."""
    weights = np.zeros((7, 3, 3, 3), dtype=np.float32)
    for channel in range(3):
        weights[channel, channel, 1, 1] = 1.0
    edge = np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]], dtype=np.float32) / 9
    for place, kernel in enumerate((edge, -edge, edge.T, -edge.T)):
        weights[3 + place] = kernel
    return weights


def random_filters(n: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, size=(n, 3, 3, 3)).astype(np.float32)


def network(*body: Any, tail: str = "features", shape: tuple[Any, ...] = ("n", 3, SIDE, SIDE), **more: Any) -> Any:
    """Return an ONNX model: the nodes of `body` make `tail` from `image`, shape (n, 7), and a linear layer logits."""
    from onnx import TensorProto, helper, numpy_helper

    n_features = more.pop("n_features", 7)
    stored = dict(more.pop("stored", {}))
    kind = more.pop("kind", TensorProto.FLOAT)
    head = np.random.default_rng(9).normal(size=(n_features, 10)).astype(np.float32)
    stored["head"] = head
    graph = helper.make_graph(
        [*body, helper.make_node("MatMul", [tail, "head"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model


def convolution(weights: NDArray[np.float32], *, image: str = "image") -> Any:
    """Return a network of one convolution, a rectifier, the mean over the image, and a linear layer."""
    from onnx import helper

    return network(
        helper.make_node("Conv", [image, "weights"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["rectified"]),
        helper.make_node("GlobalAveragePool", ["rectified"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        stored={"weights": weights},
        n_features=len(weights),
    )


def save(model: Any, path: Path, card: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return path
