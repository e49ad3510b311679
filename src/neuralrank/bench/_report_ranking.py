"""Sections of the write-up on how well scores rank: all of them, by regime, by size of the probe, at what cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neuralrank.bench import _report_words as words
from neuralrank.bench._report_bars import LEAST_SHARES, SCOPES
from neuralrank.bench._report_material import N_PROBE, Material, ceiling, share_at
from neuralrank.bench.evaluate import Standing
from neuralrank.evaluation import Estimate


def name(score: str, material: Material) -> str:
    """Write a score; the default in bold, static lists in italics."""
    text = words.code(score)
    kinds = {one.score: one.kind for one in material.judged.standings}
    return f"**{text}**" if score == material.default else f"*{text}*" if kinds.get(score) == "static" else text


def quality(material: Material) -> str:
    """Say how well every score ranks."""
    best_rows = [_tau_row(one, material) for one in material.judged.standings]
    titles = ("score", "all", "% of ceiling", "heads", "fine-tuning", f"against {words.code(material.default)}")
    return "\n\n".join([
        "Mean weighted τ with its interval; *static lists* never see the data. The last column is the paired "
        "difference over all cells to the default: a score whose interval lies below zero ranks worse.",
        words.table(titles, best_rows),
        f"The same rankings by other measures. Regret: points of accuracy lost by taking the best of the first one or "
        f"three instead of the best of all. Top 1, top 5: how often the most accurate network is among the first. "
        f"Seconds: of the score alone on {N_PROBE} samples of one network, on one core.",
        words.table(
            ("score", "Spearman", "regret@1", "regret@3", "top 1, %", "top 5, %", "seconds"),
            [_other_row(one, material) for one in material.judged.standings],
        ),
        f"The default against the best of the others, each chosen in hindsight for the cells of its row:\n\n"
        f"{_differences(material)}",
    ])  # fmt: skip


def _tau_row(one: Standing, material: Material) -> tuple[str, ...]:
    found = one.summaries
    against = [each.weighted_tau for each in one.differences if (each.against, each.scope) == ("default", "all")]
    return (
        name(one.score, material), words.tau(found["all"].weighted_tau),
        words.number(100 * found["all"].share_of_ceiling.value, 1), words.tau(found["head"].weighted_tau),
        words.tau(found["finetune"].weighted_tau), words.difference(against[0]) if against else words.UNKNOWN,
    )  # fmt: skip


def _other_row(one: Standing, material: Material) -> tuple[str, ...]:
    found = one.summaries["all"]
    seconds = words.UNKNOWN if one.kind == "static" else _seconds(one.seconds)
    return (
        name(one.score, material), words.number(found.spearman, 2), words.points(found.regret_at_1),
        words.number(100 * found.regret_at_3, 2), words.number(100 * found.hit_at_1, 0),
        words.number(100 * found.hit_at_5, 0), seconds,
    )  # fmt: skip


def _seconds(value: float) -> str:
    return words.number(value, 4 if value < 0.01 else 3 if value < 1 else 1)


def _differences(material: Material) -> str:
    rows = [
        (SCOPES[scope], kind, words.code(one.opponent), words.difference(one.weighted_tau), _side(one.weighted_tau))
        for scope in SCOPES
        for kind in ("published score", "static list")
        for one in [material.against(kind, scope)]
    ]
    return words.table(("for", "against the best", "which is", "difference in weighted τ", ""), rows, n_left=3)


def _side(estimate: Estimate) -> str:
    return "above" if estimate.low > 0 else "below" if estimate.high < 0 else "not told apart"


def by_size(material: Material) -> str:
    """Say how few samples suffice."""
    rows = sorted({row.n_probe for row in material.detailed.sizes})
    shown = [each for each in material.notable if any(row.score == each for row in material.detailed.sizes)]
    cells = []
    for each in shown:
        for kind in ("head", "finetune"):
            shares = [share_at(material, each, size, kind) for size in rows]
            texts = [words.number(100 * found.value, 1) if found else words.UNKNOWN for found in shares]
            cells.append((name(each, material), SCOPES[kind], *texts))
    titles = ("score", "for", *(f"{size:,}" for size in rows))
    on_all = [size for size in rows if _targets(material, size) == set(material.targets)]
    return (
        f"Share of the ceiling in per cent, by the number of labelled samples that a score sees. "
        f"{_least_and_most(material, on_all)} For heads, "
        f"{' and '.join(_enough(material, on_all, least) for _, least in LEAST_SHARES)}. {_fewer_targets(material)}"
        f"\n\n{words.table(titles, cells, n_left=2)}"
    )


def _least_and_most(material: Material, sizes: Sequence[int]) -> str:
    if not sizes:
        return "No size of the probe is there for all targets."

    def shares(size: int) -> str:
        found = ((share_at(material, material.default, size, kind), SCOPES[kind]) for kind in ("head", "finetune"))
        known = [f"{words.share(share)} for {what}" for share, what in found if share]
        return words.listed(known) if known else "a share that is not known"

    told = f"With {sizes[0]:,} samples {words.code(material.default)} reaches {shares(sizes[0])}"
    return f"{told}, with {sizes[-1]:,} {shares(sizes[-1])}." if len(sizes) > 1 else f"{told}."


def _enough(material: Material, sizes: Sequence[int], least: float) -> str:
    """Say from which size on a share is reached; only sizes that all targets have count."""
    enough = None
    for size in reversed(sizes):
        found = share_at(material, material.default, size, "head")
        if found is None or found.value < least:
            break
        enough = size
    aim = f"{100 * least:.0f} %"
    return f"{aim} is reached from {enough:,} samples on" if enough else f"{aim} is not reached at the largest of these"


def _targets(material: Material, n_probe: int) -> set[str]:
    return {
        target
        for row in material.detailed.sizes
        if (row.score, row.n_probe, row.scope) == (material.default, n_probe, "all")
        for target in row.targets
    }


def _fewer_targets(material: Material) -> str:
    sizes = sorted({row.n_probe for row in material.detailed.sizes if row.score == material.default})
    fewer = [size for size in sizes if _targets(material, size) != set(material.targets)]
    if not fewer:
        return "Every size is judged on all targets."
    missing = set(material.targets) - _targets(material, fewer[0])
    return (
        f"From {fewer[0]:,} samples on, {words.listed(sorted(missing))} {'is' if len(missing) == 1 else 'are'} left "
        "out, for want of so many samples, so compare columns only on one side of that."
    )


def by_regime(material: Material) -> str:
    """Say which way of training the default predicts best."""
    regimes = list(dict.fromkeys(truth.regime for truth in material.judged.truths))
    rows = [
        (name(each, material), *(words.tau(found[regime].weighted_tau) for regime in regimes))
        for each in material.notable
        for found in [material.judged.standing(each).summaries]
    ]
    rows.append(("ceiling", *(words.number(ceiling(material.judged, regime)) for regime in regimes)))
    head, tuned = (material.ours.summaries[kind].share_of_ceiling for kind in ("head", "finetune"))
    told = (
        "predicts heads better than full fine-tuning"
        if head.low > tuned.high
        else "predicts full fine-tuning better than heads"
        if tuned.low > head.high
        else "cannot be said to predict one way of training better: a ceiling is not known"
        if math.isnan(head.value) or math.isnan(tuned.value)
        else "predicts heads and full fine-tuning about equally well: the intervals overlap"
    )
    return (
        f"{words.code(material.default)} {told} "
        f"({words.share(head)} and {words.share(tuned)} of their ceilings). Mean weighted τ over targets, by way of "
        f"training and number of training samples:\n\n{words.table(('score', *regimes), rows)}"
    )


def costs(material: Material) -> str:
    """Say what is both cheaper and better than the default."""
    ours = material.ours
    scores = [one for one in material.judged.standings if one.kind != "static" and one is not ours]
    level = ours.summaries["all"].weighted_tau.value
    better = [
        name(one.score, material)
        for one in scores
        if one.seconds < ours.seconds and one.summaries["all"].weighted_tau.value > level
    ]
    told = f"cheaper and better: {words.listed(better)}" if better else "no other score is both cheaper and better"
    return (
        f"On {N_PROBE} samples of one network the forward passes take {_seconds(ours.extract_seconds)} s, the same for "
        f"every score, and {words.code(material.default)} itself {_seconds(ours.seconds)} s; {told}."
    )


def both_halves(material: Material) -> str:
    """Put the half on which the default was chosen beside the half that judges it."""
    rows = []
    for each in material.notable:
        row = [name(each, material)]
        for evaluation in (material.chosen, material.judged):
            found = evaluation.standing(each).summaries
            row += [words.tau(found["all"].weighted_tau), words.number(100 * found["all"].share_of_ceiling.value, 1)]
        rows.append(row)
    shares = [
        evaluation.standing(material.default).summaries["all"].share_of_ceiling
        for evaluation in (material.chosen, material.judged)
    ]
    gap = 100 * (shares[1].value - shares[0].value)
    told = (
        "the same share, to a tenth of a point, as"
        if abs(gap) < 0.05
        else f"{words.number(abs(gap), 1)} points {'more' if gap > 0 else 'less'} of the ceiling than"
        if math.isfinite(gap)
        else "a share of the ceiling that cannot be held against that"
    )
    titles = ("score", "development: weighted τ", "%", "confirmation: weighted τ", "%")
    return (
        f"On the confirmation half {words.code(material.default)} reaches {told} on the "
        "half on which it was chosen. The two have other targets, so differences are those of the targets as well. "
        "Over all cells, with the share of the ceiling:\n\n"
        f"{words.table(titles, rows)}"
    )
