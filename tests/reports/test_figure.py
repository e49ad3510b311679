import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neuralrank.reports.figure import figure
from neuralrank.types import Ranking

Make = Callable[..., Any]


def png(drawing: Any) -> bytes:
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def test_every_model_has_a_mark_at_its_score(ranking: Ranking) -> None:
    axes = figure(ranking).axes[0]
    marks = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_marker() == "o"]
    assert marks == [model.score for model in ranking.models]
    assert axes.get_yticklabels()[0].get_text() == "cifar100_resnet56.onnx  1="


@pytest.mark.parametrize("kind", ["realistic", "hostile", "none"])
def test_it_can_be_saved_without_warnings(ranking: Ranking, hostile: Ranking, make_ranking: Make, kind: str) -> None:
    drawing = figure({"realistic": ranking, "hostile": hostile, "none": make_ranking(0)}[kind])
    assert png(drawing).startswith(b"\x89PNG")


def test_dollar_signs_are_no_formulas(make_ranking: Make, make_model: Make) -> None:
    assert png(figure(make_ranking(1, models=(make_model(name=r"$\frac$ a$"),)))).startswith(b"\x89PNG")


def test_top_limits_the_models_drawn_and_says_so(make_ranking: Make) -> None:
    drawing = figure(make_ranking(500), top=10)
    assert len(drawing.axes[0].get_yticklabels()) == 10
    assert drawing.get_suptitle() == "Score neuralrank on photos/cifar10, the first 10 of 500 models"


def test_no_window_and_no_global_state_is_made() -> None:
    code = (
        "import sys; from neuralrank.reports.figure import figure; from matplotlib.figure import Figure; "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
