"""Make ready what a run needs: the options checked, the data read, the models found, the probe drawn, its rungs set."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neuralrank import registry, settings
from neuralrank.errors import NothingRankedError, UsageError
from neuralrank.limits import Limits
from neuralrank.order import Order, parse_order
from neuralrank.probe import Probe, Rung, nested_rungs, read_probe
from neuralrank.readers._open import open_target
from neuralrank.scores import Wanted, is_static
from neuralrank.searching import Query, Unknown
from neuralrank.shortlisting import DEFAULT_POOL, choose_pool, pool_settings
from neuralrank.sources._specs import is_spec, open_source
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.feature_cache import FeatureCache, feature_cache
from neuralrank.strategies import Strategy
from neuralrank.trials import Item
from neuralrank.types import Failure, ModelRecord, Source, Target, Task

DEFAULT_SCORE = "neuralrank"
DEFAULT_ALSO = ("log_me", "lda_probe", "knn")
"""None of them was ever measured to prefer noise."""
DEFAULT_PROBE = 2_000
DEFAULT_CONFIDENCE, DEFAULT_TOLERANCE = 0.95, 0.5
MAX_MEMORY_BYTES = 2**62
"""More than any system takes as a limit would be an error there."""

Models = str | Path | Source | Sequence[str | Path] | None
"""One or more folders, files or specs such as 'hf:timm/*', or a source; None: all that the catalogue knows."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a call of `rank` asks for, see there."""

    models: Models
    data: Any
    score: str = DEFAULT_SCORE
    also: Collection[str] = DEFAULT_ALSO
    probe: int = DEFAULT_PROBE
    seed: int = 0
    layer: str | None = None
    groups: Sequence[Hashable] | NDArray[Any] | None = None
    input_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    split: str | None = None
    task: Task | None = None
    where: str | None = None
    text: str | None = None
    labels: Sequence[str] = ()
    unknown: Unknown = "drop"
    pool: int | None = None
    prior: str | None = None
    strategy: str | None = None
    confidence: float | None = None
    tolerance: float | None = None
    top: int | None = None
    max_seconds: float | None = None
    max_models: int | None = None
    max_memory: float | None = None
    catalogue: str | Path | None = None
    offline: bool = False
    max_fetch: float | None = None
    trust: Collection[str] = ()
    cache_dir: str | Path | None = None
    limits: Limits | None = None


_WITHOUT_MEANING = ("max_seconds", "max_memory", "catalogue", "cache_dir", "limits", "offline", "max_fetch")
"""Options that do not change what is asked, only how it is found out."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A run that can begin."""

    target: Target
    listed: list[Item]
    n_left_out: int
    """Models beyond `max_models`."""
    found: Mapping[str, Any]
    """What the result should say of how the models were found."""
    probe: Probe
    rungs: tuple[Rung, ...]
    order: Order
    wanted: Wanted
    strategy_name: str
    strategy: Strategy
    cache: FeatureCache
    limits: Limits
    trusted: frozenset[str]
    catalogue: Path


def prepare(options: Options, *, tell: Callable[[Target], None] | None = None) -> Setup:
    """Check the options, read the data, find the models and draw the probe.

    Args:
        options: of the run.
        tell: called with the data set once it is read, before the models are looked for.

    Raises:
        UsageError: a path, name, condition or option is wrong.
        DataError: the data set cannot be used.
        SourceError: a repository does not answer, and nothing is known of it.
        CatalogueError: the catalogue is needed and cannot be used.
        NothingRankedError: there is no model.
    """
    if options.probe < 1:
        raise UsageError(f"--probe needs at least 1 sample. Got {options.probe}. Use {DEFAULT_PROBE:,} if unsure.")
    if options.seed < 0:
        raise UsageError(f"--seed needs a whole number of at least 0. Got {options.seed}. Use 0 if unsure.")
    order = parse_order(options.score)
    name, strategy = _strategy(options, order)
    scorers = {each: registry.get("scorers", each) for each in dict.fromkeys((*order.members, *options.also))}
    limits = _limits(options)
    target = read_target(options)
    if tell is not None:
        tell(target)
    for member in order.members:
        if target.task not in scorers[member].tasks:
            raise UsageError(f"--score {member} is not defined for {target.task}. `neuralrank scores` lists what is.")
    usable = tuple(each for each in scorers if target.task in scorers[each].tasks)
    catalogue = Path(options.catalogue) if options.catalogue is not None else settings.catalogue_dir()
    listed, found = _find(options, target, catalogue)
    chosen = _first(listed, options.max_models)
    cache = open_cache(options.cache_dir)
    unreadable = settings.number("max_unreadable")
    probe = read_probe(target, n_samples=options.probe, seed=options.seed, max_unreadable=unreadable, cache=cache)
    return Setup(
        target=target,
        listed=chosen,
        n_left_out=len(listed) - len(chosen),
        found=found,
        probe=probe,
        rungs=nested_rungs(probe, strategy.rungs(len(probe)), options.seed),
        order=order,
        wanted=Wanted(names=usable, ordering=order.members, seed=options.seed),
        strategy_name=name,
        strategy=strategy,
        cache=cache,
        limits=limits,
        trusted=_trusted(options.trust, chosen),
        catalogue=catalogue,
    )


