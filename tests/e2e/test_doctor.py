"""`neuralrank doctor`: one line per thing that was looked at, and an exit code that tells whether all works."""

import json
import sys
from pathlib import Path

import pytest
from tiny_zoo import Run

from neuralrank.cli import _doctor

GROUPS = ["Installed", "Extras", "Machine", "Folders", "GPU", "Walls around a model"]


def test_text_names_everything_and_says_the_state_in_words(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.code == 0
    assert [line for line in outcome.out.splitlines() if line and not line.startswith(" ")][: len(GROUPS)] == GROUPS
    assert "\x1b" not in outcome.out
    assert "Everything needed works." in outcome.out
    for name in ("python", "onnxruntime", "cores", "cache", "catalogue", "writing", "system calls"):
        line = next(line for line in outcome.out.splitlines() if f"  {name} " in line)
        assert line.split()[0] in ("ok", "missing")


def test_json_holds_the_same_checks(run: Run) -> None:
    outcome = run("doctor", "--format", "json")
    document = json.loads(outcome.out)
    assert (document["schema"], document["ok"]) == ("neuralrank/doctor/1", True)
    assert set(document["checks"][0]) == {"group", "name", "state", "detail"}
    checks = {(check["group"], check["name"]): check for check in document["checks"]}
    assert checks["Installed", "python"]["detail"].startswith(".".join(map(str, sys.version_info[:2])))
    if sys.platform == "linux":
        assert checks["A model that tries to", "see a secret in the environment"]["state"] == "ok"


def test_a_folder_that_cannot_be_written_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    run_with = {"NEURALRANK_CACHE_DIR": str(file / "cache")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in run_with.items():
            patch.setenv(name, value)
        outcome = run("doctor")
    assert outcome.code == 1
    assert f"{file / 'cache'} cannot be written: not a directory. Set NEURALRANK_CACHE_DIR to another" in outcome.out
    assert "1 wrong: mend these first." in outcome.out


def test_a_missing_package_and_a_missing_extra_are_told_with_the_command(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _doctor._version
    monkeypatch.setattr(_doctor, "_version", lambda name: None if name in ("timm", "scipy") else real(name))
    outcome = run("doctor")
    assert outcome.code == 1
    assert "Without timm. Run: pip install 'neuralrank[timm]'" in outcome.out
    line = next(line for line in outcome.out.splitlines() if "  scipy " in line)
    assert line.split()[0] == "wrong"


@pytest.mark.torch
def test_a_gpu_that_models_do_not_get_is_told_with_the_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("models get the GPU")
    real = _doctor._version
    monkeypatch.setattr("neuralrank.engines._places.gpu_devices", lambda: ("/dev/nvidia0",))
    monkeypatch.setattr(
        _doctor, "_version", lambda name: real(name).partition("+")[0] if name == "torch" else real(name)
    )
    outcome = run("doctor")
    line = next(line for line in outcome.out.splitlines() if "  torch in a worker " in line)
    assert line.split()[0] == "missing"
    assert "A model is given none behind its walls and runs on the processor. Got: " in line
    assert outcome.code == 0


def test_a_wrong_format_is_a_sentence(run: Run) -> None:
    outcome = run("doctor", "--format", "xml")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "error: --format needs one of table, json. Got 'xml'. Leave it out for a table.\n"
