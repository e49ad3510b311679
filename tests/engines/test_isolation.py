"""What a stranger's model tries and does not get, with the walls as they are put up on this system."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from older_system import without
from walled import NEEDS_WALLS, Run, result

from neuralrank.engines import _calls, _seccomp
from neuralrank.engines._walls import NAMES
from neuralrank.engines.worker_process import JobOutcome

pytestmark = NEEDS_WALLS

HERE = Path(__file__).parent
REPAIR = "neuralrank.formats._torchvision"


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limited", [True, False], ids=["files-named", "no-files-named"])
def test_nothing_is_written_outside(run: Run, world: Path, limited: bool) -> None:
    shared_temporary = Path("/tmp")
    folders = [world / "home", world / "models" / "mine", shared_temporary, *([world / "scratch"] if limited else [])]
    options = {} if limited else {"readable": None}
    answers = result(run("write", {"folders": [str(folder) for folder in folders]}, **options))
    for folder in folders:
        absent = not (folder / "there.txt").exists()
        for got in answers[str(folder)]:
            assert got in ("EACCES", "EPERM", "EXDEV", *(("ENOENT",) if absent else ())), answers[str(folder)]
        assert not (folder / "new.txt").exists()
    assert (world / "home" / "there.txt").read_text() == "there"


def test_modes_owners_and_times_of_files_stay(run: Run, world: Path) -> None:
    file = world / "home" / ".ssh" / "id_ed25519"
    file.chmod(0o600)
    before = file.stat()
    answers = result(run("change_modes", {"file": str(file)}))
    assert answers == {"chmod": "done", "chown": "done", "utime": "EPERM", "setxattr": "EPERM"}  # but by nobody
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, before.st_mtime)


def test_own_folder_takes_plain_files_and_nothing_that_deceives(run: Run, world: Path) -> None:
    answers = result(run("write_own"))
    home = Path(answers.pop("home"))
    assert answers.pop("temporary") == str(home)
    assert home.parent == world / "scratch"
    assert not home.exists()
    assert set(answers.values()) <= {"EACCES", "EPERM", "EXDEV"}, answers
    assert (world / "scratch" / "out.npy").read_text() == "result"
    assert sorted(path.name for path in (world / "scratch").iterdir()) == ["out.npy", "samples.bin", "there.txt"]


def test_only_the_model_and_the_samples_are_read(run: Run, world: Path) -> None:
    allowed = [
        world / "models/mine/weights.bin",
        world / "scratch/samples.bin",
        Path("/proc/meminfo"),
        Path("/proc/self/status"),
    ]
    closed = [
        *(world / "home/.ssh/id_ed25519", world / "models/other/weights.bin", world / "models/mine/link.bin"),
        *(world / "home/there.txt", world / "scratch/there.txt"),
        *(Path(path) for path in ("/etc/shadow", "/etc/hosts", "/proc/1/cmdline", "/bin/sh") if Path(path).exists()),
    ]
    folders = [str(world / "home"), str(world / "models"), "/", "/etc", "/proc"]
    answers = result(run("read", {"files": [str(path) for path in (*allowed, *closed)], "folders": folders}))
    assert [answers[str(path)] for path in allowed] == ["done"] * len(allowed)
    assert {path: got for path, got in answers.items() if got != "EACCES"} == dict.fromkeys(map(str, allowed), "done")


def test_without_named_files_everything_is_read_and_told(run: Run, world: Path) -> None:
    outcome = run("read", {"files": [str(world / "home/.ssh/id_ed25519")]}, readable=None)
    assert set(result(outcome).values()) == {"done"}
    assert {wall.name: wall.state for wall in outcome.walls}["reading"] == "off"


# --- network -----------------------------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Real servers that anybody on this machine can reach."""
    path = tmp_path_factory.mktemp("s") / "socket"
    abstract = f"neuralrank-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as named,
    ):
        for server, address in ((unix, str(path)), (named, "\0" + abstract)):
            server.bind(address)
            server.listen()
        yield {"port": tcp.getsockname()[1], "socket": str(path), "abstract": abstract}


