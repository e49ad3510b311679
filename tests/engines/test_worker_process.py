"""Whatever a job does, its parent gets one outcome, in time, and no process is left."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from older_system import without

from neuralrank.engines.worker_process import JobOutcome, worker_process
from neuralrank.errors import DataError, MissingExtraError, ModelError, NeuralrankError, OutputError, UsageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests look at processes through /proc")

Run = Callable[..., JobOutcome]
HERE = Path(__file__).parent
MB = 1_000_000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a job of worker_jobs.py; afterwards nothing but logs is left in the scratch folder, and no child."""
    monkeypatch.syspath_prepend(HERE)

    def call(name: str, payload: dict[str, Any] | None = None, **options: Any) -> JobOutcome:
        options = {"timeout_seconds": 30, "scratch": tmp_path, **options}
        before = children()
        outcome = worker_process(f"worker_jobs:{name}", payload or {}, **options)
        assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == []
        assert children() <= before
        return outcome

    return call


PLAIN_DEATHS = tuple(
    getattr(signal, name)
    for name in (
        *("SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGFPE", "SIGUSR1", "SIGSEGV", "SIGUSR2"),
        *("SIGPIPE", "SIGALRM", "SIGTERM", "SIGVTALRM", "SIGPROF", "SIGIO"),
    )
)


def children() -> set[int]:
    """Return the ids of our child processes, ended ones that nobody has waited for among them."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            found.add(int(folder.name))
    return found


# Programs and processes that a worker may not start where the kernel has seccomp are a matter of older kernels: the
# tests that need them run as on one.


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # an orphan that has ended may wait for a busy init process


def ends(pid: int, within_seconds: float = 5.0) -> bool:
    limit = time.monotonic() + within_seconds
    while is_running(pid) and time.monotonic() < limit:
        time.sleep(0.01)
    return not is_running(pid)


# --- a job that behaves ------------------------------------------------------------------------------------------


def test_result_and_messages_arrive_in_order(run: Run, tmp_path: Path) -> None:
    messages: list[Any] = []
    payload = {"text": "größer\ud800", "numbers": [1, 2.5, None]}
    outcome = run("echo", payload, on_message=messages.append)
    assert outcome == JobOutcome(result={"payload": payload, "argv": []}, error=None, stage="load")
    assert messages == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert list(tmp_path.iterdir()) == []


def test_worker_has_its_own_session_no_input_and_the_environment_asked_for(run: Run) -> None:
    result = run("where", n_threads=3, memory_bytes=500 * MB).result
    assert result is not None
    assert result["pid"] != os.getpid()
    assert result["session"] == result["pid"]
    assert result["stdin"] == ""
    assert result["data_limit"] == 500 * MB
    assert result["core_limit"] == 0
    assert result["environment"] == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def test_without_options_threads_and_memory_are_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    result = run("where").result
    assert result is not None
    assert result["environment"]["OMP_NUM_THREADS"] == "5"
    assert result["data_limit"] == -1


def test_modules_are_not_looked_for_in_the_current_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path.parent / f"{tmp_path.name}-here"
    here.mkdir()
    (here / "traceback.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert run("raise_foreign", {"text": "plain"}).error == "RuntimeError: plain"
    result = run("where").result
    assert result is not None
    assert str(here) not in result["path"]
    assert "" not in result["path"]
    assert str(HERE) in result["path"]


def test_nothing_heavy_is_imported_before_the_job(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path.parent / f"{tmp_path.name}-modules"
    folder.mkdir()
    (folder / "light_job.py").write_text(
        "import sys\ndef names(payload, send):\n    return {'names': list(sys.modules)}\n"
    )
    monkeypatch.syspath_prepend(folder)
    outcome = worker_process("light_job:names", {}, timeout_seconds=30, scratch=tmp_path)
    assert outcome.result is not None
    assert {"numpy", "neuralrank", "torch", "subprocess"}.isdisjoint(outcome.result["names"])


def test_a_slow_job_that_speaks_is_not_stopped(run: Run) -> None:
    assert run("slow_but_alive", timeout_seconds=2).result == {"done": True}


@pytest.mark.parametrize(
    ("payload", "n_total"),
    [
        pytest.param({"step": 1}, None, id="no-progress"),
        pytest.param({"n_done": 7}, None, id="the-same-progress"),
        pytest.param({"stage": "extract"}, None, id="the-same-stage"),
        pytest.param({"n_done": "count"}, 100, id="more-than-there-is"),
    ],
)
def test_a_flood_of_messages_is_not_progress(run: Run, payload: dict[str, Any], n_total: int | None) -> None:
    started = time.monotonic()
    outcome = run("flood", payload, timeout_seconds=0.6, n_total=n_total)
    assert outcome.error is not None
    assert outcome.error.startswith("The model gave no sign of progress for 0.6 s")
    assert time.monotonic() - started < 8


def test_many_messages_all_arrive(run: Run) -> None:
    numbers: list[int] = []
    run("many_messages", {"n": 3000}, on_message=lambda message: numbers.append(message["number"]))
    assert numbers == list(range(3000))


def test_an_unguarded_script_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            from pathlib import Path
            from neuralrank.engines.worker_process import worker_process
            print("once")
            sys.path.append({str(HERE)!r})
            outcome = worker_process("worker_jobs:echo", {{}}, timeout_seconds=30, scratch=Path({str(tmp_path)!r}))
            print(outcome.error)
        """)
    )
    done = subprocess.run([sys.executable, script], env=_with_our_path(), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\nNone\n", "")


# --- a job that raises -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ModelError, DataError, UsageError, MissingExtraError])
def test_our_errors_keep_their_sentence_and_class(run: Run, kind: type[NeuralrankError]) -> None:
    outcome = run("raise_ours", {"kind": kind.__name__, "text": "A thing was needed. Got 'b'. Do this."})
    assert outcome == JobOutcome(result=None, error="A thing was needed. Got 'b'. Do this.", stage="load", kind=kind)


def test_an_error_of_a_library_becomes_one_line_and_its_traceback_stays_in_the_log(run: Run, tmp_path: Path) -> None:
    outcome = run("raise_foreign", {"text": "\n  size \x1b[1mmismatch\x1b[0m\x00\u202e here\nsecond line"})
    assert outcome.error == "RuntimeError: size mismatch here"
    assert outcome.kind is ModelError
    log = next(tmp_path.glob("worker-*.log")).read_text(encoding="utf-8")
    assert log.startswith("Traceback")
    assert "second line" in log


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ("raise_unprintable", "_UnprintableError"),
        ("return_a_list", "TypeError: worker_jobs:return_a_list needs to return a dict. Got list."),
        ("return_a_set", "TypeError: Object of type set is not JSON serializable"),
        ("no_such_job", "AttributeError: module 'worker_jobs' has no attribute 'no_such_job'"),
    ],
)
def test_a_job_without_a_usable_result_says_why(run: Run, job: str, error: str) -> None:
    assert run(job).error == error


