"""A GPU behind the walls: its driver gets what it needs, and the model nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from walled import NEEDS_WALLS, Run, result

pytestmark = NEEDS_WALLS


@pytest.mark.parametrize(("pattern", "answer"), [("/dev/nul[l]", "made"), ("/dev/no such [x]", "PermissionError")])
def test_where_there_is_a_gpu_its_driver_gets_its_local_socket(tmp_path: Path, pattern: str, answer: str) -> None:
    code = f"""
import socket, sys
from neuralrank.engines import _places, _walls
_places._GPU_DEVICES = ({pattern!r},)  # any device will do: that it is there is all that is asked
limits = {{"memory_bytes": 0, "file_bytes": 0, "open_files": 64}}
_walls.put_up({{**limits, "read": [], "write": [], "path": sys.path, "home": {str(tmp_path)!r}}})
try:
    socket.socket(socket.AF_UNIX)
    print("made")
except OSError as error:
    print(type(error).__name__)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (told.stdout.strip(), told.stderr) == (answer, "")


@pytest.mark.gpu
def test_a_model_computes_on_the_gpu_behind_the_walls(run: Run, world: Path) -> None:
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device")
    secret = world / "home" / ".ssh" / "id_ed25519"
    told = result(run("compute_on_gpu", {"outside": str(world / "home" / "new"), "secret": str(secret)}))
    assert (told["sum"], told["convolved"]) == (256.0**3, 9.0)
    assert told["bytes"] >= 256 * 256 * 4
    assert {told[name] for name in ("write", "read", "program", "internet")} <= {"EACCES", "EPERM"}, told
    assert not (world / "home" / "new").exists()
