"""`Ranking` → a table for the terminal, as wide as it is told."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuralrank.reports import _sentences
from neuralrank.reports._baselines import static_orders
from neuralrank.reports._columns import GAP, Column, fitting_columns
from neuralrank.reports._names import clean, labels, listed, name_of, shorten, shorten_apart
from neuralrank.reports._warnings import WarningGroup, flags, group_warnings
from neuralrank.types import Ranking

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_MOST_SENTENCES = 20
"""Failures and warnings beyond this many are counted, not printed; the JSON and HTML reports hold them all."""

# Rich breaks lines at no-break spaces too; this private character, which no cleaned name holds, keeps '94.1 %' whole.
_GLUE = "\ue000"


def text(ranking: Ranking, *, width: int = 100, color: bool = False, top: int | None = None) -> str:
    """Write the ranking as text for people.

    Columns that do not fit are dropped in this order: layer, format, licence, features, interval, further
    scores, size, seconds, parameters, probability, accuracy. Names are shortened in the middle. Colour repeats what the
    text says already: green for the first place and its ties, red for what failed, yellow for warnings.

    Args:
        ranking: the result to write.
        width: columns of the terminal.
        color: whether to write ANSI colours; nothing else of the text changes.
        top: rows of the table; None for all.

    Returns:
        Lines of at most `width` cells, the last one ended by a newline.
    """
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=width,
        height=25,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},  # the result depends on the arguments alone
    )
    with console.capture() as capture:
        for block in _blocks(ranking, width, top):
            console.print(block)
    return re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", capture.get().replace(_GLUE, " "), flags=re.MULTILINE)


def _blocks(ranking: Ranking, width: int, top: int | None) -> Iterator[RenderableType]:
    from rich.text import Text

    names = labels(ranking.models)
    groups = group_warnings(ranking.models)
    yield _header(ranking, width)
    yield ""
    if ranking.models:
        columns = fitting_columns(ranking, names, flags(groups, len(names)), total=width)
        yield _table(ranking, columns, top)
        hidden = len(names) - len(names[:top])
        if hidden:
            yield Text(f"… and {hidden:,} more", style="dim")
        yield _legend(ranking, columns)
        yield ""
    answer = _sentences.answer(ranking, shorten_apart(names, 60))
    yield Text(_glued(answer.sentence()), style="bold green" if answer.best else "bold red")
    remarks = list(_remarks(ranking, names))
    if remarks:
        yield Text("\n" + "\n".join(remarks))
    yield from _failures(ranking)
    yield from _warnings(names, groups)
    notes = [Text(clean(note)) for note in ranking.target.notes]
    yield from _listing("Data", "bold", [("•", note) for note in notes], len(notes))
    yield ""
    yield Text(_sentences.stopped_line(ranking), style="dim")


def _header(ranking: Ranking, width: int) -> Table:
    from rich.text import Text

    rows = [
        ("target", f"{shorten(clean(ranking.target.path), max(16, width - 9))}\n{_sentences.target_line(ranking)}"),
        ("pool", _sentences.pool_line(ranking)),
        ("probe", _sentences.probe_line(ranking)),
        ("score", clean(ranking.score)),
        ("chance", _sentences.chance_line(ranking)),
    ]
    grid = _grid()
    for title, content in rows:
        if content:
            grid.add_row(Text(title, style="dim"), Text(content))
    return grid


def _table(ranking: Ranking, columns: tuple[Column, ...], top: int | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(
            Text(column.title, style="dim" if column.key == "interval" else "bold"),
            justify="right" if column.right else "left",
            no_wrap=True,
            style="yellow" if column.key == "flags" else "",
        )
    best = ranking.models[0].tie_group
    for position, model in enumerate(ranking.models[:top]):
        sure = model.tie_group == best and not _sentences.at_chance(ranking, model)
        style = "green" if sure else "dim" if _sentences.at_chance(ranking, model) else ""
        table.add_row(*(Text(column.cells[position]) for column in columns), style=style)
    return table


def _legend(ranking: Ranking, columns: tuple[Column, ...]) -> Text:
    from rich.text import Text

    meanings = {
        "accuracy": _sentences.accuracy_meaning(ranking),
        "p_best": "probability of the highest score",
        "samples": "samples seen before it was stopped or the run ended",
        "seconds": "time to extract the features",
        "features": "feature dimensions",
    }
    parts = ["± half the 95 % interval"] if any(model.interval for model in ranking.models) else []
    parts += [f"{column.title}: {meanings[column.key]}" for column in columns if column.key in meanings]
    return Text(_glued(" · ".join(parts)), style="dim")


def _remarks(ranking: Ranking, names: tuple[str, ...]) -> Iterator[str]:
    lines = (
        _sentences.tie_line(ranking.models),
        _sentences.saved_line(ranking),
        _sentences.cache_line(ranking.models),
    )
    for line in lines:
        if line:
            yield line
    for static in static_orders(ranking):
        if len(static.order) > 1:
            yield _sentences.baseline_line(static, shorten_apart(names, 40))


def _failures(ranking: Ranking) -> Iterator[RenderableType]:
    from rich.text import Text

    entries: list[tuple[str, RenderableType]] = []
    for stage, error, ids in _sentences.group_failures(ranking.failures):
        who = listed([shorten(name_of(model_id), 60) for model_id in ids], most=4)
        said = len(ids) == 1 and error.startswith(name_of(ids[0]))
        entries.append((stage, Text(_glued(error)) if said else Text.assemble((who, "bold"), ": ", _glued(error))))
    yield from _listing(f"Failed ({len(ranking.failures):,})", "bold red", entries, len(entries))


def _warnings(names: tuple[str, ...], groups: tuple[WarningGroup, ...]) -> Iterator[RenderableType]:
    from rich.text import Text

    entries: list[tuple[str, RenderableType]] = []
    for group in groups:
        who = listed([shorten(names[position], 40) for position in group.members], most=4)
        number = len(group.members)
        entries.append(
            (group.flag, Text.assemble(_glued(group.sentence), (f" {number:,} model{'s'[: number - 1]}: {who}", "dim")))
        )
    yield from _listing("Warnings", "bold yellow", entries, len(entries))


def _listing(
    title: str, style: str, entries: list[tuple[str, RenderableType]], n_entries: int
) -> Iterator[RenderableType]:
    from rich.text import Text

    if not entries:
        return
    yield ""
    yield Text(title, style=style)
    grid = _grid()
    for mark, content in entries[:_MOST_SENTENCES]:
        grid.add_row(Text(f"  {mark}", style=style.removeprefix("bold").strip()), content)
    if n_entries > _MOST_SENTENCES:
        grid.add_row("  …", f"and {n_entries - _MOST_SENTENCES:,} more, all of them in the JSON and HTML reports")
    yield grid


def _glued(sentence: str) -> str:
    return re.sub(r"(?<=\d) (?=%)|(?<=±) | (?=±)", _GLUE, sentence)


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
