"""What the HTML page shows: finished texts and positions, so that the template only places them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from neuralrank.reports import _numbers, _sentences
from neuralrank.reports._axes import Axis, score_axis
from neuralrank.reports._baselines import static_orders
from neuralrank.reports._charts import bar, letter, scatter
from neuralrank.reports._heat_map import heat_map
from neuralrank.reports._names import clean, labels, name_of, shorten, shorten_apart
from neuralrank.reports._rows import further_scores
from neuralrank.reports._warnings import group_warnings
from neuralrank.types import RankedModel, Ranking

N_DOTS = 30
"""Models of the chart of scores; the table holds all."""
_N_STATIC = 10
_NAME_CELLS = 64


def page_view(ranking: Ranking) -> dict[str, Any]:
    """Return the variables of `page.html.jinja`."""
    full = labels(ranking.models)
    names = shorten_apart(full, _NAME_CELLS)
    groups = group_warnings(ranking.models)
    return {
        "title": f"Models for {shorten(clean(ranking.target.path), 60)}",
        "path": clean(ranking.target.path),
        "answer": _glued(_sentences.answer(ranking, names)),
        "facts": _facts(ranking),
        "rows": _rows(ranking, names, full),
        "further": [clean(name) for name in further_scores(ranking)],
        "accuracy_word": _sentences.accuracy_word(ranking),
        "class_words": _sentences.class_words(ranking),
        "has_intervals": any(model.interval is not None for model in ranking.models),
        "tie_line": _sentences.tie_line(ranking.models),
        "cache_line": _sentences.cache_line(ranking.models),
        "saved_line": _sentences.saved_line(ranking),
        "shared_line": _shared_line(ranking.models),
        "dots": _dots(ranking),
        "n_dots": N_DOTS,
        "scatters": _scatters(ranking, names, full),
        "heat": heat_map(ranking.models, ranking.target.class_names),
        "names": names,
        "static": _static(ranking),
        "failures": [
            (stage, [shorten(name_of(model_id), 120) for model_id in ids], error)
            for stage, error, ids in _sentences.group_failures(ranking.failures)
        ],
        "n_failures": len(ranking.failures),
        "warnings": groups,
        "notes": [clean(note) for note in ranking.target.notes],
        "settings": _settings(ranking),
        "stopped": _sentences.stopped_line(ranking),
    }


def _glued(answer: _sentences.Answer) -> _sentences.Answer:
    """Keep numbers and their signs on one line."""
    return replace(
        answer, facts=answer.facts.replace(" ±", "\u00a0±").replace("± ", "±\u00a0").replace(" %", "\u00a0%")
    )


def _facts(ranking: Ranking) -> list[tuple[str, str]]:
    pairs = [
        ("Target", _sentences.target_line(ranking)),
        ("Pool", _sentences.pool_line(ranking)),
        ("Probe", _sentences.probe_line(ranking)),
        ("Chance", _sentences.chance_line(ranking)),
        ("Result", _sentences.stopped_line(ranking)),
    ]
    return [(title, text) for title, text in pairs if text]


def _axis(ranking: Ranking) -> Axis:
    return score_axis(ranking.models, _sentences.chance_score(ranking))


def _rows(ranking: Ranking, names: list[str], full: tuple[str, ...]) -> list[dict[str, Any]]:
    models = ranking.models
    if not models:
        return []
    axis, chance = _axis(ranking), _sentences.chance_score(ranking)
    halves = [_numbers.half_width(model.interval) for model in models]
    digits = _sentences.score_decimals(models)
    further = {name: _numbers.decimals([m.scores.get(name) for m in models]) for name in further_scores(ranking)}
    shared, short = _shared(models), shorten_apart(full, 34)
    own_flags: dict[int, list[str]] = {}
    for group in group_warnings(models):
        for position in group.members:
            own_flags.setdefault(position, []).append(group.flag)
    return [
        {
            "rank": rank,
            "name": names[position],
            "full": full[position] if full[position] != names[position] else None,
            "short": short[position],
            "about": _about(model, shared),
            "flags": own_flags.get(position, []),
            "first": model.tie_group == models[0].tie_group and not _sentences.at_chance(ranking, model),
            "bar": bar(model, axis, chance),
            "score": _numbers.number(model.score, digits),
            "half": None if halves[position] is None else _numbers.number(halves[position], digits),
            "accuracy": _sentences.bare_accuracy(ranking, model),
            "accuracy_half": _sentences.accuracy_half(ranking, model),
            "p_best": _numbers.probability(model.p_best),
            "params": _numbers.short_count(model.params),
            "size": _numbers.file_size(model.size_bytes),
            "seconds": _numbers.seconds(model.extract_seconds),
            "scores": [_numbers.number(model.scores.get(name), places) for name, places in further.items()],
        }
        for position, (model, rank) in enumerate(zip(models, _sentences.ranks(models), strict=True))
    ]


def _about(model: RankedModel, shared: frozenset[str]) -> str:
    parts = [
        model.architecture,
        model.pretraining_data,
        f"{model.n_features:,} features",
        f"layer {model.layer}",
        model.format,
        model.license or "licence unknown",
    ]
    parts = [part for part in parts if part not in shared]
    return " · ".join(shorten(clean(part), 48) for part in parts if part)


def _shared(models: Sequence[RankedModel]) -> frozenset[str]:
    """Return format and layer where all models have the same; they are said once, not on every row."""
    formats, layers = {model.format for model in models}, {f"layer {model.layer}" for model in models}
    return frozenset().union(*(values for values in (formats, layers) if len(values) == 1 and len(models) > 1))


def _shared_line(models: Sequence[RankedModel]) -> str | None:
    shared = sorted(clean(text) for text in _shared(models))
    return f"All models: {', '.join(shared)}." if shared else None


def _dots(ranking: Ranking) -> dict[str, Any] | None:
    if not ranking.models:
        return None
    axis, chance = _axis(ranking), _sentences.chance_score(ranking)
    return {"ticks": axis.ticks, "chance": None if chance is None else axis.place(chance)}


def _scatters(ranking: Ranking, names: list[str], full: tuple[str, ...]) -> list[dict[str, Any]]:
    if not ranking.models:
        return []
    models, axis = ranking.models, _axis(ranking)
    digits = _sentences.score_decimals(models)

    def params(value: float) -> str:
        return _numbers.short_count(round(value))

    costs: list[tuple[str, str, list[float | None], Any]] = [
        ("parameters", "smaller", [model.params for model in models], params),
        ("seconds", "faster", [max(model.extract_seconds, 1e-3) for model in models], _numbers.seconds),
    ]
    found = []
    for name, better, values, write in costs:
        chart = scatter(models, full, values, axis, write)
        if chart is not None:
            front = [
                (letter(index), names[i], write(values[i]), _numbers.number(models[i].score, digits))
                for index, i in enumerate(chart.front)
            ]
            found.append({"cost": name, "better": better, "chart": chart, "front": front})
    return found


def _static(ranking: Ranking) -> list[dict[str, Any]]:
    names = shorten_apart(labels(ranking.models), 32)
    ranks = _sentences.ranks(ranking.models)
    found = []
    for static in static_orders(ranking):
        if len(static.order) > 1:
            pairs = [(names[i], names[j], ranks[j]) for i, j in enumerate(static.order[:_N_STATIC])]
            tau = None if static.tau is None else f"{static.tau:.2f}"
            more = max(0, len(static.order) - _N_STATIC)
            found.append({"title": static.title, "pairs": pairs, "more": more, "tau": tau})
    return found


def _settings(ranking: Ranking) -> list[tuple[str, str]]:
    own = [
        ("run", clean(ranking.run_id)),
        ("created", clean(ranking.created)),
        ("seed", str(ranking.seed)),
        ("score", clean(ranking.score)),
        ("stopped", clean(ranking.stopped)),
        ("fingerprint", clean(ranking.target.fingerprint)),
    ]
    given = [(name, shorten(value, 200)) for name, value in _sentences.settings_lines(ranking)]
    return own + [pair for pair in given if pair not in own]
