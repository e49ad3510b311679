"""The section of the write-up on networks that other people published, from what `neuralrank bench zoo` wrote.

The tables may be of a run that is not at its end: what is not measured is left out, and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuralrank.bench import _report_words as words
from neuralrank.bench._cells import Question, make_cells
from neuralrank.bench._report_bars import SCOPES
from neuralrank.bench._report_lacks import Lack, lacking, read_lacks
from neuralrank.bench._report_material import N_PROBE, ceiling, n_models, rivals
from neuralrank.bench.evaluate import CellTruth, Evaluation, Standing, Summary, evaluate
from neuralrank.bench.tables import KINDS, Networks, Tables, read_tables
from neuralrank.errors import DataError

COMMAND = "neuralrank bench zoo --models FOLDER --data FOLDER"
_N_LINEAGES = 8
"""Lineages that are named."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Everything that the section says."""

    default: str
    tables: Tables
    lacks: tuple[Lack, ...]
    judged: Evaluation
    """Every score, on all networks and targets."""
    unrelated: Evaluation | None
    """The same without networks that are known to have met the target; None where too few are left."""
    random_regret: float
    """What a network taken at random loses against the best, on average."""


def read_published(folder: Path, *, default: str = "neuralrank", n_resamples: int = 1_000) -> Published | None:
    """Ask the tables of published networks everything that the section tells; None where there is no such folder.

    Raises:
        DataError: a table or `remarks.json` is lacking or damaged, or the tables lack accuracies or the default.
    """
    if not folder.is_dir():
        return None
    tables, lacks = read_tables(folder), read_lacks(folder / "remarks.json")
    question = Question(n_probe=N_PROBE, default=default, n_resamples=n_resamples, details=False)
    judged = evaluate(tables, question)
    if default not in (scores := [one.score for one in judged.standings]):
        raise DataError(
            f"The report needs the score {default!r} of published networks on {N_PROBE} samples. "
            f"Got {', '.join(scores)}. Make the tables anew with: neuralrank bench zoo"
        )
    return Published(
        default=default,
        tables=tables,
        lacks=lacks,
        judged=judged,
        unrelated=_unrelated(tables, replace(question, unrelated=True)),
        random_regret=float(
            np.mean([cell.accuracy.max() - cell.accuracy.mean() for cell in make_cells(tables, question)])
        ),
    )


def _unrelated(tables: Tables, question: Question) -> Evaluation | None:
    try:
        make_cells(tables, question)
    except DataError:  # fewer than two networks are left everywhere
        return None
    return evaluate(tables, question)


def published(found: Published | None, development_targets: Sequence[str]) -> str:
    """Write the section; one sentence where nothing was measured."""
    if found is None:
        return f"Networks that other people published were not measured; `{COMMAND}` does it."
    parts = [
        _networks(found),
        lacking(found.lacks),
        _exactness(found),
        _verdict(found, development_targets),
        _table(found),
    ]
    return "\n\n".join(part for part in (*parts, _without_related(found)) if part)


# --- what was measured -------------------------------------------------------------------------------------------


def _networks(found: Published) -> str:
    networks = found.tables.networks
    own = [place for place, parent in enumerate(networks.parent) if parent is None]
    at_other_size = [model for model, parent in zip(networks.model, networks.parent, strict=True) if parent]
    sizes = [networks.n_params[place] for place in own]
    lineages = Counter(networks.lineage[place] for place in own)
    told = (
        f"{words.counted(len(own), 'network')} of {words.counted(len(lineages), 'lineage')} ({_lineages(lineages)}), "
        f"with {min(sizes):,} to {max(sizes):,} parameters. {_tuned(found)}"
    )
    if not at_other_size:
        return told
    sides = words.listed(sorted({model.rpartition("@")[2] for model in at_other_size}))
    stand = "network stands" if len(at_other_size) == 1 else "networks stand"
    return (
        f"{told} {len(at_other_size)} {stand} twice: made for larger images, they are fine-tuned at {sides} pixels, "
        f"and there each is a network of its own, NAME@{sides}, with the heads and the scores that it has there."
    )


