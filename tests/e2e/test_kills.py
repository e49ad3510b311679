"""Whatever ends a run or its workers, the same command again gives the ranking of a run that nothing disturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_runs import N_JOBS, N_SAMPLES, Place, children, essence, expected, is_alive, kill, write_data, write_zoo

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
STRATEGIES = {"full": (), "racing": ("--strategy", "racing", "--tolerance", 0, "--top", 2)}
New = Callable[..., Place]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoo"), 3)


@pytest.fixture(scope="module")
def large_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoo"), 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "photos.npz")


@pytest.fixture
def new(tmp_path: Path, zoo: Path, photos: Path) -> New:
    """Make a command that nothing is known of yet."""

    def make(name: str, **options: Any) -> Place:
        return Place(**{"folder": tmp_path / name, "models": zoo, "data": photos, **options})

    return make


@pytest.fixture(scope="module")
def undisturbed(zoo: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each strategy says when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        name: Place(folder=folder / name, models=zoo, data=photos, more=more).run() for name, more in STRATEGIES.items()
    }


# --- the main process --------------------------------------------------------------------------------------------


def kill_at_random(place: Place, wanted: Any, n_kills: int, *, seed: int) -> dict[str, int]:
    """Kill a command until it has been killed so often, each time checking what is kept, and each ranking it gives.

    One kill in five may come before the first worker, the others come while the first to eighth worker of a run is at
    work or a little later.
    """
    rng = random.Random(seed)
    told = {"kills": 0, "in a pass": 0, "endings": 0}
    before: dict[str, set[bytes]] = {}
    folders: set[str] = set()
    while told["kills"] < n_kills:
        ranking = place.cut_short(rng.uniform(0.0, 2.5), n_workers=rng.choice([0, 1, 2, 2, rng.randint(3, 8)]))
        if ranking is not None:
            assert essence(ranking) == wanted
            told["endings"] += 1
            before = {}
            place.forget()
            continue
        told["kills"] += 1
        told["in a pass"] += any(True for _ in place.logged())
        kept = place.kept()
        assert all(before[key] <= kept.get(key, set()) for key in before)  # nothing that was kept is lost
        assert place.n_twice(before, folders) == 0  # and nothing that was kept is computed again
        before, folders = kept, {folder for folder, *_ in place.logged()}
    assert essence(place.run()) == wanted
    assert place.n_twice() == 0
    return told


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_is_killed_goes_on_where_it_was(new: New, undisturbed: dict[str, Any], strategy: str) -> None:
    place = new("killed", more=STRATEGIES[strategy])
    told = kill_at_random(place, expected(undisturbed[strategy]), 2, seed=1)
    assert told["kills"] == 2
    assert list((place.cache / "unfinished").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_is_killed_at_fifty_moments_goes_on_where_it_was(new: New, large_zoo: Path, strategy: str) -> None:
    wanted = expected(new("whole", models=large_zoo, more=STRATEGIES[strategy]).run())
    place = new("killed", models=large_zoo, more=STRATEGIES[strategy])
    told = kill_at_random(place, wanted, 50, seed=2)
    sys.stderr.write(f"{strategy}: {told}\n")
    assert told["in a pass"] >= 10, told


def test_a_run_that_was_killed_is_listed_and_resumed_by_its_id(new: New, undisturbed: dict[str, Any]) -> None:
    place = new("resumed")
    process = place.start()
    wait_for_workers(process)
    process.kill()
    process.communicate()
    [listed] = place.runs()
    assert (listed["state"], listed["best"], listed["score"]) == ("not ended", None, "neuralrank")
    assert listed["data"] == str(place.data)
    ranking = place.run("rank", "--resume", listed["run_id"], "--format", "json")
    assert ranking["run_id"] == listed["run_id"]
    assert essence(ranking) == expected(undisturbed["full"])


def wait_for_workers(process: subprocess.Popen[str]) -> list[int]:
    give_up = time.monotonic() + 60.0
    while process.poll() is None and time.monotonic() < give_up:
        found = children(process.pid)
        if found:
            return found
        time.sleep(0.005)
    return []


# --- workers -----------------------------------------------------------------------------------------------------


def kill_workers(place: Place, n_kills: int, rng: random.Random) -> tuple[int, Any]:
    """Kill workers of one run at random moments; return how many, and the ranking."""
    process = place.start()
    n_killed, seen = 0, set[int]()
    while process.poll() is None and n_killed < n_kills:
        fresh = [pid for pid in children(process.pid) if pid not in seen]
        seen.update(fresh)
        for pid in fresh[: n_kills - n_killed]:
            time.sleep(rng.uniform(0.0, 1.0))
            n_killed += is_alive(pid)
            kill(pid)
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 1), err
    return n_killed, json.loads(out)


def assert_only_the_killed_failed(ranking: Any, wanted: Any, n_killed: int) -> int:
    """Check a run of which workers were killed; return how many failed by it."""
    usual = {row["model_id"]: row for row in wanted["failures"]}
    killed = [row for row in ranking["failures"] if "was killed by signal 9 (SIGKILL) while it was" in row["error"]]
    others = [row for row in ranking["failures"] if row not in killed]
    assert all(row == usual[row["model_id"]] for row in others)
    assert len({row["model_id"] for row in ranking["failures"]}) == len(ranking["failures"])
    assert {row["stage"] for row in killed} <= {"load", "extract"}
    assert len(killed) <= n_killed
    scores = {row["name"]: row["score"] for row in wanted["ranking"]}
    for row in ranking["ranking"]:
        assert row["score"] == pytest.approx(scores[row["name"]], abs=1e-6)
    n_models = len(wanted["ranking"]) + len(wanted["failures"])
    assert len(ranking["ranking"]) + len(ranking["failures"]) == n_models
    return len(killed)


def test_a_worker_that_is_killed_costs_its_model_and_the_next_run_tries_it_again(
    new: New, undisturbed: dict[str, Any]
) -> None:
    place = new("workers")
    n_killed, ranking = kill_workers(place, 2, random.Random(5))
    n_failed = assert_only_the_killed_failed(ranking, undisturbed["full"], n_killed)
    assert ranking["stopped"] == "all models scored"
    again = place.run()
    assert essence(again) == expected(undisturbed["full"])
    assert (again["run_id"] != ranking["run_id"]) or not n_failed
    assert place.n_twice() == 0


@pytest.mark.slow
def test_a_hundred_workers_are_killed(new: New, large_zoo: Path) -> None:
    wanted = new("whole", models=large_zoo).run()
    rng, n_killed, n_failed, n_runs = random.Random(6), 0, 0, 0
    while n_killed < 100:
        place = new(f"workers{n_runs}", models=large_zoo)
        n, ranking = kill_workers(place, rng.randint(1, 8), rng)
        n_failed += assert_only_the_killed_failed(ranking, wanted, n)
        n_killed, n_runs = n_killed + n, n_runs + 1
        if n_runs % 4 == 0:
            assert essence(place.run()) == expected(wanted)
        assert place.n_twice() == 0
        place.forget()
    sys.stderr.write(f"{n_killed} killed, {n_failed} failed by it, {n_runs} runs\n")
    assert n_failed >= 80


# --- power, clocks, disks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_power_cut_costs_no_more_than_the_newest_files(new: New, undisturbed: dict[str, Any], n: int) -> None:
    for seed in range(n):
        rng = random.Random(seed)
        place = new(f"cut{seed}")
        if place.cut_short(rng.uniform(0.0, 2.0), n_workers=rng.randint(2, 4)) is not None:
            continue
        files = [path for path in place.folder.rglob("*") if path.is_file() and "scratch" not in path.parts]
        files = [path for path in files if not path.name.startswith("catalogue.sqlite")]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[-rng.randint(1, 6) :]:
            with path.open("r+b") as file:
                file.truncate(rng.randint(0, path.stat().st_size))
        log = place.catalogue / "catalogue.sqlite-wal"
        if log.exists():
            if seed % 2:
                log.unlink()
            else:
                os.truncate(log, rng.randint(0, log.stat().st_size))
            (place.catalogue / "catalogue.sqlite-shm").unlink(missing_ok=True)  # it is in memory
        assert essence(place.run()) == expected(undisturbed["full"])


JUMPING = """
import random, time
_clock = time.time
time.time = lambda: _clock() + random.uniform(-1e8, 1e8)
"""


def test_clocks_that_jump_change_nothing(new: New, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(JUMPING)
    place = new("clock", environment=(("PYTHONPATH", str(tmp_path / "site")),))
    place.cut_short(1.0, n_workers=2)
    for path in place.folder.rglob("*"):
        os.utime(path, (0, random.Random(str(path)).choice([1, 2**32])))
    kept = {key: samples for key, samples in place.kept().items() if samples}
    ranking = place.run()
    assert essence(ranking) == expected(undisturbed["full"])
    n_layers_unknown = sum(len(samples) == N_SAMPLES for samples in kept.values())  # of these one row may be run again
    n_left = 3 * N_SAMPLES - sum(map(len, kept.values()))
    assert ranking["cost"]["n_samples_run_now"] <= n_left + n_layers_unknown
    assert place.n_twice() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_cache_without_room_costs_the_cache_and_not_the_ranking(
    new: New, undisturbed: dict[str, Any], small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(190_000))
    (small_disk / "cache").mkdir()
    place = new("full")
    place.folder.mkdir()
    place.cache.symlink_to(small_disk / "cache")
    ranking = place.run()
    found, wanted = essence(ranking), expected(undisturbed["full"])
    assert found["failures"] == wanted["failures"]
    said = [row.pop("warnings") for row in found["ranking"]]
    full = ("Features could not be kept in", "Features need room in")
    assert any(sentence.startswith(full) for part in said for sentence in part)
    for row in wanted["ranking"]:
        del row["warnings"]
    assert found["ranking"] == wanted["ranking"]


def test_no_room_for_samples_is_one_sentence(new: New, small_disk: Path) -> None:
    place = new("full", environment=(("TMPDIR", str(small_disk)),))
    process = place.start()
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert "no space left on device" in err.lower()
    assert list(small_disk.iterdir()) == []


def test_a_catalogue_without_room_costs_the_journal_and_not_the_ranking(
    new: New, undisturbed: dict[str, Any], small_disk: Path
) -> None:
    place = new("full")
    place.folder.mkdir()
    place.catalogue.symlink_to(small_disk)
    (small_disk / "filler").write_bytes(bytes(190_000))
    process = place.start()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "The ranking was not kept." in err
    assert essence(json.loads(out)) == expected(undisturbed["full"])


# --- several at once, and signals --------------------------------------------------------------------------------


def test_two_runs_of_one_command_at_once_give_the_same(new: New, undisturbed: dict[str, Any]) -> None:
    place = new("together")
    processes = [place.start() for _ in range(2)]
    rankings = []
    for process in processes:
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        rankings.append(json.loads(out))
    assert [essence(ranking) for ranking in rankings] == [expected(undisturbed["full"])] * 2
    assert rankings[0]["run_id"] != rankings[1]["run_id"]
    again = place.run()
    assert essence(again) == expected(undisturbed["full"])
    assert [row["state"] for row in place.runs()] == ["ended"] * 3


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_prints_the_ranking_so_far_and_the_same_command_goes_on(
    new: New, undisturbed: dict[str, Any], sent: signal.Signals
) -> None:
    place = new("stopped")
    process = place.start()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/"):  # the damaged file, and one more
            break
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    ranking = json.loads(out)
    assert ranking["stopped"].startswith("interrupted after ")
    assert f"To go on: neuralrank rank --resume {ranking['run_id']}\n" in err
    assert list(place.scratch.iterdir()) == []
    again = place.run()
    assert again["run_id"] == ranking["run_id"]
    assert essence(again) == expected(undisturbed["full"])
    assert place.n_twice() == 0


def test_a_second_signal_ends_at_once(new: New) -> None:
    place = new("twice")
    process = place.start()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    workers = wait_for_workers(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any(is_alive(pid) for pid in workers)
    assert len(workers) <= N_JOBS
