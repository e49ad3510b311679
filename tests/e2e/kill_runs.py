"""Runs of the command that are cut short from outside, and what their store holds then."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_zoo import CARD, crafted_filters, draw_images, network, random_filters, save

from neuralrank.storage._unfinished import _WORK as WORK
from neuralrank.storage._unfinished import LOG_NAME, read_description, rows_by_kind
from neuralrank.storage.feature_rows import feature_rows

COMMAND = (sys.executable, "-c", "from neuralrank.cli import main; main()")
SIDE = 256
BATCH = 32 * 224**2 // SIDE**2
"""Samples that a worker runs at once, of images of this size."""
N_SAMPLES = 160
N_JOBS = 2
Ranking = dict[str, Any]


# --- models that take a while ------------------------------------------------------------------------------------


def slow(path: Path, weights: NDArray[np.float32], *, white: bool = False) -> None:
    """Write a network of large images, which take their time; it gives NaN for white ones where that is asked for."""
    from onnx import helper

    body = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["small", "weights"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["rectified"]),
        helper.make_node("GlobalAveragePool", ["rectified"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Sub", ["bound", "column"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),
        helper.make_node("Concat", ["flat", "root"], ["features"], axis=1),
    ]
    stored = {"weights": weights, "last": np.array([1]), "bound": np.float32([0.9 if white else 2.0])}
    model = network(*body, stored=stored, n_features=len(weights) + 1, shape=("n", 3, SIDE, SIDE))
    save(model, path, {**CARD, "input_size": [3, SIDE, SIDE]})


def write_zoo(folder: Path, n_models: int) -> Path:
    """Write a good network, random ones, one that fails at the one white image, and a damaged file."""
    slow(folder / "good.onnx", crafted_filters())
    slow(folder / "white.onnx", crafted_filters() * np.float32(0.9), white=True)
    for place in range(n_models - 2):
        slow(folder / f"random{place}.onnx", random_filters(1 + place, seed=place))
    (folder / "broken.onnx").write_bytes(b"damaged")
    return folder


def write_data(path: Path) -> Path:
    images, labels = draw_images(n_per_class=N_SAMPLES // 4)
    images[7] = 255
    np.savez(path, images=images, labels=labels)
    return path


# --- runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """One command with a cache, a catalogue and a scratch folder of its own."""

    folder: Path
    models: Path
    data: Path
    more: tuple[object, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def catalogue(self) -> Path:
        return self.folder / "catalogue"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the command, or another."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        if not arguments:
            arguments = ("rank", self.models, "--data", self.data, "--probe", N_SAMPLES, "--also", "", *self.more)
            arguments += ("--cache-dir", self.cache, "--jobs", N_JOBS, "--format", "json")
        return subprocess.Popen(
            [*COMMAND, *map(str, (*arguments, "--catalogue", self.catalogue))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.scratch), **dict(self.environment)},
        )

    def run(self, *arguments: object, code: int = 0) -> Ranking:
        """Run the command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=500)
        assert process.returncode == code, err
        return dict(json.loads(out))

    def runs(self) -> list[Ranking]:
        """Return what the command lists of its runs."""
        out, err = self.start("runs", "--format", "json").communicate(timeout=100)
        assert err == ""
        return list(json.loads(out))

    def cut_short(self, seconds: float, *, n_workers: int = 0) -> Ranking | None:
        """Kill the command some time after it started so many workers; return its ranking if it had ended before."""
        process = self.start()
        seen = set[int]()
        while len(seen) < n_workers and process.poll() is None:
            seen.update(children(process.pid))
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = process.communicate(timeout=seconds)
            assert process.returncode == 0, err
            return dict(json.loads(out))
        workers = children(process.pid)
        process.kill()
        process.communicate()
        wait_for_the_end_of(workers)
        return None

    # --- what is kept --------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, set[bytes]]:
        """Return the samples of which rows are kept, by key: those of ended passes, and those in logs."""
        found: dict[str, set[bytes]] = {}
        for place in (self.cache / "rows").glob("??/*"):
            found[place.name] = {digest.tobytes() for digest in feature_rows(self.cache).samples(place.name)}
        for _, key, samples in self.logged():
            found.setdefault(key, set()).update(samples)
        return found

    def logged(self) -> Iterator[tuple[str, str, list[bytes]]]:
        """Yield folder, key and samples of what is in logs."""
        for folder in (self.cache / "unfinished").glob("*"):
            description = read_description(folder)
            if description is not None:
                rows = rows_by_kind(folder / WORK / LOG_NAME, len(description.samples))
                for kind, part in rows.items():
                    samples = [description.samples[place].tobytes() for place in part.places]
                    yield folder.name, description.keys[kind], samples

    def n_twice(self, known: dict[str, set[bytes]] | None = None, folders: Collection[str] = ()) -> int:
        """Return how many rows were computed again although they were known.

        One row of each model may be: where a run was killed after the last row and before it had written down of which
        layer they are, the next one runs a single sample to learn it.

        Args:
            known: what was kept when the last run began.
            folders: of logs that were there then.
        """
        from neuralrank.storage._segments import open_segment

        n = 0
        for place in (self.cache / "rows").glob("??/*"):
            digests = [
                digest.tobytes()
                for path in sorted(place.glob("*.safetensors"))
                for digest in _digests(open_segment, path, place.name)
            ]
            n += max(0, sum(times > 1 for times in Counter(digests).values()) - 1)
        for folder, key, samples in self.logged():
            if folder not in folders:
                n += max(0, len((known or {}).get(key, set()) & set(samples)) - 1)
        return n

    def forget(self) -> None:
        """Begin from nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _digests(open_segment: Any, path: Path, key: str) -> list[NDArray[np.uint8]]:
    with open_segment(path, key) as segment:
        return list(np.array(segment.digests))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, by all of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def wait_for_the_end_of(processes: list[int]) -> None:
    give_up = time.monotonic() + 10.0
    while any(is_alive(pid) for pid in processes):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# --- what has to be alike ----------------------------------------------------------------------------------------


def essence(ranking: Ranking) -> Ranking:
    """Return what a ranking says, without what tells when and how it was made."""
    names = ("name", "score", "p_best", "rank", "n_samples_used", "left", "tie_group", "warnings")
    return {
        "ranking": [{name: row[name] for name in names} for row in ranking["ranking"]],
        "failures": sorted((row["model_id"], row["stage"], row["error"]) for row in ranking["failures"]),
        "stopped": ranking["stopped"],
        "cost": {name: ranking["cost"][name] for name in ("n_models", "n_samples_used", "n_samples_of_full_run")},
    }


def expected(ranking: Ranking) -> Ranking:
    """Return what the essence of another ranking has to equal: scores to 1e-6, the rest to the letter."""
    wanted = essence(ranking)
    for row in wanted["ranking"]:
        row["score"] = pytest.approx(row["score"], abs=1e-6)
        row["p_best"] = pytest.approx(row["p_best"], abs=1e-3)
    return wanted
