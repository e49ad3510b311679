"""Train the demo repository: small networks that differ in data, algorithm, architecture and hyperparameters.

Run `python scripts/train_demo_models.py`; it takes about six minutes on one core, needs the `torch` extra and the
package onnxscript, and skips models whose files exist. Size and quality are kept apart on purpose: some of the largest
models are poor and some of the smallest are good, so that no static order can rank them. The target of the demo,
the handwritten digits of scikit-learn, is not used here.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from demo_models.card import write_card
from demo_models.data import DATA_SETS
from demo_models.export import export_model
from demo_models.recipe import Recipe, read_grid
from demo_models.training import Trained, train_model

GRID = """
name                     network   width data    classes samples labels  algorithm   optimiser rate epochs start               seed
mnist_mlp_w48            mlp          48 mnist   all       12000 true    supervised  sgd       5e-2      5 -                      1
mnist_lenet              lenet         6 mnist   all       12000 true    supervised  sgd       5e-2      4 -                      2
mnist_resnet_w8          resnet        8 mnist   all       12000 true    supervised  adam      3e-3      4 -                      3
mnist_vgg_w14            vgg          14 mnist   all       12000 true    supervised  sgd       5e-2      3 -                      4
mnist_mobilenet_w16      mobilenet    16 mnist   all       12000 true    supervised  adam      5e-3      5 -                      5
mnist_vit_w32            vit          32 mnist   all       12000 true    supervised  adam      2e-3      8 -                      6
mnist_0to4_resnet_w8     resnet        8 mnist   0-4       12000 true    supervised  sgd       5e-2      4 -                      7
mnist_5to9_lenet_w4      lenet         4 mnist   5-9       12000 true    supervised  adam      2e-3      4 -                      8
mnist_few500_vgg_w16     vgg          16 mnist   all         500 true    supervised  adam      3e-3     10 -                      9
mnist_noisy50_lenet      lenet         6 mnist   all       12000 noisy50 supervised  adam      2e-3      5 -                     10
mnist_random_mlp_w32     mlp          32 mnist   all        4000 random  supervised  adam      3e-3     25 -                     11
mnist_rotation_resnet_w8 resnet        8 mnist   all       12000 none    rotation    adam      3e-3      4 -                     12
mnist_autoencoder_lenet  lenet         4 mnist   all       12000 none    autoencoder adam      2e-3      4 -                     13
fashion_mlp_w32          mlp          32 fashion all       12000 true    supervised  adam      2e-3      5 -                     14
fashion_resnet_w12       resnet       12 fashion all       12000 true    supervised  adam      3e-3      4 -                     15
fashion_mobilenet_w12    mobilenet    12 fashion all       12000 true    supervised  sgd       1e-1      5 -                     16
fashion_noisy50_vgg_w8   vgg           8 fashion all       12000 noisy50 supervised  adam      3e-3      4 -                     17
fashion_0to4_lenet       lenet         6 fashion 0-4       12000 true    supervised  sgd       3e-2      4 -                     18
fashion_rotation_vit_w32 vit          32 fashion all       12000 none    rotation    adam      2e-3      6 -                     19
kmnist_lenet             lenet         6 kmnist  all        8000 true    supervised  adam      2e-3      5 -                     20
kmnist_resnet_w8         resnet        8 kmnist  all        8000 true    supervised  sgd       1e-1      5 -                     21
kmnist_autoencoder_mlp   mlp          24 kmnist  all        8000 none    autoencoder adam      2e-3      6 -                     22
kmnist_few500_vit_w32    vit          32 kmnist  all         500 true    supervised  adam      2e-3     20 -                     23
cifar10_vgg_w12          vgg          12 cifar10 all       12000 true    supervised  adam      3e-3      5 -                     24
cifar10_resnet_w16       resnet       16 cifar10 all       12000 true    supervised  sgd       1e-1      6 -                     25
cifar10_mobilenet_w16    mobilenet    16 cifar10 all       12000 true    supervised  adam      5e-3      6 -                     26
cifar10_noisy50_vgg_w12  vgg          12 cifar10 all       12000 noisy50 supervised  adam      3e-3      4 -                     27
cifar10_2to7_resnet_w8   resnet        8 cifar10 2-7       12000 true    supervised  adam      3e-3      6 -                     28
cifar10_random_vit_w48   vit          48 cifar10 all        4000 random  supervised  adam      1e-3     15 -                     29
cifar10_random_mlp_w24   mlp          24 cifar10 all        4000 random  supervised  adam      3e-3     25 -                     30
untrained_resnet_w20     resnet       20 rgb32   all           0 none    untrained   none         0      0 -                     31
untrained_mobilenet_w4   mobilenet     4 grey28  all           0 none    untrained   none         0      0 -                     32
untrained_vit_w32        vit          32 grey28  all           0 none    untrained   none         0      0 -                     33
fashion_from_mnist_vgg   vgg          14 fashion all        4000 true    supervised  sgd       2e-2      3 mnist_vgg_w14         34
kmnist_from_mnist_lenet  lenet         6 kmnist  all        2000 true    supervised  adam      5e-4      3 mnist_lenet           35
mnist_damaged_lenet      lenet         6 mnist   all       12000 true    damaged     none         0      0 mnist_lenet           36
"""  # noqa: E501 - a table is read across
RECIPES = {recipe.name: recipe for recipe in read_grid(GRID)}
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Train what is missing, then print the table of all models."""
    options = _read_options()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Trained] = {}
    for name in options.only or RECIPES:
        if not all((options.out / f"{name}{suffix}").is_file() for suffix in (".onnx", ".json")):
            _make_files(RECIPES[name], options, done)
    _print_table(options.out)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=RECIPES, metavar="NAME", help="train only these models")
    parser.add_argument("--out", type=Path, default=ROOT / "src/neuralrank/demo_models", help="folder for the files")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of the data sets")
    options = parser.parse_args()
    if not (options.data / "mnist/train.parquet").is_file():
        parser.error(
            f"--data needs the folder of the data sets. Got {str(options.data)!r} without mnist/train.parquet."
        )
    return options


