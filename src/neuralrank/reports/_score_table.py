"""What every score supports, as its file declares it: a table for the terminal, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from neuralrank import registry

TASKS = ("classification", "regression", "multilabel")
_NEEDS = {"features": "features", "probabilities": "head", "logits": "head (logits)"}
_TITLES = ("score", "family", "classes", "regression", "multilabel", "needs", "noise wins", "paper")


def score_facts() -> list[dict[str, Any]]:
    """Return what is declared of each score and combination, ours and those of plug-ins, by family and name."""
    scorers = [registry.get("scorers", name) for name in registry.names("scorers")]
    facts = [
        {
            "score": scorer.name,
            "family": scorer.family,
            "tasks": [task for task in TASKS if task in scorer.tasks],
            "needs": _NEEDS[scorer.needs] if hasattr(scorer, "needs") else "record",
            "invariances": sorted(getattr(scorer, "invariances", ())),
            "noise_from": list(getattr(scorer, "noise_from", ())),
            "paper": scorer.paper,
        }
        for scorer in scorers
    ]
    families = list(dict.fromkeys(fact["family"] for fact in sorted(facts, key=_importance)))
    return sorted(facts, key=lambda fact: (families.index(fact["family"]), fact["score"]))


def table_text(facts: Sequence[Mapping[str, Any]], *, width: int, color: bool) -> str:
    """Write the table for a terminal of some width, and how to read it."""
    import io

    from rich.console import Console
    from rich.table import Table

    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False, markup=False
    )
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for title in _TITLES:
        table.add_column(title, no_wrap=title != "paper", overflow="fold")
    for fact in facts:
        table.add_row(*_cells(fact))
    with console.capture() as capture:
        console.print(table)
        console.print("\n" + _explanation(), soft_wrap=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def table_markdown(facts: Sequence[Mapping[str, Any]]) -> str:
    """Write the table in Markdown."""
    named = [(f"`{name}`", *cells) for name, *cells in map(_cells, facts)]
    rows = [_TITLES, ("---",) * len(_TITLES), *named]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table_json(facts: Sequence[Mapping[str, Any]]) -> str:
    """Write the declarations as JSON: a list of objects."""
    return json.dumps(list(facts), indent=2, ensure_ascii=True)


def _importance(fact: Mapping[str, Any]) -> tuple[bool, bool, str]:
    """Discriminating power first, baselines last."""
    return (fact["family"] == "static", fact["family"] != "discriminating power", fact["family"].lower())


def _cells(fact: Mapping[str, Any]) -> tuple[str, ...]:
    support = ("yes" if task in fact["tasks"] else "–" for task in TASKS)
    return (fact["score"], fact["family"], *support, fact["needs"], _noise(fact), fact["paper"])


def _noise(fact: Mapping[str, Any]) -> str:
    """Say from how many dimensions a sample noise wins, at few samples and at many; '·' where it does not."""
    if fact["needs"] == "record":
        return "sees no data"
    few, many = (f"{ratio:g}" if ratio is not None else "·" for ratio in fact["noise_from"])
    return "no" if few == many == "·" else f"{few} | {many}"


def _explanation() -> str:
    combinations = ", ".join(registry.names("combinations"))
    return (
        "noise wins: from how many dimensions a sample on pure noise got a higher score than weakly informative "
        "features in more than 5 % of draws, with 200 | 2,000 samples (· never); a ranking that uses a score there "
        "says so.\n"
        f"Several scores order together as mean_rank:neuralrank,log_me,parc; combinations: {combinations}."
    )
