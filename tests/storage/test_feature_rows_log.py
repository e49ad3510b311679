"""The log of a worker gives whole batches up to the first that is not, whatever the worker wrote there."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neuralrank.storage._segments import open_segment
from neuralrank.storage.batch_log import BatchLog, read_batches
from neuralrank.storage.feature_cache import cache_key
from neuralrank.storage.feature_rows import FeatureRows, Unfinished, feature_rows

KEY, LOGITS = cache_key(model="resnet"), cache_key(model="resnet", kind="logits")
SAMPLES = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(100)]
VALUES = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)


def write(path: Path, *batches: range, kind: str = "features") -> None:
    with BatchLog(path) as log:
        for batch in batches:
            log.append(kind, np.array(batch), VALUES[list(batch)])


def rows_in(path: Path) -> list[list[int]]:
    return [batch.rows.tolist() for batch in read_batches(path, 100)]


def record(rows: list[int], width: int = 6, *, kind: bytes = b"features", n_rows: int | None = None) -> bytes:
    """Return a record with a right checksum, however wrong the rest of it is."""
    body = np.array(rows, dtype="<i8").tobytes() + bytes(4 * width * len(rows) if width < 1000 else 0)
    n_rows = len(rows) if n_rows is None else n_rows
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<4s16sIII", b"nrb1", kind, n_rows, width, 0)))
    return struct.pack("<4s16sIII", b"nrb1", kind, n_rows, width, crc) + body


@pytest.fixture
def rows(tmp_path: Path) -> FeatureRows:
    return feature_rows(tmp_path / "cache")


@pytest.fixture
def running(rows: FeatureRows) -> Unfinished:
    return rows.begin({"features": KEY, "logits": LOGITS}, SAMPLES, {"features": {"layer": "pool"}})


def folders(rows: FeatureRows) -> list[str]:
    return sorted(path.name for path in (rows.folder / "unfinished").iterdir())


def die(unfinished: Unfinished) -> None:
    """Let go of the lock as the death of a process does."""
    os.close(unfinished._lock.pop())


# --- the log -----------------------------------------------------------------------------------------------------


def test_batches_come_back_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with BatchLog(path) as log:
        log.append("features", np.array([3, 1]), VALUES[[3, 1]])
        log.append("logits", np.array([3, 1]), VALUES[[3, 1], :2])
    first, second = read_batches(path, 100)
    assert (first.kind, first.rows.tolist(), second.kind) == ("features", [3, 1], "logits")
    np.testing.assert_array_equal(first.values, VALUES[[3, 1]])
    np.testing.assert_array_equal(second.values, VALUES[[3, 1], :2])


def test_a_log_cut_or_changed_anywhere_gives_the_whole_batches_before(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, range(3), range(3, 5), range(5, 9))
    whole = path.read_bytes()
    ends = np.cumsum([32 + 3 * 32, 32 + 2 * 32, 32 + 4 * 32])
    assert len(whole) == ends[-1]
    for position in range(len(whole)):
        n_whole = int(np.searchsorted(ends, position, side="right"))
        expected = [[0, 1, 2], [3, 4], [5, 6, 7, 8]][:n_whole]
        path.write_bytes(whole[:position])
        assert rows_in(path) == expected
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        assert rows_in(path) == expected


HOSTILE: dict[str, bytes] = {
    "negative": record([-1]),
    "beyond-the-pass": record([100]),
    "absurd-row": record([2**62]),
    "absurd-count": record([1], n_rows=2**32 - 1),
    "absurd-width": record([1], width=2**32 - 1),
    "wide": record([1], width=70_000),
    "absurd-both": record([1], width=2**32 - 1, n_rows=2**32 - 1),
    "no-rows": record([]),
    "no-width": record([1], width=0),
    "another-width": record([1], width=7),
    "kind-is-no-word": record([1], kind=b"../../x"),
    "kind-is-no-text": record([1], kind=b"\xff\xfe"),
    "kind-is-empty": record([1], kind=b""),
    "kind-with-a-hole": record([1], kind=b"feat\0ures"),
    "text": b"root:x:0:0:root:/root:/bin/bash\n" * 10,
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_ends_the_log(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "log"
    write(path, range(3))
    path.write_bytes(path.read_bytes() + data + record([50]))
    assert rows_in(path) == [[0, 1, 2]]


def test_a_large_file_without_content_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(struct.pack("<4s16sIII", b"nrb1", b"features", 2**15, 65_536, 1))
    os.truncate(path, 1 << 40)
    assert rows_in(path) == []


def test_a_log_that_repeats_its_rows_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(record([1], width=1) * 5000)
    assert len(rows_in(path)) == 400


PLANTED: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link-to-zeros": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_what_is_no_file_of_its_own_is_not_read(
    rows: FeatureRows, running: Unfinished, plant: Callable[[Path], object]
) -> None:
    plant(running.log)
    assert rows_in(running.log) == []
    running.finish({})
    assert rows.read(KEY, SAMPLES).width is None
    assert folders(rows) == []


def test_a_device_is_not_read(running: Unfinished) -> None:
    if subprocess.run(["mknod", str(running.log), "c", "1", "5"], capture_output=True, check=False).returncode:
        pytest.skip("only root may make a device")
    assert rows_in(running.log) == []
    running.close()


def test_the_folder_of_a_log_is_not_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real" / "log", range(3))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert rows_in(tmp_path / "link" / "log") == []


def test_a_log_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from neuralrank.storage.batch_log import BatchLog
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        log = BatchLog(Path(sys.argv[1]))
        for n in (5, 50, 3):
            try:
                log.append("features", np.arange(n), np.zeros((n, 6), np.float32))
            except OSError as error:
                print(error.strerror)
    """
    lines = [line.strip() if not line.startswith(" " * 9) else line[8:] for line in code.splitlines()]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(tmp_path / "log")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("File too large\n", "")
    assert [len(rows) for rows in rows_in(tmp_path / "log")] == [5, 3]