def test_a_message_of_100_mb_is_refused_in_the_worker(run: Run) -> None:
    outcome = run("huge_message", {"n_bytes": 100 * MB})
    assert outcome.error == ("ValueError: A message needs at most 1048576 bytes. Got 100000026. Put arrays into files.")


# --- a job that dies ---------------------------------------------------------------------------------------------


def test_an_exit_is_told_with_its_code_and_the_last_output(run: Run) -> None:
    outcome = run("exit_3")
    assert outcome.stage == "extract"
    assert outcome.error == (
        "The worker ended with exit code 3 and without a result while it was extracting. "
        "Its last output: about to leave"
    )


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (
            "exit_0",
            "The worker ended with exit code 0 and without a result while it was loading. It printed nothing.",
        ),
        (
            "exit_with_text",
            "The worker ended with exit code 1 and without a result while it was loading. Its last output: no weights",
        ),
        (
            "segmentation_fault",
            "The worker was killed by signal 11 (SIGSEGV) while it was loading. It printed nothing.",
        ),
        (
            "killed",
            "The worker was killed by signal 9 (SIGKILL) while it was loading: out of memory is the usual cause. "
            "It printed nothing.",
        ),
    ],
)
def test_a_death_is_told_by_its_cause(run: Run, job: str, error: str) -> None:
    assert run(job) == JobOutcome(result=None, error=error, stage="load")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGBUS, "7 (SIGBUS) while it was loading: a file that became shorter while it was read is the usual"),
        (signal.SIGSYS, "31 (SIGSYS) while it was loading: the system forbids something it asked for"),
        (signal.SIGXFSZ, "25 (SIGXFSZ) while it was loading: it wrote a larger file than it may"),
        (signal.SIGXCPU, "24 (SIGXCPU) while it was loading: its time on the processor is limited"),
        *((number, f"{number.value} ({number.name}) while it was loading.") for number in PLAIN_DEATHS),
        (signal.SIGRTMIN + 3, f"{signal.SIGRTMIN + 3} while it was loading."),
    ],
)
def test_every_deadly_signal_is_told_with_the_last_lines(run: Run, number: int, told: str) -> None:
    error = run("die_by", {"signal": int(number)}).error
    assert error is not None
    assert error.startswith(f"The worker was killed by signal {told}")
    assert error.endswith(". Its last output: line 3 | line 4 | line 5 | line 6 | line 7")


