"""Models that do harm: every maker writes one model, `bad.onnx`, into a folder."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from tiny_zoo import CARD, convolution, network, random_filters, save


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def pooled(image: str = "image") -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("GlobalAveragePool", [image], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]


def cut_onnx(folder: Path) -> None:
    cut_in_half(save(convolution(random_filters(2, seed=3)), folder / "bad.onnx"))


def cut_safetensors(folder: Path) -> None:
    model = folder / "bad.onnx"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["ViTModel"], "model_type": "vit"}))
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4000))
    cut_in_half(model / "model.safetensors")


def pickle_file(folder: Path) -> None:
    (folder / "bad.onnx").mkdir()
    (folder / "bad.onnx" / "old.pth").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")


def token_model(folder: Path) -> None:
    from onnx import TensorProto, helper

    body = helper.make_node("Cast", ["image"], ["features"], to=TensorProto.FLOAT)
    save(network(body, n_features=16, shape=("n", 16), kind=TensorProto.INT64), folder / "bad.onnx")


def rank_5_model(folder: Path) -> None:
    save(network(*pooled(), tail="flat", n_features=3, shape=("n", 3, 4, 32, 32)), folder / "bad.onnx")


def nan_model(folder: Path) -> None:
    from onnx import helper

    body = [
        helper.make_node("Sub", ["image", "two"], ["negative"]),
        helper.make_node("Log", ["negative"], ["logarithm"]),
        *pooled("logarithm"),
    ]
    stored = {"two": np.float32([2])}
    save(network(*body, tail="flat", n_features=3, stored=stored), folder / "bad.onnx", CARD)


def endless_model(folder: Path) -> None:
    """Halve the means 2⁶² times."""
    from onnx import TensorProto, helper, numpy_helper

    flag, number = TensorProto.BOOL, TensorProto.FLOAT
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Mul", ["value", "half"], ["value_out"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", flag, []),
            helper.make_tensor_value_info("value", number, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", flag, []),
            helper.make_tensor_value_info("value_out", number, None),
        ],
        [numpy_helper.from_array(np.float32([0.5]), "half")],
    )
    loop = helper.make_node("Loop", ["trips", "yes", "flat"], ["features"], body=step)
    stored = {"trips": np.array(2**62), "yes": np.array(True)}
    save(network(*pooled(), loop, n_features=3, stored=stored), folder / "bad.onnx", CARD)


def greedy_model(folder: Path) -> None:
    """Make 1 GB of zeros per sample, which is more than 100 GB a batch."""
    from onnx import helper

    body = [
        *pooled(),
        helper.make_node("Shape", ["image"], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "width"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["zero"], axes=[1], keepdims=1),
        helper.make_node("Add", ["flat", "zero"], ["features"]),
    ]
    stored = {"width": np.array([250_000_000])}
    save(network(*body, n_features=3, stored=stored), folder / "bad.onnx", CARD)


def constant_model(folder: Path) -> None:
    """Multiply the means by zero."""
    from onnx import helper

    body = [*pooled(), helper.make_node("Mul", ["flat", "zero"], ["features"])]
    save(network(*body, n_features=3, stored={"zero": np.float32([0])}), folder / "bad.onnx", CARD)


def batch_mixing_model(folder: Path) -> None:
    """Average over the samples of a batch too."""
    from onnx import helper

    body = helper.make_node("ReduceMean", ["image"], ["features"], axes=[0, 2, 3], keepdims=0)
    save(network(body, n_features=3), folder / "bad.onnx", CARD)


def damaged_card(folder: Path) -> None:
    save(convolution(random_filters(2, seed=3)), folder / "bad.onnx")
    (folder / "bad.json").write_text('{"input_size": [3, 32')
