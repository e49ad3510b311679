"""The torchvision that does not fit torch: repaired on exactly its error, in a process of its own each time."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
SOURCE = Path(__file__).resolve().parents[2] / "src"


def run(program: str) -> str:
    """Run a program in a fresh interpreter and return its last line; a torchvision is broken already or made so."""
    done = subprocess.run(
        [sys.executable, "-c", BREAK_TORCHVISION + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


BREAK_TORCHVISION = """
import torch
real_load = torch.ops.load_library
def refuse(path):
    if "torchvision" in str(path):
        raise OSError("libcudart.so.13: cannot open shared object file")
    return real_load(path)
torch.ops.load_library = refuse
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    # only looked for: where it is broken, importing it here would break the other tests of this process
    if run("import importlib.util; print(importlib.util.find_spec('torchvision') is not None)") != "True":
        pytest.skip("torchvision is not installed")


def test_a_compiled_half_that_does_not_fit_raises_the_known_error():
    program = """
    try:
        import torchvision
    except RuntimeError as error:
        print(error)
    """
    assert run(program) == "operator torchvision::nms does not exist"


def test_timm_and_transformers_work_after_the_repair():
    program = """
    from neuralrank.formats._torchvision import repair_torchvision
    first, second = repair_torchvision(), repair_torchvision()
    import timm
    from transformers import BertConfig, BertModel, ViTConfig, ViTImageProcessor, ViTModel
    small = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    bert = BertModel(BertConfig(vocab_size=9, **small))(torch.zeros(2, 3, dtype=torch.long)).last_hidden_state
    vit = ViTModel(ViTConfig(image_size=8, patch_size=4, **small))(torch.zeros(2, 3, 8, 8)).last_hidden_state
    print(first, second, timm.is_model("resnet10t"), tuple(bert.shape), tuple(vit.shape))
    """
    assert run(program) == "True True True (2, 3, 8) (2, 5, 8)"


def test_the_operators_stay_uncallable_after_the_repair():
    program = """
    from neuralrank.formats._torchvision import repair_torchvision
    repair_torchvision()
    try:
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except NotImplementedError:
        print("refused")
    """
    assert run(program) == "refused"


def test_nothing_is_defined_where_torchvision_imports_by_itself(tmp_path: Path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("fine = True\n")
    program = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    from neuralrank.formats._torchvision import repair_torchvision
    print(repair_torchvision(), hasattr(torch.ops.torchvision, "nms"), sys.modules["torchvision"].fine)
    """
    assert run(program) == "False False True"


def test_another_error_of_torchvision_is_told_and_not_repaired(tmp_path: Path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('built for another torch')\n")
    program = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    from neuralrank.errors import MissingExtraError
    from neuralrank.formats._torchvision import repair_torchvision
    try:
        repair_torchvision()
    except MissingExtraError as error:
        print(error, hasattr(torch.ops.torchvision, "nms"))
    """
    assert run(program) == (
        "The installed torch needs a torchvision made for it. Got 'built for another torch'. Install both from the "
        "same place: pip install torch torchvision False"
    )


def test_a_process_without_torchvision_is_left_alone():
    program = """
    import importlib.util
    real = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: None if name == "torchvision" else real(name, package)
    from neuralrank.formats._torchvision import repair_torchvision
    print(repair_torchvision(), hasattr(torch.ops.torchvision, "nms"))
    """
    assert run(program) == "False False"
