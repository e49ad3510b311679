"""What was promised beforehand, and whether it holds; the paragraph that answers the question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from neuralrank.bench import _report_words as words
from neuralrank.bench._report_material import N_PROBE, Material, ceiling, n_models, share_at
from neuralrank.evaluation import Estimate

LEAST_SHARES = ((N_PROBE, 0.97), (100, 0.93))
"""Least share of the ceiling for heads, by samples of the probe."""
MOST_REGRET = 0.01
"""Of taking the network ranked first, in accuracy."""
SCOPES = {"head": "heads", "finetune": "full fine-tuning", "all": "all together"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One promise."""

    what: str
    found: str
    met: bool
    by: str
    """How far the number is from the bar."""


def bars(material: Material) -> tuple[Bar, ...]:
    """Hold what was found against the bars that were set before anything was measured."""
    return (*_shares(material), *_differences(material), _regret(material))


def _shares(material: Material) -> Iterator[Bar]:
    for n_probe, least in LEAST_SHARES:
        found = share_at(material, material.default, n_probe, "head")
        what = f"Heads, {n_probe} samples: at least {100 * least:.0f} % of the ceiling"
        if found is None:
            yield Bar(what=what, found="not known", met=False, by=words.UNKNOWN)
            continue
        value, limit = words.apart(100 * found.value, 100 * least)
        met = found.value >= least
        gap = words.number(abs(float(value) - float(limit)), _decimals(value))
        yield Bar(what=what, found=words.share(found), met=met, by=f"{gap} points {'above' if met else 'below'}")


def _differences(material: Material) -> Iterator[Bar]:
    for scope in ("finetune", "all"):
        for kind in ("published score", "static list"):
            one = material.against(kind, scope)
            estimate = one.weighted_tau
            where = {"finetune": "Full fine-tuning", "all": "All targets and regimes"}[scope]
            yield Bar(
                what=f"{where}: above the best {kind}, interval without zero",
                found=f"{words.difference(estimate)} against {words.code(one.opponent)}",
                met=estimate.low > 0,
                by=_from_zero(estimate),
            )


def _from_zero(estimate: Estimate) -> str:
    if estimate.low > 0:
        return f"lower end {words.number(estimate.low)} above zero"
    if estimate.high < 0:
        return f"upper end {words.number(-estimate.high)} below zero"
    return f"lower end {words.number(-estimate.low)} below zero"


def _regret(material: Material) -> Bar:
    found = material.ours.summaries["all"].regret_at_1
    value, limit = words.apart(100 * found.value, 100 * MOST_REGRET, 2)
    met = found.value <= MOST_REGRET
    gap = words.number(abs(float(value) - float(limit)), _decimals(value))
    return Bar(
        what=f"Regret of the network ranked first: at most {100 * MOST_REGRET:.0f} point of accuracy on average",
        found=f"{words.points(found)} points",
        met=met,
        by=f"{gap} points {'below' if met else 'above'}",
    )


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def answer(material: Material) -> str:
    """Write the paragraph that answers the question."""
    summaries = material.ours.summaries
    held = bars(material)
    n_met = sum(bar.met for bar in held)
    parts = [
        f"{SCOPES[kind]} at a mean weighted τ of {words.tau(summaries[kind].weighted_tau)}, "
        f"{words.share(summaries[kind].share_of_ceiling)} of the ceiling"
        for kind in ("head", "finetune")
    ]
    comparisons = [
        words.stands(one.weighted_tau, f"the best {kind}, {words.code(one.opponent)}")
        for kind in ("published score", "static list")
        for one in [material.against(kind, "all")]
    ]
    return (
        f"On {n_models(material.judged)} networks and {words.counted(len(material.targets), 'target')} "
        f"({words.listed(material.targets)}) that had no part in choosing it, from {N_PROBE} samples and without "
        f"training, {words.code(material.default)} ranks networks for {parts[0]}, and for {parts[1]}; the ceiling is "
        f"what a perfect score could reach under the noise of the measured accuracies. Over both it "
        f"{words.listed(comparisons)}. Taking the network it ranks first loses "
        f"{words.points(summaries['all'].regret_at_1)} points of accuracy against the best, on average; a network "
        f"taken at random loses {words.number(100 * material.random_regret, 1)}. {_with_few(material)}"
        f"{_met(n_met, len(held))}"
    )


def _with_few(material: Material) -> str:
    found = share_at(material, material.default, LEAST_SHARES[1][0], "head")
    return f"With {LEAST_SHARES[1][0]} samples it is {words.share(found)} of the ceiling for heads. " if found else ""


def _met(n_met: int, n_bars: int) -> str:
    where = "[below](#what-holds-and-what-does-not)"
    if n_met == n_bars:
        return f"All {n_bars} bars that were set beforehand are met ({where})."
    if n_met == 0:
        return f"None of the {n_bars} bars that were set beforehand is met ({where})."
    return f"{n_met} of the {n_bars} bars that were set beforehand {'is' if n_met == 1 else 'are'} met ({where})."


def holds(material: Material) -> str:
    """Write what holds and what does not: each bar, and the two claims of the paper."""
    rows = [(bar.what, bar.found, "met" if bar.met else "**not met**", bar.by) for bar in bars(material)]
    claims = f"- {_first_claim(material)}\n- {_second_claim(material)}"
    return f"{words.table(('bar', 'found', '', 'by'), rows, n_left=4)}\n\n{claims}"


def _first_claim(material: Material) -> str:
    """The ranking does not depend on architecture, training set or algorithm."""
    drops = {
        GROUPINGS[one.grouping]: one.drop
        for one in material.detailed.groups
        if (one.score, one.scope) == (material.default, "all")
    }
    if not drops:
        return "Claim 1 could not be looked at: no group has enough networks."
    worse, alike = (
        [f"{name} ({words.difference(drop)})" for name, drop in drops.items() if (drop.low > 0) == is_worse]
        for is_worse in (True, False)
    )
    harder = f"is harder across than within one {words.listed(worse)}" if worse else ""
    same = f"is not shown to be harder across than within one {words.listed(alike)}" if alike else ""
    verdict = "does not hold" if not alike else "holds in part" if worse else "holds as far as the intervals tell"
    return (
        f"Claim 1, that ranking does not depend on architecture, training set and algorithm, {verdict}: "
        f"ranking by {words.code(material.default)} {'; it '.join(part for part in (same, harder) if part)}."
    )


def _second_claim(material: Material) -> str:
    """Networks ranked high are more accurate."""
    cells = [cell for cell in material.judged.cells if cell.score == material.default]
    n_above = sum(cell.weighted_tau.low > 0 for cell in cells)
    verdict = "holds" if n_above == len(cells) else "holds in part" if n_above else "does not hold"
    return (
        f"Claim 2, that networks ranked high are more accurate, {verdict}: the interval of the weighted τ lies above "
        f"zero in {n_above} of {words.counted(len(cells), 'combination')} of target and regime; the most accurate "
        f"network is ranked first in {100 * material.ours.summaries['all'].hit_at_1:.0f} % of the rankings and among "
        f"the first five in {100 * material.ours.summaries['all'].hit_at_5:.0f} %."
    )


GROUPINGS = {"architecture": "architecture", "pretraining_data": "training set", "algorithm": "training algorithm"}


def ceiling_line(material: Material) -> str:
    """Write the mean ceilings."""
    parts = [
        f"{words.number(ceiling(material.judged, kind))} for {SCOPES[kind]}" for kind in ("head", "finetune", "all")
    ]
    return words.listed(parts)
