"""`Prior` → text for people: a table of its own, that says what it rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from neuralrank.history._prior import Prior, PriorRow, SimilarTarget
from neuralrank.reports._names import clean, shorten, shorten_apart
from neuralrank.reports._names import width as cells_of
from neuralrank.reports._numbers import UNKNOWN

_NAME_MAX, _DATA_MAX = 40, 30
_MOST_DATA = 5
_GAP = 2
_LEGEND = (
    "advantage: expected, in standard deviations of accuracy above the average model ± standard error",
    "From other data sets: it has no part in the ranking, which rests on your data alone.",
)


def prior_text(prior: Prior, *, top: int | None = None, width: int = 100) -> str:
    """Write what the history says of models as text for people.

    Args:
        prior: to write.
        top: rows of the table; None for all.
        width: columns of the terminal.

    Returns:
        Lines of at most `width` cells where that is at least 60, the last one ended by a newline.
    """
    lines = [f"Prior from history for {shorten(clean(prior.data), _DATA_MAX)}"]
    for sentence in _basis(prior):
        lines += textwrap.wrap(sentence, width, initial_indent="  ", subsequent_indent="    ")
    if any(row.known for row in prior.rows):
        lines += ["", *_table(prior.rows[:top], width)]
        hidden = len(prior.rows) - len(prior.rows[:top])
        lines += [f"… and {hidden:,} more"] if hidden else []
        lines += ["", *(part for sentence in _LEGEND for part in textwrap.wrap(sentence, width))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _basis(prior: Prior) -> list[str]:
    """Say what the prior rests on."""
    if not prior.similar:
        return ["The catalogue has no result on a similar data set. Report one with `neuralrank outcome add`."]
    lines = [_similar(each) for each in prior.similar[:_MOST_DATA]]
    hidden = len(prior.similar) - len(lines)
    lines += [f"and {hidden} more data set{'s' if hidden > 1 else ''}"] if hidden else []
    n_unknown = sum(not row.known for row in prior.rows)
    if n_unknown:
        lines.append(f"Nothing is known of {n_unknown:,} of {len(prior.rows):,} models; they come last.")
    return lines


def _similar(each: SimilarTarget) -> str:
    known = [f"{each.n_outcomes:,} reported accurac{'y' if each.n_outcomes == 1 else 'ies'}"] if each.n_outcomes else []
    known += [f"{each.n_scores:,} past score{'' if each.n_scores == 1 else 's'}"] if each.n_scores else []
    alike = each.similarity
    how = "by description"
    if alike.correlation is not None:
        how = f"rank correlation {alike.correlation:.2f} of {alike.n_common:,} models"
    return f"{shorten(clean(each.name), _DATA_MAX)}: similarity {alike.value:.2f} ({how}), {' and '.join(known)}"


def _table(rows: Sequence[PriorRow], total: int) -> Iterator[str]:
    names = shorten_apart([clean(row.name) for row in rows], min(_NAME_MAX, max(12, total // 3)))
    places = [f"{place}" if row.known else UNKNOWN for place, row in enumerate(rows, start=1)]
    columns = [
        _column("#", places, right=True),
        _column("model", names),
        _column("advantage", [_advantage(row) for row in rows], right=True),
    ]
    room = total - sum(cells_of(column[0]) + _GAP for column in columns)
    columns.append(_column("why", [shorten(clean(row.reason), max(room, 12)) for row in rows]))
    return ((" " * _GAP).join(cells) for cells in zip(*columns, strict=True))


def _column(head: str, texts: Sequence[str], *, right: bool = False) -> list[str]:
    """Return the head and the cells of a column, all of one width."""
    widest = max(map(cells_of, (head, *texts)))
    return [_padded(text, widest, right=right) for text in (head, *texts)]


def _padded(text: str, cells: int, *, right: bool) -> str:
    space = " " * (cells - cells_of(text))
    return space + text if right else text + space


def _advantage(row: PriorRow) -> str:
    if row.advantage is None or row.stderr is None:
        return UNKNOWN
    return f"{row.advantage:+.2f} ± {row.stderr:.2f}"
