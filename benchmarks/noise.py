"""Hold every score against pure noise, and against shuffled labels: does it prefer what says nothing?

    python benchmarks/noise.py [--quick] [--scores log_me knn] [--jobs 2] [--show]

Informative features: 16 standard normal dimensions, the means of the classes drawn and scaled so that the best linear
classifier is right in 35 % of 10 classes (73 % of 2). Noise: 16 to 4,096 standard normal dimensions with the same
labels. Shuffled: the informative features with permuted labels. Scores of the model's own head get logits: 16 source
classes, linear in the informative features, against normal noise of the same spread over as many source classes as the
noise has dimensions. Written to benchmarks/results/noise.csv; tables go to stdout.

The last column is what each scorer declares as `noise_from`, for 200 and 2,000 samples: the smallest dimensions per
sample at which noise won in more than 5 % of the draws of either number of classes, rounded down; 0 where it does at 16
dimensions already, as many as are informative, and where shuffled labels get the higher score in more than half of the
draws; · where noise never won.
"""

import argparse
import csv
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neuralrank import registry
from neuralrank.machine import available_cores
from neuralrank.scorers import Scorer
from neuralrank.scorers._prepared import Prepared, prepare

RESULTS = Path(__file__).parent / "results" / "noise.csv"
N_INFORMATIVE = 16
NOISE_DIMS = (16, 64, 256, 1_024, 4_096)
SEPARATIONS = {10: 0.25, 2: 0.15}
"""Classes, and the root mean square of the coordinates of their means; the noise around them has 1."""
DRAWS = {200: 100, 2_000: 20}
"""Of labels, class means and everything else, by number of samples; the same for every score."""
QUICK_DRAWS = {200: 5, 2_000: 1}
LOGIT_SPREAD = 3.0
TOLERATED = 0.05
BLIND = 0.5
LARGEST_SHUFFLED = 0.02


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One draw of labels, class means and everything else."""

    n_classes: int
    n_samples: int
    seed: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Value:
    """One score of one set of features."""

    score: str
    n_classes: int
    n_samples: int
    seed: int
    features: str
    """'informative', 'shuffled' or 'noise'."""
    n_dims: int
    value: float


def class_means(random: np.random.Generator, n_classes: int) -> NDArray[np.float64]:
    """Return class means with a grand mean of 0 and a stated spread, shape (n_classes, N_INFORMATIVE)."""
    means = random.normal(size=(n_classes, N_INFORMATIVE))
    means -= means.mean(axis=0)
    return means * (SEPARATIONS[n_classes] / np.sqrt(np.mean(means**2)))


def best_accuracy(n_classes: int, n_draws: int = 20, n_samples: int = 10_000) -> float:
    """Return the accuracy of the best classifier, which is linear here, averaged over draws of the means."""
    accuracies = []
    for seed in range(n_draws):
        random = np.random.default_rng(seed)
        means = class_means(random, n_classes)
        labels = np.arange(n_samples) % n_classes
        features = means[labels] + random.normal(size=(n_samples, N_INFORMATIVE))
        closeness = features @ means.T - np.sum(means**2, axis=1) / 2
        accuracies.append(np.mean(closeness.argmax(axis=1) == labels))
    return float(np.mean(accuracies))


def cases(draw: Draw) -> Iterator[tuple[str, int, Prepared]]:
    """Yield the kind of features, their dimensions, and the features with logits beside them."""
    random = np.random.default_rng([draw.n_classes, draw.n_samples, draw.seed])
    labels = random.permutation(np.arange(draw.n_samples) % draw.n_classes)
    means = class_means(random, draw.n_classes)
    features = means[labels] + random.normal(size=(draw.n_samples, N_INFORMATIVE))
    head = random.normal(size=(N_INFORMATIVE, N_INFORMATIVE)) / np.sqrt(N_INFORMATIVE)
    logits = LOGIT_SPREAD * features @ head
    yield "informative", N_INFORMATIVE, prepare(features, labels, logits=logits, task="classification")
    shuffled = random.permutation(labels)
    yield "shuffled", N_INFORMATIVE, prepare(features, shuffled, logits=logits, task="classification")
    for n_dims in NOISE_DIMS:
        noise = random.normal(size=(draw.n_samples, n_dims))
        noise_logits = LOGIT_SPREAD * random.normal(size=(draw.n_samples, n_dims))
        yield "noise", n_dims, prepare(noise, labels, logits=noise_logits, task="classification")


def values(draw: Draw) -> list[Value]:
    """Return every score of one draw; one thread, because the draws run side by side."""
    found = []
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, n_dims, prepared in cases(draw):
            for name in draw.names:
                value = registry.get("scorers", name).of(prepared).value
                of_draw = {"n_classes": draw.n_classes, "n_samples": draw.n_samples, "seed": draw.seed}
                found.append(Value(score=name, **of_draw, features=kind, n_dims=n_dims, value=float(value)))
    return found


def plan(names: Sequence[str], *, quick: bool) -> list[Draw]:
    """List the draws, those of many samples first."""
    return [
        Draw(n_classes=n_classes, n_samples=n_samples, seed=seed, names=tuple(names))
        for n_samples, n_draws in sorted((QUICK_DRAWS if quick else DRAWS).items(), reverse=True)
        for n_classes in SEPARATIONS
        for seed in range(n_draws)
    ]


def summary(found: Sequence[Value]) -> list[dict]:
    """Return a row per score, classes, samples and kind of features; `wins` is the share that beats informative."""
    informative = {
        (each.score, each.n_classes, each.n_samples, each.seed): each.value
        for each in found
        if each.features == "informative"
    }
    groups = defaultdict(list)
    for each in found:
        groups[each.score, each.n_classes, each.n_samples, each.features, each.n_dims].append(each)
    rows = []
    for (score, n_classes, n_samples, features, n_dims), members in groups.items():
        got = np.array([member.value for member in members])
        bar = np.array([informative[score, n_classes, n_samples, member.seed] for member in members])
        row = {"score": score, "n_classes": n_classes, "n_samples": n_samples, "features": features, "n_dims": n_dims}
        row |= {"mean": f"{got.mean():.6g}", "std": f"{got.std():.6g}"}
        row |= {"lowest": f"{got.min():.6g}", "highest": f"{got.max():.6g}"}
        # Features that say nothing and get the same score are not told apart either.
        wins = "" if features == "informative" else round(float(np.mean(got >= bar)), 3)
        rows.append({**row, "n_draws": len(got), "wins": wins})
    return ordered(rows)


def ordered(rows: Sequence[dict]) -> list[dict]:
    """Sort rows as they are written."""
    return sorted(
        rows, key=lambda row: (row["score"], -row["n_classes"], row["n_samples"], row["features"], row["n_dims"])
    )


def noise_from(rows: Sequence[dict], score: str) -> tuple[float | None, ...]:
    """Return what a scorer declares: per number of samples, the dimensions a sample from which noise can win."""
    return tuple(_noise_from([row for row in rows if (row["score"], row["n_samples"]) == (score, n)]) for n in DRAWS)


def _noise_from(rows: Sequence[dict]) -> float | None:
    lost = [row for row in rows if row["features"] == "noise" and row["wins"] > TOLERATED]
    blind = any(row["features"] == "shuffled" and row["wins"] > BLIND for row in rows)
    if blind or any(row["n_dims"] == NOISE_DIMS[0] for row in lost):
        return 0.0
    return rounded_down(min(row["n_dims"] / row["n_samples"] for row in lost)) if lost else None


def read_results() -> list[dict]:
    """Return the rows that were measured last."""
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= {key: int(row[key]) for key in ("n_classes", "n_samples", "n_dims", "n_draws")}
        row["wins"] = float(row["wins"]) if row["wins"] else ""
    return rows


def rounded_down(ratio: float) -> float:
    """Return the next lower of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(ratio))
    return float(f"{max(step for step in (1, 2, 5) if step * power <= ratio * (1 + 1e-9)) * power:.1g}")


