"""The reference values of other implementations, with the inputs they belong to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Golden = Callable[[str, str], tuple[Any, Any, float]]


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    """Return features, labels and the reference value of a (problem, implementation)."""
    document = json.loads((shared / "research" / "golden.json").read_text())
    namespace: dict[str, Any] = {}
    exec(document["input_source"], namespace)  # noqa: S102 - the inputs are defined by this source

    def get(problem: str, implementation: str) -> tuple[Any, Any, float]:
        features, labels, _ = namespace["build"](problem)
        return features, labels, float(document["problems"][problem]["values"][implementation]["value"])

    return get
