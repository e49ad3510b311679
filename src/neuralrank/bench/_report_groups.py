"""Sections of the write-up on whether a ranking depends on what kind of networks are ranked."""

from __future__ import annotations

from neuralrank.bench import _report_words as words
from neuralrank.bench._groups import GROUPINGS, LEAST
from neuralrank.bench._report_bars import GROUPINGS as GROUPING_NAMES
from neuralrank.bench._report_material import Material, n_models
from neuralrank.bench._report_ranking import name
from neuralrank.evaluation import Estimate


def within_and_across(material: Material) -> str:
    """Compare ranking within one kind of networks with ranking across kinds."""
    there = {(one.score, one.grouping, one.scope): one for one in material.detailed.groups}
    rows, sentences = [], []
    for grouping in GROUPINGS:
        for each in material.notable:
            found = there.get((each, grouping, "all"))
            if found is not None:
                rows.append((
                    GROUPING_NAMES[grouping], name(each, material), words.tau(found.within), words.tau(found.across),
                    words.difference(found.drop),
                ))  # fmt: skip
        ours = there.get((material.default, grouping, "all"))
        if ours is not None:
            sentences.append(
                f"{GROUPING_NAMES[grouping]}: {_drop(ours.drop)}; the accuracies within one spread by "
                f"{words.number(100 * ours.spread_within, 1)} points, those of all networks by "
                f"{words.number(100 * ours.spread_across, 1)}"
            )
    titles = ("within one", "score", "within", "across", "drop")
    told = "\n".join(f"- {sentence}." for sentence in sentences)
    return (
        f"Weighted τ within groups of at least {LEAST} networks of one architecture, training set or training "
        "algorithm, against random groups of the same size; the drop is within minus across, in pairs. Where its "
        "interval lies above zero, a score ranks like networks better than networks of several kinds. "
        f"For {words.code(material.default)}:\n\n{told}\n\n{words.table(titles, rows, n_left=2)}"
    )


def _drop(drop: Estimate) -> str:
    if drop.low > 0:
        return f"ranking across is harder, by {words.difference(drop)}"
    if drop.high < 0:
        return f"ranking across is easier, with a drop of {words.difference(drop)}"
    return f"no drop that could be told from zero ({words.difference(drop)})"


def without_a_family(material: Material) -> str:
    """Leave out one architecture after the other, then all networks that have met the target."""
    left_out = {each: material.judged.standing(each).without for each in material.notable}
    families = list(left_out[material.default])
    ours = left_out[material.default]
    low, high = min(ours.values()), max(ours.values())
    n_first = sum(all(ours[family] >= left_out[each][family] for each in material.notable) for family in families)
    rows = [
        (name(each, material), *(words.number(values[family]) for family in families))
        for each, values in left_out.items()
    ]
    return (
        f"With any one architecture left out, the mean weighted τ of {words.code(material.default)} lies between "
        f"{words.number(low)} and {words.number(high)}; it is the highest of these in {n_first} of "
        f"{words.counted(len(families), 'case')}.\n\n{words.table(('without', *families), rows)}\n\n"
        f"{_unrelated(material)}"
    )


def _unrelated(material: Material) -> str:
    found = material.unrelated.standing(material.default).summaries["all"]
    comparisons = [
        words.stands(one.weighted_tau, f"the best {kind}, {words.code(one.opponent)}")
        for kind in ("published score", "static list")
        for one in [material.against(kind, "all", evaluation=material.unrelated)]
    ]
    return (
        "The harder question, among networks of which no ancestor was trained on the target "
        f"({n_models(material.unrelated)} a target): {words.code(material.default)} has a mean weighted τ of "
        f"{words.tau(found.weighted_tau)}, "
        f"{words.share(found.share_of_ceiling)} of the ceiling there, and {words.listed(comparisons)}."
    )