def _make_files(recipe: Recipe, options: argparse.Namespace, done: dict[str, Trained]) -> None:
    trained = _train(recipe, options.data, done)
    path = options.out / f"{recipe.name}.onnx"
    n_parameters = export_model(trained.model, DATA_SETS[recipe.data].size, path)
    write_card(recipe, _find_parents(recipe), trained, n_parameters, path)


def _train(recipe: Recipe, data_dir: Path, done: dict[str, Trained]) -> Trained:
    """Return a model of this process, training it and what it starts from where that has not been done.

    A parent whose files exist is trained again: an ONNX file has its normalisations folded, so it cannot be resumed.
    """
    if recipe.name not in done:
        start = None if recipe.start is None else _train(RECIPES[recipe.start], data_dir, done)
        print(recipe.name, flush=True)
        started = time.perf_counter()
        done[recipe.name] = trained = train_model(recipe, data_dir, start)
        accuracy = "-" if trained.accuracy is None else f"{trained.accuracy:.1f} %"
        print(f"  own task {accuracy}, {time.perf_counter() - started:.0f} s in all", flush=True)
    return done[recipe.name]


def _find_parents(recipe: Recipe) -> list[Recipe]:
    parents: list[Recipe] = []
    while recipe.start is not None:
        recipe = RECIPES[recipe.start]
        parents.append(recipe)
    return parents


def _print_table(folder: Path) -> None:
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    print(f"\n{'name':28}{'parameters':>12}{'bytes':>12}{'own task %':>12}")
    for card in cards:
        accuracy = "-" if card["reported_accuracy"] is None else f"{card['reported_accuracy']:.1f}"
        print(f"{card['name']:28}{card['parameters']:12,}{card['onnx']['bytes']:12,}{accuracy:>12}")
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(cards)} models, {total / 1e6:.2f} MB with their cards")


if __name__ == "__main__":
    main()
