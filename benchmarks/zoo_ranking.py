"""Hold rankings of the development zoo against the transfer accuracies of `zoo_truth.py`.

    python benchmarks/zoo_ranking.py --zoo ../shared/zoo --data ../shared/data --out bench-out

Runs the command a user would run, once per data set (`neuralrank rank ZOO --data SET --format json`), keeps its JSON in
OUT, and writes benchmarks/results/zoo_ranking.csv: weighted Kendall tau (SciPy's defaults), Spearman's rho and regret@1
of every score, of the static orders and of some combinations, for all models and without those trained on the target
itself. Scores of the model's own classifier are judged on the models that have one; a Markdown table goes to standard
output.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from zoo_truth import DATA_SETS, known

from neuralrank import registry
from neuralrank.evaluation import regret_at_k, weighted_tau
from neuralrank.order import parse_order

SCORES = registry.names("scorers")
COMBINATIONS = ("mean_rank:neuralrank,log_me,parc", "mean_rank:neuralrank,knn,gbc", "borda:neuralrank,log_me,knn")
PRETRAINED_ON = {"cifar10_jpeg": ("cifar10_", "mlperf_")}
RESULTS = Path(__file__).parent / "results" / "zoo_ranking.csv"
N_DRAWS = 2_000


def run(zoo: Path, data: Path, out: Path) -> dict:
    """Return the JSON of one ranking, and add the wall seconds of the command."""
    command = [sys.executable, "-m", "neuralrank", "rank", str(zoo), "--data", str(data), "--format", "json"]
    command += ["--also", ",".join(SCORES)]
    start = time.perf_counter()
    text = subprocess.run([*command, "--cache-dir", str(out / "cache")], check=True, stdout=subprocess.PIPE).stdout
    seconds = time.perf_counter() - start
    (out / f"ranking-{data.name}.json").write_bytes(text)
    return {**json.loads(text), "wall_seconds": seconds}


def rows_of(ranking: dict, data_set: str, truth: dict) -> list[dict]:
    """Return a row per score, for all models that were measured and for those not trained on the target."""
    models = {}
    for entry in ranking["ranking"]:
        name = Path(entry["name"])
        if name.suffix == ".onnx" and (data_set, name.stem) in truth:
            models[name.stem] = {score: value for score, value in entry["scores"].items() if value is not None}
    combine(models)
    own = PRETRAINED_ON.get(data_set, ("no such",))
    choices = {"all": list(models), "not trained on the target": [m for m in models if not m.startswith(own)]}
    return [
        {"data_set": data_set, "models": which, "score": score, **quality(models, names, score, data_set, truth)}
        for which, names in choices.items()
        for score in (*SCORES, *COMBINATIONS)
        if which == "all" or len(names) < len(models)
    ]


def combine(models: dict) -> None:
    """Add the value of each combination to every model."""
    for text in COMBINATIONS:
        order = parse_order(text)
        members = np.array([[scores[member] for member in order.members] for scores in models.values()])
        for scores, value in zip(models.values(), order.values(members), strict=True):
            scores[text] = float(value)


def quality(models: dict, names: list[str], score: str, data_set: str, truth: dict) -> dict:
    """Return how well one score orders the models that have it, with a bootstrap interval over models."""
    names = [name for name in names if score in models[name]]
    scores = np.array([models[name][score] for name in names])
    accuracies = np.array([float(truth[data_set, name]["accuracy"]) for name in names])
    draws = np.random.default_rng(0).integers(0, len(names), size=(N_DRAWS, len(names)))
    taus = [weighted_tau(scores[draw], accuracies[draw]) for draw in draws if len(set(draw)) > 2]
    low, high = np.percentile(taus, (2.5, 97.5))
    return {
        "n_models": len(names),
        "weighted_tau": round(weighted_tau(scores, accuracies), 3),
        "tau_low": round(float(low), 3),
        "tau_high": round(float(high), 3),
        "spearman": round(float(spearmanr(scores, accuracies).statistic), 3),
        "regret_points": round(100 * regret_at_k(scores, accuracies), 1),
    }


def main() -> None:
    """Rank the zoo for every data set and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = known()
    table = []
    for data_set in DATA_SETS:
        ranking = run(options.zoo, options.data / data_set, options.out)
        print(
            f"{data_set}: {len(ranking['ranking'])} ranked, {len(ranking['failures'])} failed, "
            f"{ranking['wall_seconds']:.0f} s",
            flush=True,
        )
        table += rows_of(ranking, data_set, truth)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    print(markdown(table))


def markdown(table: list[dict]) -> str:
    """Return a row per score, best mean weighted tau over the data sets first."""
    columns = list(dict.fromkeys((row["data_set"], row["models"]) for row in table))
    cells = {(row["score"], row["data_set"], row["models"]): row for row in table}
    means = {
        score: np.mean([cells[score, data_set, "all"]["weighted_tau"] for data_set in DATA_SETS])
        for score in dict.fromkeys(row["score"] for row in table)
    }
    lines = ["| score | models | mean τ | " + " | ".join(f"{data_set}, {which}" for data_set, which in columns) + " |"]
    lines.append("|:--|--:|--:|" + "--:|" * len(columns))
    for score in sorted(means, key=lambda score: -means[score]):
        rows = [cells[score, *column] for column in columns]
        shown = [
            f"{r['weighted_tau']:.3f} [{r['tau_low']:.2f}, {r['tau_high']:.2f}] · {r['regret_points']}" for r in rows
        ]
        lines.append(f"| {score} | {rows[0]['n_models']} | {means[score]:.3f} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
