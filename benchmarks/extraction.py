"""Measure what extraction costs beside a bare loop, what the cache saves, and how much memory a large probe takes.

    python benchmarks/extraction.py --zoo ../shared/zoo --data ../shared/data/fashion_mnist

Throughput: for each model, the product's own extraction (decode excluded, preprocessing, forward pass and pooling
included) against a loop that feeds the same batches, made beforehand, to the same runtime with the same threads. Both
run in a process of their own, in turn, and the ratio is taken pair by pair. Results go to
benchmarks/results/extraction.json.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from neuralrank import registry
from neuralrank.encoding import _batch_rows
from neuralrank.features import Extraction, Features
from neuralrank.limits import Limits
from neuralrank.machine import available_cores
from neuralrank.probe import open_samples, read_probe
from neuralrank.ranking import list_models
from neuralrank.readers._open import open_target

MODELS = (
    ("cifar10_resnet20.onnx", 2_000),
    ("cifar10_resnet56.onnx", 2_000),
    ("mobilenetv1_025_128_q.onnx", 2_000),
    ("squeezenet11_keras_notop.onnx", 500),
    ("mobilenetv2_100_224_tf2ptq.onnx", 500),
    ("espnetv2_05_pascal.onnx", 300),
    ("cifar10_resnet20.pt2", 1_000),
    ("mobilenetv2_100_224_tf2ptq.timm", 300),
)
HEAVIER = ("tinydarknet_imagenet.onnx", "espnetv2_15_pascal.onnx")
RESULTS = Path(__file__).parent / "results" / "extraction.json"


def throughput(zoo: Path, data: Path, repeats: int) -> list[dict]:
    """Return one row per model: samples per second of both loops, and the median of the paired ratios."""
    rows = []
    for name, n_samples in MODELS:
        record = next(item for item in list_models(zoo / name))
        probe = read_probe(open_target(str(data)), n_samples=n_samples, seed=0, max_unreadable=0.0, cache=None)
        with Extraction(probe=probe, cache=None, limits=Limits(n_jobs=1)) as extraction:
            pairs = []
            for _ in range(repeats):
                ours = extraction.features(record)
                assert isinstance(ours, Features), ours
                bare = bare_loop_in_own_process(zoo / name, extraction.scratch)
                pairs.append((ours.extract_seconds, bare))
        row = {
            "model": name,
            "n_samples": n_samples,
            "samples_per_second": round(median(n_samples / ours for ours, _ in pairs), 1),
            "bare_samples_per_second": round(median(n_samples / bare for _, bare in pairs), 1),
            "ratio": round(median(bare / ours for ours, bare in pairs), 3),
            "ratios": [round(bare / ours, 3) for ours, bare in pairs],
        }
        rows.append(row)
        print(
            f"{name:34s} {row['samples_per_second']:>9,.1f} samples/s, bare {row['bare_samples_per_second']:>9,.1f}, "
            f"ratio {row['ratio']:.3f} {row['ratios']}",
            flush=True,
        )
    return rows


def bare_loop_in_own_process(model: Path, scratch: Path) -> float:
    """Return the seconds of the bare loop."""
    command = [sys.executable, __file__, "--bare", str(model), "--scratch", str(scratch)]
    return float(subprocess.check_output(command, text=True).splitlines()[-1])


def bare_loop(model: Path, scratch: Path) -> float:
    """Feed batches made beforehand to the runtime alone; return the seconds from the first to the last."""
    record = next(item for item in list_models(model))
    samples = open_samples(scratch)
    make_batch = registry.get("modalities", "image")().make_batch
    preprocessing = record.facts.preprocessing
    batches = [
        make_batch([samples[row] for row in rows], preprocessing)["image"]
        for rows in _batch_rows(samples, preprocessing)
    ]
    run = {"onnx": bare_onnx, "torch_export": bare_export, "timm_folder": bare_timm}[record.facts.format](model)
    start = time.perf_counter()
    for batch in batches:
        run(batch)
    return time.perf_counter() - start


def bare_onnx(model: Path):
    """Return a call of onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(["features"], {name: batch})


