"""Write a trained model as one clean ONNX file, and check that it says what the torch model says."""

import copy
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from .networks import Model, Size, fold_norms

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between torch and onnxruntime, relative to the largest output."""


def export_model(model: Model, size: Size, path: Path) -> int:
    """Write `model` to `path` and return the number of its parameters, batch normalisations folded.

    Args:
        model: in evaluation mode; it is not changed.
        size: (channels, height, width) of the input.
        path: the `.onnx` file.

    Raises:
        RuntimeError: onnxruntime and torch do not agree on the exported file.
    """
    model = copy.deepcopy(model).eval()
    fold_norms(model)
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    names = ["features"] if model.classifier is None else ["logits", "features"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices of the exporter about its own future
        program = torch.onnx.export(
            model,
            (image,),
            input_names=["image"],
            output_names=names,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _strip(graph)
    onnx.checker.check_model(graph, full_check=True)
    _check(model, graph.SerializeToString(), size, names)
    onnx.save(graph, path)
    return sum(parameter.numel() for parameter in model.parameters())


def _strip(graph: onnx.ModelProto) -> None:
    """Remove notes of the exporter: they hold source lines and paths of this machine and no part of the network."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for part in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _check(model: Model, graph: bytes, size: Size, names: list[str]) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for n_images in (1, 3):
        images = torch.randn(n_images, *size, generator=torch.Generator().manual_seed(n_images))
        with torch.inference_mode():
            outputs = model(images)
        wanted = [outputs] if len(names) == 1 else list(outputs)
        for name, expected, got in zip(names, wanted, session.run(names, {"image": images.numpy()}), strict=True):
            difference = np.abs(expected.numpy() - got).max() / max(1.0, np.abs(got).max())
            if not difference <= TOLERANCE:
                raise RuntimeError(
                    f"{name} of the ONNX file differs from torch by {difference:.1e} at batch {n_images}."
                )
