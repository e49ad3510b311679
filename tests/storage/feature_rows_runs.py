"""Runs over one cache that end badly or at once: `python feature_rows_runs.py NAME FOLDER NUMBER` prints JSON.

The process that starts the others uses no threads, so that they can be forked: they begin in a few milliseconds.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neuralrank.storage.batch_log import BatchLog
from neuralrank.storage.feature_cache import cache_key
from neuralrank.storage.feature_rows import FeatureRows, feature_rows

N_SAMPLES, BATCH, RUNG, WIDTH = 2400, 8, 96, 300
KEY = cache_key(model="resnet")
SAMPLES = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(N_SAMPLES)]
VALUES = np.random.default_rng(0).normal(size=(N_SAMPLES, WIDTH)).astype(np.float32)


def known(rows: FeatureRows) -> list[int]:
    """Return which samples are known; fails if one has another row than its own."""
    got = rows.read(KEY, SAMPLES)
    places = np.flatnonzero(got.known)
    assert not len(places) or (got.values[places] == VALUES[places]).all()
    return places.tolist()


def start(action: Callable[[Callable[[int], object]], object]) -> tuple[int, int]:
    """Start a process; `action` gets what says how far it is. Returns its id and the pipe in which it says so."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            action(lambda number: os.write(writing, number.to_bytes(4, "little")))
        except BaseException:  # noqa: BLE001
            sys.stderr.write(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return child, reading


def said(reading: int) -> list[int]:
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    return [int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4)]


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def passes(rows: FeatureRows, say: Callable[[int], object]) -> None:
    """Extract all samples, rung by rung, in passes; say how many rows were appended."""
    for rung in range(0, N_SAMPLES, RUNG):
        with rows.begin({"features": KEY}, SAMPLES[rung : rung + RUNG], {}) as running:
            with BatchLog(running.log) as log:
                for first in range(0, RUNG, BATCH):
                    places = np.arange(first, first + BATCH)
                    log.append("features", places, VALUES[rung + places])
                    say(rung + first + BATCH)
            running.finish({})


def adds(rows: FeatureRows, say: Callable[[int], object]) -> None:
    """Add samples batch by batch, so that segments are merged all the time; say how many rows were added."""
    for first in range(0, N_SAMPLES // 4, BATCH):
        rows.add(KEY, SAMPLES[first : first + BATCH], VALUES[first : first + BATCH], {})
        say(first + BATCH)


def kill(folder: Path, n: int) -> list[dict[str, Any]]:
    """Kill a writer at `n` moments, in passes and adds by turns; say what it said it kept, and what is kept."""
    rng = random.Random(n)
    seconds = []
    for number, action in enumerate((passes, adds)):
        begun = time.monotonic()
        child, reading = start(
            lambda say, number=number, action=action: action(feature_rows(folder / f"{number}"), say)
        )
        said(reading)
        assert ended(child) == 0
        seconds.append(time.monotonic() - begun)
    return [_killed(folder / "killed", number % 2, rng.random() * seconds[number % 2]) for number in range(n)]


def _killed(folder: Path, kind: int, moment: float) -> dict[str, Any]:
    rows = feature_rows(folder)
    child, reading = start(lambda say: (passes, adds)[kind](rows, say))
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    how, told = ended(child), said(reading)
    rows.sweep()
    places = known(rows)
    left = [path.name for place in ("unfinished", ".") for path in (folder / place).glob("*-*")]
    left += [path.name for path in folder.glob("rows/.part-*")]
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "how": how, "said": told[-1] if told else 0, "n_known": len(places), "left": left,
        "is_first": places == list(range(len(places))),
    }  # fmt: skip


def together(folder: Path, n: int) -> dict[str, Any]:
    """Let writers, of passes and of adds, sweepers and readers use one key at once."""
    rows = feature_rows(folder)
    writers = [start(lambda say, seed=seed: _write(rows, seed, n, say)) for seed in range(4)]
    others = [
        start(lambda say, action=action: _until(folder / "done", action(rows))) for action in (_watch, _sweep) * 2
    ]
    ends = []
    for child, reading in writers:
        said(reading)
        ends.append(ended(child))
    (folder / "done").touch()
    for child, reading in others:
        said(reading)
        ends.append(ended(child))
    expected = sorted({place for seed in range(4) for places in _choices(seed, n) for place in places})
    return {
        "ends": ends, "all": known(rows) == expected,
        "left": [path.name for path in folder.glob("unfinished/*")],
        "n_segments": len(list(folder.glob("rows/*/*/*.safetensors"))),
    }  # fmt: skip


def _choices(seed: int, n: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [rng.sample(range(N_SAMPLES), rng.randint(1, 40)) for _ in range(n)]


def _write(rows: FeatureRows, seed: int, n: int, say: Callable[[int], object]) -> None:
    for number, places in enumerate(_choices(seed, n)):
        samples = [SAMPLES[place] for place in places]
        if seed % 2:
            rows.add(KEY, samples, VALUES[places], {})
        else:
            with rows.begin({"features": KEY}, samples, {}) as running:
                with BatchLog(running.log) as log:
                    log.append("features", np.arange(len(places)), VALUES[places])
                running.finish({})
        assert set(places) <= set(known(rows))
        say(number)


def _watch(rows: FeatureRows) -> Iterator[None]:
    """Look all the time: what was known once stays known."""
    before: set[int] = set()
    while True:
        now = set(known(rows))
        assert before <= now
        before = now
        yield


def _sweep(rows: FeatureRows) -> Iterator[None]:
    while True:
        assert rows.sweep() == 0  # all owners live
        yield


def _until(file: Path, steps: Iterator[None]) -> None:
    for _ in steps:
        if file.exists():
            return


def power_cut(folder: Path, n: int) -> list[dict[str, Any]]:
    """Cut or empty the newest files, as a power cut does; say what is known before and after."""
    rng = random.Random(n)
    told = []
    for number in range(n):
        rows = feature_rows(folder / str(number))
        for first in range(0, 400, 40):
            rows.add(KEY, SAMPLES[first : first + 40], VALUES[first : first + 40], {})
        unfinished = rows.begin({"features": KEY}, SAMPLES[1000:1100], {})
        with BatchLog(unfinished.log) as log:
            for first in range(0, 100, 20):
                log.append("features", np.arange(first, first + 20), VALUES[1000 + first : 1020 + first])
        os.close(unfinished._lock.pop())
        segments = sorted((folder / str(number)).glob("rows/*/*/*.safetensors"))
        cut = [
            unfinished.log,
            *segments[-rng.randint(0, 3) :][: number % 4],
            *[unfinished.folder / "pass.json"][number % 3 :],
        ]
        for path in cut:
            size = path.stat().st_size
            os.truncate(path, rng.randrange(size))
            if rng.random() < 0.5:  # the length reached the disk, the content did not
                os.truncate(path, size)
        rows.sweep()
        places = known(rows)
        lost = sum(path in cut for path in segments)
        told.append({
            "n_old": sum(place < 1000 for place in places), "n_whole": 40 * (len(segments) - lost),
            "n_new": sum(place >= 1000 for place in places), "left": len(list(unfinished.folder.parent.iterdir())),
        })  # fmt: skip
    return told


if __name__ == "__main__":
    name, where, number = sys.argv[1:]
    sys.stdout.write(json.dumps(globals()[name](Path(where), int(number))))
