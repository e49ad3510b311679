"""What needs a process of its own: signals, pipes, terminals, scripts; and what a second run does not do again."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import bad_models
import numpy as np
import pytest
from PIL import Image
from tiny_zoo import CARD, Run, convolution, crafted_filters, save

COMMAND = (sys.executable, "-c", "from neuralrank.cli import main; main()")


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, **{"stdout": subprocess.PIPE, **options}
    )


@pytest.mark.parametrize(
    ("sent", "first"),
    [
        pytest.param(signal.SIGINT, "crafted.onnx", id="ctrl-c-after-one-model"),
        pytest.param(signal.SIGINT, None, id="ctrl-c-before-any"),
        pytest.param(signal.SIGTERM, "crafted.onnx", id="ended-by-a-scheduler"),
    ],
)
def test_interrupt_prints_the_ranking_so_far_and_leaves_nothing_behind(
    models: Path, photos: Path, warm_cache: Path, tmp_path: Path, sent: signal.Signals, first: str | None
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    if first is not None:
        for suffix in (".onnx", ".json"):
            shutil.copy((models / first).with_suffix(suffix), folder)
    bad_models.endless_model(folder)
    for suffix in (".onnx", ".json"):
        (folder / f"bad{suffix}").rename(folder / f"endless{suffix}")
    (folder / "broken.onnx").write_bytes(b"damaged")  # its line says that the run has begun
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = ("--cache-dir", warm_cache, "--format", "json")
    process = start("rank", folder, "--data", photos, *options, env={**os.environ, "TMPDIR": str(scratch)})
    assert process.stderr is not None
    for _ in range(1 + (first is not None)):
        assert process.stderr.readline().startswith("[")
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert list(scratch.iterdir()) == []
    if first is None:
        assert (out, err) == ("", "error: Stopped.\n")
        return
    ranking = json.loads(out)
    assert err == f"To go on: neuralrank rank --resume {ranking['run_id']}\nerror: Stopped.\n"
    assert [row["name"] for row in ranking["ranking"]] == [first]
    assert [failure["model_id"] for failure in ranking["failures"]] == ["folder:broken.onnx"]
    assert ranking["stopped"] == "interrupted after 2 of 3 models"


def test_reader_that_goes_away_leaves_no_traceback(models: Path, photos: Path, warm_cache: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = ("rank", models, "--data", photos, "--cache-dir", warm_cache, "--format", "html", "--quiet")
    process = start(*arguments, stdout=write_end)
    os.close(write_end)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_full_disk_under_standard_output_is_one_sentence(models: Path, photos: Path, warm_cache: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("rank", models, "--data", photos, "--cache-dir", warm_cache, "--quiet", stdout=full)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert err == (
        "error: Standard output needs to take the result. Got: no space left on device. "
        "Send it elsewhere, or name a file with --out.\n"
    )


def test_output_that_cannot_show_a_character_shows_a_question_mark(
    models: Path, photos: Path, warm_cache: Path
) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    process = start(
        "rank", models, "--data", photos, "--cache-dir", warm_cache, "--quiet", env=environment, encoding="latin-1"
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert " ± 0.0" in out
    assert "Kendall ? = 1.00" in out


def test_script_without_a_main_guard_works(models: Path, photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import neuralrank\n"
        f"ranking = neuralrank.rank({str(models / 'crafted.onnx')!r}, {str(photos)!r}, also=())\n"
        "print(ranking.best().name)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "crafted.onnx\n", "")


def test_importing_the_package_loads_no_framework() -> None:
    heavy = (
        "torch",
        "transformers",
        "timm",
        "onnxruntime",
        "onnx",
        "scipy",
        "sklearn",
        "pandas",
        "matplotlib",
        "numpy",
    )
    program = f"import sys, neuralrank; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- terminals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["plain", "NO_COLOR"]
)
def test_colour_is_for_terminals_and_can_be_switched_off(
    models: Path, photos: Path, warm_cache: Path, environment: dict[str, str], coloured: bool
) -> None:
    parent, child = pty.openpty()
    arguments = ["rank", models, "--data", photos, "--cache-dir", warm_cache, "--quiet", "--also", ""]
    clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment = {**clean, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=child, stderr=subprocess.PIPE, env=environment)
    os.close(child)
    out = b""
    while chunk := _read(parent):
        out += chunk
    os.close(parent)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    assert b"crafted.onnx" in out
    assert (b"\x1b[" in out) is coloured


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux answers so when the other end of a pseudo-terminal is closed
        return b""


# --- the cache ---------------------------------------------------------------------------------------------------


def cached(outcome: Any) -> dict[str, bool]:
    return {row["name"]: row["cached"] for row in outcome.ranking["ranking"]}


def test_second_run_starts_no_worker(
    run: Run, models: Path, photos: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python-here"))  # a worker could not even start
    again = ("rank", models, "--data", photos, "--cache-dir", warm_cache)
    outcome = run(*again, "--format", "json")
    assert outcome.code == 0
    assert set(cached(outcome).values()) == {True}
    assert "The features of 3 models were cached" in run(*again).out


def test_a_changed_model_is_run_again_and_the_others_are_not(
    run: Run, own_models: Path, photos: Path, warm_cache: Path
) -> None:
    save(convolution(crafted_filters() * np.float32(0.5)), own_models / "crafted.onnx")
    (own_models / "deep" / "random.json").write_text(json.dumps({**CARD, "mean": [0.5, 0.5, 0.5], "std": [0.5] * 3}))
    outcome = run("rank", own_models, "--data", photos, "--format", "json", "--cache-dir", warm_cache)
    assert cached(outcome) == {"crafted.onnx": False, "deep/random.onnx": False, "plain.onnx": True}


def test_one_changed_pixel_runs_the_model_again_and_a_new_name_does_not(
    run: Run, models: Path, own_photos: Path, warm_cache: Path
) -> None:
    one = ("rank", models, "--data", own_photos, "--format", "json", "--cache-dir", warm_cache)
    moved = own_photos.with_name("moved")
    own_photos.rename(moved)
    assert set(cached(run("rank", models, "--data", moved, *one[4:])).values()) == {True}
    moved.rename(own_photos)
    image = own_photos / "amber" / "000.png"
    pixels = np.asarray(Image.open(image)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(image)
    outcome = run("rank", models / "crafted.onnx", *one[2:])
    assert cached(outcome) == {"crafted.onnx": False}
