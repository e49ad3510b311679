"""The architectures of the evidence, their training and their damage."""

import numpy as np
import pytest
import torch

from neuralrank.bench import _training as training
from neuralrank.bench._damage import damage
from neuralrank.bench._data import Images
from neuralrank.bench._networks import ARCHITECTURES, make_network, n_parameters

GENERATOR = np.random.default_rng(0)
STRIPES = np.zeros((60, 1, 32, 32), dtype=np.uint8)
STRIPES[::2, :, ::4] = 255
STRIPES[1::2, :, :, ::4] = 255
IMAGES = Images(pixels=STRIPES, labels=np.arange(60) % 2)
LONG_TO_TRAIN = ("resnet", "vgg", "vit", "convnext")


def network(architecture: str, n_classes: int = 2):
    torch.manual_seed(0)
    return make_network(architecture, width=8, depth=1, n_features=32, n_classes=n_classes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_gives_features_logits_and_its_stages(architecture):
    found = network(architecture).eval()
    images = training.to_input(STRIPES[:3])
    outputs = found(images)
    assert outputs["features"].shape == (3, 32)
    assert outputs["logits"].shape == (3, 2)
    stages = found.stage_features(images)
    assert len(stages) >= 2
    assert torch.equal(stages[-1], outputs["features"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_number_of_parameters_is_that_of_the_stages(architecture):
    stages = network(architecture).stages
    assert n_parameters(architecture, 8, 1, 32) == sum(weight.numel() for weight in stages.parameters())


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=pytest.mark.slow if name in LONG_TO_TRAIN else ()) for name in ARCHITECTURES],
)
def test_training_tells_two_kinds_of_stripes_apart(architecture):
    found = network(architecture)
    loss = training.supervised(found, IMAGES, "none")
    training.optimise(found, loss, len(IMAGES), n_steps=30, rate=3e-3, decay=0.0, seed=0)
    logits = training.run_batches(found, IMAGES, lambda batch: found(batch)["logits"])
    assert np.mean(logits.argmax(axis=1) == IMAGES.labels) == 1


def test_training_is_the_same_for_the_same_seed():
    weights = []
    for seed in (1, 1, 2):
        found = network("lenet")
        loss = training.supervised(found, IMAGES, "strong")
        training.optimise(found, loss, len(IMAGES), n_steps=3, rate=1e-3, decay=0.0, seed=seed)
        weights.append(found.classifier.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
def test_contrastive_training_brings_the_views_of_an_image_together():
    found = network("vgg", n_classes=16)
    colours = GENERATOR.integers(0, 256, (64, 3, 2, 2), dtype=np.uint8).repeat(16, axis=2).repeat(16, axis=3)
    images = Images(pixels=colours, labels=np.zeros(64, int))
    loss = training.simclr(found, images)
    before = loss(np.arange(64), torch.Generator().manual_seed(5)).item()
    training.optimise(found, loss, 64, n_steps=40, rate=3e-3, decay=0.0, seed=0)
    assert loss(np.arange(64), torch.Generator().manual_seed(5)).item() < before - 0.3


def test_a_student_comes_to_answer_as_its_teacher():
    teacher, student = network("mlp"), network("lenet")
    training.optimise(
        teacher, training.supervised(teacher, IMAGES, "none"), 60, n_steps=30, rate=3e-3, decay=0.0, seed=0
    )
    untaught = Images(pixels=STRIPES, labels=np.zeros(60, dtype=np.int64))
    training.optimise(
        student, training.distilled(student, teacher, untaught, "none"), 60, n_steps=30, rate=3e-3, decay=0.0, seed=0
    )
    logits = training.run_batches(student, IMAGES, lambda batch: student(batch)["logits"])
    assert np.mean(logits.argmax(axis=1) == IMAGES.labels) == 1


def test_turning_images_is_learned():
    found = network("vgg", n_classes=4)
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (40, 1, 32, 1))
    images = Images(pixels=ramp, labels=np.zeros(40, dtype=np.int64))
    loss = training.rotation(found, images, "none")
    training.optimise(found, loss, 40, n_steps=30, rate=3e-3, decay=0.0, seed=0)
    assert loss(np.arange(40), torch.Generator().manual_seed(9)).item() < 0.2


def test_augmentation_keeps_shape_and_moves_pixels():
    batch = training.to_input(GENERATOR.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
    assert training.augment(batch, "none", torch.Generator()) is batch
    for kind in ("shift", "strong"):
        found = training.augment(batch.clone(), kind, torch.Generator().manual_seed(0))
        assert found.shape == batch.shape
        assert not torch.equal(found, batch)


def test_a_shift_moves_the_whole_image():
    pixels = np.zeros((1, 1, 32, 32), dtype=np.uint8)
    pixels[0, 0, 16, 16] = 255
    for seed in range(5):
        moved = training.augment(training.to_input(pixels), "shift", torch.Generator().manual_seed(seed))
        row, column = divmod(int(moved[0, 0].argmax()), 32)
        assert max(abs(row - 16), abs(column - 16)) <= 3


@pytest.mark.parametrize("kind", ["noise", "blur", "inverted", "occluded"])
def test_corruption_changes_pixels_and_not_labels(kind):
    found = training.corrupt(IMAGES, kind, seed=0)
    assert found.pixels.shape == IMAGES.pixels.shape
    assert found.pixels.dtype == np.uint8
    assert (found.pixels != IMAGES.pixels).any()
    assert np.array_equal(found.labels, IMAGES.labels)
    assert training.corrupt(IMAGES, "none", seed=0) is IMAGES


def test_shuffling_moves_the_weights_of_one_layer():
    found = network("resnet")
    before = {name: weight.clone() for name, weight in found.state_dict().items()}
    damage(found, "shuffled", seed=0)
    changed = [name for name, weight in found.state_dict().items() if not torch.equal(weight, before[name])]
    assert len(changed) == 1
    after, was = found.state_dict()[changed[0]], before[changed[0]]
    assert torch.equal(after.flatten().sort().values, was.flatten().sort().values)


def test_pruning_zeroes_at_least_half_of_every_layer():
    found = network("vgg")
    damage(found, "pruned", seed=0)
    layers = [layer for layer in found.stages.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert all(float((layer.weight == 0).float().mean()) >= 0.49 for layer in layers)


def test_quantising_leaves_few_values_in_every_layer():
    found = network("vit")
    damage(found, "quantised", seed=0)
    layers = [layer for layer in found.stages.modules() if isinstance(layer, torch.nn.Linear)]
    assert all(layer.weight.unique().numel() <= 15 for layer in layers)
