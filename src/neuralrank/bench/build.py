"""Train the model repository of the evidence: `neuralrank bench build`.

The folder holds `models/` (a torch.export program and a card each: what `neuralrank rank` is pointed at), `weights/`
(safetensors, for fine-tuning) and `networks/` (a JSON file each with how it was made; it is written last, so a network
that has one is finished). Networks that are finished are not trained again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralrank.bench import _training as training
from neuralrank.bench._damage import damage
from neuralrank.bench._data import Images, check_data, read_images
from neuralrank.bench._grid import Grid, NetworkSpec, make_grid
from neuralrank.bench._jobs import Progress, run_jobs
from neuralrank.bench._networks import MEAN, SIDE, STD, Network, make_network

N_PROJECTED = 32
"""Outputs of the projection of a contrastive network."""
WITHOUT_CLASSIFIER = ("simclr", "rotation")
"""Algorithms that learn without labels: their networks come without a classifier."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Where the parts of a built repository lie."""

    folder: Path
    data: Path

    @property
    def images(self) -> Path:
        """Decoded images."""
        return self.folder / "images"

    @property
    def models(self) -> Path:
        """What can be ranked."""
        return self.folder / "models"

    def weights(self, name: str) -> Path:
        """Return where the weights of a network are."""
        return self.folder / "weights" / f"{name}.safetensors"

    def facts(self, name: str) -> Path:
        """Return where it says how a network was made."""
        return self.folder / "networks" / f"{name}.json"

    def read(self, data_set: str, part: Any) -> Images:
        """Return a part of a data set."""
        return read_images(self.data, data_set, part, cache=self.images)


def build(grid: Grid, repository: Repository, *, jobs: int, progress: Progress) -> None:
    """Train every network of a grid that is not there yet."""
    specs = make_grid(grid)
    data_sets = sorted({spec.pretraining_data for spec in specs} - {"none"})
    check_data(repository.data, tuple(data_sets))
    for data_set in data_sets:
        repository.read(data_set, "pretraining")
        repository.read(data_set, "test")
    for generation in ([spec for spec in specs if spec.parent is None], [spec for spec in specs if spec.parent]):
        left = [(spec, repository) for spec in generation if not repository.facts(spec.name).exists()]
        run_jobs(_build, left, name=lambda item: item[0].name, jobs=jobs, progress=progress)


def load_network(spec: NetworkSpec, repository: Repository) -> Network:
    """Return a built network with its weights, on the device that trains."""
    weights = load_file(repository.weights(spec.name))
    network = _fresh(spec, len(weights["classifier.weight"]))
    network.load_state_dict(weights)
    return network


def _build(item: tuple[NetworkSpec, Repository]) -> None:
    spec, repository = item
    start = time.perf_counter()
    torch.manual_seed(spec.seed)
    network, n_samples, classes = _made(spec, repository)
    source_accuracy = _source_accuracy(spec, network, classes, repository)
    with write_whole(repository.weights(spec.name)) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, part)
    _export(spec, network, repository.models, source_accuracy, len(classes))
    facts = {
        **dataclasses.asdict(spec),
        "n_samples": n_samples,
        "n_classes": len(classes),
        "n_params": sum(parameter.numel() for parameter in network.stages.parameters()),
        "source_accuracy": source_accuracy,
        "build_seconds": round(time.perf_counter() - start, 2),
    }
    write_text(repository.facts(spec.name), json.dumps(facts, indent=1))


def _made(spec: NetworkSpec, repository: Repository) -> tuple[Network, int, NDArray[np.int64]]:
    """Return the network of a spec, how many samples it was trained on, and its classes."""
    if spec.algorithm == "untrained":
        return _fresh(spec, 10), 0, np.arange(10)
    images, classes = _pretraining_images(spec, repository)
    if spec.damage != "none":
        network = _parent(spec, repository)
        damage(network.cpu(), spec.damage, spec.seed)
        return network, len(images), classes
    rate = spec.learning_rate * training.BASE_RATES[spec.algorithm]
    if spec.algorithm == "fine_tuned":
        network = _parent(spec, repository)
        network.classifier = torch.nn.Linear(network.n_features, len(classes)).to(training.device_of(network))
        loss = training.supervised(network, images, spec.augmentation)
    elif spec.algorithm == "distilled":
        network = _fresh(spec, len(classes))
        loss = training.distilled(network, _parent(spec, repository), images, spec.augmentation)
    elif spec.algorithm == "simclr":
        network = _fresh(spec, N_PROJECTED)
        loss = training.simclr(network, images)
    elif spec.algorithm == "rotation":
        network = _fresh(spec, 4)
        loss = training.rotation(network, images, spec.augmentation)
    else:
        network = _fresh(spec, len(classes))
        loss = training.supervised(network, images, spec.augmentation)
    training.optimise(
        network, loss, len(images), n_steps=spec.n_steps, rate=rate, decay=spec.weight_decay, seed=spec.seed,
        momentum_only=spec.algorithm == "sgd",
    )  # fmt: skip
    return network, len(images), classes


