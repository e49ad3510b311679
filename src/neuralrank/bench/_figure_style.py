"""How the figures of the evidence look: the width of a printed page, and marks that differ without their colours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuralrank.bench._report_material import Material

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.8
"""Inches: the text of an A4 page."""
OURS, OTHERS, STATIC = "#0b6e4f", "#3f5f8a", "#7a4a1e"
_STYLE: Any = {
    "svg.hashsalt": "neuralrank", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 7.5,
    "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.unicode_minus": True,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How one kind of list is drawn."""

    colour: str
    marker: str
    filled: bool

    def options(self, size: float = 4.5) -> dict[str, Any]:
        """Return what matplotlib's `plot` takes."""
        return {
            "marker": self.marker, "markersize": size, "color": self.colour, "markeredgewidth": 0.9,
            "markerfacecolor": self.colour if self.filled else "white",
        }  # fmt: skip


MARKS = {
    "ours": Mark(colour=OURS, marker="o", filled=True),
    "published": Mark(colour=OTHERS, marker="o", filled=False),
    "combination": Mark(colour=OTHERS, marker="^", filled=False),
    "static": Mark(colour=STATIC, marker="D", filled=False),
}
_WORDS = {"published": "published score", "combination": "combination", "static": "static list"}


@contextmanager
def style() -> Iterator[None]:
    """Set what all figures share, for a while."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(height: float) -> Figure:
    """Return an empty figure that belongs to no window and to no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def bare(axes: Axes, *, grid: str = "x") -> None:
    """Leave out what tells nothing."""
    axes.grid(axis=grid, color="0.88", linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, kinds: list[str], material: Material, **further: Any) -> None:
    """Explain the marks under the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", label=_WORDS.get(kind, material.default), **MARKS[kind].options())
        for kind in MARKS
        if kind in kinds
    ]
    handles += [Line2D([], [], label=label, **options) for label, options in further.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
