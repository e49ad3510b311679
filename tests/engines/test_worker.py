"""A worker that is kept runs the next job in the same process, and whatever ends it costs no more than its own job."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neuralrank.engines.worker import JobOutcome, Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests look at processes through /proc")

HERE = Path(__file__).parent


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Make workers that run jobs of worker_jobs.py; afterwards they have to be gone with their files."""
    monkeypatch.syspath_prepend(HERE)
    workers: list[Worker] = []

    def make(name: str, **options: Any) -> Worker:
        workers.append(Worker(function=f"worker_jobs:{name}", scratch=tmp_path, **options))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == []


def run(worker: Worker, payload: dict[str, Any] | None = None, **options: Any) -> JobOutcome:
    return worker.run(payload or {}, **{"timeout_seconds": 30, **options})


def result(outcome: JobOutcome) -> dict[str, Any]:
    assert outcome.error is None, outcome.error
    return dict(outcome.result or {})


def is_gone(pid: int) -> bool:
    limit = time.monotonic() + 5.0
    while time.monotonic() < limit:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_jobs_run_in_one_process_and_find_what_the_last_left(made: Callable[..., Worker], tmp_path: Path) -> None:
    worker = made("count_jobs")
    outcomes = [run(worker, {"note": note}) for note in "abc"]
    answers = [result(outcome) for outcome in outcomes]
    assert [(answer["n_jobs"], answer["note"]) for answer in answers] == [(1, "a"), (2, "b"), (3, "c")]
    assert len({answer["pid"] for answer in answers}) == 1
    assert outcomes[0].walls == outcomes[2].walls != ()
    worker.close()
    assert is_gone(answers[0]["pid"])
    assert list(tmp_path.iterdir()) == []


def test_each_job_has_its_own_time(made: Callable[..., Worker]) -> None:
    worker = made("slow_but_alive")
    stages: list[Any] = []
    for _ in range(2):
        outcome = run(worker, timeout_seconds=1.0, on_message=lambda message: stages.append(message.get("stage")))
        assert result(outcome) is not None
        assert outcome.stage == "load"
    assert len(stages) > 4


@pytest.mark.parametrize("size", [60_000, 3_000_000])
def test_payloads_may_be_larger_than_a_pipe(made: Callable[..., Worker], size: int) -> None:
    worker = made("measure_payload")
    assert [result(run(worker, {"text": "x" * size}))["n"] for _ in range(2)] == [size, size]


def test_a_worker_that_died_while_it_waited_is_started_again(made: Callable[..., Worker]) -> None:
    worker = made("count_jobs")
    first = result(run(worker))
    os.kill(first["pid"], signal.SIGKILL)
    assert is_gone(first["pid"])
    second = result(run(worker))
    assert (second["n_jobs"], second["pid"] != first["pid"]) == (1, True)


def test_a_job_that_fails_ends_the_worker_and_the_next_starts_another(made: Callable[..., Worker]) -> None:
    worker = made("count_jobs")
    first = result(run(worker))
    assert run(worker, {"raise": "no such layer"}).error == "ValueError: no such layer"
    assert is_gone(first["pid"])
    assert result(run(worker))["n_jobs"] == 1


@pytest.mark.parametrize("code", [0, 3])
def test_a_later_job_that_exits_is_a_failure_and_no_wait(made: Callable[..., Worker], code: int) -> None:
    worker = made("count_jobs")
    assert result(run(worker))["n_jobs"] == 1
    began = time.monotonic()
    error = str(run(worker, {"exit": code}).error)
    assert error.startswith(f"The worker ended with exit code {code} and without a result while it was loading.")
    assert time.monotonic() - began < 10


def test_the_log_of_a_worker_whose_last_job_failed_stays(made: Callable[..., Worker], tmp_path: Path) -> None:
    worker = made("count_jobs")
    result(run(worker, {"print": "all is well"}))
    run(worker, {"raise": "it broke"})
    [log] = tmp_path.glob("worker-*.log")
    assert log.read_text().startswith("all is well\n")
    assert log.read_text().rstrip().endswith("ValueError: it broke")


def test_stop_ends_a_worker_in_its_second_job(made: Callable[..., Worker]) -> None:
    worker = made("count_jobs")
    pid = result(run(worker))["pid"]
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert run(worker, {"sleep": 600}, stop=stop).error == "The run was stopped before this model was done."
    assert is_gone(pid)


def test_the_memory_of_a_waiting_worker_is_known(made: Callable[..., Worker]) -> None:
    worker = made("count_jobs")
    assert worker.held_bytes() == 0
    result(run(worker, {"hold": 50_000_000}))
    assert 50_000_000 < worker.held_bytes() < 200_000_000
    worker.close()
    assert worker.held_bytes() == 0


def test_a_killed_parent_takes_its_waiting_worker_along(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom neuralrank.engines.worker import Worker\n"
        f"sys.path.append({str(HERE)!r})\n"
        f"worker = Worker(function='worker_jobs:count_jobs', scratch=Path({str(tmp_path)!r}))\n"
        "print(worker.run({}, timeout_seconds=60).result['pid'], flush=True)\ntime.sleep(600)\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not is_gone_now(worker)
        parent.kill()
    assert is_gone(worker)


def is_gone_now(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()
