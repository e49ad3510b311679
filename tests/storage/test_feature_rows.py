"""Rows come back by sample, equal to the last bit, or count as unknown; nothing that is damaged is ever believed."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from neuralrank.errors import OutputError
from neuralrank.storage import _whole_file
from neuralrank.storage.batch_log import BatchLog
from neuralrank.storage.feature_cache import cache_key
from neuralrank.storage.feature_rows import MAX_SEGMENTS, FeatureRows, feature_rows, sample_digests

KEY, OTHER = cache_key(model="resnet"), cache_key(model="vit")
SAMPLES = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(600)]
VALUES = np.random.default_rng(0).normal(size=(600, 9)).astype(np.float32)
NONE = np.empty((0, 0), dtype=np.float32)


@pytest.fixture
def rows(tmp_path: Path) -> FeatureRows:
    return feature_rows(tmp_path / "cache")


def add(rows: FeatureRows, *places: int, key: str = KEY, **metadata: object) -> None:
    rows.add(key, [SAMPLES[place] for place in places], VALUES[list(places)], metadata)


def segments(rows: FeatureRows, key: str = KEY) -> list[Path]:
    return sorted((rows.folder / "rows" / key[:2] / key).glob("*.safetensors"))


def files(rows: FeatureRows) -> list[Path]:
    return [path for path in rows.folder.rglob("*") if path.is_file() and path.name != "lock"]


def known(rows: FeatureRows, key: str = KEY) -> list[int]:
    """Return which samples are known, having compared their rows."""
    got = rows.read(key, SAMPLES)
    places = np.flatnonzero(got.known)
    if len(places):
        np.testing.assert_array_equal(got.values[places], VALUES[places])
        assert np.isnan(got.values[~got.known]).all()
    return places.tolist()


# --- what was added comes back -----------------------------------------------------------------------------------


def test_rows_come_back_in_the_order_asked_for_and_unknown_ones_are_marked(rows: FeatureRows) -> None:
    add(rows, 3, 1, 2, layer="pool")
    got = rows.read(KEY, [SAMPLES[place] for place in (2, 9, 3)])
    assert got.known.tolist() == [True, False, True]
    np.testing.assert_array_equal(got.values[[0, 2]], VALUES[[2, 3]])
    assert got.values.dtype == np.float32
    assert (got.width, got.metadata) == (9, {"layer": "pool"})


def test_nothing_is_known_of_a_key_that_nobody_added(rows: FeatureRows) -> None:
    got = rows.read(KEY, SAMPLES[:3])
    assert (got.width, got.known.tolist(), got.values.shape, got.metadata) == (None, [False] * 3, (3, 0), {})
    assert not rows.folder.exists()


def test_a_sample_may_be_asked_for_and_added_twice(rows: FeatureRows) -> None:
    rows.add(KEY, [SAMPLES[0], SAMPLES[1], SAMPLES[0]], VALUES[[0, 1, 5]], {})
    got = rows.read(KEY, [SAMPLES[1], SAMPLES[0], SAMPLES[0], SAMPLES[1]])
    np.testing.assert_array_equal(got.values, VALUES[[1, 0, 0, 1]])


def test_of_two_rows_of_a_sample_the_one_added_first_counts_also_after_merging(rows: FeatureRows) -> None:
    rows.add(KEY, SAMPLES[:4], VALUES[:4], {})
    for number in range(2 * MAX_SEGMENTS):
        rows.add(KEY, SAMPLES[2:6], VALUES[2:6] + np.float32(number), {})
        np.testing.assert_array_equal(rows.read(KEY, SAMPLES[:6]).values, VALUES[:6])
    assert len(segments(rows)) <= MAX_SEGMENTS


def test_a_key_may_be_known_to_have_no_rows(rows: FeatureRows) -> None:
    rows.add(KEY, (), NONE, {"warnings": ["no head"]})
    got = rows.read(KEY, SAMPLES[:2])
    assert (got.width, got.known.tolist(), got.metadata) == (0, [False, False], {"warnings": ["no head"]})
    add(rows, 1)
    assert rows.read(KEY, SAMPLES[:2]).width == 9
    assert known(rows) == [1]


def test_special_values_come_back_to_the_last_bit(rows: FeatureRows) -> None:
    values = np.array([[np.nan, np.inf, -0.0, 1e-42], [0, 1, 2, 3]], dtype=np.float32)
    for view in (values, np.asfortranarray(values), values[:, ::-1]):
        rows.add(cache_key(view=view.strides[1]), SAMPLES[:2], view, {})
        assert rows.read(cache_key(view=view.strides[1]), SAMPLES[:2]).values.tobytes() == view.tobytes()


def test_digests_may_be_given_as_an_array(rows: FeatureRows) -> None:
    add(rows, 0, 1)
    assert rows.read(KEY, sample_digests(SAMPLES[:3])).known.tolist() == [True, True, False]
    assert rows.read(KEY, np.array(SAMPLES[:3])).known.tolist() == [True, True, False]


def test_digests_that_share_their_first_half_are_told_apart(rows: FeatureRows) -> None:
    digests = np.zeros((300, 16), dtype=np.uint8)
    digests[:, 9], digests[:, 15] = np.arange(300) // 2, np.arange(300) % 2
    rows.add(KEY, digests[:200], VALUES[:200], {})
    got = rows.read(KEY, digests)
    assert got.known.tolist() == [True] * 200 + [False] * 100
    np.testing.assert_array_equal(got.values[:200], VALUES[:200])


def test_numbers_are_added_up_and_lists_joined_whether_merged_or_not(rows: FeatureRows) -> None:
    for number in range(40):
        add(
            rows,
            number,
            layer=f"layer {number}",
            n_timed=1,
            extract_seconds=0.5,
            peak_bytes=-abs(number - 7),
            warnings=["a", str(number % 2)],
        )
    warnings = ["a", "0", "1"]
    expected = {"layer": "layer 0", "n_timed": 40, "extract_seconds": 20.0, "peak_bytes": 0, "warnings": warnings}
    assert rows.read(KEY, SAMPLES).metadata == expected
    assert len(segments(rows)) <= MAX_SEGMENTS


def test_a_segment_is_plain_safetensors(rows: FeatureRows) -> None:
    add(rows, 4, 5)
    found = load_file(segments(rows)[0])
    np.testing.assert_array_equal(found["values"], VALUES[4:6])
    assert found["digests"].tobytes().hex() == SAMPLES[4][:32] + SAMPLES[5][:32]


@pytest.mark.parametrize("seed", range(5))
def test_any_adds_and_reads_agree_with_a_dictionary(rows: FeatureRows, seed: int) -> None:
    random = np.random.default_rng(seed)
    width = int(random.choice([1, 3, 2000]))
    model: dict[str, dict[int, np.ndarray]] = {KEY: {}, OTHER: {}}
    for _ in range(50):
        key = [KEY, OTHER][random.integers(2)]
        places = random.integers(0, 60, size=random.integers(1, 30))
        values = random.normal(size=(len(places), width)).astype(np.float32)
        rows.add(key, [SAMPLES[place] for place in places], values, {})
        for place, row in zip(places.tolist(), values, strict=True):
            model[key].setdefault(place, row)
        asked = random.integers(0, 90, size=random.integers(0, 80))
        got = rows.read(key, [SAMPLES[place] for place in asked])
        assert got.known.tolist() == [place in model[key] for place in asked.tolist()]
        for place, row in zip(asked[got.known].tolist(), got.values[got.known], strict=True):
            assert row.tobytes() == model[key][place].tobytes()


@pytest.mark.parametrize("width", [1, 40, 5000, 65_536])
def test_few_and_many_of_the_rows_of_a_large_segment_come_back(rows: FeatureRows, width: int) -> None:
    values = np.random.default_rng(1).random((min(600, 2_000_000 // width), width), dtype=np.float32)
    rows.add(KEY, SAMPLES[: len(values)], values, {})
    for share in (0.01, 0.2, 0.9):
        places = np.random.default_rng(2).permutation(len(values))[: max(1, int(share * len(values)))]
        np.testing.assert_array_equal(rows.read(KEY, [SAMPLES[place] for place in places]).values, values[places])


# --- what cannot be kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "values"),
    [
        (SAMPLES[:2], np.zeros((2, 2))),
        (SAMPLES[:2], np.zeros((3, 2), np.float32)),
        (SAMPLES[:2], np.zeros(2, np.float32)),
        (SAMPLES[:2], np.zeros((2, 0), np.float32)),
        ([], np.zeros((0, 5), np.float32)),
        (["ab"], np.zeros((1, 2), np.float32)),
        (["x" * 64], np.zeros((1, 2), np.float32)),
        (["a " * 32], np.zeros((1, 2), np.float32)),
        (np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rows: FeatureRows, samples: object, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Rows need|digest|Digests|hexadecimal"):
        rows.add(KEY, samples, values, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "../../etc/passwd", KEY.upper(), KEY + "\n"])
def test_a_key_that_is_no_digest_is_refused(rows: FeatureRows, key: str) -> None:
    for action in (lambda: rows.read(key, []), lambda: rows.adopt(key), lambda: rows.begin({"features": key}, [], {})):
        with pytest.raises(ValueError, match="A cache key needs"):
            action()


def sentence(folder: Path, reason: str) -> str:
    return (
        f"Features could not be kept in {str(folder)!r}. Got: {reason}. "
        "The ranking goes on without them; to keep them, name another place with --cache-dir."
    )


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rows = feature_rows(tmp_path / "file")
    for action in (lambda: add(rows, 1), lambda: rows.begin({"features": KEY}, SAMPLES[:2], {})):
        with pytest.raises(OutputError) as caught:
            action()
        assert str(caught.value) == sentence(rows.folder, "it is no folder")
    assert rows.read(KEY, SAMPLES[:2]).width is None
    assert (rows.adopt(KEY), rows.sweep()) == (0, 0)


def test_a_file_beyond_the_size_limit_is_told_and_nothing_of_it_is_left(rows: FeatureRows) -> None:
    add(rows, *range(10))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputError) as caught:
            add(rows, *range(600))
        with pytest.raises(OutputError):
            rows.begin({"features": KEY}, SAMPLES, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == sentence(rows.folder, "file too large")
    assert len(files(rows)) == 1
    assert known(rows) == list(range(10))


def test_merging_that_meets_a_full_disk_loses_nothing(rows: FeatureRows) -> None:
    for number in range(MAX_SEGMENTS):
        add(rows, *range(30 * number, 30 * number + 30))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        add(rows, 590)
        add(rows, 591)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(segments(rows)) == len(files(rows)) == MAX_SEGMENTS + 2
    add(rows, 592)
    assert len(segments(rows)) == len(files(rows)) < MAX_SEGMENTS
    assert known(rows) == [*range(480), 590, 591, 592]


def log_until_it_fails(path: Path) -> None:
    with BatchLog(path) as log:
        for place in range(100, 2000):
            log.append("features", np.arange(place, place + 10) % 600, np.ones((10, 900), dtype=np.float32))


def test_a_full_disk_at_any_place_is_told_and_what_was_kept_stays(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        rows = feature_rows(folder)
        add(rows, *range(50))
        unfinished = rows.begin({"features": KEY}, SAMPLES, {})
        kept = set(range(50))
        with pytest.raises(OSError, match="No space"):
            log_until_it_fails(unfinished.log)
        found = unfinished.rows("features")
        assert found is not None
        assert (found.values == 1).all()
        with pytest.raises(OutputError) as caught:
            unfinished.finish({})
        assert str(caught.value) == sentence(folder, "no space left on device")
        with pytest.raises(OutputError):
            rows.add(OTHER, SAMPLES, np.zeros((600, 200), np.float32), {})
        assert set(known(rows)) == kept
        assert not list((folder / "rows").glob(".part-*"))
        shutil.rmtree(folder / "unfinished")
        add(rows, 60)
        assert set(known(rows)) == kept | {60}
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# --- damaged segments --------------------------------------------------------------------------------------------


def flip(path: Path, position: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


def resave(path: Path, **metadata: str) -> None:
    length = int.from_bytes(path.read_bytes()[:8], "little")
    own = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    save_file(load_file(path), path, metadata={**own, **metadata})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: os.truncate(path, 0),
    "cut-in-length": lambda path: os.truncate(path, 5),
    "cut-in-header": lambda path: os.truncate(path, 60),
    "cut-in-digests": lambda path: os.truncate(path, path.stat().st_size - 30 * 36 - 200),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one-byte-short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "one-byte-more": lambda path: os.truncate(path, path.stat().st_size + 1),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_bytes(b"not a tensor file, far from it"),
    "huge-header": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "deep-header": lambda path: path.write_bytes((300_000).to_bytes(8, "little") + b"[" * 300_000),
    "other-tensors": lambda path: save_file({"values": VALUES}, path, metadata={"key": KEY, "metadata": "{}"}),
    "resaved-by-others": lambda path: resave(path),
    "another-key": lambda path: resave(path, key=OTHER),
    "metadata-is-a-list": lambda path: resave(path, metadata="[]"),
    "link": lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_segment_is_removed_and_the_others_are_used(
    rows: FeatureRows, damage: Callable[[Path], object]
) -> None:
    add(rows, *range(30))
    add(rows, *range(20, 50))
    add(rows, *range(50, 60))
    damage(segments(rows)[1])
    assert known(rows) == [*range(30), *range(50, 60)]
    if not segments(rows)[1].is_symlink():
        assert len(segments(rows)) == 2
    add(rows, *range(20, 50))
    assert known(rows) == list(range(60))


def test_a_bit_flipped_anywhere_is_noticed(rows: FeatureRows) -> None:
    add(rows, *range(4), layer="pool")
    path = segments(rows)[0]
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole)
        flip(path, position, bit=1 << position % 8)
        assert rows.read(KEY, SAMPLES).width is None, position
        assert not path.exists(), position
    path.write_bytes(whole)
    assert known(rows) == [0, 1, 2, 3]


def test_a_file_cut_anywhere_is_noticed(rows: FeatureRows) -> None:
    add(rows, *range(4), layer="pool")
    path = segments(rows)[0]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert rows.read(KEY, SAMPLES).width is None, length
        assert not path.exists(), length


def test_a_segment_of_another_key_or_another_width_is_removed(rows: FeatureRows) -> None:
    add(rows, 1)
    add(rows, 2, key=OTHER)
    shutil.copy(segments(rows, OTHER)[0], segments(rows)[0].with_name(f"{7:010d}-{0:016x}.safetensors"))
    rows.add(KEY, SAMPLES[3:5], np.zeros((2, 4), np.float32), {})
    assert known(rows) == [1]
    assert len(segments(rows)) == 1


def test_merging_leaves_a_damaged_segment_to_readers(rows: FeatureRows) -> None:
    for number in range(MAX_SEGMENTS):
        add(rows, number)
    flip(segments(rows)[3], -2)
    add(rows, 16)
    assert known(rows) == [0, 1, 2, *range(4, 17)]
    add(rows, 3)
    assert known(rows) == list(range(17))


def test_strange_files_beside_the_segments_do_no_harm(rows: FeatureRows) -> None:
    add(rows, 1)
    place = segments(rows)[0].parent
    (place / "notes.txt").write_text("mine")
    (place / f"{3:010d}-{0:016x}.safetensors").mkdir()
    assert known(rows) == [1]
    assert rows.sweep() == 0
    assert (place / "notes.txt").exists()


# --- clocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0, 4_000_000_000], ids=["1970", "2096"])
def test_clocks_that_jump_change_nothing(rows: FeatureRows, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(moment))
    add(rows, 1)
    dead = rows.folder / "rows" / ".part-1-dead"
    dead.write_bytes(b"half")
    part, descriptor = _whole_file._new_part(rows.folder / "rows")
    living = rows.begin({"features": KEY}, SAMPLES[:3], {})
    with BatchLog(living.log) as log:
        log.append("features", np.arange(2, 3), VALUES[2:3])
    for path in rows.folder.rglob("*"):
        os.utime(path, (4_000_000_000 - moment,) * 2)
    assert (rows.adopt(KEY), rows.sweep()) == (0, 0)
    assert (dead.exists(), part.exists(), living.log.exists()) == (False, True, True)
    os.close(descriptor)
    living.close()
    assert known(rows) == [1, 2]
    rows.sweep()
    assert not part.exists()
