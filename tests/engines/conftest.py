"""Let the tests of engines import the modules beside them, as the worker does; a hostile job and the world it meets."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuralrank.engines.worker_process import JobOutcome, worker_process

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A home with secrets, a model's folder, another model beside it, and a scratch folder with the samples."""
    for name in ("home/.ssh", "models/mine", "models/other", "scratch"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("home/.ssh/id_ed25519", "models/mine/weights.bin", "models/other/weights.bin", "scratch/samples.bin"):
        (tmp_path / name).write_text("content")
    (tmp_path / "models" / "mine" / "link.bin").symlink_to(tmp_path / "home" / ".ssh" / "id_ed25519")
    for folder in ("home", "models/mine", "scratch"):
        (tmp_path / folder / "there.txt").write_text("there")
    return tmp_path


@pytest.fixture
def run(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobOutcome]:
    """Run a job of hostile_jobs.py that may read one model and the samples, and write one file."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("HOME", str(world / "home"))

    def call(name: str, payload: dict[str, Any] | None = None, **options: Any) -> JobOutcome:
        out = world / "scratch" / "out.npy"
        given = {
            "timeout_seconds": 30,
            "scratch": world / "scratch",
            "readable": [world / "models" / "mine", world / "scratch" / "samples.bin"],
            "writable": [out],
            **options,
        }
        common = {"out": str(out), "model": str(world / "models" / "mine" / "weights.bin")}
        return worker_process(f"hostile_jobs:{name}", {**common, **(payload or {})}, **given)

    return call
