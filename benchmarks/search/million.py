"""Measure the catalogue on synthetic models: time to build, disk, memory, and the latency of 1,000 mixed queries.

    python benchmarks/search/million.py [--models 10000,100000,1000000] [--folder FOLDER] [--out FILE.json]

The records are made beforehand for each batch and their making is not counted. A query is one call of the search of an
open catalogue, up to 20 models with all their fields. Warm: every query once after all of them ran once. Cold: the
catalogue is opened anew for each query, and the system is asked to forget the pages of its files before. Memory is that
of a process of its own which runs all queries; mapped file pages are part of its resident size.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import queries, records

from neuralrank import open_catalogue
from neuralrank.queries.concepts import index_concepts
from neuralrank.searching import Query, find
from neuralrank.storage.derived import derived

N_QUERIES = 1_000
N_COLD = 100
BATCH = 10_000
TOP = 20
SEED = 0


def main() -> None:
    """Build catalogues of several sizes and measure each; print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="10000,100000,1000000", help="sizes, separated by commas")
    parser.add_argument("--folder", type=Path, help="keep the catalogues here; what is there is not built again")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--query", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.query is not None:
        print(json.dumps(measure_queries(options.query)))
        return
    place = options.folder or Path(tempfile.mkdtemp())
    figures = []
    for n in map(int, options.models.split(",")):
        folder = place / str(n)
        built = build(folder, n)
        command = [sys.executable, __file__, "--query", str(folder)]
        found = json.loads(subprocess.check_output(command, text=True))
        figures.append({"models": n, **built, **found})
        print(json.dumps(figures[-1]), file=sys.stderr, flush=True)
    print(table(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))
    if options.folder is None:
        shutil.rmtree(place)


def build(folder: Path, n: int) -> dict[str, Any]:
    """Write a catalogue with columns and text index; return seconds and bytes."""
    times = folder / "built.json"
    if not times.exists():
        shutil.rmtree(folder, ignore_errors=True)
        seconds = {"making_records": 0.0, "writing": 0.0}
        with open_catalogue(folder) as catalogue:
            made = records(n, SEED)
            while True:
                started = time.perf_counter()
                batch = list(islice(made, BATCH))
                seconds["making_records"] += time.perf_counter() - started
                if not batch:
                    break
                started = time.perf_counter()
                catalogue.write("hf:*", batch, concepts=index_concepts)
                seconds["writing"] += time.perf_counter() - started
            started = time.perf_counter()
            derived(catalogue)
            seconds["columns_and_text"] = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds["cpu_of_all"] = used.ru_utime + used.ru_stime
        times.write_text(json.dumps({**seconds, "build_peak_mb": used.ru_maxrss / 1e3}))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {**json.loads(times.read_text()), "disk_mb": size / 1e6}


def measure_queries(folder: Path) -> dict[str, Any]:
    """Run all queries in this process, cold and warm; return milliseconds and memory."""
    asked = list(queries(N_QUERIES, SEED))
    cold: list[float] = []
    for one in islice(_spread(asked), N_COLD):
        forget(folder)
        started = time.perf_counter()
        with open_catalogue(folder) as catalogue:
            run(one, catalogue)
        cold.append(1e3 * (time.perf_counter() - started))
    warm: dict[str, list[float]] = {}
    with open_catalogue(folder) as catalogue:
        for one in asked:
            run(one, catalogue)
        for one in asked:
            started = time.perf_counter()
            run(one, catalogue)
            warm.setdefault(one["kind"], []).append(1e3 * (time.perf_counter() - started))
    every = [value for of_kind in warm.values() for value in of_kind]
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "cold_p50_ms": float(np.quantile(cold, 0.5)),
        "cold_p99_ms": float(np.quantile(cold, 0.99)),
        "warm_p50_ms": float(np.quantile(every, 0.5)),
        "warm_p99_ms": float(np.quantile(every, 0.99)),
        "warm_max_ms": max(every),
        "warm_p99_ms_by_kind": {kind: float(np.quantile(values, 0.99)) for kind, values in warm.items()},
        "peak_resident_mb": int(status["VmHWM"].split()[0]) / 1e3,
        "anonymous_mb": int(status["RssAnon"].split()[0]) / 1e3,
    }


def run(one: Any, catalogue: Any) -> None:
    """Carry out one query."""
    query = {name: value for name, value in dict(one).items() if name != "kind" and value}
    find(Query(**{**query, "labels": tuple(query.get("labels", ()))}, top=TOP), catalogue)


def forget(folder: Path) -> None:
    """Ask the system to drop the pages of all files of a catalogue."""
    for path in folder.rglob("*"):
        if path.is_file():
            with suppress(OSError), path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _spread(asked: list[Any]) -> Iterator[Any]:
    """Yield queries of every kind from the start on."""
    step = max(1, len(asked) // N_COLD)
    yield from asked[::step]


def table(figures: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table, one column per size."""
    rows = {
        "write, s": "writing",
        "columns and text index, s": "columns_and_text",
        "peak resident while building, MB": "build_peak_mb",
        "disk, MB": "disk_mb",
        "query warm p50, ms": "warm_p50_ms",
        "query warm p99, ms": "warm_p99_ms",
        "query cold p50, ms": "cold_p50_ms",
        "query cold p99, ms": "cold_p99_ms",
        "peak resident while querying, MB": "peak_resident_mb",
        "of it not of files, MB": "anonymous_mb",
    }
    head = "| models | " + " | ".join(f"{one['models']:,}" for one in figures) + " |"
    lines = [f"| {name} | " + " | ".join(f"{one[key]:,.1f}" for one in figures) + " |" for name, key in rows.items()]
    kinds = figures[-1]["warm_p99_ms_by_kind"]
    lines += [
        f"| warm p99 of {kind}, ms | "
        + " | ".join(f"{one['warm_p99_ms_by_kind'][kind]:,.1f}" for one in figures)
        + " |"
        for kind in kinds
    ]
    return "\n".join([head, "|:--|" + "--:|" * len(figures), *lines])


if __name__ == "__main__":
    main()
