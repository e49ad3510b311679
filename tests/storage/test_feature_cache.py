"""The cache gives back what it was given, or nothing; it never fails a reader and never leaves halves."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from neuralrank.errors import OutputError
from neuralrank.storage.feature_cache import FeatureCache, cache_key, feature_cache

KEY = cache_key(model="resnet", layer="pool")
AS_ROOT = os.geteuid() == 0


def features(n: int = 20, d: int = 8, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return feature_cache(tmp_path / "cache")


def file_of(cache: FeatureCache, key: str = KEY) -> Path:
    return cache.folder / key[:2] / f"{key}.safetensors"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- what was put comes back -------------------------------------------------------------------------------------


def test_features_and_metadata_come_back_equal(cache: FeatureCache) -> None:
    metadata = {"layer": "pool", "seconds": 3.25, "warnings": ["größer"], "n": None}
    cache.put(KEY, features(), metadata)
    got = cache.get(KEY)
    assert got is not None
    np.testing.assert_array_equal(got[0], features())
    assert got[0].dtype == np.float32
    assert got[1] == metadata
    assert files(cache.folder) == [f"{KEY}.safetensors"]


def test_special_values_and_strided_arrays_come_back_to_the_last_bit(cache: FeatureCache) -> None:
    array = features(12, 6)
    array[0, :4] = [np.nan, np.inf, -0.0, 1e-42]
    for view in (array, array.T, array[::2, ::3], array[:0], array[:, :0]):
        cache.put(KEY, view, {})
        got = cache.get(KEY)
        assert got is not None
        assert got[0].shape == view.shape
        assert got[0].tobytes() == view.tobytes()


def test_what_is_read_belongs_to_the_reader(cache: FeatureCache) -> None:
    cache.put(KEY, features(), {})
    got = cache.get(KEY)
    assert got is not None
    got[0][:] = 0
    again = cache.get(KEY)
    assert again is not None
    np.testing.assert_array_equal(again[0], features())


def test_an_unknown_key_gives_nothing_and_makes_no_folder(cache: FeatureCache) -> None:
    assert cache.get(KEY) is None
    assert not cache.folder.exists()


def test_a_second_put_takes_the_place_of_the_first(cache: FeatureCache) -> None:
    cache.put(KEY, features(seed=1), {"seed": 1})
    cache.put(KEY, features(seed=2), {"seed": 2})
    got = cache.get(KEY)
    assert got is not None
    np.testing.assert_array_equal(got[0], features(seed=2))
    assert got[1] == {"seed": 2}


def test_the_file_is_plain_safetensors_in_a_folder_named_by_two_digits(cache: FeatureCache) -> None:
    cache.put(KEY, features(), {})
    np.testing.assert_array_equal(load_file(file_of(cache))["features"], features())


def test_another_process_finds_what_this_one_put(cache: FeatureCache) -> None:
    cache.put(KEY, features(), {"a": 1})
    code = (
        "import sys; from pathlib import Path; from neuralrank.storage.feature_cache import feature_cache; "
        "array, metadata = feature_cache(Path(sys.argv[1])).get(sys.argv[2]); print(array.shape, metadata)"
    )
    assert _python(code, str(cache.folder), KEY).stdout == "(20, 8) {'a': 1}\n"


def test_writers_of_one_key_do_not_disturb_each_other(cache: FeatureCache) -> None:
    def put_and_get(seed: int) -> bool:
        cache.put(KEY, features(200, 64, seed), {"seed": seed})
        got = cache.get(KEY)
        return got is not None and bool((got[0] == features(200, 64, got[1]["seed"])).all())

    with ThreadPool(8) as pool:
        assert all(pool.map(put_and_get, range(64)))
    assert files(cache.folder) == [f"{KEY}.safetensors"]


# --- keys --------------------------------------------------------------------------------------------------------


def test_key_is_the_hash_of_the_sorted_json() -> None:
    text = '{"layer":"pool","model":"a","sizes":[1,2.5]}'
    assert cache_key(sizes=(1, 2.5), model="a", layer="pool") == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("other", [{"a": 1, "b": "2"}, {"a": 1}, {"a": 1.5, "b": 2}, {"a": [1], "b": 2}, {"ab": 12}])
def test_other_parts_give_another_key(other: dict[str, object]) -> None:
    assert cache_key(**other) != cache_key(a=1, b=2)


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "abc", KEY.upper(), KEY + "/x", KEY + "\n"])
def test_a_key_that_is_no_digest_is_refused(cache: FeatureCache, key: str) -> None:
    with pytest.raises(ValueError, match="A cache key needs 16 to 128 hexadecimal digits"):
        cache.get(key)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros((2, 2, 2), np.float32)])
def test_only_float32_arrays_of_two_axes_are_kept(cache: FeatureCache, array: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="The cache keeps float32 arrays of 2 axes"):
        cache.put(KEY, array, {})


# --- damaged and foreign files -----------------------------------------------------------------------------------


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)


def _write(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def _save(array: NDArray[np.float32], **metadata: str) -> Callable[[Path], None]:
    return lambda path: save_file({"features": array}, path, metadata=metadata or None)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one-byte-short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "header-cut": lambda path: os.truncate(path, 20),
    "one-byte-more": lambda path: os.truncate(path, path.stat().st_size + 1),
    "one-bit-flipped": _flip_a_bit,
    "text": _write(b"not a tensor file, far from it"),
    "huge-header": _write(b"\xff" * 8 + b"{}"),
    "no-metadata": _save(features()),
    "float64": lambda path: save_file({"features": np.zeros((2, 2))}, path, metadata={"key": KEY}),
    "one-axis": _save(np.zeros(4, np.float32), key=KEY),
    "no-checksum": _save(features(), key=KEY, metadata="{}"),
    "another-tensor": lambda path: save_file({"weights": features()}, path, metadata={"key": KEY}),
    "metadata-is-no-json": lambda path: _resave(path, metadata="{"),
    "metadata-is-a-list": lambda path: _resave(path, metadata="[]"),
    "metadata-is-deep": lambda path: _resave(path, metadata="[" * 100_000),
    "another-key": lambda path: _resave(path, key=cache_key(model="other")),
}


def _resave(path: Path, **changes: str) -> None:
    length = int.from_bytes(path.read_bytes()[:8], "little")
    own = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    save_file({"features": features()}, path, metadata={**own, **changes})


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_not_whole_counts_as_absent_and_is_removed(
    cache: FeatureCache, damage: Callable[[Path], None]
) -> None:
    cache.put(KEY, features(), {})
    damage(file_of(cache))
    assert cache.get(KEY) is None
    assert files(cache.folder) == []
    cache.put(KEY, features(), {})
    assert cache.get(KEY) is not None


def test_a_folder_in_the_place_of_a_file_counts_as_absent(cache: FeatureCache) -> None:
    file_of(cache).mkdir(parents=True)
    assert cache.get(KEY) is None
    with pytest.raises(OutputError, match="Got: is a directory"):
        cache.put(KEY, features(), {})
    assert files(cache.folder) == []


# --- places that cannot be written -------------------------------------------------------------------------------


def sentence(folder: Path, reason: str) -> str:
    return (
        f"Features could not be kept in {str(folder)!r}. Got: {reason}. "
        "The ranking goes on without them; to keep them, name another place with --cache-dir."
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not AS_ROOT or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_of_the_file_is_left(small_disk: Path) -> None:
    cache = feature_cache(small_disk)
    cache.put(KEY, features(100, 100), {})
    with pytest.raises(OutputError) as caught:
        cache.put(cache_key(model="large"), features(1000, 1000), {})
    assert str(caught.value) == sentence(small_disk, "no space left on device")
    assert files(small_disk) == [f"{KEY}.safetensors"]
    assert cache.get(KEY) is not None
    cache.put(cache_key(model="small"), features(100, 100), {})


def test_a_file_beyond_the_size_limit_is_told_and_nothing_of_it_is_left(cache: FeatureCache) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError) as caught:
            cache.put(KEY, features(1000, 100), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == sentence(cache.folder, "file too large")
    assert files(cache.folder) == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        cache = feature_cache(folder)
        assert cache.get(KEY) is None
        with pytest.raises(OutputError) as caught:
            cache.put(KEY, features(), {})
        assert str(caught.value) == sentence(folder, "it is no folder")


@pytest.mark.skipif(sys.platform != "linux", reason="root gives up its rights the Linux way")
def test_a_read_only_folder_is_told_and_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    feature_cache(folder).put(KEY, features(), {})
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555)
    code = """
        import ctypes, os, sys
        from pathlib import Path
        import numpy as np
        from neuralrank.errors import OutputError
        from neuralrank.storage.feature_cache import feature_cache
        if os.geteuid() == 0:  # give up the capabilities that let root write everywhere
            header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            assert ctypes.CDLL(None).capset(header, none) == 0
        cache = feature_cache(Path(sys.argv[1]))
        print(cache.get(sys.argv[2])[0].shape)
        for key in (sys.argv[2], "0" * 64):
            try:
                cache.put(key, np.zeros((2, 2), np.float32), {})
            except OutputError as error:
                print(error)
    """
    told = sentence(folder, "permission denied")
    try:
        assert _python(code, str(folder), KEY).stdout == f"(20, 8)\n{told}\n{told}\n"
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
    assert files(folder) == [f"{KEY}.safetensors"]


# --- writers that are killed -------------------------------------------------------------------------------------


def test_writers_killed_at_any_moment_leave_the_store_usable(cache: FeatureCache) -> None:
    code = """
        import sys
        from pathlib import Path
        import numpy as np
        from neuralrank.storage.feature_cache import cache_key, feature_cache
        cache = feature_cache(Path(sys.argv[1]))
        array = np.full((1000, 500), int(sys.argv[2]), np.float32)
        print("ready", flush=True)
        while True:
            for number in range(4):
                cache.put(cache_key(number=number), array, {"writer": int(sys.argv[2])})
    """
    for writer in range(3):
        command = [sys.executable, "-c", textwrap.dedent(code), str(cache.folder), str(writer)]
        process = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + 0.013 * writer)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        for number in range(4):
            got = cache.get(cache_key(number=number))
            if got is not None:
                assert (got[0] == got[1]["writer"]).all()
    cache.put(KEY, features(), {})
    assert cache.get(KEY) is not None


def test_what_killed_writers_left_is_swept_after_an_hour(cache: FeatureCache) -> None:
    cache.folder.mkdir()
    old, young, foreign = (cache.folder / name for name in (".part-1-old", ".part-2-young", "notes.txt"))
    for path in (old, young, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    cache.put(KEY, features(), {})
    assert files(cache.folder) == [".part-2-young", f"{KEY}.safetensors", "notes.txt"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done
