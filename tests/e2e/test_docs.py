"""What the documents show is true: commands run, Python runs, links and names exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_zoo import CARD, convolution, random_filters, save

from neuralrank import registry, settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


def blocks(language):
    """Return (document, block) for each fenced block of a language."""
    fence = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    found = [(file.name, *block) for file in DOCUMENTS for block in fence.findall(file.read_text())]
    return [(name, block) for name, of_language, block in found if of_language == language]


def shell_lines(first_word):
    lines = [(name, line.strip()) for name, block in blocks("sh") for line in block.splitlines()]
    return [pytest.param(line, id=f"{name}: {line}") for name, line in lines if line.startswith(first_word)]


@pytest.fixture
def sandbox(models, photos, run, tmp_path, monkeypatch):
    """A folder with what the documents' examples name, its models in the catalogue."""
    shutil.copytree(models, tmp_path / "checkpoints")
    card = {**CARD, "description": "Reads handwritten digits.", "license": "MIT"}
    save(convolution(random_filters(2, seed=8)), tmp_path / "checkpoints" / "convnet_digits.onnx", card)
    shutil.copytree(photos, tmp_path / "photos")
    files = sorted(path.relative_to(tmp_path) for path in (tmp_path / "photos").rglob("*.png"))
    rows = [f"{file},{index // 3},{file.parts[1]}" for index, file in enumerate(files)]
    (tmp_path / "frames.csv").write_text("\n".join(["image,track,label", *rows]))
    (tmp_path / "reviews.csv").write_text("\n".join(["image,stars", *(f"{file},{file.parts[1]}" for file in files)]))
    monkeypatch.chdir(tmp_path)
    assert run("index", "checkpoints").code == 0
    return tmp_path


@pytest.mark.parametrize("line", shell_lines("neuralrank "))
def test_every_command_shown_runs(line, run, sandbox):
    outcome = run(*shlex.split(line)[1:])
    assert outcome.code == 0, outcome.err
    assert outcome.out


@pytest.mark.parametrize("line", shell_lines("make "))
def test_every_make_target_shown_exists(line):
    dry = subprocess.run(["make", "--dry-run", *line.split()[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("line", shell_lines("python "))
def test_every_script_shown_exists_and_says_what_it_does(line):
    script = line.split()[1]
    shown = subprocess.run([sys.executable, script, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for option in re.findall(r"--[a-z-]+", line):
        assert option in shown.stdout


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in blocks("python")])
def test_every_python_example_runs(block, sandbox):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    image = Image.fromarray(rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8))
    exec(block, {"features": rng.normal(size=(60, 4)), "labels": labels, "image": image})  # noqa: S102


def test_every_link_between_documents_leads_somewhere():
    for file in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text()):
            if not link.startswith("http"):
                assert (file.parent / link).exists(), f"{file.name} links to {link}"


def test_every_score_format_and_setting_is_documented():
    text = "\n".join(file.read_text() for file in DOCUMENTS)
    for name in (*registry.names("scorers"), *registry.names("formats")):
        assert f"`{name}`" in text, name
    for setting in settings.SETTINGS:
        assert f"`NEURALRANK_{setting.name.upper()}`" in text, setting.name


def test_the_table_of_scores_is_what_the_code_declares(run):
    shown = (REPOSITORY / "docs" / "scores.md").read_text()
    table = re.search(r"<!-- neuralrank scores --format markdown -->\n(.*?)<!-- end -->", shown, re.DOTALL)
    assert table is not None
    assert table[1] == run("scores", "--format", "markdown").out


def test_the_demo_shown_in_the_readme_is_its_real_output():
    shown = next(block for name, block in blocks("") if name == "README.md").splitlines()
    models = [line.split()[1] for line in shown if ".onnx " in line and line[:4].strip().rstrip("=").isdigit()]
    shipped = {path.name for path in (Path(registry.__file__).parent / "demo_models").glob("*.onnx")}
    assert len(models) >= 5
    assert set(models) <= shipped
