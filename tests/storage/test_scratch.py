"""Temporary folders: those of the dead are removed by the next, those of the living and of others are left alone."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from neuralrank.errors import OutputError
from neuralrank.storage.scratch import Scratch

LEAVE = "import os, neuralrank.storage.scratch as s; print(s.Scratch().path, flush=True); os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_folder_of_a_process_that_was_killed_is_removed_by_the_next(temporary: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True)
    assert done.returncode == -9
    left = Path(done.stdout.strip())
    (left / "samples").mkdir()
    (left / "samples" / "outside").symlink_to(temporary / "kept")
    (temporary / "kept").mkdir()
    scratch = Scratch()
    assert not left.exists()
    assert (temporary / "kept").exists()
    scratch.cleanup()
    assert [path.name for path in temporary.iterdir()] == ["kept"]


def test_folders_of_the_living_are_left_alone(temporary: Path) -> None:
    one, two = Scratch(), Scratch()
    assert one.path.is_dir()
    assert two.path.is_dir()
    one.cleanup()
    three = Scratch()
    assert sorted(temporary.iterdir()) == sorted([two.path, three.path])
    for each in (two, three):
        each.cleanup()


def test_what_only_has_the_name_is_left_alone(temporary: Path) -> None:
    (temporary / "neuralrank-run-file").write_text("mine")
    (temporary / "neuralrank-run-folder").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "lock").touch()
    (temporary / "neuralrank-run-link").symlink_to(temporary / "elsewhere")
    before = sorted(temporary.rglob("*"))
    Scratch().cleanup()
    assert sorted(temporary.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs rights of files")
def test_a_place_that_is_not_there_is_one_sentence(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    with pytest.raises(OutputError, match=r"^A scratch folder is needed\. Got: No such file or directory\. Set TMPDIR"):
        Scratch()