def digest_of(options: Options, setup: Setup) -> str:
    """Return what tells two commands apart: the data, the models named, and every option that changes the answer."""
    asked = {
        key: value
        for key, value in named_options(options).items()
        if key not in (*_WITHOUT_MEANING, "data", "models", "groups")
    }
    ids = [item.model_id for item in setup.listed]
    said = [asked, sorted(ids), setup.target.fingerprint, setup.probe.digest, version("neuralrank")]
    whole = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def named_options(options: Options) -> dict[str, Any]:
    """Return the options as JSON values, paths made absolute."""
    named = {each.name: getattr(options, each.name) for each in dataclasses.fields(options)}
    for key in ("catalogue", "cache_dir"):
        named[key] = None if named[key] is None else str(Path(named[key]).expanduser().absolute())
    limits = options.limits
    named["limits"] = None if limits is None else dataclasses.asdict(limits)
    for key in ("also", "labels", "trust"):
        named[key] = list(named[key])
    return named


def resumable(options: Options) -> dict[str, Any]:
    """Return the options to ask again with, empty if they hold objects that no file can bring back."""
    models = [options.models] if isinstance(options.models, str | Path) else options.models
    by_path = models is None or (isinstance(models, Sequence) and all(isinstance(each, str | Path) for each in models))
    if not by_path or not isinstance(options.data, str | Path) or options.groups is not None:
        return {}
    assert models is None or isinstance(models, Sequence)
    named = named_options(options)
    del named["groups"]
    named["data"] = _absolute(options.data)
    named["models"] = None if models is None else [_absolute(each) for each in models]
    return named


def options_from(named: Mapping[str, Any]) -> Options:
    """Return options as `resumable` wrote them down.

    Raises:
        UsageError: another version wrote them.
    """
    try:
        limits = named.get("limits")
        return Options(**{**named, "limits": None if limits is None else Limits(**limits)})
    except TypeError as error:
        raise UsageError(
            "--resume needs a run that this version of neuralrank began. Got one of another version. Rank again: "
            "what was computed is kept."
        ) from error


def _absolute(path: str | Path) -> str:
    text = str(path)
    return text if is_spec(text) and not Path(text).exists() else str(Path(text).expanduser().absolute())


# --- strategy and limits -----------------------------------------------------------------------------------------


def _strategy(options: Options, order: Order) -> tuple[str, Strategy]:
    """Return the strategy that is asked for, racing where its options are given, else the full run."""
    asked = {"confidence": options.confidence, "tolerance": options.tolerance}
    if options.top is not None and options.top < 1:
        raise UsageError(f"--top needs at least 1 model. Got {options.top}. Use 1 if unsure.")
    name = options.strategy or ("racing" if any(value is not None for value in asked.values()) else "full")
    make = registry.get("strategies", name)
    for option, value in asked.items():
        if value is not None and name != "racing":
            raise UsageError(f"--{option} needs --strategy racing. Got {name}. Leave one of them out.")
    if name == "full":
        return name, make()
    if order.combine is not None or is_static(order.members[0]):
        raise UsageError(
            f"--strategy {name} needs one score of the data. Got {order.text}. "
            "Use --score neuralrank, or --strategy full."
        )
    given = {key: value for key, value in asked.items() if value is not None}
    return name, make(**given, **({} if options.top is None else {"top": options.top}))