def test_a_death_before_the_first_message_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path.parent / f"{tmp_path.name}-site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os, sys\nprint('too early')\nsys.stdout.flush()\nos.abort()")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    outcome = run("echo")
    assert outcome.error == (
        "The worker was killed by signal 6 (SIGABRT) while it was loading. Its last output: too early"
    )
    assert outcome.walls == ()


def test_the_quoted_output_is_bounded(run: Run) -> None:
    error = run("print_and_exit", {"text": "first\n" + "one two " * 100_000 + "last"}).error
    assert error is not None
    quoted = error.removeprefix("The worker ended with exit code 5 and without a result while it was loading. ")
    assert quoted.startswith("Its last output: …")
    assert quoted.endswith("one two last")
    assert len(quoted) == len("Its last output: ") + 300


def test_endless_output_does_not_fill_the_disk(run: Run, tmp_path: Path) -> None:
    sizes: list[int] = []
    run("print_a_lot", {"megabytes": 60}, on_message=lambda message: sizes.append(message["log_bytes"]))
    assert sizes[0] < 45 * MB
    assert next(tmp_path.glob("worker-*.log")).stat().st_size < 45 * MB


# --- memory ------------------------------------------------------------------------------------------------------

TOO_MUCH = (
    "The model asked for more memory than the limit of 0.4 GB while it was loading. "
    "Raise --model-memory if the machine has more."
)


@pytest.mark.parametrize("job", ["allocate", "allocate_with_numpy", "allocate_inside_a_model_error"])
def test_memory_beyond_the_limit_is_refused(run: Run, job: str) -> None:
    payload = {"n_bytes": 100_000 * MB}
    assert run(job, payload, memory_bytes=400 * MB) == JobOutcome(result=None, error=TOO_MUCH, stage="load")


def test_memory_below_the_limit_is_granted(run: Run) -> None:
    assert run("allocate", {"n_bytes": 100 * MB}, memory_bytes=400 * MB).result == {"length": 100 * MB}


def test_address_space_reserved_without_access_does_not_count(run: Run) -> None:
    assert run("reserve", {"n_bytes": 1 << 40}, memory_bytes=400 * MB).result == {"length": 1 << 40}


def test_a_death_by_bad_alloc_is_told_as_memory(run: Run) -> None:
    assert run("bad_alloc", memory_bytes=400 * MB).error == TOO_MUCH


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ("OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 2\n", None),
        ("nothing to say", "KeyboardInterrupt"),
    ],
)
def test_a_library_that_interrupts_its_own_process_is_asked_why(run: Run, last: str, error: str | None) -> None:
    assert run("interrupt_itself", {"last": last}, memory_bytes=400 * MB).error == (error or TOO_MUCH)


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 400000000000",
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    ],
)
def test_memory_errors_of_the_runtimes_are_known(run: Run, text: str) -> None:
    assert run("raise_foreign", {"text": text}, memory_bytes=400 * MB).error == TOO_MUCH


def test_memory_of_a_gpu_is_not_taken_for_the_limit(run: Run) -> None:
    text = "CUDA out of memory. Tried to allocate 20.00 GiB. MemoryError"
    assert run("raise_foreign", {"text": text}, memory_bytes=400 * MB).error == f"RuntimeError: {text}"


# --- a job that hangs or speaks nonsense -------------------------------------------------------------------------


def test_silence_is_stopped(run: Run) -> None:
    started = time.monotonic()
    outcome = run("hang", timeout_seconds=2)
    assert outcome == JobOutcome(
        result=None,
        error="The model gave no sign of progress for 2 s while it was extracting and was stopped. "
        "Raise --model-timeout if it is merely slow.",
        stage="extract",
    )
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"text": "\x00\xff\xfe not a message\n"}, id="noise"),
        pytest.param({"text": "x", "times": 3 * MB}, id="no-end-of-line"),
        pytest.param({"text": "[" * 200_000 + "\n"}, id="deep"),
        pytest.param({"text": '{"result": 1}\n'}, id="result-is-a-number"),
        pytest.param({"text": '{"error": {}}\n'}, id="empty-error"),
        pytest.param({"text": '{"message": {"stage": "load"}}\n9' + "9" * 5000 + "\n"}, id="long-number"),
    ],
)
def test_garbage_in_the_pipe_ends_the_job(run: Run, payload: dict[str, Any]) -> None:
    assert run("write_raw", payload).error == (
        "The worker sent something that is no message while it was loading and was stopped."
    )


