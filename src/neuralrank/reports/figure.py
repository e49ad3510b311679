"""`Ranking` → matplotlib `Figure`: the scores with their intervals, best on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuralrank.reports._names import clean, labels, shorten, shorten_apart
from neuralrank.reports._sentences import chance_score, ranks
from neuralrank.types import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIRST = "#0b6e4f"
_OTHER = "#3f5f8a"


def figure(ranking: Ranking, *, top: int = 40) -> Figure:
    """Draw score and interval of each model; a filled mark shares the first place.

    The figure belongs to no window and to no global state: save it with `figure.savefig(path)`.

    Args:
        ranking: the result to draw.
        top: number of models drawn, best first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = ranking.models[:top]
    drawing = Figure(figsize=(8.0, 1.3 + 0.27 * max(1, len(shown))), dpi=120, layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    if not shown:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No model could be ranked.", ha="center", va="center", transform=axes.transAxes)
        return drawing
    _draw_scores(axes, ranking, len(shown))
    hidden = len(ranking.models) - len(shown)
    more = f", the first {len(shown)} of {len(ranking.models):,} models" if hidden else ""
    title = f"Score {clean(ranking.score)} on {_drawable(shorten(clean(ranking.target.path), 50))}{more}"
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)
    return drawing


def _draw_scores(axes: Axes, ranking: Ranking, n_shown: int) -> None:
    shown = ranking.models[:n_shown]
    for place, model in enumerate(shown):
        first = model.tie_group == shown[0].tie_group
        colour = _FIRST if first else _OTHER
        if model.interval is not None:
            axes.plot(model.interval, (place, place), color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
        axes.plot(
            model.score, place, "o", markersize=5, color=colour, markerfacecolor=colour if first else "white", zorder=3
        )
    names = [_drawable(name) for name in shorten_apart(labels(ranking.models), 42)[:n_shown]]
    texts = [f"{name}  {rank}" for name, rank in zip(names, ranks(ranking.models), strict=False)]
    axes.set_yticks(range(n_shown), texts, fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(n_shown - 0.4, -0.6)
    axes.grid(axis="x", color="0.88", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    chance = chance_score(ranking)
    if chance is not None:
        axes.axvline(chance, color="0.45", linewidth=1, linestyle=":", zorder=1)
    axes.set_xlabel("score, with its 95 % interval" if any(m.interval for m in shown) else "score", fontsize=9)


def _drawable(text: str) -> str:
    """Replace what matplotlib's own font cannot draw by a box, which it would warn about and draw anyway."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(character if ord(character) in known else "□" for character in text)