def _lineages(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = ordered[_N_LINEAGES:]
    named = [f"{name} {n}" for name, n in ordered[:_N_LINEAGES]]
    return words.listed([*named, f"{sum(n for _, n in rest)} of {len(rest)} others"] if rest else named)


def _tuned(found: Published) -> str:
    """Say how many networks could be fine-tuned; a network at two sizes is one."""
    base, truth = _bases(found.tables.networks), found.tables.truth
    measured = {
        kind: {base[truth.model.names[code]] for code in truth.model.codes[truth.regime.codes == place]}
        for place, kind in enumerate(truth.regime.names)
    }
    tuned = measured.get("finetune", set())
    final = (lack.model for lack in found.lacks if lack.kind == "not fine-tuned" or lack.target is None)
    refused = {base.get(model, model) for model in final} - tuned
    waiting = set(base.values()) - tuned - refused
    unusable = refused - set(base.values())
    told = [f"{words.counted(len(tuned), 'network was', 'networks were')} fine-tuned{_by_size(found)}"]
    if refused - unusable:
        told.append(f"{len(refused - unusable)} {'was' if len(refused - unusable) == 1 else 'were'} not")
    if waiting:
        told.append(f"{len(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for it")
    if unusable:
        told.append(f"{words.counted(len(unusable), 'more network')} could not be used at all")
    return f"{words.listed(told)}."


def _by_size(found: Published) -> str:
    """Say how many networks were fine-tuned with how many samples, where that differs."""
    base, truth = _bases(found.tables.networks), found.tables.truth
    measured: dict[int, set[str]] = {}
    for regime, model, n_train in zip(truth.regime.codes, truth.model.codes, truth.n_train, strict=True):
        if truth.regime.names[regime] == "finetune":
            measured.setdefault(int(n_train), set()).add(base[truth.model.names[model]])
    if len(measured) < 2:
        return ""
    return f" ({words.listed([f'{len(measured[size])} with {size:,} samples' for size in sorted(measured)])})"


def _bases(networks: Networks) -> dict[str, str]:
    """Return what each network is at its own size."""
    return {model: parent or model for model, parent in zip(networks.model, networks.parent, strict=True)}


# --- how exact that is -------------------------------------------------------------------------------------------


def _exactness(found: Published) -> str:
    """Say which ceilings are known: without repeated seeds, that of the evaluation lacks the noise of the training."""
    told = [sentence for kind in KINDS for sentence in _ceiling(found.judged, kind)]
    if any(one.regime == "head 5000" and one.n_repeated for one in found.judged.truths):
        told.append(
            "Samples for training are drawn from 5,000, so seeds share all of them at that size, and some below it: "
            "the ceiling for heads is rather too high too."
        )
    return " ".join(told)


def _ceiling(evaluation: Evaluation, kind: str) -> Iterator[str]:
    own = _truths(evaluation, kind)
    if not own:
        yield f"No target has two networks with an accuracy for {SCOPES[kind]} yet."
    elif _is_known(evaluation, kind):
        yield f"The mean ceiling for {SCOPES[kind]} is {words.number(ceiling(evaluation, kind))}."
    else:
        told = "no network was" if not any(one.n_repeated for one in own) else "on some targets no network was"
        yield (
            f"For {SCOPES[kind]} {told} trained with more than one seed, so how much a second training would differ "
            "is not known, and neither is the ceiling: that of the evaluation, "
            f"{words.number(ceiling(evaluation, kind))}, holds the noise of the test images alone and is rather too "
            "high."
        )


def _truths(evaluation: Evaluation, kind: str) -> list[CellTruth]:
    return [one for one in evaluation.truths if one.regime.startswith(kind)]


def _is_known(evaluation: Evaluation, kind: str) -> bool:
    own = _truths(evaluation, kind)
    return bool(own) and all(one.n_repeated for one in own)


# --- how well scores rank them -----------------------------------------------------------------------------------


def _verdict(found: Published, development_targets: Sequence[str]) -> str:
    ours = found.judged.standing(found.default)
    targets = list(dict.fromkeys(one.target for one in found.judged.truths))
    chosen = [target for target in targets if target in development_targets]
    also = f" (the default was chosen on {words.listed(chosen)})" if chosen else ""
    stands = [
        f"{words.code(found.default)} {against} for {SCOPES[kind]}."
        for kind in KINDS
        if (against := _against(ours, kind))
    ]
    alone = all(math.isnan(one.draw_std) for one in found.judged.cells if one.score == found.default)
    draws = " Intervals are over networks alone, whole lineages at a time: there is one draw of the probe."
    return (
        f"Scores are judged on {words.listed(targets)}{also}, where at least two networks have an accuracy: "
        f"{_how_many(found.judged)}. {' '.join(stands)} Taking the network that it ranks first loses "
        f"{words.points(ours.summaries['all'].regret_at_1)} points of accuracy against the best, on average; a network "
        f"taken at random loses {words.number(100 * found.random_regret, 1)}.{draws if alone else ''}"
    )


def _how_many(evaluation: Evaluation) -> str:
    return words.listed([
        f"{n_models(replace(evaluation, truths=tuple(own)))} networks a target for {SCOPES[kind]}"
        for kind in KINDS
        if (own := _truths(evaluation, kind))
    ])  # fmt: skip


def _against(ours: Standing, scope: str) -> str:
    return words.listed([
        words.stands(one.weighted_tau, f"the best {one.against}, {words.code(one.opponent)}")
        for kind in ("published score", "static list")
        for one in ours.differences
        if (one.against, one.scope) == (kind, scope)
    ])  # fmt: skip


def _table(found: Published) -> str:
    best = rivals(found.judged)
    shown = [one for one in found.judged.standings if one.score in (found.default, *best) or one.kind == "static"]
    n_scores = sum(one.kind == "published" for one in found.judged.standings)
    titles = (
        "score",
        "all",
        "heads",
        "% of ceiling",
        "fine-tuning",
        "regret@1",
        f"against {words.code(found.default)}",
    )
    return (
        f"Mean weighted τ with its interval, for the default, the best of {words.counted(n_scores, 'published score')} "
        "(chosen in hindsight) and *static lists*; the share of the ceiling is that for heads:\n\n"
        f"{words.table(titles, [_row(one, found) for one in shown])}"
    )


def _row(one: Standing, found: Published) -> tuple[str, ...]:
    summaries, text = one.summaries, words.code(one.score)
    name = f"**{text}**" if one.score == found.default else f"*{text}*" if one.kind == "static" else text
    against = [each.weighted_tau for each in one.differences if (each.against, each.scope) == ("default", "all")]
    heads = summaries.get("head")
    share = 100 * heads.share_of_ceiling.value if heads and _is_known(found.judged, "head") else math.nan
    return (
        name, words.tau(summaries["all"].weighted_tau), _tau(heads), words.number(share, 1),
        _tau(summaries.get("finetune")), words.points(summaries["all"].regret_at_1),
        words.difference(against[0]) if against else words.UNKNOWN,
    )  # fmt: skip


def _tau(summary: Summary | None) -> str:
    return words.tau(summary.weighted_tau) if summary else words.UNKNOWN


def _without_related(found: Published) -> str:
    """Ask the harder question; a card does not always tell what a network was trained on."""
    unrelated = found.unrelated
    if unrelated is None:
        return "Too few networks are left to judge scores without those that were trained on the target."
    n_all, n_left = (sum(one.n_models for one in each.truths) for each in (found.judged, unrelated))
    if n_all == n_left:
        return "No network is known to have been trained on one of the targets."
    ours = unrelated.standing(found.default)
    parts = [
        f"{_tau(ours.summaries[kind])} for {SCOPES[kind]}, where it {_against(ours, kind)}"
        for kind in KINDS
        if kind in ours.summaries
    ]
    return (
        f"Without networks that are known to have been trained on the target ({_how_many(unrelated)} are left), "
        f"{words.code(found.default)} has a mean weighted τ of {'; of '.join(parts)}."
    )
