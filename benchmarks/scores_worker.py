"""Measure one thing in a process of its own, for `scores.py`: times after a warm-up, memory at the first run.

    python benchmarks/scores_worker.py '{"part": "score", "folder": "...", "threads": 1, "name": "log_me"}'

The inputs are arrays that `scores.py` has written to the folder; the last line of the output is the result in JSON.
CPU seconds are those of the process with all its threads. The peak is that of resident memory, so it counts what was
touched.
"""

import dataclasses
import importlib
import json
import resource
import sys
import time
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from neuralrank import registry
from neuralrank.scorers import score, score_many
from neuralrank.scorers._prepared import Prepared, prepare
from neuralrank.scorers._spectrum import Spectrum, decompose

LEAST_REPEATS, MOST_REPEATS, ENOUGH_SECONDS = 1, 7, 3.0
NOT_TWICE_SECONDS = 20.0
"""What takes longer is measured once, warm or not."""
N_PAIRS = 9
MIB = 2**20

Inputs = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]


def read_inputs(folder: Path) -> tuple[Inputs, NDArray[np.float64]]:
    """Return features, labels and probabilities, and logits to them."""
    features, labels, probabilities = (np.load(folder / f"{name}.npy") for name in ("features", "labels", "head"))
    return (features, labels, probabilities), np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def memory(what: str) -> float:
    """Return VmRSS or VmHWM of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith(what))) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def measured(run: Callable[[], Any]) -> dict:
    """Return the least wall and CPU seconds after a warm-up, the peak of the warm-up, and the value."""
    before, start = memory("VmRSS"), time.perf_counter()
    walls, cpus, peak = [], [], 0.0
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        value = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        peak = peak or memory("VmHWM")
        repeats = len(walls) - 1
        spent = time.perf_counter() - start
        if repeats >= MOST_REPEATS or walls[0] > NOT_TWICE_SECONDS:
            break
        if repeats >= LEAST_REPEATS and spent > ENOUGH_SECONDS:
            break
    warm = slice(1, None) if repeats else slice(None)
    seconds = {"wall_seconds": round(min(walls[warm]), 5), "cpu_seconds": round(min(cpus[warm]), 5)}
    extra = {"peak_above_mib": round(max(peak - before, 0.0)), "peak_mib": round(peak), "repeats": max(repeats, 1)}
    return seconds | extra | ({"value": float(value)} if isinstance(value, float) else {})


def warm_up_imports(names: list[str], options: dict) -> None:
    """Import what the scores import when they first run, so that it counts neither as time nor as memory."""
    features = np.random.default_rng(0).normal(size=(60, 5))
    labels = np.arange(60) % 2
    logits = np.random.default_rng(1).normal(size=(60, 3))
    for name in names:
        score(name, features, labels, logits=logits, **options)


def measure_base(task: dict, folder: Path) -> list[dict]:
    """Return the cost of the preparation and of the decomposition; the latter is kept for the other processes."""
    inputs, _ = read_inputs(folder)
    rows = [{"what": "preparation", **measured(lambda: bool(prepare(*inputs)))}]
    prepared = prepare(*inputs)
    rows.append({"what": "decomposition", **measured(lambda: bool(decompose(prepared.features)))})
    if task["threads"] == 1:
        spectrum = prepared.spectrum
        np.save(folder / "left.npy", spectrum.left)
        np.save(folder / "values.npy", spectrum.values)
    return rows


def measure_score(task: dict, folder: Path) -> list[dict]:
    """Return the cost of one score alone, from the arrays, and on a preparation that has its decomposition already."""
    name, options = task["name"], task.get("options", {})
    warm_up_imports([name], {key: value for key, value in options.items() if not key.startswith("max_")})
    inputs, logits = read_inputs(folder)
    alone = measured(lambda: score(name, *inputs, logits=logits, **options).value)
    prepared = prepare(*inputs, logits=logits)
    spectrum = Spectrum(left=np.load(folder / "left.npy"), values=np.load(folder / "values.npy"))
    found = registry.get("scorers", name)
    shared = measured(lambda: found.of(with_spectrum(prepared, spectrum), **options).value)
    return [{"what": "alone", **alone}, {"what": "on shared preparation", **shared}]


def with_spectrum(prepared: Prepared, spectrum: Spectrum) -> Prepared:
    """Return the preparation with the decomposition and nothing else that scores derive and keep."""
    fresh = dataclasses.replace(prepared)
    fresh.__dict__["spectrum"] = spectrum
    return fresh


def measure_set(task: dict, folder: Path) -> list[dict]:
    """Return the cost of many scores by one call."""
    warm_up_imports(task["names"], {})
    inputs, logits = read_inputs(folder)
    return [{"what": "set", **measured(lambda: bool(score_many(task["names"], *inputs, logits=logits)))}]


def measure_pairs(task: dict, folder: Path) -> list[dict]:
    """Return how much longer decomposition and score take than the decomposition, in pairs."""
    inputs, _ = read_inputs(folder)
    prepared = prepare(*inputs)
    found = registry.get("scorers", task["name"])
    walls, cpus = [], []
    for pair in range(-1, N_PAIRS):
        fresh = dataclasses.replace(prepared)
        start = time.perf_counter(), time.process_time()
        assert fresh.spectrum is not None
        middle = time.perf_counter(), time.process_time()
        found.of(fresh)
        end = time.perf_counter(), time.process_time()
        if pair >= 0:
            walls.append((end[0] - start[0]) / (middle[0] - start[0]))
            cpus.append((end[1] - start[1]) / (middle[1] - start[1]))
    ratios = {"wall_ratio": round(median(walls), 3), "cpu_ratio": round(median(cpus), 3)}
    spread = {"wall_ratios": [round(each, 3) for each in walls], "cpu_ratios": [round(each, 3) for each in cpus]}
    return [{"what": "pairs", **ratios, **spread, "repeats": N_PAIRS}]


def measure_beside(task: dict, folder: Path) -> list[dict]:
    """Return the cost of one score and of a public implementation, in this process on the same arrays."""
    inputs, logits = read_inputs(folder)
    name, options = task["name"], task.get("options", {})
    theirs = PUBLIC[task["public"]](inputs, Path(task["reference"]), task["threads"])
    warm_up_imports([name], {key: value for key, value in options.items() if not key.startswith("max_")})
    ours = partial(score, name, *inputs, logits=logits, **options)
    rows = [{"what": "neuralrank", **measured(lambda: ours().value)}]
    return [*rows, {"what": task["public"], **measured(theirs)}]


def transformer_ranker(kind: str, inputs: Inputs, reference: Path, threads: int) -> Callable[[], float]:
    """Return a call of an estimator of transformer-ranker, of which only the estimators are imported."""
    from neuralrank.formats._torchvision import repair_torchvision

    repair_torchvision()  # torchmetrics imports it
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, str(reference))
    package = types.ModuleType("transformer_ranker")
    package.__path__ = [str(reference / "transformer_ranker")]
    sys.modules["transformer_ranker"] = package
    estimators = importlib.import_module("transformer_ranker.estimators")
    features, labels = torch.from_numpy(inputs[0]), torch.from_numpy(inputs[1])
    return lambda: float(getattr(estimators, kind)().fit(embeddings=features, labels=labels))


def scikit_learn(kind: str, inputs: Inputs, reference: Path, threads: int) -> Callable[[], float]:
    """Return a call of scikit-learn; its neighbours are searched by as many threads as all else has."""
    from sklearn import metrics
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    del reference
    features, labels, _ = inputs
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    neighbours = KNeighborsClassifier(5, algorithm="brute", metric="cosine", n_jobs=threads)
    return {
        "silhouette, cosine": lambda: float(metrics.silhouette_score(features, labels, metric="cosine")),
        "silhouette, Euclidean": lambda: float(metrics.silhouette_score(features, labels)),
        "Davies-Bouldin": lambda: float(metrics.davies_bouldin_score(features, labels)),
        "Calinski-Harabasz": lambda: float(metrics.calinski_harabasz_score(features, labels)),
        "LDA, 5 folds": lambda: float(cross_val_score(lda, features, labels, cv=5).mean()),
        "5-NN, 5 folds": lambda: float(cross_val_score(neighbours, features, labels, cv=5).mean()),
    }[kind]


PUBLIC: dict[str, Callable[[Inputs, Path, int], Callable[[], float]]] = {
    **{f"transformer-ranker: {kind}": partial(transformer_ranker, kind) for kind in ("LogME", "HScore")},
    "transformer-ranker: 3-NN": partial(transformer_ranker, "NearestNeighbors"),
    **{
        f"scikit-learn: {kind}": partial(scikit_learn, kind)
        for kind in (
            "silhouette, cosine", "silhouette, Euclidean", "Davies-Bouldin", "Calinski-Harabasz", "LDA, 5 folds",
            "5-NN, 5 folds",
        )
    },
}  # fmt: skip

PARTS = {
    "base": measure_base,
    "score": measure_score,
    "set": measure_set,
    "pairs": measure_pairs,
    "beside": measure_beside,
}


def main() -> None:
    """Run one task and print its rows."""
    task = json.loads(sys.argv[1])
    with threadpool_limits(limits=task["threads"]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = PARTS[task["part"]](task, Path(task["folder"]))
    kernel = next((each for each in threadpool_info() if each["user_api"] == "blas"), {})
    name = " ".join(str(kernel[key]) for key in ("internal_api", "version", "architecture") if kernel.get(key))
    print(json.dumps([{**row, "kernel": name} for row in rows]))


if __name__ == "__main__":
    main()
