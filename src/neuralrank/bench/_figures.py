"""The figures of the evidence, each a function of the material."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.bench._figure_scatter import accuracy, cost
from neuralrank.bench._figure_style import MARKS, OTHERS, OURS, STATIC, bare, legend, new_figure, style, svg
from neuralrank.bench._groups import GROUPINGS
from neuralrank.bench._report_bars import GROUPINGS as GROUPING_NAMES
from neuralrank.bench._report_bars import SCOPES
from neuralrank.bench._report_material import Material, ceiling
from neuralrank.bench._sizes import AtSize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "svg"]

_DASHED = {"color": "0.25", "linewidth": 0.9, "linestyle": (0, (4, 2))}
_LINES = (
    ("o", "-"),
    ("s", (0, (5, 1.5))),
    ("^", (0, (1, 1))),
    ("v", (0, (5, 1, 1, 1))),
    ("P", (0, (3, 1, 1, 1, 1, 1))),
)
_HALF_WIDE = 0.16
"""Half the vertical distance of the two marks of one row."""


def _styled(draw: Callable[[Material], Figure]) -> Callable[[Material], Figure]:
    @functools.wraps(draw)
    def drawn(material: Material) -> Figure:
        with style():
            return draw(material)

    return drawn


def scores(material: Material) -> Figure:
    """Draw weighted τ and interval of every list, heads and fine-tuning side by side."""
    standings = material.judged.standings
    figure = new_figure(1.1 + 0.155 * len(standings))
    both = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, kind in zip(both, ("head", "finetune"), strict=True):
        for place, one in enumerate(standings):
            mark, tau = MARKS[one.kind], one.summaries[kind].weighted_tau
            axes.plot((tau.low, tau.high), (place, place), color=mark.colour, linewidth=1.1, solid_capstyle="butt")
            axes.plot(tau.value, place, **mark.options())
        axes.axvline(ceiling(material.judged, kind), **_DASHED)
        axes.axvline(0, color="0.5", linewidth=0.7)
        axes.set_title(SCOPES[kind].capitalize())
        axes.set_xlabel("mean weighted τ")
        bare(axes)
        axes.tick_params(axis="y", length=0)
    lows = [one.summaries[kind].weighted_tau.low for one in standings for kind in ("head", "finetune")]
    both[0].set_xlim(min(0.0, np.nanmin(lows)) - 0.04, 1.02)
    _name_rows(both[0], [one.score for one in standings], material)
    legend(figure, [one.kind for one in standings], material, ceiling=_DASHED)
    return figure


def _name_rows(axes: Axes, names: list[str], material: Material) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_parse_math(False)
        label.set_fontweight("bold" if name == material.default else "normal")


def samples(material: Material) -> Figure:
    """Draw the share of the ceiling by number of samples."""
    figure = new_figure(2.9)
    both = figure.subplots(1, 2, sharey=True)
    names = (material.default, *material.rivals)
    for axes, kind in zip(both, ("head", "finetune"), strict=True):
        sizes: set[int] = set()
        for place, name in enumerate(names):
            rows = [row for row in material.detailed.sizes if (row.score, row.scope) == (name, kind)]
            sizes |= {row.n_probe for row in rows}
            _line(axes, rows, place, label=name if kind == "head" else "")
        axes.axhline(100, **_DASHED)
        axes.set_xscale("log")
        axes.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
        axes.minorticks_off()
        axes.set_title(SCOPES[kind].capitalize())
        axes.set_xlabel("labelled samples")
        bare(axes, grid="y")
    both[0].set_ylabel("% of the ceiling")
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def _line(axes: Axes, rows: list[AtSize], place: int, *, label: str) -> None:
    """Draw one score; where the targets change with the size, the line is broken."""
    marker, dashes = _LINES[place % len(_LINES)]
    colour = OURS if place == 0 else OTHERS
    for targets in dict.fromkeys(row.targets for row in rows):
        own = [row for row in rows if row.targets == targets]
        x = [row.n_probe for row in own]
        y, low, high = ([100 * getattr(row.share_of_ceiling, part) for row in own] for part in ("value", "low", "high"))
        if place == 0:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x, y, linestyle=dashes, color=colour, marker=marker, markersize=3.8, linewidth=1.2, label=label,
            markerfacecolor=colour if place == 0 else "white", zorder=4 if place == 0 else 3,
        )  # fmt: skip
        label = ""


def groups(material: Material) -> Figure:
    """Draw the drop from within one kind of networks to across kinds."""
    names = list(material.notable)
    figure = new_figure(0.95 + 0.3 * len(names))
    panels = np.atleast_1d(figure.subplots(1, len(GROUPINGS), sharey=True, sharex=True))
    drawn = {"head": ("o", True, -_HALF_WIDE), "finetune": ("s", False, _HALF_WIDE)}
    for axes, grouping in zip(panels, GROUPINGS, strict=True):
        for one in material.detailed.groups:
            if one.grouping == grouping and one.scope in drawn:
                marker, filled, shift = drawn[one.scope]
                colour = _colour(one.score, material)
                place = names.index(one.score) + shift
                axes.plot((one.drop.low, one.drop.high), (place, place), color=colour, linewidth=1.1)
                face = colour if filled else "white"
                axes.plot(one.drop.value, place, marker, markersize=4.2, color=colour, markerfacecolor=face)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_title(f"One {GROUPING_NAMES[grouping]}")
        bare(axes)
        axes.tick_params(axis="y", length=0)
    panels[len(panels) // 2].set_xlabel("drop of the weighted τ: within one minus across all")
    _name_rows(panels[0], names, material)
    shown: dict[str, Any] = {
        SCOPES[scope]: {
            "linestyle": "", "marker": marker, "color": "0.2", "markersize": 4.2,
            "markerfacecolor": "0.2" if filled else "white",
        }
        for scope, (marker, filled, _) in drawn.items()
    }  # fmt: skip
    legend(figure, [], material, **shown)
    return figure


def _colour(score: str, material: Material) -> str:
    return OURS if score == material.default else STATIC if score == material.static else OTHERS


FIGURES: Mapping[str, Callable[[Material], Figure]] = {
    draw.__name__: _styled(draw) for draw in (scores, accuracy, samples, groups, cost)
}
"""By name of the file."""
