"""Sections of the write-up on what was measured: the networks, their accuracies, and how exact these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from neuralrank.bench import _report_words as words
from neuralrank.bench._report_bars import ceiling_line
from neuralrank.bench._report_material import Material
from neuralrank.evaluation import Estimate


def measured(material: Material) -> str:
    """Say what the networks are, what was measured on them, and what that cost."""
    networks, costs = material.tables.networks, material.costs
    halves = Counter(networks.half)
    columns = (
        ("architecture", networks.architecture),
        ("trained on", networks.pretraining_data),
        ("algorithm", networks.algorithm),
        ("damage", networks.damage),
    )
    rows = [(name, words.listed(_counts(values))) for name, values in columns]
    n_families = len(set(networks.lineage))
    return "\n\n".join([
        f"{words.counted(len(networks.model), 'network')} with {min(networks.n_params):,} to "
        f"{max(networks.n_params):,} parameters (median {int(np.median(networks.n_params)):,}), of {n_families} "
        f"lineages: what descends from one network, by fine-tuning, distillation, damage or another seed, is one "
        f"lineage and lies in one half. {halves['development']} networks and the targets "
        f"{words.listed(material.development_targets)} were used to choose the default; the other "
        f"{halves['confirmation']} networks and the targets {words.listed(material.targets)} judge it.",
        words.table(("factor", "networks"), rows, n_left=2)
        + "\n\nWidth, depth, samples and classes of the training set, label noise, corruption, learning rate, weight "
        "decay, steps and augmentation vary too; `networks.parquet` holds them all.",
        _truth(material),
        f"Summed over processes, training the networks took {words.number(costs.build_hours, 1)} hours, measuring what "
        f"they are worth {words.number(costs.truth_hours, 1)}; on which machine is in [benchmarks.md](benchmarks.md).",
        _size(material),
    ])  # fmt: skip


def _counts(values: Sequence[str]) -> list[str]:
    return [f"{name} {n}" for name, n in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))]


def _truth(material: Material) -> str:
    truth, found = material.tables.truth, {}
    for kind in truth.regime.names:
        of_kind = truth.regime.codes == truth.regime.names.index(kind)
        found[kind] = (sorted(set(truth.n_train[of_kind].tolist())), len(set(truth.seed[of_kind].tolist())))
    sizes = {kind: words.listed([f"{size:,}" for size in found[kind][0]]) for kind in found}
    share = np.mean([one.n_repeated / one.n_models for one in material.whole.truths if "finetune" in one.regime])
    repeated = (
        f"{words.counted(found['finetune'][1], 'seed')} for {100 * share:.0f} % of the networks of a target and one "
        "for the others"
    )
    return (
        f"The truth is {len(truth.n_train):,} trainings: a logistic head on the frozen features, with {sizes['head']} "
        f"samples and {words.counted(found['head'][1], 'seed')}; and full fine-tuning, with {sizes['finetune']} "
        f"samples and {repeated if found['finetune'][1] > 1 else '1 seed'}. A small data set "
        "gives as many samples as it has. No network and no score has met a sample that trained or tested the truth."
    )


def _size(material: Material) -> str:
    """Say whether large networks are the better ones."""
    cells = [cell for cell in material.whole.cells if cell.score == "log_params"]
    summaries = material.whole.standing("log_params").summaries
    targets = sorted({cell.target for cell in cells})
    rows = []
    for target in targets:
        correlation = float(np.mean([cell.spearman for cell in cells if cell.target == target]))
        rows.append((target, words.number(correlation, 2), words.tau(summaries[target].weighted_tau)))
    away = [target for target in targets if not _holds_zero(summaries[target].weighted_tau)]
    verdict = (
        "its weighted τ cannot be told from zero on any target"
        if not away
        else f"its weighted τ differs from zero on {words.listed(away)}"
    )
    titles = ("target", "Spearman", "weighted τ")
    return (
        "The networks were drawn so that size says little. The number of parameters against accuracy, mean over "
        f"regimes: {verdict}.\n\n{words.table(titles, rows)}"
    )


def _holds_zero(estimate: Estimate) -> bool:
    return estimate.low <= 0 <= estimate.high


def exactness(material: Material) -> str:
    """Say how exact the truth is: ceilings and raw agreement."""
    judged = {(one.target, one.regime): one for one in material.judged.truths}
    rows = []
    for one in material.whole.truths:
        own = judged.get((one.target, one.regime))
        rows.append((
            one.target, one.regime, f"{one.n_repeated} of {one.n_models}", words.number(one.agreement),
            words.number(one.ceiling), words.number(own.ceiling) if own else words.UNKNOWN,
            words.number(100 * one.noise_std, 2), words.number(100 * one.spread, 1),
        ))  # fmt: skip
    titles = (
        "target", "regime", "repeated", "agreement", "ceiling", "ceiling, judged", "noise", "spread",
    )  # fmt: skip
    return (
        "The accuracies are themselves noisy: by the samples drawn for training, the weights, and the test images. "
        "*Agreement* is the weighted τ between two single measurements that share no seed and no test image, among "
        "the networks that were measured more than once. Scores are held against the mean over seeds and test images, "
        "which is more exact; the *ceiling* is the weighted τ that a perfect score would have against it, simulated "
        "from the measured noise; *judged* is that of the confirmation half alone, with which shares are taken. "
        "*Noise* and *spread* are standard deviations in points of accuracy: of one network's mean, and over networks. "
        "Where a score is judged, the mean ceiling is "
        f"{ceiling_line(material)}.\n\n{words.table(titles, rows, n_left=2)}"
    )