def test_a_closed_pipe_ends_the_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuralrank.engines._process._END_SECONDS", 0.3)
    assert run("close_the_pipe_and_hang").error == (
        "The worker closed its line to the parent while it was loading and was stopped. It printed nothing."
    )


def test_a_closed_pipe_and_a_return_is_no_result(run: Run) -> None:
    outcome = run("close_the_pipe_and_return")
    assert outcome.error is not None
    assert outcome.error.startswith("The worker ended with exit code 1 and without a result while it was loading.")
    assert outcome.error.endswith("OSError: [Errno 9] Bad file descriptor")
    assert len(outcome.error) < 420


# --- no process is left ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("die", [True, False])
def test_a_grandchild_that_holds_the_pipe_is_killed_with_its_group(run: Run, die: bool) -> None:
    pids: list[int] = []
    outcome = without(
        "seccomp",
        call=lambda: run(
            "leave_a_grandchild",
            {"own_session": False, "seconds": 600, "die": die},
            on_message=lambda message: pids.append(message["pid"]),
        ),
    )
    assert (outcome.result is None) == die
    assert ends(pids[0])


def test_a_grandchild_that_left_the_group_does_not_hold_the_parent_up(run: Run) -> None:
    started = time.monotonic()
    payload = {"own_session": True, "seconds": 8, "die": True}
    outcome = without("seccomp", call=lambda: run("leave_a_grandchild", payload))
    assert outcome.error == (
        "The worker ended with exit code 7 and without a result while it was loading. It printed nothing."
    )
    assert time.monotonic() - started < 5


def test_programs_that_a_hanging_job_started_are_killed(run: Run) -> None:
    pids: list[int] = []
    outcome = without(
        *("seccomp", "landlock"),
        call=lambda: run(
            "start_a_program", timeout_seconds=1.5, on_message=lambda message: pids.append(message["pid"])
        ),
    )
    assert outcome.error is not None
    assert ends(pids[0])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_the_callback_raises_kills_the_worker_and_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.syspath_prepend(HERE)
    pids: list[int] = []

    def raise_it(message: Any) -> None:
        pids.append(message["pid"])
        raise error

    with pytest.raises(error):
        worker_process("worker_jobs:announce_and_sleep", {}, timeout_seconds=60, scratch=tmp_path, on_message=raise_it)
    assert not Path(f"/proc/{pids[0]}").exists()


def _with_our_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _start_parent(scratch: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a process that runs an endless job; return it and the id of its worker."""
    code = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from neuralrank.engines.worker_process import worker_process
        sys.path.append({str(HERE)!r})
        worker_process("worker_jobs:announce_and_sleep", {{}}, timeout_seconds=600, scratch=Path({str(scratch)!r}),
                       on_message=lambda message: print(message["pid"], flush=True))
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=_with_our_path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def test_ctrl_c_in_the_parent_kills_the_worker(tmp_path: Path) -> None:
    parent, worker = _start_parent(tmp_path)
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=20)
    assert parent.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not is_running(worker)


def test_a_killed_parent_takes_its_worker_along(tmp_path: Path) -> None:
    parent, worker = _start_parent(tmp_path)
    parent.kill()
    parent.communicate(timeout=20)
    assert ends(worker)


# --- what is not the job's fault ---------------------------------------------------------------------------------


def test_a_scratch_folder_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file.log"
    file.touch()
    with pytest.raises(OutputError) as caught:
        run("echo", scratch=file / "scratch")
    assert str(caught.value) == (
        f"A worker needs to write into {str(file / 'scratch')!r}. Got: not a directory. "
        "Free some space there, or name a folder that can be written."
    )


def test_a_system_that_starts_no_process_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert run("echo").error == (
        "A worker could not be started. Got: No such file or directory. Close other programs and try again."
    )


def test_a_payload_that_json_cannot_carry_is_the_callers_mistake(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        run("echo", {"path": tmp_path})
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == "[]"
