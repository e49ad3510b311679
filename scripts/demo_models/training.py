"""Train one demo model by its recipe: with labels, on a pretext task, not at all, or by damaging another one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .data import DATA_SETS, load_split
from .networks import Model, build_model
from .recipe import Recipe

BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished model and what was measured on held-out images of its own task."""

    model: Model
    class_names: list[str] | None
    n_samples: int
    accuracy: float | None
    """Per cent; None where the algorithm predicts no classes."""
    error: float | None
    """Mean squared error of the normalised pixels, for an autoencoder."""


Batch = tuple[Tensor, Tensor]
Task = Callable[[Tensor, Tensor, torch.Generator], Batch]
"""Images, labels → inputs of the model and what its head should say."""


def train_model(recipe: Recipe, data_dir: Path, start: Trained | None) -> Trained:
    """Return the model of one recipe.

    Args:
        recipe: what to train.
        data_dir: folder of the data sets.
        start: the model that `recipe.start` names, None if it names none.
    """
    torch.manual_seed(recipe.seed)
    facts = DATA_SETS[recipe.data]
    if facts.folder is None:
        model = build_model(recipe.network, facts.size, recipe.width, None).eval()
        return Trained(model=model, class_names=None, n_samples=0, accuracy=None, error=None)

    images, true_labels, names = load_split(data_dir, recipe.data, "train", recipe.classes)
    images, true_labels = images[: recipe.n_samples], true_labels[: recipe.n_samples]
    model = build_model(recipe.network, facts.size, recipe.width, len(names) if recipe.has_classifier else None)
    if start is not None:
        _copy_weights(start.model, model, with_classifier=recipe.algorithm == "damaged")
    head = _make_head(recipe, model, images[0].numel())
    if recipe.algorithm == "damaged":
        _shuffle_largest_layer(model)
    else:
        _fit(recipe, model.body, head, images, _change_labels(recipe, true_labels, len(names)))
    accuracy, error = _measure(recipe, model, head, *load_split(data_dir, recipe.data, "test", recipe.classes)[:2])
    return Trained(
        model=model.eval(),
        class_names=names if recipe.has_classifier else None,
        n_samples=len(images),
        accuracy=accuracy,
        error=error,
    )


def _make_head(recipe: Recipe, model: Model, n_pixels: int) -> nn.Module:
    """Return what is trained on the features; only a classifier stays in the model."""
    if model.classifier is not None:
        return model.classifier
    if recipe.algorithm == "rotation":
        return nn.Linear(model.n_features, 4)
    return nn.Sequential(nn.Linear(model.n_features, 128), nn.ReLU(), nn.Linear(128, n_pixels))


def _classify(images: Tensor, labels: Tensor, _: torch.Generator) -> Batch:
    return images, labels


def _rotate(images: Tensor, _: Tensor, generator: torch.Generator) -> Batch:
    turns = torch.randint(4, (len(images),), generator=generator)
    turned = images.clone()
    for turn in range(1, 4):
        turned[turns == turn] = torch.rot90(images[turns == turn], turn, (2, 3))
    return turned, turns


def _reconstruct(images: Tensor, _labels: Tensor, _generator: torch.Generator) -> Batch:
    return images, images.flatten(1)


TASKS: dict[str, Task] = {
    "supervised": _classify,
    "damaged": _classify,
    "rotation": _rotate,
    "autoencoder": _reconstruct,
}


def _change_labels(recipe: Recipe, labels: Tensor, n_classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(recipe.seed)
    share = {"noisy50": 0.5, "random": 1.0}.get(recipe.labels, 0.0)
    changed = torch.rand(len(labels), generator=generator) < share
    return torch.where(changed, torch.randint(n_classes, labels.shape, generator=generator), labels)


def _fit(recipe: Recipe, body: nn.Module, head: nn.Module, images: Tensor, labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    loss_of = functional.mse_loss if recipe.algorithm == "autoencoder" else functional.cross_entropy
    network = nn.Sequential(body, head).train()
    optimiser = _make_optimiser(recipe, network)
    n_steps = recipe.n_epochs * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for epoch in range(recipe.n_epochs):
        started, total = time.perf_counter(), 0.0
        # The last, smaller batch is left out: batch statistics of a handful of images would be poor.
        batches = torch.split(torch.randperm(len(images), generator=generator), BATCH_SIZE)[: len(images) // BATCH_SIZE]
        for rows in batches:
            inputs, wanted = TASKS[recipe.algorithm](images[rows], labels[rows], generator)
            loss = loss_of(network(inputs), wanted)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        print(f"  epoch {epoch + 1}/{recipe.n_epochs}: loss {total / len(batches):.3f}, {seconds:.1f} s", flush=True)


def _make_optimiser(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=5e-4)
    return torch.optim.Adam(network.parameters(), recipe.learning_rate)


@torch.inference_mode()
def _measure(
    recipe: Recipe, model: Model, head: nn.Module, images: Tensor, labels: Tensor
) -> tuple[float | None, float | None]:
    network = nn.Sequential(model.body, head).eval()
    inputs, wanted = TASKS[recipe.algorithm](images, labels, torch.Generator().manual_seed(0))
    outputs = torch.cat([network(part) for part in torch.split(inputs, 256)])
    if recipe.algorithm == "autoencoder":
        return None, functional.mse_loss(outputs, wanted).item()
    return 100 * (outputs.argmax(1) == wanted).double().mean().item(), None


def _copy_weights(source: Model, model: Model, *, with_classifier: bool) -> None:
    model.body.load_state_dict(source.body.state_dict())
    if with_classifier and model.classifier is not None and source.classifier is not None:
        model.classifier.load_state_dict(source.classifier.state_dict())


@torch.no_grad()
def _shuffle_largest_layer(model: Model) -> None:
    weights = max(model.body.parameters(), key=torch.numel)
    weights.copy_(weights.flatten()[torch.randperm(weights.numel())].view_as(weights))
