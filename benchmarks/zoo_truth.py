"""Measure the transfer accuracy of the development zoo: a head trained on 5,000 samples the ranking never sees.

Deliberately independent of neuralrank: it reads the cards, preprocesses with Pillow and runs onnxruntime by itself, so
that the truth shares no code with what it judges. Head training and testing both take place inside the data set's test
split; the ranking draws its probe from the train split.

    python benchmarks/zoo_truth.py --zoo ../shared/zoo --data ../shared/data --out bench-out

Resumable: features of a finished (model, data set) lie in OUT and are not computed again. The table is written to
benchmarks/results/zoo_truth.csv after every model.
"""

import argparse
import csv
import fcntl
import io
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

DATA_SETS = ("mnist", "fashion_mnist", "cifar10_jpeg")
N_TRAIN, N_TEST, SEED, BATCH, THREADS = 5_000, 1_000, 20_26, 32, 1
RESULTS = Path(__file__).parent / "results" / "zoo_truth.csv"


def read_split(path: Path) -> tuple[list[Image.Image], np.ndarray]:
    """Return N_TRAIN + N_TEST images of the test split, in a seeded order, and their labels."""
    table = pq.read_table(path / "test.parquet")
    order = np.random.default_rng(SEED).permutation(len(table))[: N_TRAIN + N_TEST]
    rows = table.take(order).to_pylist()
    return [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows], np.array(
        [row["label"] for row in rows]
    )


def preprocess(images: list[Image.Image], card: dict) -> np.ndarray:
    """Return the batch the card describes, float32 (n, channels, height, width)."""
    channels, height, width = card["input_size"]
    batch = np.stack([np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in images])
    pixels = batch.astype(np.float32) / 255
    if card["colour_order"] == "BGR":
        pixels = pixels[..., ::-1]
    elif card["colour_order"] == "grey":
        pixels = (pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    pixels = (pixels - np.float32(card["mean"])) / np.float32(card["std"])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(images), channels, height, width)


def extract(card_file: Path, images: list[Image.Image]) -> np.ndarray:
    """Return the features of one model for all images, float32 (n, d)."""
    card = json.loads(card_file.read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(card_file.with_suffix(".onnx"), options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["features"], {"image": preprocess(images[start : start + BATCH], card)})[0]
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def head_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the test accuracy of a logistic head; its penalty is chosen on a fifth of the training part."""
    train, test = slice(0, N_TRAIN), slice(N_TRAIN, N_TRAIN + N_TEST)
    fit, tune = slice(0, N_TRAIN * 4 // 5), slice(N_TRAIN * 4 // 5, N_TRAIN)
    scaled = StandardScaler().fit(features[train]).transform(features)

    def train_head(part: slice, penalty: float) -> LogisticRegression:
        return LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(scaled[part], labels[part])

    best = max((1e-3, 1e-2, 1e-1, 1.0), key=lambda c: train_head(fit, c).score(scaled[tune], labels[tune]))
    return float(train_head(train, best).score(scaled[test], labels[test]))


def known() -> dict[tuple[str, str], dict]:
    """Return the rows measured before."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open() as file:
        return {(row["data_set"], row["model"]): row for row in csv.DictReader(file)}


def add(row: dict) -> None:
    """Add a row to the table; another shard may be doing the same."""
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = known() | {(row["data_set"], row["model"]): row}
        temporary = RESULTS.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(rows[key] for key in sorted(rows))
        temporary.replace(RESULTS)


def main() -> None:
    """Measure every model on every data set, cheapest models first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--shard", default="0/1", help="I/N: every Nth model from the Ith on, to share the work")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cards = sorted(options.zoo.glob("*.json"), key=lambda file: np.prod(json.loads(file.read_text())["input_size"]))
    data = {name: read_split(options.data / name) for name in DATA_SETS}
    first, step = (int(part) for part in options.shard.split("/"))
    rows = known()
    for card_file in cards[first::step]:
        for data_set, (images, labels) in data.items():
            key = (data_set, card_file.stem)
            if key in rows:
                continue
            file = options.out / f"truth-{data_set}-{card_file.stem}.npy"
            start = time.perf_counter()
            features = np.load(file) if file.exists() else extract(card_file, images)
            seconds = time.perf_counter() - start
            np.save(file, features)
            row = {
                "data_set": data_set,
                "model": card_file.stem,
                "accuracy": round(head_accuracy(features, labels), 4),
                "n_train": N_TRAIN,
                "n_test": N_TEST,
                "extract_seconds": round(seconds, 1),
            }
            add(row)
            print(data_set, card_file.stem, row["accuracy"], f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
