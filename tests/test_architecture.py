"""The shape of the code: floors (import-linter runs in `make check`), light imports, sizes."""

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import neuralrank
from neuralrank import registry

PACKAGE = Path(neuralrank.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FRAMEWORKS = ("torch", "transformers", "timm", "torchvision", "onnxruntime", "scipy", "sklearn", "pandas")


def functions(file):
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]


def lines(node):
    """Lines of a function without its docstring, which may be as long as it needs to be."""
    docstring = node.body[0] if ast.get_docstring(node) else None
    return node.end_lineno - node.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def test_import_loads_no_framework():
    code = f"import neuralrank, sys; print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("module", ["scorers", "types", "ranking", "uncertainty", "storage", "engines"])
def test_the_core_loads_no_deep_learning_framework(module):
    code = f"import neuralrank.{module}, sys; print([name for name in {FRAMEWORKS[:5]!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_files_are_short():
    counts = {file.name: len(file.read_text().splitlines()) for file in FILES}
    assert median(counts.values()) <= 150
    assert max(counts.values()) <= 500, max(counts, key=counts.get)


def test_functions_are_short():
    sizes = {f"{file.name}:{node.name}": lines(node) for file in FILES for node in functions(file)}
    assert sorted(sizes.values())[int(0.95 * len(sizes))] <= 40
    assert max(sizes.values()) <= 80, max(sizes, key=sizes.get)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_component_is_a_file_with_a_function_of_its_name(kind):
    assert registry.names(kind)
    for name in registry.names(kind):
        assert callable(registry.get(kind, name))
