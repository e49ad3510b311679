"""Measure what the walls around a model cost: time until it runs, and speed while it runs.

    python benchmarks/isolation.py --models ../shared/zoo [--repeats 5] [--seconds 12]

Start-up: for each ONNX file, the seconds from asking for a worker until the model in it is loaded: interpreter, walls,
imports and loading. The processor's seconds are given too: on a busy machine they say more. Beside it, the same file
loaded in this process, whose imports are done: the difference is what isolation adds to each model. Putting up the
walls is also timed alone, in new interpreters.

Throughput: the same loop over the same batches for about `--seconds`, in this process and in a worker, in turn, the
order changing from pair to pair; the ratio is taken pair by pair, once for the loop alone and once for everything from
the call to the result. Results go to benchmarks/results/isolation.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from neuralrank import registry
from neuralrank.engines import _child
from neuralrank.engines.worker_process import worker_process

RESULTS = Path(__file__).parent / "results" / "isolation.json"
LONG = ("cifar10_resnet56.onnx", "mobilenetv2_100_224_tf2ptq.onnx", "tinydarknet_imagenet.onnx")
STARTUP_BAR_SECONDS = 1.5
THROUGHPUT_BAR = 0.95
BATCH = 32
WALLS_ALONE = """
import runpy, sys, time
child = runpy.run_path(sys.argv[1], run_name="neuralrank_child")
start = time.perf_counter()
walls = child["_beside"]("_walls")
walls.put_up({"memory_bytes": 1 << 33, "file_bytes": 1 << 33, "open_files": 1024, "read": ["/tmp"], "write": ["/tmp"],
              "path": sys.path, "home": "/nowhere"})
print(time.perf_counter() - start)
"""

Send = Callable[[Mapping[str, Any]], None]


# --- what runs in this process and in a worker -------------------------------------------------------------------


def run_model(payload: Mapping[str, Any], send: Send) -> dict[str, Any]:
    """Load a model and run it `n_batches` times; return the seconds of the loop."""
    n_batches, path = payload["n_batches"], Path(payload["path"])
    checkpoint_format = registry.get("formats", "onnx")
    facts = checkpoint_format.describe(path)
    encoder = checkpoint_format(path, facts, n_threads=payload["n_threads"])
    send({"stage": "extract", "n_done": 0, "cpu_seconds": time.process_time()})
    if n_batches == 0:
        return {"seconds": 0.0}
    size = facts.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, size=(BATCH, *size, 3), dtype=np.uint8)
    modality = registry.get("modalities", "image")()
    start = time.perf_counter()
    for number in range(n_batches):
        batch = modality.make_batch(list(images), facts.preprocessing)
        modality.pool(encoder.encode(batch, (encoder.feature_layer,))[encoder.feature_layer])
        send({"n_done": number + 1})
    return {"seconds": time.perf_counter() - start}


def in_this_process(path: Path, n_batches: int, n_threads: int) -> dict[str, float]:
    """Return the seconds until the model was loaded, of the loop, and of everything."""
    clock = Clock()
    result = run_model({"path": str(path), "n_batches": n_batches, "n_threads": n_threads}, clock.tell)
    return {"startup": clock.startup, "loop": result["seconds"], "whole": time.perf_counter() - clock.start}


def in_a_worker(path: Path, n_batches: int, n_threads: int) -> dict[str, float]:
    """Return the same of a worker with all its walls."""
    with tempfile.TemporaryDirectory() as scratch:
        clock = Clock()
        outcome = worker_process(
            "isolation:run_model",
            {"path": str(path), "n_batches": n_batches, "n_threads": n_threads},
            timeout_seconds=300,
            memory_bytes=8 << 30,
            n_threads=n_threads,
            scratch=Path(scratch),
            on_message=clock.tell,
            readable=[path, path.with_suffix(".json")],
        )
        whole = time.perf_counter() - clock.start
    assert outcome.result is not None, outcome.error
    return {"startup": clock.startup, "cpu": clock.cpu, "loop": outcome.result["seconds"], "whole": whole}


class Clock:
    """Starts when it is made, and takes the time of the first message: the model is loaded."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.startup = self.cpu = 0.0

    def tell(self, message: Mapping[str, Any]) -> None:
        """Take a message."""
        if not self.startup:
            self.startup, self.cpu = time.perf_counter() - self.start, message["cpu_seconds"]


