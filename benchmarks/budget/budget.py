"""Hold every strategy against the full run, on recorded trials: is the winner the same, and what did it take?

    python benchmarks/budget/budget.py --material evidence
    python benchmarks/budget/budget.py --material zoo_500

The material is the networks of the evidence, or those of other people with a pool of 500 samples (those that `make
evidence-zoo` keeps) or of 2,500 (`zoo.py`), from which probes of 1,000 or of 2,000 are drawn. Reads what `collect.py`
kept under OUT/MATERIAL; a table by trial goes to benchmarks/results/budget_MATERIAL.csv, and Markdown tables to
standard output. Seconds are those measured when the features were made, for networks of other people those of
`zoo_truth.py`, plus `--start-seconds` for every time that a model is loaded in a process of its own; it stays loaded
between its passes.
"""

import argparse
import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from collect import Recorded, recorded, strategy
from trials import drive, judge

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
CHOSEN_ON = ("mnist", "cifar10_jpeg")
"""Targets on which constants of racing were chosen, on other seeds."""
START_SECONDS = 0.6
NEAR_POINTS = 0.5


@cache
def transfer_accuracies(material: str, target: str) -> dict[str, float]:
    """Return the accuracy of heads trained on all samples, by model; empty where none were measured."""
    if material != "evidence":
        with (RESULTS / "zoo_truth.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["data_set"] == target]
        return {row["model"]: float(row["accuracy"]) for row in rows}
    columns = ["model", "target", "regime", "n_train", "accuracy"]
    table = pq.read_table(HERE.parent / "evidence" / "truth.parquet", columns=columns).to_pylist()
    heads = [row for row in table if row["target"] == target and row["regime"] == "head"]
    most = max(row["n_train"] for row in heads)
    found: dict[str, list[float]] = {}
    for row in heads:
        if row["n_train"] == most:
            found.setdefault(row["model"], []).append(row["accuracy"])
    return {model: float(np.mean(accuracies)) for model, accuracies in found.items()}


def plain_name(name: str) -> str:
    """Return the name of a network without its format and the digest of its file."""
    return re.sub(r"(\.pt2|\.timm|-[0-9a-f]{8})$", "", name)


def with_quiet_seconds(trial: Recorded, material: str) -> Recorded:
    """Return a trial of the zoo with the seconds that `zoo_truth.py` measured, where it did.

    Other work slowed the passes that made the features, and would make loading look cheap beside them.
    """
    if material == "evidence":
        return trial
    with (RESULTS / "zoo_truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    found: dict[str, float] = {}
    for row in rows:
        seconds = float(row["extract_seconds"]) / (int(row["n_train"]) + int(row["n_test"]))
        found[row["model"]] = min(seconds, found.get(row["model"], np.inf))
    known = [found.get(plain_name(name), own) for name, own in zip(trial.models, trial.seconds_per_sample, strict=True)]
    return replace(trial, seconds_per_sample=np.array(known))


def rows_of(trial: Recorded, material: str, start_seconds: float) -> list[dict]:
    """Return a row for each strategy."""
    trial = with_quiet_seconds(trial, material)
    whole, n_models = trial.rungs[-1], len(trial.models)
    known = transfer_accuracies(material, trial.target)
    truth = {name: known[plain_name(name)] for name in trial.models if plain_name(name) in known}
    full_seconds = float(trial.seconds_per_sample.sum()) * whole
    rows = []

    def add(name: str, winner: int, n_passes: int, n_starts: int, seconds: float, n_samples: int) -> None:
        rows.append(
            {
                "target": trial.target,
                "seed": trial.seed,
                "n_models": n_models,
                "n_samples": whole,
                "strategy": name,
                "pass_share": round(n_passes / (whole * n_models), 4),
                "forward_seconds_share": round(seconds / full_seconds, 4),
                "seconds_share": round(
                    (seconds + n_starts * start_seconds) / (full_seconds + n_models * start_seconds), 4
                ),
                "n_starts": n_starts,
                "samples_at_end": n_samples,
                **judge(trial, winner, truth),
            }
        )

    strategies = {"full": strategy("full"), "successive_halving": strategy("successive_halving")}
    strategies["asynchronous_halving"] = strategy("asynchronous_halving")
    strategies |= {f"racing {confidence:g}": strategy("racing", confidence=confidence) for confidence in CONFIDENCES}
    look = cache(trial.look)
    for name, each in strategies.items():
        # The order of completion counts for one of them alone; with many workers the others are asked less often.
        n_workers = 2 if name == "asynchronous_halving" else n_models
        seconds = trial.seconds_per_sample
        run = drive(each, whole, look, seconds, start_seconds=start_seconds, n_workers=n_workers)
        end = each.rungs(whole)[max(run.n_looks) - 1]
        add(name, run.winner, run.n_passes, run.n_starts, run.seconds, end)
    share = rows[list(strategies).index("racing 0.95")]["pass_share"]
    size = next(size for size in trial.rungs if size >= share * whole)
    passes = float(trial.seconds_per_sample.sum()) * size
    add("uniform", int(trial.values(size).argmax()), size * n_models, n_models, passes, size)
    return rows


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z2 = 1.96**2
    middle, half = (n_right + z2 / 2) / (n + z2), 1.96 * (n_right * (n - n_right) / n + z2 / 4) ** 0.5 / (n + z2)
    return middle - half, middle + half


def shown_share(right: Sequence[bool]) -> str:
    """Return a share with its interval, in per cent."""
    low, high = wilson(sum(right), len(right))
    return f"{100 * sum(right) / len(right):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def summary(rows: list[dict], title: str) -> str:
    """Return a Markdown table, a line for each strategy."""
    lines = [
        f"{title}: {len({(row['target'], row['seed']) for row in rows})} trials\n",
        "| strategy | same best, % | same or within 0.5 points, % | passes, % (mean, 95th percentile) "
        "| forward seconds, % | seconds with loading, % | points behind (mean, most) "
        "| within 0.5 points of transfer accuracy, % |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == name]
        passes = np.array([100 * row["pass_share"] for row in mine])
        behind = np.array([row["points_behind"] for row in mine])
        transfer = [row["transfer_points_behind"] <= NEAR_POINTS for row in mine if "transfer_points_behind" in row]
        cells = [
            name,
            shown_share([bool(row["same"]) for row in mine]),
            shown_share([is_right(row) for row in mine]),
            f"{passes.mean():.1f}, {np.percentile(passes, 95):.1f}",
            f"{100 * np.mean([row['forward_seconds_share'] for row in mine]):.1f}",
            f"{100 * np.mean([row['seconds_share'] for row in mine]):.1f}",
            f"{np.maximum(behind, 0).mean():.3f}, {behind.max():.2f}",
            shown_share(transfer) if transfer else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def is_right(row: dict) -> bool:
    """Say whether a trial found the winner of the full run, or one as good as it."""
    return bool(row["same"]) or row["points_behind"] <= NEAR_POINTS


def main() -> None:
    """Write the table and print the summaries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", choices=("evidence", "zoo_500", "zoo_1000", "zoo_2000"), default="evidence")
    parser.add_argument("--out", type=Path, default=Path("bench-out/budget"))
    parser.add_argument("--start-seconds", type=float, default=START_SECONDS)
    options = parser.parse_args()
    rows: list[dict] = []
    for file in sorted((options.out / options.material).glob("*.npz")):
        rows += rows_of(recorded(file), options.material, options.start_seconds)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (RESULTS / f"budget_{options.material}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(summary(rows, "All targets"))
    print(summary([row for row in rows if row["target"] not in CHOSEN_ON], "Targets that served to choose nothing"))
    for target in dict.fromkeys(row["target"] for row in rows):
        print(summary([row for row in rows if row["target"] == target], target))


if __name__ == "__main__":
    main()
