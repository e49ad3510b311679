"""On a machine with a GPU: models of torch run on it, behind the same walls, and rank as they do on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]

CARD = {"input_size": [3, 64, 64], "colour_order": "RGB", "resize": "stretch", "mean": [0.5] * 3, "std": [0.3] * 3}


def network(seed: int, width: int) -> "torch.nn.Sequential":
    torch.manual_seed(seed)
    parts = (torch.nn.Conv2d(3, width, 7, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(width, width, 3), torch.nn.ReLU())
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()).eval()


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Four networks, as scripts and as exported programs, and images of three classes."""
    models = tmp_path / "models"
    models.mkdir()
    batch = torch.export.Dim("batch", min=1, max=1024)
    for seed, width in enumerate((4, 8, 16, 64)):
        if seed % 2:
            exported = torch.export.export(
                network(seed, width), (torch.zeros(2, 3, 64, 64),), dynamic_shapes=({0: batch},)
            )
            torch.export.save(exported, models / f"net{seed}.pt2")
        else:
            torch.jit.save(torch.jit.trace(network(seed, width), torch.zeros(2, 3, 64, 64)), models / f"net{seed}.pt")
        (models / f"net{seed}.json").write_text(json.dumps(CARD))
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.integers(0, 200, (300, 64, 64, 3)) + (labels * np.array([[1, 9, 18]]).T % 55)[1][:, None, None, None]
    np.savez(tmp_path / "data.npz", x=images.astype(np.uint8), y=labels)
    return tmp_path


def ranked(world: Path, devices: str | None, *options: str) -> dict[str, Any]:
    """Rank in a process of its own, which sees the GPUs that are named."""
    environment = {**os.environ, "NEURALRANK_CACHE_DIR": str(world / f"cache-{devices}")}
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    words = ["rank", world / "models", "--data", world / "data.npz", "--format", "json", *options]
    told = subprocess.run(
        [sys.executable, "-m", "neuralrank", *map(str, words)], env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout))


def test_scores_are_those_of_the_processor(world: Path):
    there, here = ranked(world, None), ranked(world, "")
    assert there["failures"] == here["failures"] == []
    scores = {row["name"]: row["score"] for row in there["ranking"]}
    assert len(scores) == 4
    assert scores == pytest.approx({row["name"]: row["score"] for row in here["ranking"]}, abs=2e-4)


def test_a_race_ranks_on_the_gpu(world: Path):
    found = ranked(world, None, "--strategy", "racing")
    assert (len(found["ranking"]), found["failures"]) == (4, [])


def test_doctor_names_the_gpu_that_models_get():
    words = [sys.executable, "-m", "neuralrank", "doctor", "--format", "json"]
    checks = json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)["checks"]
    (found,) = [check for check in checks if check["name"] == "torch in a worker"]
    assert (found["state"], found["detail"]) == ("ok", torch.cuda.get_device_name())
