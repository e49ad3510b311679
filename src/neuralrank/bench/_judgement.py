"""Evaluation → a table for the terminal, JSON or CSV: what `neuralrank bench evaluate` prints."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from neuralrank.bench import _report_words as words
from neuralrank.bench._report_material import best, ceiling, n_models
from neuralrank.bench.evaluate import Evaluation, Standing
from neuralrank.errors import UsageError

FORMATS = ("table", "json", "csv")
N_BESIDE = 3
"""Best published scores that stand beside those that are asked about."""
_TITLES = ("score", "kind", "τ", "of ceiling", "heads", "fine-tuning", "against default", "regret@1", "top 5", "sec")
_EXPLANATION = (
    "τ: mean weighted Kendall τ over targets and regimes, with its interval of 95 %; of ceiling: % of what a perfect "
    "score could reach; against default: paired difference of τ; regret@1: points of accuracy that the network ranked "
    "first lacks; top 5: % of rankings with the most accurate network among the first five; sec: of the score alone."
)


def check_format(name: str) -> None:
    """Refuse what there is not."""
    if name not in FORMATS:
        raise UsageError(f"--format needs one of {', '.join(FORMATS)}. Got {name!r}. Leave it out for a table.")


def shown(evaluation: Evaluation, asked: Sequence[str]) -> tuple[Standing, ...]:
    """Return all lists, or those asked about with the default, the best published scores and the best static list."""
    if not asked:
        return evaluation.standings
    published = [one.score for one in evaluation.standings if one.kind == "published" and one.score not in asked]
    names = {*asked, evaluation.question.default, *published[:N_BESIDE], best(evaluation, "static", "all")}
    return tuple(one for one in evaluation.standings if one.score in names)


def as_text(evaluation: Evaluation, asked: Sequence[str], notes: Sequence[str], *, width: int, color: bool) -> str:
    """Write a table for a terminal of some width, and how to read it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False, markup=False
    )
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for place, title in enumerate(_TITLES):
        table.add_column(title, justify="left" if place < 2 else "right", no_wrap=True, overflow="fold")
    for one in shown(evaluation, asked):
        chosen = one.score in asked or one.score == evaluation.question.default
        table.add_row(*_cells(one), style="bold" if chosen else "")
    with console.capture() as capture:
        console.print(_header(evaluation) + "\n", soft_wrap=True)
        console.print(table)
        for note in notes:
            console.print(Text(f"\n{note}", style="yellow"))
        console.print("\n" + _EXPLANATION, style="dim")
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _header(evaluation: Evaluation) -> str:
    question, truths = evaluation.question, evaluation.truths
    targets, regimes = (list(dict.fromkeys(getattr(one, part) for one in truths)) for part in ("target", "regime"))
    half = f" of the {question.half} half" if question.half else ""
    unrelated = ", none of which has met the target" if question.unrelated else ""
    rows = (
        ("networks", f"{n_models(evaluation)}{half}{unrelated}"),
        ("targets", ", ".join(targets)),
        ("regimes", ", ".join(regimes)),
        ("probe", f"{question.n_probe:,} samples"),
        ("ceiling", words.number(ceiling(evaluation, "all"))),
    )
    return "\n".join(f"{title:<9} {content}" for title, content in rows)


def _cells(one: Standing) -> tuple[str, ...]:
    found = one.summaries
    default = [each.weighted_tau for each in one.differences if (each.against, each.scope) == ("default", "all")]
    parts = [words.number(found[kind].weighted_tau.value) if kind in found else words.UNKNOWN for kind in _SCOPES]
    return (
        one.score, one.kind, words.with_interval(found["all"].weighted_tau),
        words.number(100 * found["all"].share_of_ceiling.value, 1), *parts,
        words.difference(default[0]) if default else words.UNKNOWN, words.points(found["all"].regret_at_1),
        words.number(100 * found["all"].hit_at_5, 0),
        words.UNKNOWN if one.kind == "static" else words.number(one.seconds, 4),
    )  # fmt: skip


_SCOPES = ("head", "finetune")


def as_json(evaluation: Evaluation, asked: Sequence[str], notes: Sequence[str]) -> str:
    """Write all that is known of the lists as JSON; null where there is no number."""
    question = dataclasses.asdict(evaluation.question)
    document = {
        "question": {**question, "regimes": [str(regime) for regime in evaluation.question.regimes]},
        "notes": list(notes),
        "truths": [dataclasses.asdict(truth) for truth in evaluation.truths],
        "standings": [dataclasses.asdict(one) for one in shown(evaluation, asked)],
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(evaluation: Evaluation, asked: Sequence[str]) -> str:
    """Write a row for each list and scope: all cells, heads, fine-tuning, each regime and each target."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((
        "score", "kind", "scope", "weighted_tau", "weighted_tau_low", "weighted_tau_high", "share_of_ceiling",
        "spearman", "regret_at_1", "regret_at_3", "hit_at_1", "hit_at_5", "seconds",
    ))  # fmt: skip
    for one in shown(evaluation, asked):
        for scope, found in one.summaries.items():
            tau = found.weighted_tau
            numbers = (
                tau.value, tau.low, tau.high, found.share_of_ceiling.value, found.spearman, found.regret_at_1.value,
                found.regret_at_3, found.hit_at_1, found.hit_at_5, one.seconds,
            )  # fmt: skip
            writer.writerow((
                one.score, one.kind, scope, *(f"{each:.6g}" if math.isfinite(each) else "" for each in numbers)
            ))  # fmt: skip
    return buffer.getvalue().rstrip("\n")
