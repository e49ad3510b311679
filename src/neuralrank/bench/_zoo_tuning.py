"""Fine-tune a published network: the recipe of `truth.fine_tuned`, with rates and batches for networks of every kind.

Images are moved at 32×32 pixels, and then resized and normalised as the network's card says.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuralrank.bench import _training as training
from neuralrank.bench._data import Images
from neuralrank.bench._heads import VALIDATION_SHARE, train_head
from neuralrank.bench._third_party import TrainableNetwork
from neuralrank.errors import ModelError
from neuralrank.formats._torch_module import prepare_torch

RATES = (3e-4, 1e-3, 3e-3)
BATCH = 32
_DECAY = 1e-4


def placed(network: TrainableNetwork) -> TrainableNetwork:
    """Move a network to the GPU where there is one, to compute there as precisely as a ranking does."""
    return network.to(prepare_torch(0))


def run_network(
    network: TrainableNetwork, pixels: NDArray[np.uint8], side: int | None
) -> dict[str, NDArray[np.float32]]:
    """Return features, and logits where there is a classifier, of pixels (n, 3, 32, 32); evaluation mode."""
    network.eval()
    device = training.device_of(network)
    with torch.inference_mode():
        batches = (torch.from_numpy(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH))
        parts = [network(network.prepare(batch.to(device), side)) for batch in batches]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def loss_of(network: TrainableNetwork, pixels: Tensor, labels: Tensor, side: int | None) -> Tensor:
    """Return the cross-entropy of the network's new classifier on pixels (n, 3, 32, 32), 0 to 255.

    Raises:
        ModelError: the network cannot work on images of this size.
    """
    assert network.classifier is not None
    return nn.functional.cross_entropy(network(network.prepare(pixels, side))["logits"], labels)


def fine_tuned(
    network: TrainableNetwork, images: Images, *, side: int | None, n_steps: int, seed: int
) -> tuple[float, TrainableNetwork]:
    """Train copies of a network from a head on its frozen features; return the best rate and its copy.

    Args:
        network: stays as it is.
        images: of three channels, in random order; the last fifth chooses the rate, the others train.
        side: height and width in pixels; None for the network's own.
        n_steps: batches at each rate.
        seed: of the batches.

    Raises:
        ModelError: its features are not finite.
    """
    n_fit = len(images) - int(VALIDATION_SHARE * len(images))
    fit, held_out = images.take(np.arange(n_fit)), images.take(np.arange(n_fit, len(images)))
    head = train_head(
        finite(run_network(network, fit.pixels, side)["features"]), fit.labels, int(images.labels.max()) + 1
    )
    found: list[tuple[float, float, TrainableNetwork]] = []
    for rate in RATES:
        tuned = copy.deepcopy(network)
        tuned.classifier = head.layer().to(training.device_of(network))
        training.optimise(
            tuned, _loss(tuned, fit, side), len(fit), n_steps=n_steps, rate=rate, decay=_DECAY, seed=seed, batch=BATCH
        )
        accuracy = np.mean(predict(tuned, held_out.pixels, side) == held_out.labels)
        found.append((float(accuracy), rate, tuned))
    _, rate, best = max(found, key=lambda item: item[0])
    return rate, best


def predict(network: TrainableNetwork, pixels: NDArray[np.uint8], side: int | None) -> NDArray[np.int64]:
    """Return the class of each image."""
    return np.asarray(run_network(network, pixels, side)["logits"].argmax(axis=1))


def finite(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features that are finite.

    Raises:
        ModelError: some are not.
    """
    n_bad = int(np.count_nonzero(~np.isfinite(features).all(axis=1)))
    if n_bad:
        raise ModelError(
            f"Features need to be finite. Got NaN or infinity for {n_bad:,} of {len(features):,} images. "
            "Leave the network out."
        )
    return features


def _loss(network: TrainableNetwork, images: Images, side: int | None) -> training.Loss:
    labels, device = torch.from_numpy(images.labels), training.device_of(network)

    def loss(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        moved = training.augment(torch.from_numpy(images.pixels[rows]).float(), "shift", generator)
        return loss_of(network, moved.to(device), labels[rows].to(device), side)

    return loss