def bare_export(model: Path):
    """Return a call of a torch.export program."""
    import torch

    torch.set_num_threads(available_cores())
    program = torch.export.load(model).module()

    def run(batch):
        with torch.inference_mode():
            return program(torch.from_numpy(batch))["features"].numpy()

    return run


def bare_timm(model: Path):
    """Return a call of a timm network."""
    from neuralrank.formats._torchvision import repair_torchvision

    repair_torchvision()
    import timm
    import torch

    torch.set_num_threads(available_cores())
    network = timm.create_model(f"local-dir:{model}", pretrained=True).eval().to(memory_format=torch.channels_last)

    def run(batch):
        with torch.inference_mode():
            image = torch.from_numpy(batch).to(memory_format=torch.channels_last)
            return network.forward_head(network.forward_features(image), pre_logits=True).numpy()

    return run


def second_runs(zoo: Path, data: Path) -> list[dict]:
    """Return a row for the light ONNX networks alone, and one with two networks of usual cost beside them."""
    light = [name for name, _ in MODELS if name.endswith(".onnx")]
    return [second_run(zoo, data, names) for names in (light, [*light, *HEAVIER])]


def second_run(zoo: Path, data: Path, names: list[str]) -> dict:
    """Return the wall seconds of the whole command, with an empty cache and again."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            shutil.copy(zoo / name, folder)
            shutil.copy((zoo / name).with_suffix(".json"), folder)
        command = [sys.executable, "-m", "neuralrank", "rank", folder, "--data", str(data), "--quiet"]
        command += ["--format", "json", "--cache-dir", f"{folder}/cache"]
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
    row = {
        "models": names,
        "n_probe": 2_000,
        "first_seconds": round(seconds[0], 1),
        "second_seconds": round(min(seconds[1:]), 2),
        "ratio": round(seconds[0] / min(seconds[1:]), 1),
    }
    print(
        f"{len(names)} networks: first run {row['first_seconds']} s, second {row['second_seconds']} s: "
        f"{row['ratio']} times faster"
    )
    return row


def peak_memory(zoo: Path, data: Path) -> dict:
    """Return the peak resident memory of the main process and of its largest worker over 10,000 samples."""
    names = ("cifar10_resnet20.onnx", "mobilenetv2_inat_bird.onnx")
    code = (
        "import sys, resource, neuralrank, json\n"
        "r = neuralrank.rank(sys.argv[3:], sys.argv[1], probe=10_000, cache_dir=sys.argv[2])\n"
        "peak = lambda who: resource.getrusage(who).ru_maxrss / 1024\n"
        "print(json.dumps([len(r.models), peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN)]))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(data), folder, *(str(zoo / name) for name in names)]
        out = subprocess.check_output([sys.executable, "-c", code, *arguments], text=True)
    n_ranked, main, worker = json.loads(out)
    assert n_ranked == len(names)
    print(f"10,000 samples, {', '.join(names)}: main process {main:.0f} MiB, largest worker {worker:.0f} MiB")
    return {"models": names, "n_probe": 10_000, "main_mib": round(main), "worker_mib": round(worker)}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, default=Path("../shared/zoo"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fashion_mnist"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["throughput", "second_run", "memory"], help="what to measure")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(bare_loop(options.bare, options.scratch))
        return
    measures = {
        "throughput": lambda: throughput(options.zoo, options.data, options.repeats),
        "second_run": lambda: second_runs(options.zoo, options.data),
        "memory": lambda: peak_memory(options.zoo, options.data),
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["date"] = time.strftime("%Y-%m-%d")
    results["machine"] = f"{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}"
    for part in options.parts:
        results[part] = measures[part]()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
