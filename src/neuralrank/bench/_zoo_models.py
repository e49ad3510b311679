"""Published networks in a folder: what their cards say, what they cost, and whether they can be fine-tuned.

A network is looked at once, in one file of `networks/`; its name there holds a digest of the ONNX file and of its card,
as do all names of what is measured, so a file that has changed is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuralrank.bench import _zoo_tuning as tuning
from neuralrank.bench._data import DATA_SETS
from neuralrank.bench._third_party import TrainableNetwork, load_trainable
from neuralrank.bench.build import Repository, write_text
from neuralrank.errors import ModelError, UsageError
from neuralrank.formats._card import read_card
from neuralrank.formats.onnx import describe, onnx
from neuralrank.registry import get
from neuralrank.types import ImagePreprocessing, ModelFacts

MAX_SIDE = 96
"""Pixels: a network made for larger images is fine-tuned at this size, if it can work on it."""
SAME_DATA = {
    "CIFAR-10": "cifar10_jpeg", "Fashion-MNIST": "fashion_mnist", "KMNIST": "kmnist_10k", "MNIST": "mnist",
}  # fmt: skip
"""What cards call the data sets that are targets."""
_FEW, _MANY_SECONDS = 4, 5.0


@dataclass(frozen=True, kw_only=True)
class Zoo:
    """A folder of published networks, the targets, and how much is measured."""

    models: Path
    """Holds NAME.onnx and NAME.json."""
    repository: Repository
    """Where the data is, and where the results are kept: in `zoo/` of its folder."""
    targets: tuple[str, ...] = DATA_SETS
    limit_seconds_per_step: float = 0.6
    """A network of which a training step costs more is not fine-tuned."""
    n_probe: int = 500
    n_pool: int = 5_000
    """Samples that training samples are drawn from, at most."""
    n_test: int = 1_000
    steps: Mapping[int, int] = field(default_factory=lambda: {500: 150, 2_000: 300})
    """Of fine-tuning at each rate, by number of samples."""
    n_seeds: int = 1
    """Fine-tunings of each network on each target with each number of samples."""
    scores: tuple[str, ...] = ()
    """Names of scorers; empty for all that features, labels or a classifier are enough for."""

    @property
    def folder(self) -> Path:
        """Where the results are kept."""
        return self.repository.folder / "zoo"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One ONNX file."""

    file: Path
    digest: str

    def facts(self, zoo: Zoo) -> Path:
        """Return where it says what was found."""
        return zoo.folder / "networks" / f"{self.file.stem}-{self.digest}.json"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at one network found."""

    row: Mapping[str, Any]
    """Of the table of networks."""
    seconds_per_image: float
    """Of a forward pass at its own size."""
    side: int | None
    """At which it is fine-tuned; None for its own size."""
    seconds_per_step: float | None
    """Of training on 32 images, on one core; None where it cannot be trained."""
    remark: str
    """What it cannot do, and why; empty where it can do everything."""

    def refusal(self, limit_seconds: float) -> str | None:
        """Return why it is not fine-tuned."""
        if self.seconds_per_step is None:
            return self.remark
        if self.seconds_per_step > limit_seconds:
            costs = f"A training step on {tuning.BATCH} images needs at most {limit_seconds:g} s."
            return f"{costs} Got {self.seconds_per_step:.2g} s. {self.remark}".rstrip()
        return None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A published network at one size: one row of the table of networks."""

    published: Published
    look: Look
    side: int | None = None
    """None for the network's own size."""

    @property
    def name(self) -> str:
        """The name of the file, and the size where it is not its own."""
        return self.published.file.stem + (f"@{self.side}" if self.side else "")

    @property
    def row(self) -> dict[str, Any]:
        """Of the table of networks; at another size, a network is a child of itself."""
        return {**self.look.row, "model": self.name, "parent": self.published.file.stem if self.side else None}


def list_published(models: Path) -> list[Published]:
    """Return the ONNX files of a folder, sorted.

    Raises:
        UsageError: there is none.
    """
    files = sorted(models.glob("*.onnx"))
    if not files:
        raise UsageError(
            f"--models needs a folder with NAME.onnx and NAME.json of each network. Got {str(models)!r} without any. "
            "Check the path."
        )
    return [Published(file=file, digest=_digest(file)) for file in files]


