"""What every report says in words: the answer, the target, the chance level, the ties."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuralrank.reports import _numbers
from neuralrank.reports._baselines import StaticOrder
from neuralrank.reports._names import clean, listed, name_of
from neuralrank.types import Failure, RankedModel, Ranking, Task


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer in pieces, so that each report can set the names off in its own way."""

    lead: str
    """'Use', or a whole sentence where there is nothing to use."""
    best: str | None
    facts: str
    tied: tuple[str, ...]
    """Names of the models that share the first place."""
    advice: str | None
    """The smallest of the tied models, where the best one is not it."""

    def sentence(self) -> str:
        """Return the answer as plain text."""
        if self.best is None:
            return self.lead
        tied = f", tied with {listed(self.tied)}" if self.tied else ""
        return " ".join(filter(None, (f"{self.lead} {self.best}: {self.facts}{tied}.", self.advice)))


def answer(ranking: Ranking, names: Sequence[str]) -> Answer:
    """Say which model to use, and how sure that is."""
    best = ranking.best()
    if best is None:
        failed = len(ranking.failures)
        why = f"{_plural(failed, 'model')} failed" if failed else "there was none"
        return Answer(lead=f"No model could be ranked: {why}.", best=None, facts="", tied=(), advice=None)
    if at_chance(ranking, best):
        lead = f"No model is told from chance on this data; the highest score is {names[0]}'s: {facts(ranking, best)}."
        return Answer(lead=lead, best=None, facts="", tied=(), advice=None)
    tied = [position for position, model in enumerate(ranking.models) if model.tie_group == best.tie_group]
    return Answer(
        lead="Use",
        best=names[0],
        facts=facts(ranking, best),
        tied=tuple(names[position] for position in tied if position),
        advice=_smallest(ranking.models, tied, names),
    )


def facts(ranking: Ranking, model: RankedModel) -> str:
    """Return score and expected accuracy of one model as a clause."""
    half = _numbers.half_width(model.interval)
    digits = score_decimals(ranking.models)
    score = f"score {_numbers.number(model.score, digits)}" + (f" ± {_numbers.number(half, digits)}" if half else "")
    if model.expected_accuracy is None:
        return score
    return f"{score}, expected {accuracy_word(ranking)} {accuracy(ranking, model)}"


def score_decimals(models: Sequence[RankedModel]) -> int:
    """Return the decimals that every report writes the scores of a ranking with."""
    return _numbers.decimals([m.score for m in models], [_numbers.half_width(m.interval) for m in models])


def chance_score(ranking: Ranking) -> float | None:
    """Return the score of a model without any information, None where the score has no such level."""
    if ranking.score == "knn" and ranking.target.task != "regression":
        return ranking.target.chance_accuracy
    return 0.0 if ranking.score in {"neuralrank", "knn"} else None


def at_chance(ranking: Ranking, model: RankedModel) -> bool:
    """Return whether the interval of a model reaches down to the chance level."""
    chance = chance_score(ranking)
    return chance is not None and model.interval is not None and model.interval[0] <= chance


def accuracy_word(ranking: Ranking) -> str:
    """Return what `expected_accuracy` is called for this task."""
    words: Mapping[Task, str] = {"classification": "accuracy", "regression": "R²", "multilabel": "label accuracy"}
    return words[ranking.target.task]


def accuracy_meaning(ranking: Ranking) -> str:
    """Return what `expected_accuracy` is, as a clause."""
    if ranking.target.task == "classification":
        return "expected accuracy of a linear head trained on as many samples"
    of_labels = ", the mean over the labels" if ranking.target.task == "multilabel" else ""
    return f"held-out {accuracy_word(ranking)} of a linear head{of_labels}"


def class_words(ranking: Ranking) -> tuple[str, str]:
    """Return what one class and several are called: those of a multi-label target are labels."""
    return ("label", "labels") if ranking.target.task == "multilabel" else ("class", "classes")


def accuracy(ranking: Ranking, model: RankedModel) -> str:
    """Write an expected accuracy with half its interval where it has one."""
    half = accuracy_half(ranking, model)
    return (
        bare_accuracy(ranking, model)
        if half is None
        else f"{_numbers.percent(model.expected_accuracy, unit='')} ± {half}"
    )


def bare_accuracy(ranking: Ranking, model: RankedModel) -> str:
    """Write an expected accuracy in per cent; an R² as a number."""
    value = model.expected_accuracy
    return _numbers.number(value, 3) if ranking.target.task == "regression" else _numbers.percent(value)


def accuracy_half(ranking: Ranking, model: RankedModel) -> str | None:
    """Write half the interval of the expected accuracy; None where there is none."""
    half = _numbers.half_width(model.expected_accuracy_interval)
    return None if half is None or ranking.target.task == "regression" else _numbers.percent(half)


def target_line(ranking: Ranking) -> str:
    """Return what the target is: task, samples, classes or labels."""
    target = ranking.target
    if target.task == "multilabel" and target.n_classes is not None:
        labels = _plural(target.n_classes, *class_words(ranking))
        return f"{target.modality}, {_plural(target.n_samples, 'sample')}, multi-label, {labels}"
    parts = [f"{target.modality} {target.task}", _plural(target.n_samples, "sample")]
    if target.n_classes is not None:
        parts.append(_plural(target.n_classes, *class_words(ranking)))
    return ", ".join(parts)


def probe_line(ranking: Ranking) -> str:
    """Return what the probe is: its samples, seed, groups and unreadable samples."""
    target = ranking.target
    parts = [f"{_plural(target.n_probe, 'sample')} drawn with seed {ranking.seed}"]
    if target.n_groups is not None:
        parts.append(f"in {_plural(target.n_groups, 'group')}")
    if target.n_unreadable:
        parts.append(f"{_numbers.count(target.n_unreadable)} unreadable")
    return ", ".join(parts)