def test_no_server_is_reached_and_none_is_opened(run: Run, servers: dict[str, Any]) -> None:
    answers = result(run("network", servers))
    assert (answers.pop("pair"), answers.pop("interfaces")) == ("x", [])
    assert set(answers.values()) == {"EPERM"}, answers


def test_each_of_two_walls_keeps_the_network_out_alone(run: Run, servers: dict[str, Any]) -> None:
    """Landlock and the namespace do what they are there for where the kernel has no seccomp."""
    answers = result(without("seccomp", call=lambda: run("network", servers)))
    assert (answers["tcp"], answers["bind"]) == ("EACCES", "EACCES")
    assert answers["abstract"] in ("EPERM", "ECONNREFUSED")
    outcome = without("seccomp", "landlock", call=lambda: run("network", {**servers, "look": True}))
    if {wall.name: wall.state for wall in outcome.walls}["network namespace"] == "on":
        assert result(outcome)["tcp"] in ("ENETUNREACH", "ECONNREFUSED")
        assert result(outcome)["interfaces"] == ["lo"]


# --- processes and the kernel ------------------------------------------------------------------------------------


def test_no_program_is_started_and_no_process_is_touched(run: Run) -> None:
    answers = result(run("processes"))
    assert answers.pop("kill self") == "done"
    allowed = {"EPERM", "EACCES"}
    assert {name: got for name, got in answers.items() if got not in allowed} == {}, answers


def test_programs_and_signals_are_refused_without_seccomp_too(run: Run) -> None:
    answers = result(without("seccomp", call=lambda: run("processes", {})))
    for name in ("exec", "run", "kill parent", "ptrace parent", "memory file", "environment", "command line"):
        assert answers[name] in ("EPERM", "EACCES"), name


def test_calls_that_no_model_needs_are_refused(run: Run) -> None:
    column = 0 if os.uname().machine == "x86_64" else 1
    groups = {**_calls.PROCESSES, **_calls.SYSTEM, **_calls.SHARED, **_calls.ATTRIBUTES}
    numbers = {name: pair[column] for name, pair in groups.items() if pair[column] is not None}
    answers = result(run("kernel", {"numbers": {**numbers, "openat2": 437, "clone3": 435}}))
    assert (answers.pop("openat2"), answers.pop("clone3")) == ("ENOSYS", "ENOSYS")
    assert set(answers.values()) == {"EPERM"}, answers


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86_64 alone has a second interface")
def test_the_second_interface_of_x86_64_is_refused(run: Run) -> None:
    assert result(run("kernel", {"numbers": {"x32 getpid": 0x40000000 + 39}})) == {"x32 getpid": "EPERM"}