def read_look(published: Published, zoo: Zoo) -> Look:
    """Return what a look at a network found.

    Raises:
        ModelError: it cannot be used.
    """
    found = json.loads(published.facts(zoo).read_text(encoding="utf-8"))
    if "error" in found:
        raise ModelError(found["error"])
    return Look(**found)


def look_at(item: tuple[Published, Zoo]) -> None:
    """Run a network, try to train it, and keep what is found or what is wrong with it."""
    published, zoo = item
    try:
        found = _looked_at(published.file)
    except ModelError as error:
        found = {"error": str(error)}
    write_text(published.facts(zoo), json.dumps(found, indent=1))


def _looked_at(file: Path) -> dict[str, Any]:
    facts = describe(file)
    if facts is None or facts.modality != "image" or facts.preprocessing is None:
        raise ModelError(f"{file.name} needs to take images. Got another modality. Leave it out.")
    row = _row(file, facts)
    return {"row": row, "seconds_per_image": _seconds_per_image(file, facts), **_training(file, facts.preprocessing)}


def _row(file: Path, facts: ModelFacts) -> dict[str, Any]:
    """Return the row of the table of networks; what a card does not say is left out."""
    card = read_card(file)
    stated = json.loads(card.path.read_text(encoding="utf-8-sig")) if card else {}
    family = stated.get("family")
    architecture = family if isinstance(family, str) else facts.architecture or file.stem
    accuracy = facts.reported_accuracy
    return {
        "lineage": architecture,
        "half": "confirmation",
        "pretraining_data": SAME_DATA.get(facts.pretraining_data or "", facts.pretraining_data or "unknown"),
        "n_classes": card.n_classes if card else None,
        "algorithm": "published",
        "architecture": architecture,
        "n_params": facts.n_params,
        "damage": "none",
        "source_accuracy": None if accuracy is None else accuracy / 100,
    }


def _seconds_per_image(file: Path, facts: ModelFacts) -> float:
    encoder = onnx(file, facts, n_threads=1)
    batch = get("modalities", "image")().make_batch([np.zeros((32, 32, 3), np.uint8)] * 4, facts.preprocessing)
    seconds = []
    for _ in range(2):  # the first is slower
        start = time.process_time()
        encoder.encode(batch, [encoder.feature_layer])
        seconds.append(time.process_time() - start)
    return min(seconds) / len(batch["image"])


def _training(file: Path, preprocessing: ImagePreprocessing) -> dict[str, Any]:
    """Return at which size a network can be trained and what a step costs, or why it cannot."""
    found: dict[str, Any] = {"side": None, "seconds_per_step": None}
    remarks = []
    try:
        network = load_trainable(file)
    except ModelError as error:
        return {**found, "remark": str(error)}
    for side in (None,) if max(preprocessing.size) <= MAX_SIDE else (MAX_SIDE, None):
        try:
            found = {"side": side, "seconds_per_step": _seconds_per_step(network, side)}
            break
        except ModelError as error:
            remarks.append(str(error))
    return {**found, "remark": " ".join(remarks)}


def _seconds_per_step(network: TrainableNetwork, side: int | None) -> float:
    """Time steps on a full batch; where a step costs many seconds, on a few images."""
    network.classifier = None
    pixels = torch.randint(256, (tuning.BATCH, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    n_features = tuning.run_network(network, pixels[:2].byte().numpy(), side)["features"].shape[1]
    if n_features != network.n_features:
        raise ModelError(
            f"{network.name} needs to give {network.n_features} features at any size. "
            f"Got {n_features} at {side} pixels. Use it at its own size."
        )
    network.classifier, labels = torch.nn.Linear(n_features, 10), torch.arange(tuning.BATCH) % 10
    network.train()

    def step(n_images: int) -> float:
        start = time.process_time()  # other programs may be running
        tuning.loss_of(network, pixels[:n_images].float(), labels[:n_images], side).backward()  # type: ignore[no-untyped-call]
        return time.process_time() - start

    of_few = min(step(_FEW), step(_FEW)) * tuning.BATCH / _FEW
    return of_few if of_few > _MANY_SECONDS else min(step(tuning.BATCH) for _ in range(3))


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    for part in (file, file.with_suffix(".json")):
        digest.update(part.read_bytes() if part.is_file() else b"")
    return digest.hexdigest()[:8]
