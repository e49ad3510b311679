"""Killed writers, several at once, power cuts: no whole batch is lost, and no row is another's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("feature_rows_runs.py")
BATCH = 8

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")


def run(name: str, folder: Path, number: int) -> Any:
    command = [sys.executable, str(SCRIPT), name, str(folder), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def assert_at_most_one_batch_is_lost(kills: list[dict[str, Any]]) -> None:
    for kill in kills:
        assert kill["is_first"], kill
        assert kill["n_known"] % BATCH == 0, kill
        # what it said it kept is kept; the one more was kept before it could say so
        assert kill["n_known"] - kill["said"] in (0, BATCH), kill
        assert kill["left"] == [], kill
    assert sum(kill["how"] == -9 for kill in kills) >= 0.6 * len(kills)
    assert len({kill["n_known"] for kill in kills}) >= len(kills) // 3


def test_a_writer_that_is_killed_loses_at_most_the_batch_in_flight(tmp_path: Path) -> None:
    assert_at_most_one_batch_is_lost(run("kill", tmp_path, 4))


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_of_a_hundred_moments_loses_at_most_the_batch_in_flight(tmp_path: Path) -> None:
    assert_at_most_one_batch_is_lost(run("kill", tmp_path, 100))


@pytest.mark.parametrize("n", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_writers_sweepers_and_readers_at_once_do_not_disturb_each_other(tmp_path: Path, n: int) -> None:
    said = run("together", tmp_path, n)
    assert said["ends"] == [0] * 8
    assert said["all"]
    assert said["left"] == []
    assert said["n_segments"] <= 20


@pytest.mark.parametrize("n", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_power_cut_costs_the_files_it_met_and_no_others(tmp_path: Path, n: int) -> None:
    for cut in run("power_cut", tmp_path, n):
        assert cut["n_old"] == cut["n_whole"]
        assert cut["n_new"] in (0, 20, 40, 60, 80)
        assert cut["left"] == 0
