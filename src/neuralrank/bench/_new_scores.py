"""Compute a score that is not in the tables, from the published features: one draw of 500 samples, 8 bits a value."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from neuralrank import registry
from neuralrank.bench._cells import SCORED_LISTS, ScoreBook, parse
from neuralrank.bench.published_features import N_SAMPLES
from neuralrank.bench.tables import Scores, Tables, scores_from_rows
from neuralrank.errors import DataError, UsageError
from neuralrank.order import parse_order
from neuralrank.scorers import StaticScorer
from neuralrank.scorers._prepared import prepare


def members_to_compute(names: Sequence[str], tables: Tables, *, n_probe: int) -> tuple[str, ...]:
    """Return which scores, members of combinations included, have to be computed before the names can be judged.

    Raises:
        UnknownNameError: there is no such score or combination.
        UsageError: one of them is a fact of records, which features do not hold; or another size of the probe is asked.
    """
    book = ScoreBook(tables)
    known = {*book.names(), *book.lists()}
    found = []
    for name in names:
        if name not in known and ":" not in name:
            parse_order(name)  # a combination without members, or a name that nothing has
        found += [member for member in parse(name).members if member not in known]
    for name in dict.fromkeys(found):
        if name in SCORED_LISTS or isinstance(registry.get("scorers", name), StaticScorer):
            raise UsageError(
                f"A score that is not in the tables needs to be one of features. Got {name!r}, a fact of records. "
                f"These static lists are there: {', '.join(book.lists())}."
            )
        if n_probe != N_SAMPLES:
            raise UsageError(
                f"{name!r} is not in the tables, and the published features have {N_SAMPLES} samples a target. "
                f"Got --probe {n_probe}. Leave it out."
            )
    return tuple(dict.fromkeys(found))


def compute(names: Sequence[str], probes: Iterable[Any], *, progress: Callable[[str], None] = lambda _: None) -> Scores:
    """Compute scores of every network on every target.

    Args:
        names: of scorers, see `members_to_compute`.
        probes: of `published_features.ProbeFeatures`.
        progress: told the target and the network before they are scored.

    Raises:
        DataError: a score is defined for no network at all; what the scorer says of one.
    """
    rows, refusals = [], dict.fromkeys(names, "no features")
    defined = set()
    for probe in probes:
        progress(f"{probe.target} {probe.model}")
        for name in names:
            value, seconds, refusal = _value(name, probe)
            if value is None:
                refusals[name] = refusal
            else:
                defined.add(name)
            rows.append({
                "target": probe.target, "model": probe.model, "score": name, "n_probe": N_SAMPLES, "draw": 0,
                "value": value, "seconds": seconds, "extract_seconds": 0.0,
            })  # fmt: skip
    for name in names:
        if name not in defined:
            raise DataError(
                f"{name} could be computed for no network. Got: {refusals[name].rstrip('.')}. Try it on features of "
                "your own with neuralrank.score."
            )
    return scores_from_rows(rows)


def _value(name: str, probe: Any) -> tuple[float | None, float | None, str]:
    """Return value, seconds and, where there is no value, why."""
    start = time.perf_counter()
    try:
        prepared = prepare(probe.features, probe.labels, None, logits=probe.logits, seed=0)
        value = float(registry.get("scorers", name).of(prepared).value)
    except DataError as error:
        return None, None, str(error)
    if not math.isfinite(value):
        return None, None, f"{value} for {probe.model} on {probe.target}"
    return value, time.perf_counter() - start, ""
