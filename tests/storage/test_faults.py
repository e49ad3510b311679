"""Killed indexers, several at once, full and read-only disks: nothing that was kept is lost, one sentence each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_runs import BATCH, N_MODELS

SCRIPT = Path(__file__).with_name("fault_runs.py")
SMALL = 'mount -t tmpfs -o size=6m tmpfs "$1" && exec "$2" "$3" "$4" "$1"'

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")


def run(name: str, folder: Path, *numbers: int) -> Any:
    command = [sys.executable, str(SCRIPT), name, str(folder), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_mounted(name: str, folder: Path) -> Any:
    """Run on a small file system of its own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a file system of its own")
    command = ["unshare", "-rm", "sh", "-c", SMALL, "sh", str(folder), sys.executable, str(SCRIPT), name]
    remount = f"mount -o remount,ro '{folder}'"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "REMOUNT": remount})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_whole(said: dict[str, Any]) -> None:
    assert said["value"] == {
        "integrity": "ok",
        "n_rows": N_MODELS,
        "are_first": True,
        "n_removed": 0,
        "n_members": N_MODELS,
        "n_columns": N_MODELS,
        "n_texts": N_MODELS,
        "is_current": True,
        "names": True,
    }


def assert_one_sentence_each(ends: list[dict[str, Any]], *beginnings: str) -> None:
    for end in ends:
        assert list(end) == ["error"], end
        assert end["error"].startswith(beginnings), end
        assert "\n" not in end["error"]


def assert_nothing_lost(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        assert kill["end"] == {"killed": 9} or "value" in kill["end"], kill
        after = kill["after"]["value"]
        n_rows = after["n_rows"]
        assert n_rows % BATCH == 0, kill  # whole batches, or nothing of them
        expected = {"n_removed": 0, "are_first": True, "integrity": "ok", "is_current": True, "names": True}
        assert after == {**expected, **dict.fromkeys(("n_rows", "n_members", "n_columns", "n_texts"), n_rows)}, kill
        left = N_MODELS - n_rows
        assert kill["again"] == {"value": {"n_read": left, "n_new": left, "n_unchanged": n_rows, "changed": 0}}, kill
        assert kill["whole"]["value"].items() >= {"n_rows": N_MODELS, "are_first": True}.items(), kill
        if len(kill["whole"]["value"]) > 2:
            assert_whole(kill["whole"])
    killed = [kill["after"]["value"]["n_rows"] for kill in kills if "killed" in kill["end"]]
    assert len(killed) >= 0.6 * len(kills)
    assert len({n_rows for n_rows in killed if 0 < n_rows < N_MODELS}) >= len(kills) // 6  # in the middle of it


def test_an_indexer_that_is_killed_loses_nothing_and_goes_on_where_it_was(tmp_path):
    assert_nothing_lost(run("kill", tmp_path, 5))


@pytest.mark.slow
def test_an_indexer_that_is_killed_at_any_of_fifty_moments_loses_nothing(tmp_path):
    assert_nothing_lost(run("kill", tmp_path, 50))


def test_an_indexer_that_is_killed_again_and_again_comes_to_its_end(tmp_path):
    said = run("kill_again_and_again", tmp_path, 8)
    assert said["rows"] == sorted(said["rows"])
    assert said["n_kills"] >= 3
    assert len({n_rows for n_rows in said["rows"] if 0 < n_rows < N_MODELS}) >= 2
    again, whole = said["whole"]["value"]
    assert again == {"n_read": 0, "n_new": 0, "n_unchanged": N_MODELS, "changed": 0}
    assert_whole({"value": whole})


def test_indexers_and_searches_at_once_do_not_disturb_each_other(tmp_path):
    said = run("together", tmp_path)
    *indexers, counts = said["said"]
    assert indexers == [0, 0, 0]  # no model was taken for gone
    assert isinstance(counts, list), counts
    assert counts == sorted(counts)
    assert len(counts) >= 3
    union = {"is_union": True, "n_rows": N_MODELS, "members": [500, 420], "n_found": N_MODELS}
    assert said["union"] == {"value": union}


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    said = run_mounted("full", tmp_path)
    assert_one_sentence_each(
        said["ends"], f"The catalogue in '{tmp_path}", "The catalogue needs a", "The text index in"
    )
    assert said["left"]["value"]["are_first"] is True
    assert said["left"]["value"]["n_rows"] >= 2 * BATCH
    assert said["after"]["value"]["n_rows"] == said["left"]["value"]["n_rows"]
    assert said["after"]["value"]["integrity"] == "ok"
    assert said["whole"] == {"value": N_MODELS - said["left"]["value"]["n_rows"]}
    assert said["still"] == {"value": {"n_rows": N_MODELS, "are_first": True}}
    assert_whole(said["last"])


@pytest.mark.parametrize("n_bytes", [50_000, 120_000])
def test_files_that_may_not_grow_are_one_sentence_and_lose_nothing(tmp_path, n_bytes):
    said = run("limited", tmp_path, n_bytes)
    assert_one_sentence_each(
        said["ends"], f"The catalogue in '{tmp_path}", "The catalogue needs a", "The text index in"
    )
    assert said["left"]["value"]["are_first"] is True
    assert_whole(said["last"])


def test_a_read_only_disk_is_one_sentence(tmp_path):
    said = run_mounted("read_only", tmp_path)
    assert_one_sentence_each(said["ends"], f"The catalogue in '{tmp_path}", "The catalogue needs a folder it can write")
