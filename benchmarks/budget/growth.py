"""How the cost of a race grows with the number of models and with the size of the probe.

    python benchmarks/budget/growth.py

Numbers of models up to those recorded are drawn from them, without replacement. Larger ones are made: a recorded
network, to whose terms a part of the deviations of another is added, on all rungs alike, and a shift of the score. So
they are no real models; they crowd the top as a repository of relatives would. The table goes to
benchmarks/results/budget_growth.csv.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from collect import Recorded, recorded, strategy
from trials import drive, judge

RESULTS = Path(__file__).parent.parent / "results" / "budget_growth.csv"
N_MODELS = (10, 30, 100, 300, 1_000)
SIZES = (500, 1_000, 2_000, 5_000)
MIX, SHIFT = 0.3, 0.02
"""Part of another network's deviations, and standard deviation of the shift, of networks that are made."""


def with_models(trial: Recorded, n_models: int, seed: int) -> Recorded:
    """Return a trial with another number of models."""
    rng = np.random.default_rng(seed)
    n_known = len(trial.models)
    if n_models <= n_known:
        chosen = np.sort(rng.choice(n_known, n_models, replace=False))
        others, mix, shifts = chosen, 0.0, np.zeros(n_models)
    else:
        chosen = np.concatenate([np.arange(n_known), rng.integers(n_known, size=n_models - n_known)])
        made = np.arange(n_models) >= n_known
        others, mix = rng.integers(n_known, size=n_models), MIX * made[:, None]
        shifts = SHIFT * rng.normal(size=n_models) * made

    def terms(size: int) -> np.ndarray:
        every = trial.terms[size].astype(np.float64)
        return every[chosen] + mix * (every[others] - every[others].mean(axis=1, keepdims=True)) + shifts[:, None]

    return replace(
        trial,
        models=tuple(f"{trial.models[at]} {place}" for place, at in enumerate(chosen)),
        seconds_per_sample=trial.seconds_per_sample[chosen],
        terms={size: terms(size) for size in trial.rungs},
        correct={size: trial.correct[size][chosen] for size in trial.rungs},
    )


def measure(trial: Recorded) -> dict:
    """Return what a race took, and whether it was right."""
    n_models, whole = len(trial.models), trial.rungs[-1]
    # as many workers as models: the outcome is the same, and the strategy is asked once for each rung
    run = drive(strategy("racing"), whole, trial.look, trial.seconds_per_sample, start_seconds=0.0, n_workers=n_models)
    found = judge(trial, run.winner, {})
    share = run.n_passes / (whole * n_models)
    return {
        "target": trial.target, "seed": trial.seed, "n_models": n_models, "n_samples": whole,
        "pass_share": round(share, 4), "passes_per_model": round(share * whole, 1),
        "starts_per_model": round(run.n_starts / n_models, 2),
        "right": int(bool(found["same"]) or float(str(found["points_behind"])) <= 0.5),
    }  # fmt: skip


def trials(folder: Path, n_seeds: int) -> Iterator[Recorded]:
    """Yield what was recorded for the first seeds."""
    for file in sorted(folder.glob("*.npz")):
        if int(file.stem.rsplit("-", 1)[1]) < n_seeds:
            yield recorded(file)


def shown(rows: list[dict], column: str) -> None:
    """Print a Markdown table of means by a column."""
    print(f"| {column} | trials | passes, % (mean, most) | passes a model | starts a model | right, % |")
    print("|--:|--:|--:|--:|--:|--:|")
    for value in sorted({row[column] for row in rows}):
        mine = [row for row in rows if row[column] == value]
        measured = ("pass_share", "passes_per_model", "starts_per_model", "right")
        mean = {name: float(np.mean([row[name] for row in mine])) for name in measured}
        most = max(row["pass_share"] for row in mine)
        print(
            f"| {value:,} | {len(mine)} | {100 * mean['pass_share']:.1f}, {100 * most:.1f} "
            f"| {mean['passes_per_model']:.0f} | {mean['starts_per_model']:.2f} | {100 * mean['right']:.0f} |"
        )
    print()


def main() -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-out/budget"))
    parser.add_argument("--n-seeds", type=int, default=4)
    options = parser.parse_args()
    rows = []
    for trial in trials(options.out / "evidence", options.n_seeds):
        rows += [{"by": "models", "probe": 2_000, **measure(with_models(trial, n, trial.seed))} for n in N_MODELS]
    shown([row for row in rows if row["by"] == "models"], "n_models")
    for size in SIZES:
        folder = options.out / ("evidence" if size == 2_000 else f"evidence-{size}")
        found = [{"by": "probe", "probe": size, **measure(trial)} for trial in trials(folder, options.n_seeds)]
        rows += [row for row in found if row["n_samples"] >= 0.8 * size]  # not those with a pool too small for it
    shown([row for row in rows if row["by"] == "probe"], "probe")
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
