"""What a run would cost, as text and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from neuralrank.reports import _numbers
from neuralrank.reports._names import clean, shorten
from neuralrank.types import Estimate, ModelEstimate

_MOST_MODELS = 40


def estimate_json(found: Estimate) -> str:
    """Write an estimate as JSON; null is what is not known."""
    return json.dumps({"schema": "neuralrank/estimate/1", **asdict(found)}, indent=2)


def estimate_text(found: Estimate) -> str:
    """Write an estimate for people: the sums, then each model, the dearest first."""
    return "\n".join([*_sums(found), "", *_models(found), *_failures(found)])


def _sums(found: Estimate) -> Iterator[str]:
    rungs = ", ".join(_numbers.count(n) for n in found.rungs)
    yield f"strategy  {found.strategy}, {_models_word(found.n_models)}, probe of {found.n_probe:,} samples"
    if len(found.rungs) > 1:
        yield f"rungs     {rungs} samples"
    yield f"passes    {_range(*found.passes)} of {found.passes_of_full_run:,} (what is known is not run again)"
    if found.seconds is None:
        yield "time      not known: no model has run yet"
    else:
        least, most = (_time(seconds) for seconds in found.seconds)
        times = least if least == most else f"{least} to {most}"
        yield f"time      about {times} on {found.n_jobs} job{'s'[: found.n_jobs - 1]}, without fetching and scoring"
    peak = "not known" if found.peak_bytes is None else f"about {_numbers.file_size(found.peak_bytes)} for the workers"
    yield f"memory    {peak}"
    unknown = f", and {_models_word(found.n_unknown_size)} of unknown size" if found.n_unknown_size else ""
    yield f"to fetch  {_numbers.file_size(found.fetch_bytes) if found.fetch_bytes else 'nothing'}{unknown}"


def _models(found: Estimate) -> Iterator[str]:
    good = [model for model in found.models if model.failure is None]
    good.sort(key=lambda model: -(model.seconds_per_sample or 0.0))
    names = [shorten(clean(model.name), 40) for model in good[:_MOST_MODELS]]
    width = max([5, *map(len, names)])
    if good:
        yield f"{'model':<{width}}  {'start':>7}  {'a sample':>9}  {'memory':>8}  {'known':>7}  basis"
    for name, model in zip(names, good, strict=False):
        yield f"{name:<{width}}  {_line(model)}"
    if len(good) > _MOST_MODELS:
        yield f"… and {len(good) - _MOST_MODELS:,} more, all of them in --format json"


def _line(model: ModelEstimate) -> str:
    start = _numbers.UNKNOWN if model.start_seconds is None else f"{model.start_seconds:.1f} s"
    each = _numbers.UNKNOWN if model.seconds_per_sample is None else f"{1000 * model.seconds_per_sample:.3g} ms"
    memory = _numbers.UNKNOWN if model.peak_bytes is None else _numbers.file_size(model.peak_bytes)
    return f"{start:>7}  {each:>9}  {memory:>8}  {model.n_known:>7,}  {model.basis}"


def _failures(found: Estimate) -> Iterator[str]:
    if found.failures:
        yield ""
        yield f"Cannot be run ({len(found.failures):,})"
    for failure in found.failures[:_MOST_MODELS]:
        yield f"  {failure.stage}  {clean(failure.model_id)}: {clean(failure.error)}"


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _models_word(n: int) -> str:
    return f"{n:,} model{'' if n == 1 else 's'}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