def test_privileges_are_gone_and_nothing_is_inherited(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_PASSWORD", "SSH_AUTH_SOCK", "CUDA_API_KEY", "MY_SETTING")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/somewhere")
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    got = result(run("state"))
    os.close(read_end)
    os.close(write_end)
    status = got["status"]
    assert {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == dict.fromkeys(
        ("CapEff", "CapPrm", "CapBnd", "CapAmb"), 0
    )
    assert (status["NoNewPrivs"], status["Seccomp"], got["dumpable"]) == ("1", "2", 0)
    assert got["uid"] == os.getuid()
    assert "secret" not in got["environment"].values()
    assert (got["environment"]["CUDA_VISIBLE_DEVICES"], got["environment"]["LD_LIBRARY_PATH"]) == (
        "0",
        "/opt/somewhere",
    )
    pid = got["threads"][0]
    others = {place for number, place in got["descriptors"].items() if number not in ("0", "1", "2")}
    assert {place for place in others if not place.startswith("pipe:")} <= {f"/proc/{pid}/task"}
    assert sum(place.startswith("pipe:") for place in others) == 2  # payloads come in, messages go out
    assert got["limits"]["RLIMIT_NOFILE"] == [1024, 1024]
    assert got["limits"]["RLIMIT_CORE"] == [0, 0]
    assert got["maps"] > 1000


def test_a_thread_that_never_ends_is_gone_with_the_worker(run: Run, world: Path) -> None:
    pid = result(run("leave_a_thread"))["pid"]
    assert not Path(f"/proc/{pid}").exists()


# --- taking too much ---------------------------------------------------------------------------------------------


def test_one_file_does_not_grow_beyond_its_limit(run: Run) -> None:
    assert result(run("fill_one_file", file_bytes=20_000_000)) == {"written": 20_000_000, "answer": "EFBIG"}


@pytest.mark.parametrize("each", [pytest.param(1_000_000, id="bytes"), pytest.param(0, id="entries")])
def test_many_files_end_the_job(run: Run, world: Path, each: int) -> None:
    outcome = run("fill_many_files", {"each": each}, file_bytes=50_000_000)
    assert outcome.error == (
        "The model filled its scratch folder with more than 0.1 GB, or with thousands of files, while it was loading "
        "and was stopped."
    )
    assert [path.name for path in (world / "scratch").iterdir() if path.is_dir()] == []


def test_what_is_hard_to_remove_is_removed(run: Run, world: Path) -> None:
    assert result(run("nest_folders", {})) == {}
    assert [path.name for path in (world / "scratch").iterdir() if path.is_dir()] == []


def test_thousands_of_files_cannot_be_opened(run: Run) -> None:
    got = result(run("open_many"))
    assert got["answer"] == "EMFILE"
    assert got["opened"] < 1024


def test_a_memory_bomb_is_one_sentence(run: Run) -> None:
    error = run("memory_bomb", memory_bytes=300_000_000).error
    assert error == (
        "The model asked for more memory than the limit of 0.3 GB while it was loading. "
        "Raise --model-memory if the machine has more."
    )


# --- what goes on working ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["numpy", "scipy.linalg", "PIL.Image", "onnxruntime"],
        ["torch"],
        [REPAIR, "timm"],
        ["transformers"],
        ["sklearn.linear_model"],
    ],
    ids=lambda names: names[-1],
)
def test_libraries_can_be_imported_and_meet_refusals(run: Run, names: list[str]) -> None:
    pytest.importorskip(names[-1].partition(".")[0] if names[-1] != "timm" else "torch")
    outcome = run("import_libraries", {"names": names}, timeout_seconds=120)
    assert result(outcome)["imported"] == sorted(names)
    assert result(outcome)["found"] is None


def test_files_are_copied_as_libraries_copy_them(run: Run) -> None:
    assert result(run("copy_file", {"file": "/proc/self/comm"}))["text"]


# --- what the walls tell -----------------------------------------------------------------------------------------


def states(outcome: JobOutcome) -> dict[str, str]:
    return {wall.name: wall.state for wall in outcome.walls}


def test_the_walls_are_told(run: Run) -> None:
    outcome = run("state", memory_bytes=10**9)
    assert tuple(states(outcome)) == NAMES
    assert set(states(outcome).values()) - {"not offered"} == {"on"}
    assert states(outcome)["network namespace"] in ("on", "not offered")
    assert all(wall.why.endswith(".") for wall in outcome.walls)
    assert str(outcome.walls[0]) == "memory: on. At most 1.0 GB."


@pytest.mark.parametrize(
    ("lacking", "walls"),
    [
        ("seccomp", {"system calls"}),
        ("landlock", {"writing", "reading", "tcp", "signals"}),
        ("namespaces", {"network namespace"}),
    ],
)
def test_what_a_system_does_not_offer_is_told_and_the_job_runs(run: Run, lacking: str, walls: set[str]) -> None:
    outcome = without(lacking, call=lambda: run("read", {"files": []}))
    assert outcome.error is None
    assert {name for name, state in states(outcome).items() if state == "not offered"} >= walls
    assert {gap.split("'")[1] for gap in outcome.gaps} >= walls
    assert all(gap.startswith("No wall '") for gap in outcome.gaps)