@pytest.mark.parametrize(
    ("kind", "n_rows", "shape"),
    [("features", 2, (3, 4)), ("features", 0, (0, 4)), ("features", 2, (2, 0)), ("x" * 17, 1, (1, 1)), ("", 1, (1, 1))],
)
def test_a_batch_that_does_not_fit_is_refused(tmp_path: Path, kind: str, n_rows: int, shape: tuple[int, int]) -> None:
    with BatchLog(tmp_path / "log") as log, pytest.raises(ValueError, match="A batch needs"):
        log.append(kind, np.arange(n_rows), np.zeros(shape, np.float32))


# --- a pass that is running --------------------------------------------------------------------------------------


def test_a_pass_that_finishes_keeps_its_finite_rows_under_the_key_of_each_kind(
    rows: FeatureRows, running: Unfinished
) -> None:
    values = VALUES.copy()
    values[4, 2], values[5, 0] = np.nan, np.inf
    with BatchLog(running.log) as log:
        log.append("features", np.arange(10), values[:10])
        log.append("logits", np.arange(20), VALUES[:20, :3])
        log.append("secrets", np.arange(20), VALUES[:20])
    found = running.rows("features")
    assert found is not None
    np.testing.assert_array_equal(found.values, values[:10])
    running.finish({"features": {"n_timed": 10}, "logits": {"layer": "head"}})
    got = rows.read(KEY, SAMPLES)
    assert np.flatnonzero(got.known).tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    np.testing.assert_array_equal(got.values[got.known], VALUES[[0, 1, 2, 3, 6, 7, 8, 9]])
    assert got.metadata == {"layer": "pool", "n_timed": 10}
    assert rows.read(LOGITS, SAMPLES).known.sum() == 20
    assert folders(rows) == []
    running.close()


