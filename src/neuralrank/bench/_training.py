"""How the networks of the evidence are trained and run: a few plain loops, deterministic by seed.

Images are drawn, moved and coloured by the processor, whatever the network runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuralrank.bench._data import Images
from neuralrank.bench._networks import MEAN, SIDE, STD, Network

BATCH = 64
BASE_RATES = {"sgd": 0.03, "adam": 1e-3, "simclr": 1e-3, "rotation": 1e-3, "fine_tuned": 1e-3, "distilled": 1e-3}
_WARM_UP = 0.1
_CLIP = 1.0
_TEMPERATURE = 0.5
_SHIFT = 3
"""Pixels an image is moved by, at most."""
Loss = Callable[[NDArray[np.int64], torch.Generator], Tensor]


def device_to_train_on() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Return where the weights of a network are."""
    return next(network.parameters()).device


def to_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Return float32 (n, 3, 32, 32), channels last in memory, of pixels (n, 1 or 3, 32, 32)."""
    images = (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - MEAN) / STD
    return images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def run_batches(
    network: Network, images: Images, take: Callable[[Tensor], Tensor], batch: int = 256
) -> NDArray[np.float32]:
    """Return what `take` gives for batches of images, joined; the network is in evaluation mode."""
    network.eval()
    device = device_of(network)
    with torch.inference_mode():
        parts = [
            take(to_input(images.pixels[start : start + batch]).to(device)) for start in range(0, len(images), batch)
        ]
    return torch.cat(parts).cpu().numpy()


def optimise(network: nn.Module, loss: Loss, n_samples: int, *, n_steps: int, rate: float, decay: float, seed: int,
             momentum_only: bool = False, batch: int = BATCH) -> None:  # fmt: skip
    """Minimise a loss over random batches: AdamW, or SGD with momentum; warm-up, then a cosine to zero.

    Args:
        network: is changed, in training mode.
        loss: of sample indices; the generator is for what it draws.
        n_samples: to draw batches from.
        n_steps: batches.
        rate: highest learning rate.
        decay: weight decay.
        seed: of the batches.
        momentum_only: SGD with Nesterov momentum in place of AdamW.
        batch: samples at once, or all where there are fewer.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser: torch.optim.Optimizer
    fused = device_of(network).type == "cuda"  # a small network waits for its kernels to be launched
    if momentum_only:
        optimiser = torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=fused)
    else:
        optimiser = torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=fused)
    n_warm = max(1, round(_WARM_UP * n_steps))

    def factor(step: int) -> float:
        done = (step - n_warm) / max(1, n_steps - n_warm)
        return (step + 1) / n_warm if step < n_warm else 0.5 * (1 + float(np.cos(np.pi * done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    for rows in _batches(n_samples, min(batch, n_samples), n_steps, seed):
        optimiser.zero_grad()
        loss(rows, generator).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, _CLIP)
        optimiser.step()
        schedule.step()


def _batches(n_samples: int, size: int, n_steps: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of sample indices: every sample once before any comes again."""
    generator = np.random.default_rng(seed)
    queue = generator.permutation(n_samples)
    for _ in range(n_steps):
        if len(queue) < size:
            queue = generator.permutation(n_samples)
        yield queue[:size]
        queue = queue[size:]


# --- losses ------------------------------------------------------------------------------------------------------


def supervised(network: Network, images: Images, augmentation: str) -> Loss:
    """Return the cross-entropy of the labels."""
    labels, device = torch.from_numpy(images.labels), device_of(network)

    def loss(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = augment(to_input(images.pixels[rows]), augmentation, generator).to(device)
        return nn.functional.cross_entropy(network(batch)["logits"], labels[rows].to(device))

    return loss


def rotation(network: Network, images: Images, augmentation: str) -> Loss:
    """Return the cross-entropy of telling by which quarter turn an image was rotated (Gidaris et al. 2018).

    The classifier of the network has four outputs.
    """
    device = device_of(network)

    def loss(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = augment(to_input(images.pixels[rows]), augmentation, generator)
        turns = torch.randint(4, (len(rows),), generator=generator)
        turned = torch.empty_like(batch)
        for turn in range(4):
            chosen = turns == turn
            turned[chosen] = torch.rot90(batch[chosen], turn, (2, 3))
        return nn.functional.cross_entropy(network(turned.to(device))["logits"], turns.to(device))

    return loss


def simclr(network: Network, images: Images) -> Loss:
    """Return the contrastive loss of two strongly augmented views (Chen et al. 2020, SimCLR).

    The classifier of the network is the projection.
    """
    device = device_of(network)

    def loss(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        half = to_input(images.pixels[rows[: len(rows) // 2]])  # two views of half a batch cost as much as one batch
        views = torch.cat([augment(half, "strong", generator), augment(half, "strong", generator)])
        projected = nn.functional.normalize(network(views.to(device))["logits"], dim=1)
        similarity = projected @ projected.T / _TEMPERATURE
        similarity = similarity.masked_fill(torch.eye(len(views), dtype=torch.bool, device=device), float("-inf"))
        partner = torch.arange(len(views), device=device).roll(len(half))
        return nn.functional.cross_entropy(similarity, partner)

    return loss


def distilled(network: Network, teacher: Network, images: Images, augmentation: str) -> Loss:
    """Return the divergence from what the teacher answers (Hinton et al. 2015), at a temperature of 2."""
    teacher.eval()
    device = device_of(network)

    def loss(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        batch = augment(to_input(images.pixels[rows]), augmentation, generator).to(device)
        with torch.no_grad():
            wanted = nn.functional.softmax(teacher(batch)["logits"] / 2, dim=1)
        answered = nn.functional.log_softmax(network(batch)["logits"] / 2, dim=1)
        return nn.functional.kl_div(answered, wanted, reduction="batchmean") * 4

    return loss


# --- images ------------------------------------------------------------------------------------------------------


def augment(batch: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Return the batch as it is, shifted, or shifted, mirrored, recoloured and with a part hidden."""
    if kind == "none":
        return batch
    moved = _shifted(batch, generator)
    if kind == "shift":
        return moved
    n = len(moved)
    mirrored = torch.rand(n, generator=generator) < 0.5
    moved[mirrored] = moved[mirrored].flip(3)
    contrast = 0.6 + 0.8 * torch.rand(n, 1, 1, 1, generator=generator)
    brightness = torch.rand(n, 3, 1, 1, generator=generator) - 0.5
    moved = moved * contrast + brightness
    return _hidden(moved, 8 + int(torch.randint(7, (), generator=generator)), generator)


def corrupt(images: Images, kind: str, seed: int) -> Images:
    """Return images with noise, blurred, inverted or with a part hidden; they stay 8-bit pixels."""
    if kind == "none":
        return images
    generator = np.random.default_rng(seed)
    if kind == "inverted":
        return Images(pixels=255 - images.pixels, labels=images.labels)
    if kind == "noise":
        noisy = images.pixels + generator.normal(0, 60, images.pixels.shape).astype(np.float32)
        return Images(pixels=noisy.clip(0, 255).astype(np.uint8), labels=images.labels)
    if kind == "blur":
        blurred = nn.functional.avg_pool2d(torch.from_numpy(images.pixels).float(), 5, 1, 2, count_include_pad=False)
        return Images(pixels=blurred.numpy().astype(np.uint8), labels=images.labels)
    pixels = torch.from_numpy(images.pixels.copy())
    hidden = _hidden(pixels, 14, torch.Generator().manual_seed(seed), value=128)
    return Images(pixels=hidden.numpy(), labels=images.labels)


def _shifted(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by up to `_SHIFT` pixels; the border repeats its edge."""
    n = len(batch)
    padded = nn.functional.pad(batch, (_SHIFT,) * 4, mode="replicate")
    offsets = torch.randint(2 * _SHIFT + 1, (2, n), generator=generator)
    rows = offsets[0, :, None] + torch.arange(SIDE)
    columns = offsets[1, :, None] + torch.arange(SIDE)
    samples = torch.arange(n)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _hidden(batch: Tensor, side: int, generator: torch.Generator, value: float = 0.0) -> Tensor:
    """Cover a square of every image."""
    corners = torch.randint(SIDE - side + 1, (2, len(batch)), generator=generator)
    places = torch.arange(SIDE)
    inside = [(places >= corner[:, None]) & (places < corner[:, None] + side) for corner in corners]
    return batch.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], value)
