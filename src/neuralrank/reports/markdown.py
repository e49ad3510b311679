"""`Ranking` → GitHub-flavoured Markdown: a table, what failed, and what to know."""

import re
from collections.abc import Iterator, Sequence

from neuralrank.reports import _numbers, _sentences
from neuralrank.reports._baselines import static_orders
from neuralrank.reports._names import clean, labels, listed, name_of
from neuralrank.reports._rows import further_scores
from neuralrank.reports._warnings import flags, group_warnings
from neuralrank.types import Ranking


def markdown(ranking: Ranking, *, top: int | None = None) -> str:
    """Write the ranking as Markdown for an issue, a pull request or a README.

    Names stand in code spans and sentences are escaped, so nothing in them becomes markup, a link or a mention.

    Args:
        ranking: the result to write.
        top: rows of the table; None for all.
    """
    names = labels(ranking.models)
    answer = _sentences.answer(ranking, [_code(name) for name in names])
    lines = [f"# Models for {_code(clean(ranking.target.path))}", "", f"**{answer.sentence()}**", ""]
    lines += [f"- {title}: {content}" for title, content in _facts(ranking)]
    if ranking.models:
        lines += ["", *_table(ranking, names, top)]
    for title, entries in _sections(ranking, names):
        lines += ["", f"## {title}", "", *(f"- {entry}" for entry in entries)]
    lines += ["", _escape(_sentences.stopped_line(ranking))]
    return "\n".join(lines) + "\n"


def _facts(ranking: Ranking) -> Iterator[tuple[str, str]]:
    yield "Target", _sentences.target_line(ranking)
    pool = _sentences.pool_line(ranking)
    if pool:
        yield "Pool", pool
    yield "Probe", _sentences.probe_line(ranking)
    yield "Score", _code(clean(ranking.score))
    chance = _sentences.chance_line(ranking)
    if chance:
        yield "Chance", chance


def _table(ranking: Ranking, names: Sequence[str], top: int | None) -> Iterator[str]:
    models = ranking.models
    halves = [_numbers.half_width(model.interval) for model in models]
    digits = _sentences.score_decimals(models)
    further = {
        name: _numbers.decimals([model.scores.get(name) for model in models]) for name in further_scores(ranking)
    }
    word = _sentences.accuracy_word(ranking)
    header = [
        "#",
        "Model",
        "Score",
        f"Expected {word}",
        "P(best)",
        "Parameters",
        "Seconds",
        *map(_code, map(clean, further)),
        "Warnings",
    ]
    yield _row(header)
    yield _row(["--:", ":--", *["--:"] * (len(header) - 3), ":--"])
    marks = flags(group_warnings(models), len(models))
    for model, rank, name, half, mark in list(zip(models, _sentences.ranks(models), names, halves, marks, strict=True))[
        :top
    ]:
        score = _numbers.number(model.score, digits) + ("" if half is None else f" ± {_numbers.number(half, digits)}")
        yield _row(
            [
                rank,
                _code(name),
                score,
                _sentences.accuracy(ranking, model),
                _numbers.probability(model.p_best).replace("<", "&lt;").replace(">", "&gt;"),
                _numbers.short_count(model.params),
                _numbers.seconds(model.extract_seconds),
                *(_numbers.number(model.scores.get(key), places) for key, places in further.items()),
                mark,
            ]
        )
    if top is not None and len(models) > top:
        yield ""
        yield f"… and {len(models) - top:,} more"


def _sections(ranking: Ranking, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    codes = [_code(name) for name in names]
    static = [order for order in static_orders(ranking) if len(order.order) > 1]
    lines = (_sentences.tie_line(ranking.models), _sentences.saved_line(ranking), _sentences.cache_line(ranking.models))
    remarks = [line for line in lines if line]
    remarks += [_sentences.baseline_line(order, codes, title=_escape(order.title)) for order in static]
    warnings = [
        f"**{group.flag}** {_escape(group.sentence)} ({listed([codes[i] for i in group.members], most=6)})"
        for group in group_warnings(ranking.models)
    ]
    failures = [
        f"{listed([_code(name_of(model_id)) for model_id in ids], most=6)} ({stage}): {_escape(error)}"
        for stage, error, ids in _sentences.group_failures(ranking.failures)
    ]
    notes = [_escape(clean(note)) for note in ranking.target.notes]
    parts = {"Reading the table": remarks, "Warnings": warnings, "Failed": failures, "Data": notes}
    yield from ((title, entries) for title, entries in parts.items() if entries)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(name: str) -> str:
    """Set a cleaned name as code; where backticks, pipes or backslashes would end that, as HTML code in entities."""
    if name.strip() and not re.search(r"[`|\\]", name):
        return f"`{name}`" if name == name.strip() else f"` {name} `"
    entities = re.sub(r"[^\w ./-]", lambda match: f"&#{ord(match[0])};", name)
    return f"<code>{entities}</code>"


def _escape(sentence: str) -> str:
    """Escape a cleaned sentence; an empty comment after @ and # keeps GitHub from making mentions and references."""
    text = re.sub(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", sentence)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    text = re.sub(r"^([-+]|\d+[.)])(?=\s)", r"\\\1", re.sub(r"^(#+\s)", r"\\\1", text))
    return re.sub(r"(?<!\w)@(?=\w)|(?<!&)#(?=\d)|(?<=http)(?=s?://)|(?<=www)(?=\.)", r"\g<0><!-- -->", text)