def test_a_wall_that_fails_half_way_ends_the_worker_before_the_job(run: Run) -> None:
    outcome = without("broken landlock", call=lambda: run("state"))
    assert outcome.result is None
    assert outcome.error == (
        "The wall 'reading and writing' around a model could not be put up. Got: Cannot allocate memory. "
        "Run `neuralrank doctor` to see what this system allows."
    )


def test_an_interpreter_that_starts_threads_is_refused(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "home" / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(world / "home"))
    assert run("state").error == (
        "Walls around a model need an interpreter that starts without threads. Got 1 more. "
        "A sitecustomize or .pth file of this Python starts them; remove it."
    )


def test_walls_told_a_second_time_are_not_believed(run: Run) -> None:
    error = run("tell_walls").error
    assert error == "The worker sent something that is no message while it was loading and was stopped."


def test_a_count_that_is_no_number_ends_the_job_and_not_the_run(run: Run) -> None:
    outcome = run("count_with_text", on_message=lambda message: int(message["n_done"]))
    assert outcome.error == "The worker sent something that is no message while it was loading and was stopped."


# --- the filter for the other kind of processor ------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("gpu", [True, False])
def test_filters_do_what_their_rules_say(machine: str, gpu: bool) -> None:
    """Run the filter in a small interpreter: what the kernel would answer on a machine that is not at hand."""
    pid, column = 4711, 0 if machine == "x86_64" else 1
    code = _seccomp.program(_seccomp.worker_rules(pid, gpu=gpu), machine)

    def meets(name: str, *arguments: int) -> str:
        number = _calls.NUMBERS[name][column]
        assert number is not None
        return _interpreted(code, _seccomp._ARCHITECTURES[machine][0], number, arguments)

    assert meets("clone", 0x3D0F00) == "allowed"  # a thread, as the C library makes it
    assert meets("clone", 0x1200011) == "EPERM"  # a fork
    assert (meets("kill", pid, 9), meets("kill", 1, 9), meets("kill", 0, 9)) == ("allowed", "EPERM", "EPERM")
    assert (meets("prlimit64", 0), meets("prlimit64", pid), meets("prlimit64", 1)) == ("allowed", "allowed", "EPERM")
    assert (meets("socketpair", 1, 0x80001), meets("socketpair", 1, 2)) == ("allowed", "EPERM")
    assert (meets("socket", 1, 0x80005), meets("socket", 2, 1)) == ("allowed" if gpu else "EPERM", "EPERM")
    assert meets("connect", 3) == ("ECONNREFUSED" if gpu else "EPERM")
    assert (meets("openat", 0, 0, 0x200), meets("openat", 0, 0, 0x241)) == ("EPERM", "allowed")
    assert (meets("ioctl", 0, 0x5412), meets("ioctl", 0, 0x5401)) == ("EPERM", "allowed")
    assert (meets("fchmod", 0), meets("clone3", 0), meets("execve", 0)) == ("0", "ENOSYS", "EPERM")
    assert _interpreted(code, 0x40000003, 11, ()) == "EPERM"  # a 32-bit program's execve


def _interpreted(code: bytes, architecture: int, number: int, arguments: tuple[int, ...]) -> str:
    import struct

    words = {0: number, 4: architecture, **{16 + 8 * index: value for index, value in enumerate(arguments)}}
    instructions = list(struct.iter_unpack("=HBBI", code))
    accumulator = position = 0
    while True:
        kind, if_so, if_not, value = instructions[position]
        position += 1
        if kind == 0x20:
            accumulator = words.get(value, 0)
        elif kind == 0x54:
            accumulator &= value
        elif kind in (0x15, 0x35):
            position += if_so if (accumulator == value if kind == 0x15 else accumulator >= value) else if_not
        else:
            assert kind == 0x06
            if value == 0x7FFF0000:
                return "allowed"
            return errno.errorcode.get(value & 0xFFFF, "0")


