"""Run an ONNX graph with onnxruntime, cut at the layers that are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import ModelError
from neuralrank.formats._onnx_graph import cut_at, read_graph
from neuralrank.types import Batch, Hidden, ImagePreprocessing


class Entry:
    """The one input of a graph: its name, element type, and what its shape fixes."""

    def __init__(self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...] | None) -> None:
        self.name = name
        self.dtype = dtype
        self.batch_size = shape[0] if shape else None
        self.sample_shape = shape[1:] if shape else None

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.dtype is np.uint8 and values.dtype != np.uint8:
            values = np.clip(np.rint(values), 0, 255)
        return np.ascontiguousarray(values, dtype=self.dtype)


class OnnxEncoder:
    """An ONNX graph cut at the layers asked for; one onnxruntime session at a time, made when it is needed."""

    def __init__(
        self,
        *,
        path: Path,
        entry: Entry,
        layers: tuple[str, ...],
        feature_layer: str,
        head_layer: str | None,
        preprocessing: ImagePreprocessing | None,
        warnings: tuple[str, ...],
        n_threads: int,
    ) -> None:
        self.layers = layers
        self.feature_layer = feature_layer
        self.head_layer = head_layer
        self.preprocessing = preprocessing
        self.warnings = warnings
        self._path = path
        self._entry = entry
        self._n_threads = n_threads
        self._loaded: tuple[str, ...] = ()
        self._session: Any = None

    def load(self, layers: Sequence[str]) -> Any:
        """Return the session that computes `layers`, made in place of the one before if that computes others."""
        if tuple(layers) != self._loaded:
            for layer in layers:
                if layer not in self.layers:
                    raise ModelError(
                        f"{self._path.name} needs a layer that it has. Got {layer!r}. "
                        f"Choose one of {_listed(self.layers)}."
                    )
            self._loaded, self._session = (), None  # two of them would hold the weights twice
            self._session = _session(self._path, layers, self._n_threads)
            self._loaded = tuple(layers)
        return self._session

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch of any size; a graph with a fixed batch axis is run in pieces of that size."""
        values = next(iter(batch.values()))
        self._check_shape(values)
        size = self._entry.batch_size or max(len(values), 1)
        parts = [self._run(values[start : start + size], size, layers) for start in range(0, len(values), size)]
        columns = zip(layers, zip(*parts, strict=True), strict=True)
        return {
            layer: Hidden(values=pieces[0] if len(pieces) == 1 else np.concatenate(pieces)) for layer, pieces in columns
        }

    def _check_shape(self, values: NDArray[Any]) -> None:
        expected = self._entry.sample_shape
        if expected is None:
            return
        got = values.shape[1:]
        if len(got) != len(expected) or any(
            want is not None and want != have for want, have in zip(expected, got, strict=True)
        ):
            shown = " × ".join("any" if axis is None else str(axis) for axis in expected)
            raise ModelError(
                f"{self._path.name} needs samples of shape {shown}. Got {' × '.join(map(str, got))}. "
                "Choose a model made for such samples."
            )

    def _run(self, values: NDArray[Any], size: int, layers: Sequence[str]) -> list[NDArray[Any]]:
        n = len(values)
        if n < size:
            values = np.concatenate([values, np.repeat(values[-1:], size - n, axis=0)])
        session = self.load(layers)
        try:
            outputs = session.run(list(layers), {self._entry.name: self._entry.cast(values)})
        except _runtime_errors() as error:
            raise ModelError(
                f"{self._path.name} needs to run on a batch of {n} samples. Got: {_one_line(error)} "
                "Check the export, or choose another layer."
            ) from error
        for layer, output in zip(layers, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.ndim == 0 or len(output) != size:
                got = f"shape {output.shape}" if isinstance(output, np.ndarray) else "no tensor"
                raise ModelError(
                    f"{self._path.name} needs one row per sample in layer {layer!r}. Got {got} for {size} samples. "
                    "Choose another layer, or export it with an open batch axis."
                )
        return [output[:n] for output in outputs]


def _session(path: Path, layers: Sequence[str], n_threads: int) -> Any:
    import onnxruntime as ort

    model = cut_at(read_graph(path), layers)
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent.resolve()))
    available = ort.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    except _runtime_errors() as error:
        raise ModelError(
            f"{path.name} could not be loaded by onnxruntime. Got: {_one_line(error)} "
            "Download or export it again, with standard operators."
        ) from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return every exception of onnxruntime, which share no base class, and those its bindings raise."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, ValueError, MemoryError)


def _one_line(error: Exception) -> str:
    """Return the sentence of an onnxruntime error without its codes, C++ signatures and source positions."""
    text = " ".join(str(error).split())
    text = re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", text)[-1]
    text = re.sub(
        r"Non-zero status code returned while running (\w+) node\. Name:'.*?' Status Message: ", r"\1: ", text
    )
    text = re.sub(r"\S*\w\.(?:cc|cpp|cuh?|h):\d+ (?:(?:\w+ )*onnxruntime::.*?\)(?: const)? |\w+ )?", "", text)
    text = text.strip().rstrip(".") or type(error).__name__
    return f"{text[:237]}…" if len(text) > 238 else f"{text}."


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[-12:])
    return f"…, {shown}" if len(names) > 12 else shown
