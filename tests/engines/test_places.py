"""What a worker may read besides its model is named narrowly, and all that Python needs is among it."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from neuralrank.engines import _places, _process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has walls that need these names")


def covered(path: Path, places: tuple[str, ...]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(os.path.realpath(place)) for place in places)


def test_a_script_started_at_home_does_not_open_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    packages = home / ".local" / "lib"
    for folder in (packages, home / ".ssh"):
        folder.mkdir(parents=True)
    for entry in (home, tmp_path, Path("/"), home / "lib" / ".."):
        places = _places.readable([str(entry), str(packages)], str(home))
        assert covered(packages, places)
        assert not covered(home / ".ssh", places)


def test_a_home_that_is_a_link_is_known(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to("real")
    assert not covered(tmp_path / "real", _places.readable([str(tmp_path / "real")], str(tmp_path / "home")))
    assert not covered(tmp_path / "real", _places.readable([str(tmp_path / "home")], str(tmp_path / "real")))


def test_what_python_imports_from_is_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = ModuleType("__editable___their_package_1_0_finder")
    finder.__dict__["MAPPING"] = {"their_package": str(tmp_path / "editable")}
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'libraries'}:relative:")
    places = _places.readable(_process.import_path(), "/nowhere")
    for needed in (tmp_path / "editable", tmp_path / "libraries", Path(os.__file__), Path(sys.executable)):
        assert covered(needed, places), needed
    import numpy

    for module in (numpy, pytest, _places):
        assert covered(Path(str(module.__file__)), places), module


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/etc/ssl/private/key.pem", "/etc/ssh/ssh_host_key", "/proc/1/environ", "/home/someone/file"],
)
def test_what_nobody_needs_is_not_readable(path: str) -> None:
    places = _places.readable([], "/nowhere")
    assert not covered(Path(path), places)