def table(rows: Sequence[dict], n_classes: int, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table: a row per score."""
    sizes = sorted({row["n_samples"] for row in rows})
    dims = " / ".join(f"{d:,}" for d in NOISE_DIMS)
    columns = [f"n = {n:,}: informative | shuffled | noise of {dims} dimensions wins, %" for n in sizes]
    yield f"| score | {' | '.join(columns)} | noise from d/n |"
    yield "|:--|" + "--:|" * (3 * len(sizes)) + "--:|"
    for name in names:
        cells = []
        for n_samples in sizes:
            here = {
                (row["features"], row["n_dims"]): row
                for row in rows
                if (row["score"], row["n_classes"], row["n_samples"]) == (name, n_classes, n_samples)
            }
            cells += [spread(here[kind, N_INFORMATIVE]) for kind in ("informative", "shuffled")]
            cells.append(" / ".join(f"{100 * here['noise', d]['wins']:.0f}" for d in NOISE_DIMS))
        limits = ["·" if limit is None else f"{limit:g}" for limit in noise_from(rows, name)]
        yield f"| {name} | {' | '.join(cells)} | {', '.join(limits)} |"


def spread(row: dict) -> str:
    """Return mean and standard deviation with as many digits as the latter has a use for."""
    mean, std = float(row["mean"]), float(row["std"])
    digits = max(0, min(3, 1 - math.floor(math.log10(std)))) if std > 0 else 3
    return f"{mean:,.{digits}f} ± {std:,.{digits}f}"


def bars(rows: Sequence[dict]) -> Iterator[str]:
    """Yield what the bars ask of the neuralrank score, and what was measured."""
    own = [row for row in rows if row["score"] == "neuralrank"]
    for n_classes, n_samples in sorted({(row["n_classes"], row["n_samples"]) for row in own}, reverse=True):
        here = [row for row in own if (row["n_classes"], row["n_samples"]) == (n_classes, n_samples)]
        noise = [row for row in here if row["features"] == "noise"]
        wins, draws = round(sum(row["wins"] * row["n_draws"] for row in noise)), sum(row["n_draws"] for row in noise)
        shuffled = next(row for row in here if row["features"] == "shuffled")
        highest = float(shuffled["highest"])
        yield (
            f"neuralrank, {n_classes} classes, n = {n_samples:,}: noise wins {wins} of {draws} times (bar: 0): "
            f"{'met' if wins == 0 else 'NOT met'}; shuffled labels get {float(shuffled['mean']):.4f} on average, "
            f"{highest:.4f} at most (bar: {LARGEST_SHUFFLED}): {'met' if highest <= LARGEST_SHUFFLED else 'NOT met'}."
        )


def names_of_scores(chosen: Sequence[str] | None) -> tuple[str, ...]:
    """List the scores that are computed from arrays; importing them here lets all workers run the same code."""
    found = {name: registry.get("scorers", name) for name in chosen or registry.names("scorers")}
    return tuple(name for name, each in found.items() if isinstance(each, Scorer))


def measure(draws: Sequence[Draw], n_jobs: int) -> list[Value]:
    """Score every draw, and show how far it is."""
    found: list[Value] = []
    with ProcessPoolExecutor(n_jobs) as pool:
        for done, result in enumerate(pool.map(values, draws), start=1):
            found += result
            print(f"\r{done} of {len(draws)} draws", end="", flush=True)
    print()
    return found


def main() -> None:
    """Measure, write the table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", nargs="+", help="which ones, whose results are replaced; all where it is left out")
    parser.add_argument("--quick", action="store_true", help="few draws; results are not written")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="draws at a time, one thread each")
    parser.add_argument("--show", action="store_true", help="print what was measured last, and measure nothing")
    options = parser.parse_args()
    names = names_of_scores(options.scores)
    rows = read_results() if options.show else summary(measure(plan(names, quick=options.quick), options.jobs))
    if not options.quick and not options.show:
        if options.scores is not None:
            rows = ordered([*rows, *(row for row in read_results() if row["score"] not in names)])
            names = names_of_scores(None)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for n_classes in SEPARATIONS:
        print(f"\n{n_classes} classes, best accuracy {best_accuracy(n_classes):.3f}:\n")
        print(*table(rows, n_classes, names), sep="\n")
    print("", *bars(rows), sep="\n")


if __name__ == "__main__":
    main()