def test_a_pass_that_fails_keeps_its_whole_batches(rows: FeatureRows) -> None:
    def fail() -> None:
        with rows.begin({"features": KEY}, [*SAMPLES[:5], *SAMPLES[:5]], {}) as running:
            write(running.log, range(3), range(5, 8))
            with running.log.open("ab") as file:
                file.write(record([9])[:-1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    got = rows.read(KEY, SAMPLES)
    assert np.flatnonzero(got.known).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(got.values[:3], VALUES[:3])
    assert folders(rows) == []


def test_only_the_passes_of_the_dead_are_adopted_and_only_those_of_the_key(
    rows: FeatureRows, running: Unfinished
) -> None:
    dead, other = (rows.begin({"features": key}, SAMPLES[50:], {}) for key in (KEY, LOGITS))
    for unfinished in (running, dead, other):
        write(unfinished.log, range(5))
    die(dead)
    die(other)
    assert rows.adopt(KEY) == 5
    assert folders(rows) == sorted([running.folder.name, other.folder.name])
    assert np.flatnonzero(rows.read(KEY, SAMPLES).known).tolist() == [50, 51, 52, 53, 54]
    assert (rows.sweep(), rows.sweep()) == (5, 0)
    assert folders(rows) == [running.folder.name]
    running.close()


def test_a_pass_of_two_kinds_is_found_by_either_key(rows: FeatureRows, running: Unfinished) -> None:
    write(running.log, range(5))
    write(running.log, range(4), kind="logits")
    die(running)
    assert rows.adopt(LOGITS) == 9
    assert (rows.read(KEY, SAMPLES).known.sum(), rows.read(LOGITS, SAMPLES).known.sum()) == (5, 4)


DESCRIPTIONS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other-samples": lambda path: path.write_bytes(path.read_bytes().replace(SAMPLES[0][:32].encode(), b"00" * 16)),
}


@pytest.mark.parametrize("damage", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_rows_that_nobody_can_say_the_samples_of_are_dropped(
    rows: FeatureRows, running: Unfinished, damage: Callable[[Path], object]
) -> None:
    write(running.log, range(5))
    damage(running.folder / "pass.json")
    die(running)
    assert rows.adopt(KEY) == 0
    assert rows.read(KEY, SAMPLES).width is None
    assert folders(rows) == []


def test_a_folder_that_was_never_filled_is_removed(rows: FeatureRows, running: Unfinished) -> None:
    for name in (running.folder.name[:-1] + "0", ".gone-x"):
        running.folder.with_name(name).mkdir(exist_ok=True)
    assert rows.sweep() == 0
    assert folders(rows) == [running.folder.name]
    running.close()


def test_whatever_a_worker_leaves_is_removed_and_links_are_not_followed(
    rows: FeatureRows, running: Unfinished, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / "folder").mkdir(parents=True)
    (mine / "folder" / "file").touch()
    (running.work / "link").symlink_to(mine)
    (running.work / "a" / "b").mkdir(parents=True)
    (running.work / "a" / "b" / "link").symlink_to(mine)
    os.mkfifo(running.work / "a" / "pipe")
    here = os.open(running.work, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    running.finish({})
    assert folders(rows) == []
    assert (mine / "folder" / "file").exists()


def stored(rows: FeatureRows, key: str) -> list[int]:
    """Return how many rows each file of a key holds, in the order of their numbers."""
    place = rows.folder / "rows" / key[:2] / key
    found = []
    for path in sorted(place.glob("*.safetensors")):
        with open_segment(path, key) as segment:
            found.append(len(segment.digests))
    return found


def test_a_pass_that_goes_on_keeps_each_row_once(rows: FeatureRows, running: Unfinished) -> None:
    write(running.log, range(5))
    running.keep_so_far({"features": {"n_timed": 5}})
    assert rows.read(KEY, SAMPLES).known.sum() == 5
    running.keep_so_far({"features": {"n_timed": 7}})  # nothing is new: nothing is said of it
    write(running.log, range(3, 12))
    running.keep_so_far({"features": {"n_timed": 9}})
    running.finish({})
    got = rows.read(KEY, SAMPLES)
    assert np.flatnonzero(got.known).tolist() == list(range(12))
    np.testing.assert_array_equal(got.values[:12], VALUES[:12])
    assert got.metadata == {"layer": "pool", "n_timed": 14}
    assert (stored(rows, KEY), folders(rows)) == ([5, 7], [])


def test_what_a_killed_process_had_kept_is_not_adopted_again(rows: FeatureRows, running: Unfinished) -> None:
    write(running.log, range(5))
    running.keep_so_far({})
    write(running.log, range(5, 8))
    write(running.log, range(4), kind="logits")
    die(running)
    assert rows.sweep() == 3 + 4
    assert (stored(rows, KEY), stored(rows, LOGITS)) == ([5, 3], [4])
    assert folders(rows) == []
