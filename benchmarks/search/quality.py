"""Measure how well searches find models: nDCG@10 over hand-written queries, with intervals over queries.

    python benchmarks/search/quality.py [--half report] [--out FILE.csv]

nDCG@10 of a query: the sum over the first ten results of (2^grade − 1) / log2(1 + place), divided by that sum of the
best possible order. Where a search puts models on one place, as a substring search does with all its hits, it gets the
mean over their orders (McSherry and Najork 2008), so that no luck of sorting helps or harms it. A result is looked at
by its name alone; a query without any result has 0.

Intervals: 95 %, by bootstrap over queries; of differences, over the same queries. They say how much another set of
queries of this kind might change the mean, not whether others would judge alike: one person judged.
"""

import argparse
import csv
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from baselines import BASELINES, Places
from entries import ZOO, Query, read_entries, read_queries
from numpy.typing import NDArray

import neuralrank
from neuralrank.entries import ModelEntry
from neuralrank.queries.concepts import index_concepts

DEPTH = 10
N_DRAWS = 10_000
Answers = Mapping[str, Places]
"""Text of a query → places, best first; models on one place are not told apart."""


def main() -> None:
    """Measure neuralrank and the baselines; print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("tune", "report", "all"), default="report")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="where the names of large label sets are")
    parser.add_argument("--out", type=Path, help="write the value of every query to this CSV file")
    options = parser.parse_args()
    entries = read_entries(options.zoo)
    queries = [query for query in read_queries() if options.half in ("all", query.half)]
    answers = {name: answer_all(make(entries), queries) for name, make in BASELINES.items()}
    answers["neuralrank"] = search_with_neuralrank(queries, entries)
    values = {name: measure(queries, found) for name, found in answers.items()}
    print(f"{len(entries)} models, {len(queries)} queries ({options.half})\n")
    print(table_of_means(queries, values))
    print()
    print(table_of_differences(values))
    if options.out:
        write_values(options.out, queries, values)


def answer_all(search: Callable[[str], Places], queries: Sequence[Query]) -> Answers:
    """Put every query to one search."""
    return {query.text: search(query.text) for query in queries}


def search_with_neuralrank(queries: Sequence[Query], entries: Sequence[ModelEntry]) -> Answers:
    """Put every query to `neuralrank.search` over a catalogue of these entries."""
    with tempfile.TemporaryDirectory() as folder:
        with neuralrank.open_catalogue(folder) as catalogue:
            catalogue.write("hf:benchmark", entries, concepts=index_concepts)

        def search(text: str) -> Places:
            found = neuralrank.search(text, top=DEPTH, catalogue=Path(folder))
            return [[model.entry.name] for model in found.models]

        return answer_all(search, queries)


# --- the measure -------------------------------------------------------------------------------------------------


def measure(queries: Sequence[Query], answers: Answers, depth: int = DEPTH) -> NDArray[np.float64]:
    """Return nDCG of every query, shape (n_queries,)."""
    return np.array([ndcg(answers[query.text], query.relevant, depth) for query in queries])


def ndcg(places: Places, relevant: Mapping[str, int], depth: int = DEPTH) -> float:
    """Return the normalised discounted gain of the first `depth` results, in [0, 1].

    Example:
        >>> ndcg([["b"], ["a"]], {"a": 1})
        0.6309297535714575
        >>> ndcg([["a", "b"]], {"a": 1})  # either order is as likely
        0.8154648767857288
    """
    ideal = [[name] for name in sorted(relevant, key=lambda name: -relevant[name])]
    return discounted_gain(places, relevant, depth) / discounted_gain(ideal, relevant, depth)


def discounted_gain(places: Places, relevant: Mapping[str, int], depth: int) -> float:
    """Return the sum of gain × discount; models on one place share the mean gain."""
    total, before = 0.0, 0
    for names in places:
        if before >= depth:
            break
        mean_gain = sum(2.0 ** relevant.get(name, 0) - 1 for name in names) / len(names)
        until = min(before + len(names), depth)
        total += mean_gain * sum(1 / math.log2(2 + rank) for rank in range(before, until))
        before += len(names)
    return total


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (N_DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


# --- tables ------------------------------------------------------------------------------------------------------


def table_of_means(queries: Sequence[Query], values: Mapping[str, NDArray[np.float64]]) -> str:
    """Return nDCG@10 per kind of query and over all of them, one column per search."""
    kinds = sorted({query.kind for query in queries})
    lines = ["| queries | " + " | ".join(values) + " |", "|:--|" + "--:|" * len(values)]
    for kind in kinds:
        of_kind = np.array([query.kind == kind for query in queries])
        cells = [f"{of_search[of_kind].mean():.3f}" for of_search in values.values()]
        lines.append(f"| {kind} ({of_kind.sum()}) | " + " | ".join(cells) + " |")
    cells = ["**{:.3f}** [{:.3f}, {:.3f}]".format(v.mean(), *interval(v)) for v in values.values()]
    return "\n".join([*lines, f"| all ({len(queries)}) | " + " | ".join(cells) + " |"])


def table_of_differences(values: Mapping[str, NDArray[np.float64]]) -> str:
    """Return how much better the last search is than each other one, on the same queries."""
    *others, best = values
    lines = [f"| {best} minus | nDCG@10 | queries better, worse |", "|:--|--:|--:|"]
    for other in others:
        difference = values[best] - values[other]
        low, high = interval(difference)
        counts = f"{(difference > 0).sum()}, {(difference < 0).sum()}"
        lines.append(f"| {other} | {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}] | {counts} |")
    return "\n".join(lines)


def write_values(path: Path, queries: Sequence[Query], values: Mapping[str, NDArray[np.float64]]) -> None:
    """Write one row per query."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "kind", "half", *values])
        for number, query in enumerate(queries):
            found = [f"{of_search[number]:.4f}" for of_search in values.values()]
            writer.writerow([query.id, query.text, query.kind, query.half, *found])


if __name__ == "__main__":
    main()