def _fresh(spec: NetworkSpec, n_classes: int) -> Network:
    network = make_network(
        spec.architecture, width=spec.width, depth=spec.depth, n_features=spec.n_features, n_classes=n_classes
    )
    device = training.device_to_train_on()
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _parent(spec: NetworkSpec, repository: Repository) -> Network:
    facts = json.loads(repository.facts(str(spec.parent)).read_text())
    fields = {field.name: facts[field.name] for field in dataclasses.fields(NetworkSpec)}
    return load_network(NetworkSpec(**fields), repository)


def _pretraining_images(spec: NetworkSpec, repository: Repository) -> tuple[Images, NDArray[np.int64]]:
    """Return the training images of a network, labels counted from 0, and the classes they stand for."""
    generator = np.random.default_rng(spec.data_seed)
    whole = repository.read(spec.pretraining_data, "pretraining")
    n_classes = int(whole.labels.max()) + 1
    classes = np.sort(generator.permutation(n_classes)[: max(2, round(spec.class_share * n_classes))])
    rows = np.flatnonzero(np.isin(whole.labels, classes))
    chosen = whole.take(np.sort(generator.permutation(rows)[: spec.n_samples]))
    labels = np.searchsorted(classes, chosen.labels)
    noisy = generator.random(len(labels)) < spec.label_noise
    labels = np.where(noisy, generator.integers(len(classes), size=len(labels)), labels)
    return training.corrupt(Images(pixels=chosen.pixels, labels=labels), spec.corruption, spec.data_seed), classes


def _source_accuracy(
    spec: NetworkSpec, network: Network, classes: NDArray[np.int64], repository: Repository
) -> float | None:
    """Return what a card would report: the accuracy on the network's own task; a damaged copy keeps its parent's."""
    if spec.damage != "none":
        return json.loads(repository.facts(str(spec.parent)).read_text())["source_accuracy"]  # type: ignore[no-any-return]
    if spec.algorithm in (*WITHOUT_CLASSIFIER, "untrained"):
        return None
    test = repository.read(spec.pretraining_data, "test")
    test = test.take(np.flatnonzero(np.isin(test.labels, classes)))
    logits = training.run_batches(network, test, lambda images: network(images)["logits"])
    return round(float(np.mean(classes[logits.argmax(axis=1)] == test.labels)), 4)


class _WithoutClassifier(torch.nn.Module):
    """A network that gives features alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": self.network(images)["features"]}


def _export(spec: NetworkSpec, network: Network, folder: Path, source_accuracy: float | None, n_classes: int) -> None:
    """Write the network as a torch.export program with its card."""
    headless = spec.algorithm in WITHOUT_CLASSIFIER
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module: torch.nn.Module = _WithoutClassifier(network) if headless else network
    images = torch.zeros(2, 3, SIDE, SIDE)
    program = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    card = {
        "architecture": f"{spec.architecture} (width {spec.width}, depth {spec.depth})",
        "parameters": sum(parameter.numel() for parameter in network.stages.parameters()),
        "input_size": [3, SIDE, SIDE],
        "colour_order": "RGB",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "resize": {"rule": "stretch to input_size without cropping", "interpolation": "bilinear"},
        "outputs": ["features"] if headless else ["features", "logits"],
        "num_classes": None if headless else n_classes,
        "pretraining_data": spec.pretraining_data,
        "reported_accuracy": None if source_accuracy is None else round(100 * source_accuracy, 2),
    }
    write_text(folder / f"{spec.name}.json", json.dumps(card, indent=1))
    with write_whole(folder / f"{spec.name}.pt2") as part:
        torch.export.save(program, part)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with write_whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; what is there takes the place of `path` if nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