# --- as an ordinary user -----------------------------------------------------------------------------------------

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
OPEN_ROOTS_HOME = (
    "mount --bind {python} {aside} && mount -t tmpfs -o mode=755 none {home} && mkdir -p {python} "
    '&& mount --move {aside} {python} && exec "$@"'
)
OUTCOME = """
import json, sys
from pathlib import Path
from neuralrank.engines.worker_process import worker_process
base, job, payload = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
outcome = worker_process(f"hostile_jobs:{job}", payload, timeout_seconds=60, scratch=base / "scratch",
                         readable=[base / "model"], writable=[base / "scratch" / "out"])
print(json.dumps([outcome.result, outcome.error, {wall.name: wall.state for wall in outcome.walls}]))
"""


@pytest.fixture
def as_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Run a job of hostile_jobs.py as nobody: `(result, states of the walls)`.

    Where Python lies in root's own home, that home is hidden by an open one that holds Python alone; the command sees
    it so and nothing else does.
    """
    base = Path(tempfile.mkdtemp(prefix="neuralrank-", dir="/var/tmp"))
    prefix: tuple[str, ...] = AS_NOBODY
    home, python = Path.home(), Path(sys.base_prefix)
    if python.is_relative_to(home):
        names = {"python": python, "home": home, "aside": tmp_path_factory.mktemp("aside")}
        prefix = ("unshare", "--mount", "sh", "-c", OPEN_ROOTS_HOME.format(**names), "sh", *AS_NOBODY)
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "HOME": str(base)}
    base.chmod(0o755)
    for name in ("model", "scratch", "other"):
        (base / name).mkdir()
        (base / name / "there.txt").write_text("there")
        os.chown(base / name, 65534, 65534)
        os.chown(base / name / "there.txt", 65534, 65534)

    def call(job: str, **payload: Any) -> Any:
        command = [*prefix, sys.executable, "-c", OUTCOME, str(base), job, json.dumps(payload)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        got, error, walls = json.loads(done.stdout)
        assert error is None, error
        return got, walls

    call.base = base  # type: ignore[attr-defined]
    try:
        check = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import neuralrank'], check=True)"
        able = os.getuid() == 0 and shutil.which("setpriv") and shutil.which("unshare")
        if not able or subprocess.run([*prefix, sys.executable, "-c", check], env=environment).returncode != 0:
            pytest.skip("this needs root, setpriv, and a Python that nobody may start")
        yield call
    finally:
        shutil.rmtree(base)


def test_the_walls_stand_for_an_ordinary_user_too(as_nobody: Any) -> None:
    base = as_nobody.base
    closed = [base / "model", base / "other", base / "scratch", Path("/var/tmp")]
    answers, walls = as_nobody("write", folders=[str(folder) for folder in closed])
    assert {got for group in answers.values() for got in group} <= {"EACCES", "EPERM", "EXDEV", "ENOENT"}
    assert (walls["writing"], walls["reading"], walls["system calls"]) == ("on", "on", "on")
    assert walls["network namespace"] in ("on", "not offered")
    answers, _ = as_nobody("read", files=[str(base / "other" / "there.txt"), str(base / "model" / "there.txt")])
    assert list(answers.values()) == ["EACCES", "done"]
    answers, _ = as_nobody("processes")
    assert {got for name, got in answers.items() if name != "kill self"} <= {"EPERM", "EACCES"}
    got, _ = as_nobody("state")
    assert (got["uid"], got["dumpable"], got["status"]["CapBnd"]) == (65534, 0, "0" * 16)
    as_nobody("write_own", out=str(base / "scratch" / "out"), model=str(base / "model" / "there.txt"))
    assert (base / "scratch" / "out").read_text() == "result"


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_libraries_can_be_imported_by_an_ordinary_user(as_nobody: Any, name: str) -> None:
    pytest.importorskip(name)
    got, _ = as_nobody("import_libraries", names=[name])
    assert got["imported"] == [name]