def _limits(options: Options) -> Limits:
    limits = options.limits or default_limits()
    for option, value in (("--max-seconds", options.max_seconds), ("--max-memory", options.max_memory)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{option} needs a finite number above 0. Got {value:g}. Leave it out for no limit.")
    if options.max_models is not None and options.max_models < 1:
        raise UsageError(f"--max-models needs at least 1 model. Got {options.max_models}. Leave it out for all.")
    if options.max_memory is None:
        return limits
    share = int(min(options.max_memory * 1e9, MAX_MEMORY_BYTES)) // limits.jobs
    return dataclasses.replace(limits, memory_bytes=min(limits.memory_bytes or share, share))


def default_limits() -> Limits:
    """Return the limits that the settings ask for."""
    return Limits(
        timeout_seconds=settings.number("model_timeout"),
        memory_bytes=int(min(settings.number("model_memory") * 1e9, MAX_MEMORY_BYTES)),
        n_threads=int(settings.number("threads")),
        n_jobs=int(settings.number("jobs")),
    )


def open_cache(cache_dir: str | Path | None) -> FeatureCache:
    """Return the cache in a folder, None for the one that the settings name."""
    return feature_cache(Path(cache_dir) if cache_dir is not None else settings.cache_dir())


# --- data and models ---------------------------------------------------------------------------------------------


def read_target(options: Options) -> Target:
    """Return the data set that is asked for.

    Raises:
        UsageError: a path or option is wrong.
        DataError: it cannot be used.
    """
    columns = ("input_column", "label_column", "group_column", "groups", "split", "task")
    reading = {name: getattr(options, name) for name in columns}
    if not isinstance(options.data, Target):
        return open_target(options.data, **reading)
    given = [name for name, value in reading.items() if value is not None]
    if given:
        raise UsageError(f"A Target is read already. Got {', '.join(given)} as well. Pass them to read_target.")
    return options.data


def _find(options: Options, target: Target, catalogue: Path) -> tuple[list[Item], dict[str, Any]]:
    """Return the models to run, files at hand or found in the catalogue, and what to say of how they were found."""
    query = Query(text=options.text, where=options.where, labels=tuple(options.labels), unknown=options.unknown)
    if options.pool is not None and options.pool < 1:
        raise UsageError(f"--pool needs at least 1 model. Got {options.pool}. Use {DEFAULT_POOL} if unsure.")
    if options.prior not in (None, "history"):
        raise UsageError(f"--prior needs 'history'. Got {options.prior!r}. Leave it out for none.")
    named = [options.models] if isinstance(options.models, str | Path) else options.models
    asked = query != Query(unknown=query.unknown) or options.pool is not None or options.prior is not None
    if named is not None and not isinstance(named, Sequence):
        if asked:
            raise UsageError("Conditions and --pool need models of the catalogue. Got a source. Index it first.")
        return list(list_models(named)), {}
    if named is not None and not asked and not any(is_spec(str(path)) for path in named):
        return list(list_models(named)), {}
    max_fetch = settings.number("max_fetch") if options.max_fetch is None else options.max_fetch
    sources = {"offline": options.offline, "max_bytes": int(min(max_fetch * 1e9, MAX_MEMORY_BYTES))}
    names = [str(path) for path in named or ()]
    with open_catalogue(catalogue) as opened:
        pool = choose_pool(query, opened, target, n=options.pool, sources=names, options=sources)
    return [*pool.models, *pool.failures], pool_settings(pool, prior=options.prior is not None)


def list_models(models: str | Path | Source | Sequence[str | Path]) -> list[ModelRecord | Failure]:
    """List the models of folders, files or a source, without loading weights.

    Raises:
        UsageError: a path does not exist.
        NothingRankedError: there is no model at all.
    """
    if isinstance(models, str | Path):
        models = [models]
    if isinstance(models, Sequence):
        found = [item for path in models for item in open_source(path).list_models()]
        # Overlapping folders list a model more than once; its id says that the copies are alike.
        listed = list({(item.model_id, getattr(item, "error", None)): item for item in found}.values())
        where = ", ".join(repr(str(path)) for path in models)
    else:
        listed, where = list(models.list_models()), "the source"
    if not listed:
        formats = ", ".join(registry.names("formats"))
        raise NothingRankedError(f"A ranking needs at least one model. Got none in {where}. Formats known: {formats}.")
    return listed


def _first(listed: Sequence[Item], max_models: int | None) -> list[Item]:
    """Return the first models that may be run; what cannot be run anyway is reported all the same."""
    chosen: list[Item] = []
    n_models = 0
    for item in listed:
        n_models += not isinstance(item, Failure)
        if isinstance(item, Failure) or max_models is None or n_models <= max_models:
            chosen.append(item)
    return chosen


def _trusted(trust: Collection[str], listed: Sequence[Item]) -> frozenset[str]:
    """Check that each id is one of the models; a name without its content hash could be another file tomorrow."""
    ids = {item.model_id for item in listed}
    for model_id in trust:
        if model_id not in ids:
            raise UsageError(
                f"--trust needs the id of a model of this run, with the hash after its @. Got {model_id!r}. "
                "Rank without it: the failure of the model shows its id."
            )
    return frozenset(trust)
