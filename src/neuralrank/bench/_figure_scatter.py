"""Figures in which every mark is a network or a score: predicted score against accuracy, cost against quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.bench._cells import Cell, Question, make_cells
from neuralrank.bench._figure_style import MARKS, OURS, STATIC, bare, legend, new_figure
from neuralrank.bench._report_material import N_PROBE, Material
from neuralrank.bench._resamples import taus
from neuralrank.bench.evaluate import Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MARK: Mapping[bool, Mapping[str, Any]] = {
    True: {"marker": "o", "markersize": 2.7, "color": OURS, "markeredgewidth": 0.7},
    False: {"marker": "o", "markersize": 3.0, "color": STATIC, "markeredgewidth": 0.8, "markerfacecolor": "white"},
}
_FONT = 6.5
_HIGH = 1.25 * _FONT
"""Of the labels, in points."""
_PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""On which side of its mark a label may stand, best first."""


def accuracy(material: Material) -> Figure:
    """Draw score against accuracy, a row for each target and a column for each regime."""
    targets = [*material.targets, *material.development_targets]
    regimes = list(dict.fromkeys(str(cell.regime) for cell in material.cells))
    from matplotlib.lines import Line2D

    figure = new_figure(0.75 + 1.45 * len(targets))
    panels = figure.subplots(len(targets), len(regimes), sharex="row", sharey="row", squeeze=False)
    apart = {
        (cell.target, str(cell.regime)): set(cell.networks.tolist())
        for cell in make_cells(material.tables, Question(half="confirmation", unrelated=True))
    }
    by_place = {(cell.target, str(cell.regime)): cell for cell in material.cells}
    for row, target in enumerate(targets):
        for column, regime in enumerate(regimes):
            axes = panels[row, column]
            cell = by_place.get((target, regime))
            if cell is None:
                axes.set_axis_off()
                continue
            _one_panel(axes, cell, material, apart.get((target, regime), set()))
            if row == 0:
                kind, _, size = regime.partition(" ")
                title = {"head": "head", "finetune": "fine-tuning"}[kind]
                axes.set_title(f"{title}, {int(size):,}")
        role = "" if target in material.targets else "\n(used to choose)"
        panels[row, 0].set_ylabel(f"{target}{role}\naccuracy, %")
    for axes in panels[-1]:
        axes.set_xlabel(material.default)
    handles = [
        Line2D([], [], linestyle="", label=label, **_MARK[filled])
        for label, filled in (("not trained on the target", True), ("itself or an ancestor trained on it", False))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _one_panel(axes: Axes, cell: Cell, material: Material, unrelated: set[int]) -> None:
    values = material.book.values(material.default, cell, N_PROBE).values
    tau = float(taus(values, cell.accuracy).mean())
    mean = values.mean(axis=0)
    own = np.array([place in unrelated for place in cell.networks])
    for chosen, filled in ((own, True), (~own, False)):
        axes.plot(mean[chosen], 100 * cell.accuracy[chosen], linestyle="", **_MARK[filled])
    axes.text(0.96, 0.05, f"τ {tau:.2f}", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)
    axes.margins(0.06)
    bare(axes, grid="both")


def cost(material: Material) -> Figure:
    """Draw the seconds of each score against its mean weighted τ."""
    figure = new_figure(3.3)
    axes = figure.subplots()
    timed = [one for one in material.judged.standings if one.kind != "static" and one.seconds > 0]
    axes.set_xscale("log")
    for one in timed:
        axes.plot(one.seconds, _level(one), **MARKS[one.kind].options())
    static = material.judged.standing(material.static)
    extract: dict[str, Any] = {"color": "0.25", "linewidth": 0.9, "linestyle": (0, (4, 2))}
    level: dict[str, Any] = {"color": STATIC, "linewidth": 0.9, "linestyle": (0, (1, 1.5))}
    lines = (axes.axhline(_level(static), **level), axes.axvline(material.ours.extract_seconds, **extract))
    axes.set_xlabel(f"seconds of the score alone, on {N_PROBE} samples of one network")
    axes.set_ylabel("mean weighted τ, all")
    axes.margins(0.08)
    bare(axes, grid="both")
    explained = {f"best static list ({static.score})": level, "forward passes": extract}
    legend(figure, [one.kind for one in timed], material, **explained)
    figure.draw_without_rendering()  # places of marks are known only then
    _label(axes, timed, lines)
    return figure


def _level(one: Standing) -> float:
    return one.summaries["all"].weighted_tau.value


def _label(axes: Axes, standings: Sequence[Standing], lines: Sequence[Line2D]) -> None:
    """Name as many marks as there is room for, the best first; a name hides no mark, no line and no other name."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    scale = 72 / axes.figure.dpi
    marks = [axes.transData.transform((one.seconds, _level(one))) * scale for one in standings]
    frame = np.asarray(axes.get_window_extent().extents) * scale
    taken = [(x - 2.6, y - 2.6, x + 2.6, y + 2.6) for x, y in marks]
    taken += [tuple(np.asarray(line.get_window_extent().extents) * scale + (-1, -1, 1, 1)) for line in lines]
    for one, (x, y) in zip(standings, marks, strict=True):
        weight = "bold" if one.kind == "ours" else "normal"
        font = FontProperties(family="DejaVu Sans", weight=weight)
        width = TextPath((0, 0), one.score, size=_FONT, prop=font).get_extents().width
        for right, up in _PLACES:
            left = x + 4.5 if right > 0 else x - 4.5 - width if right < 0 else x - width / 2
            bottom = y + 3.5 * up - (_HIGH / 2 if up == 0 else _HIGH if up < 0 else 0)
            box = (left, bottom, left + width, bottom + _HIGH)
            inside = box[0] > frame[0] and box[2] < frame[2] and box[1] > frame[1] and box[3] < frame[3]
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    one.score, (one.seconds, _level(one)), xytext=(left - x, bottom - y + 0.25 * _FONT),
                    textcoords="offset points", fontsize=_FONT, parse_math=False, annotation_clip=False,
                    fontweight=weight,
                )  # fmt: skip
                break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