def pool_line(ranking: Ranking) -> str | None:
    """Return how many models were found and run, None if what was named was all run."""
    pool = ranking.settings.get("pool")
    if not isinstance(pool, Mapping):
        return None
    try:
        chosen, matches, known, unknown = len(pool["reasons"]), pool["n_matches"], pool["n_models"], pool["n_unknown"]
        of_them = f" ({_numbers.count(unknown)} more are unknown to the condition)" if unknown else ""
        return f"{chosen:,} of {matches:,} matching models of {_numbers.count(known)}{of_them}"
    except (KeyError, TypeError, ValueError):  # settings of a ranking that was read back are free in form
        return None


def chance_line(ranking: Ranking) -> str | None:
    """Return what a model without any information would reach, None if nothing is known."""
    level = chance_score(ranking)
    parts = [] if level is None else [f"score {_numbers.number(level, 3 if level else 0)}"]
    if ranking.target.chance_accuracy is not None:
        parts.append(f"accuracy {_numbers.percent(ranking.target.chance_accuracy)}")
    return ", ".join(parts) or None


def ranks(models: Sequence[RankedModel]) -> tuple[str, ...]:
    """Write the rank of each model; the members of a tie share the best rank among them, as in '2='."""
    sizes = Counter(model.tie_group for model in models)
    first: dict[int, int] = {}
    for model in models:
        first[model.tie_group] = min(model.rank, first.get(model.tie_group, model.rank))
    return tuple(f"{first[m.tie_group]}=" if sizes[m.tie_group] > 1 else str(m.rank) for m in models)


def tie_line(models: Sequence[RankedModel]) -> str | None:
    """Explain the equal signs, None if there are no ties."""
    groups = sum(size > 1 for size in Counter(model.tie_group for model in models).values())
    if not groups:
        return None
    return "Models of one rank marked = are tied: their differences on the same samples do not tell them apart."


def cache_line(models: Sequence[RankedModel]) -> str | None:
    """Say that some times are old ones, None if no features came from the cache."""
    cached = sum(model.cached for model in models)
    if not cached:
        return None
    verb = "was" if cached == 1 else "were"
    return f"The features of {_plural(cached, 'model')} {verb} cached; the seconds are what they cost when made."


def baseline_line(static: StaticOrder, names: Sequence[str], *, title: str | None = None) -> str:
    """Set one static order beside the ranking; `title` replaces its own where it had to be escaped."""
    start = ", ".join(names[position] for position in static.order[:3])
    verb = "begin" if len(static.order) > 3 else "be"
    agreement = "" if static.tau is None else f" Agreement with this ranking: Kendall τ = {static.tau:.2f}."
    return f"By {title or static.title} alone the order would {verb}: {start}.{agreement}"


def stopped_line(ranking: Ranking) -> str:
    """Return how the run ended and how many models it ranked."""
    failed = f", {_numbers.count(len(ranking.failures))} failed" if ranking.failures else ""
    return f"{_plural(len(ranking.models), 'model')} ranked{failed}. Stopped: {clean(ranking.stopped)}."


def saved_line(ranking: Ranking) -> str | None:
    """Return what a strategy saved against all models on the whole probe; None where nothing was left out."""
    cost = ranking.cost
    try:
        used, full = cost["n_samples_used"], cost["n_samples_of_full_run"]
        if not 0 < used < full:
            return None
        spent, whole = _numbers.seconds(cost["seconds_used"]), _numbers.seconds(cost["seconds_of_full_run"])
        dearer = cost["seconds_used"] > cost["seconds_of_full_run"]
        time = (
            f"about {spent} s of model time where that takes {whole} s"
            if not dearer
            else f"but about {spent} s of model time where that takes {whole} s, for models are loaded again and again"
        )
        share = _numbers.percent(1 - used / full)
        return f"{used:,} forward passes of the {full:,} of all models on the whole probe ({share} saved); {time}."
    except (KeyError, TypeError, ValueError):  # what was read back is free in form
        return None


def group_failures(failures: Sequence[Failure]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return (stage, sentence, model ids) for each distinct failure, in order.

    Sentences that differ in the model's own name alone are one; the name then reads '…'.
    """
    found: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        name = name_of(failure.model_id)
        alike = failure.error.replace(name, "…").replace(name.rpartition("/")[2], "…")
        found.setdefault((failure.stage, alike), []).append(failure)
    return tuple(
        (stage, clean(alike if len(alike_ones) > 1 else alike_ones[0].error), tuple(f.model_id for f in alike_ones))
        for (stage, alike), alike_ones in found.items()
    )


def settings_lines(ranking: Ranking) -> tuple[tuple[str, str], ...]:
    """Flatten the settings into (dotted name, text) pairs."""
    return tuple(_flatten("", ranking.settings))


def _flatten(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            pair for key, inner in value.items() for pair in _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
        ]
    if isinstance(value, list | tuple):
        return [(clean(prefix), clean(", ".join(str(item) for item in value)) or "none")]
    return [(clean(prefix), "none" if value is None or value == {} else clean(str(value)))]


def _smallest(models: Sequence[RankedModel], tied: Sequence[int], names: Sequence[str]) -> str | None:
    known = [(params, position) for position in tied if (params := models[position].params) is not None]
    own = models[0].params
    if own is None or not known or min(known)[0] >= own:
        return None
    params, position = min(known)
    sizes = f"{_numbers.short_count(params)} parameters against {_numbers.short_count(own)}"
    return f"The smallest of the tied models is {names[position]}: {sizes}."


def _plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