# --- what is measured --------------------------------------------------------------------------------------------


def walls_alone(repeats: int) -> list[float]:
    """Return the seconds that putting up the walls takes in new interpreters."""
    command = [sys.executable, "-P", "-c", WALLS_ALONE, _child.__file__]
    return [float(subprocess.check_output(command, text=True)) for _ in range(repeats)]


def startup(paths: Sequence[Path], repeats: int, n_threads: int) -> list[dict[str, Any]]:
    """Return one row per model."""
    rows = []
    for path in paths:
        pairs = [(in_this_process(path, 0, n_threads), in_a_worker(path, 0, n_threads)) for _ in range(repeats)]
        own = [pair[0]["startup"] for pair in pairs]
        walled = [pair[1]["startup"] for pair in pairs]
        cpu = [pair[1]["cpu"] for pair in pairs]
        rows.append(
            {"model": path.name, "in_process": spread(own), "worker": spread(walled), "worker_cpu": spread(cpu)}
        )
        print(
            f"{path.name:38s} loaded after {shown(walled)} s in a worker ({shown(cpu)} s of processor), "
            f"{shown(own)} s in this process",
            flush=True,
        )
    return rows


def throughput(paths: Sequence[Path], repeats: int, seconds: float, n_threads: int) -> list[dict[str, Any]]:
    """Return one row per model: ratios of speed in a worker to speed in this process."""
    rows = []
    for path in paths:
        trial = in_this_process(path, 4, n_threads)
        n_batches = max(1, round(4 * seconds / trial["loop"]))
        pairs = []
        for number in range(repeats):
            calls = (in_this_process, in_a_worker) if number % 2 == 0 else (in_a_worker, in_this_process)
            got = {call: call(path, n_batches, n_threads) for call in calls}
            pairs.append((got[in_this_process], got[in_a_worker]))
        loop = [own["loop"] / walled["loop"] for own, walled in pairs]
        whole = [own["whole"] / walled["whole"] for own, walled in pairs]
        row = {
            "model": path.name,
            "n_samples": n_batches * BATCH,
            "in_process_seconds": spread([own["loop"] for own, _ in pairs]),
            "worker_seconds": spread([walled["loop"] for _, walled in pairs]),
            "loop_ratio": spread(loop),
            "whole_ratio": spread(whole),
        }
        rows.append(row)
        print(
            f"{path.name:38s} {row['in_process_seconds']['median']:.1f} s in this process; "
            f"speed in a worker {shown(loop)} of it, start-up included {shown(whole)}",
            flush=True,
        )
    return rows


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median and extremes, and every value in the order measured."""
    return {
        "median": round(median(values), 4),
        "least": round(min(values), 4),
        "greatest": round(max(values), 4),
        "values": [round(value, 4) for value in values],
    }


def shown(values: Sequence[float]) -> str:
    """Return the median with the extremes."""
    return f"{median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("../shared/zoo"), help="folder of ONNX files")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12.0, help="least length of a run for throughput")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = options.models.resolve()
    paths = sorted(folder.glob("*.onnx"))
    if not paths:
        raise SystemExit(f"{folder} needs to hold ONNX files. Got none. Name another folder with --models.")
    n_threads = len(os.sched_getaffinity(0))
    long = [folder / name for name in LONG if (folder / name).exists()] or paths[:1]
    in_this_process(paths[0], 1, n_threads)  # imports are done once, as in a run over many models
    alone = walls_alone(options.repeats)
    print(f"walls alone: {shown(alone)} s", flush=True)
    results = {
        "machine": {"cores": n_threads, "processor": platform.machine(), "load": os.getloadavg()},
        "bars": {"startup_seconds": STARTUP_BAR_SECONDS, "throughput_ratio": THROUGHPUT_BAR},
        "walls_alone_seconds": spread(alone),
        "startup": startup(paths, options.repeats, n_threads),
        "throughput": throughput(long, options.repeats, options.seconds, n_threads),
    }
    slowest = max(row["worker"]["median"] for row in results["startup"])
    lowest = min(row["loop_ratio"]["median"] for row in results["throughput"])
    print(f"slowest start-up {slowest:.2f} s (bar {STARTUP_BAR_SECONDS} s), lowest ratio {lowest:.3f} (bar 0.95)")
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
