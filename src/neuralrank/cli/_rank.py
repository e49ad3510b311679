"""`neuralrank rank`."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from neuralrank.cli._catalogue import CatalogueFolder, Offline, Quiet, folder_of, split_labels, unknown_of
from neuralrank.cli._output import (
    REPORTS,
    check_writable,
    chosen_format,
    exit_code,
    print_out,
    write_file,
    write_ranking,
)
from neuralrank.cli._progress import ProgressView
from neuralrank.errors import UsageError
from neuralrank.types import Failure, Ranking, Target, Task

if TYPE_CHECKING:
    from neuralrank.limits import Limits
    from neuralrank.preparing import Options

MAX_REASONS = 20
_LIMITS = ("model_timeout", "model_memory", "threads", "jobs")

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders or files with models, or sources such as 'hf:timm/*'; none: the catalogue.", show_default=False
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="The data set: a folder of class folders, Parquet, CSV, JSONL or npz.", show_default=False
    ),
]


Where = Annotated[str | None, typer.Option(help='Condition, for example "params < 30M"; see docs/where.md.')]
Words = Annotated[str | None, typer.Option(help="Words by which models are found.")]
Labels = Annotated[str, typer.Option(help="Names of classes of which a model must know one.")]
Unknown = Annotated[str, typer.Option(help="Models of which the condition is unknown: keep or drop.")]
PoolSize = Annotated[int | None, typer.Option(help="Models to run, chosen from all that match.", min=1)]
Prior = Annotated[str | None, typer.Option(help="'history': say first what past outcomes on similar data let expect.")]
Score = Annotated[str, typer.Option(help="Score that orders the models, or several: mean_rank:neuralrank,log_me,parc.")]
Also = Annotated[str, typer.Option(help="Further scorers to show, separated by commas.")]
Probe = Annotated[int, typer.Option(help="Number of samples to use, drawn by class.")]
Seed = Annotated[int, typer.Option(help="Seed of the draw.")]
Layer = Annotated[str | None, typer.Option(help="Layer to take features from; 'list' names those of each model.")]
StrategyName = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        help="Which model sees how many samples: full, racing, successive_halving, asynchronous_halving.",
    ),
]
Confidence = Annotated[float | None, typer.Option(help="Of a race: that the best it finds are the best.  [0.95]")]
Tolerance = Annotated[
    float | None, typer.Option(help="Of a race: points of accuracy by which no other may be better.  [0.5]")
]
Top = Annotated[int | None, typer.Option(help="Show only the first N models; with a strategy, find the N best.", min=1)]
MaxSeconds = Annotated[
    float | None, typer.Option(help="Time for the run: the ranking so far is shown when it is over.")
]
MaxModels = Annotated[int | None, typer.Option(help="Models to run, the first ones listed.")]
MaxMemory = Annotated[float | None, typer.Option(help="Memory for all models that run at once, in GB.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what the run would cost, and do not run it.")]
Resume = Annotated[str | None, typer.Option(help="Go on with a run that did not end, by its id.")]
Format = Annotated[str | None, typer.Option("--format", help=f"Output: {', '.join(REPORTS)}.")]
Out = Annotated[Path | None, typer.Option(help="Write the output to this file; its suffix sets the format.")]
InputColumn = Annotated[str | None, typer.Option(help="Column with the samples.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the labels.")]
GroupColumn = Annotated[str | None, typer.Option(help="Column that says which samples belong together.")]
Split = Annotated[str | None, typer.Option(help="Part of the data to use, for example train.")]
TaskName = Annotated[
    str | None, typer.Option("--task", help="classification, regression or multilabel; detected if not given.")
]
MaxFetch = Annotated[float | None, typer.Option(help="Most that is downloaded for one model, in GB.")]
Trust = Annotated[
    list[str] | None, typer.Option(help="Id of a model whose own code may run, inside the same walls; may be repeated.")
]
CacheDir = Annotated[str | None, typer.Option(help="Where extracted features are kept.")]
ModelTimeout = Annotated[float | None, typer.Option(help="Seconds without progress before a model is stopped.")]
ModelMemory = Annotated[float | None, typer.Option(help="Memory one model may use, in GB.")]
Threads = Annotated[int | None, typer.Option(help="Threads a model may use.")]
Jobs = Annotated[int | None, typer.Option(help="Models that run at once.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 if any model failed.")]


def rank(
    context: typer.Context,
    models: Models = None,
    data: Data = None,
    where: Where = None,
    text: Words = None,
    labels: Labels = "",
    unknown: Unknown = "drop",
    pool: PoolSize = None,
    prior: Prior = None,
    score: Score = "neuralrank",
    also: Also = "log_me,lda_probe,knn",
    probe: Probe = 2_000,
    seed: Seed = 0,
    layer: Layer = None,
    strategy: StrategyName = None,
    confidence: Confidence = None,
    tolerance: Tolerance = None,
    top: Top = None,
    max_seconds: MaxSeconds = None,
    max_models: MaxModels = None,
    max_memory: MaxMemory = None,
    dry_run: DryRun = False,
    resume: Resume = None,
    format_: Format = None,
    out: Out = None,
    input_column: InputColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    split: Split = None,
    task: TaskName = None,
    catalogue: CatalogueFolder = None,
    offline: Offline = False,
    max_fetch: MaxFetch = None,
    trust: Trust = None,
    cache_dir: CacheDir = None,
    model_timeout: ModelTimeout = None,
    model_memory: ModelMemory = None,
    threads: Threads = None,
    jobs: Jobs = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> int:
    """Rank models for a data set."""
    given = {name: value for name, value in locals().items() if name != "context"}
    if "" in (*(models or ()), data, cache_dir):
        raise UsageError("A path is needed. Got an empty one. Check for a shell variable that is not set.")
    chosen = chosen_format(format_, out)
    if out is not None:
        check_writable(out)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    run_id, options = _resumed(resume, given, context) if resume is not None else (None, _options(given))
    if layer == "list":
        return _list_layers(options, notes)
    if dry_run:
        return _dry_run(options, chosen, out, notes, quiet=quiet)
    result = _ranked(options, run_id, notes, quiet=quiet)
    _tell_pool(result, notes)
    if chosen == "table":
        _tell_prior(result, top)
    write_ranking(result, chosen, out, notes, top=top)
    if not result.stopped.startswith(("all models", "decided", "halved")):
        notes.print(Text(f"To go on: neuralrank rank --resume {result.run_id}"), soft_wrap=True)
    return exit_code(result, strict=strict)


_AS_THEY_ARE = (
    "where", "text", "pool", "prior", "score", "probe", "seed", "layer", "strategy", "confidence", "tolerance", "top",
    "max_seconds", "max_models", "max_memory", "input_column", "label_column", "group_column", "split", "offline",
    "max_fetch", "cache_dir",
)  # fmt: skip


def _options(given: Mapping[str, Any]) -> Options:
    """Return what the command line asks for."""
    from neuralrank.preparing import Options

    if given["data"] is None:
        raise UsageError(
            "--data needs a data set. Got none. Name a folder of class folders, Parquet, CSV, JSONL or npz."
        )
    return Options(
        models=given["models"] or None,
        data=given["data"],
        labels=split_labels(given["labels"]),
        unknown=unknown_of(given["unknown"]),
        also=[name.strip() for name in given["also"].split(",") if name.strip()],
        task=_task(given["task"]),
        catalogue=folder_of(given["catalogue"]),
        trust=given["trust"] or (),
        limits=_limits(given),
        **{name: given[name] for name in _AS_THEY_ARE},
    )


_WITH_RESUME = ("resume", "catalogue", "max_seconds", "format_", "out", "strict", "quiet", "dry_run", "top", *_LIMITS)


def _resumed(run_id: str, given: Mapping[str, Any], context: typer.Context) -> tuple[str, Options]:
    """Return a run's id and the options that it was begun with; only how it goes on can be said anew."""
    from neuralrank.ranking import resumed_options

    for name in given:
        source = context.get_parameter_source(name)
        if name not in _WITH_RESUME and source is not None and source.name == "COMMANDLINE":
            option = name if name == "models" else f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--resume takes models, data and options from the run. Got {option} as well. "
                "Leave it out, or rank anew: what was computed is kept."
            )
    limits = _limits(given) if any(given[name] is not None for name in _LIMITS) else None
    return resumed_options(run_id, folder_of(given["catalogue"]), given["max_seconds"], limits)


def _ranked(options: Options, run_id: str | None, notes: Console, *, quiet: bool) -> Ranking:
    """Rank, showing how it goes, and say what there is to say beside the result."""
    from neuralrank.ranking import rank_with

    with ProgressView(notes, enabled=not quiet) as view, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        result = rank_with(options, run_id=run_id, progress=view.update, tell=lambda target: _tell_notes(target, notes))
    for warning in warned:
        notes.print(Text(str(warning.message), style="yellow"), soft_wrap=True)
    missing = [name for name, state in result.settings["walls"].items() if state != "on"]
    if missing:
        gaps = ", ".join(missing)
        said = f"Not all walls stood around the models: {gaps}. `neuralrank doctor` says why."
        notes.print(Text(said, style="yellow"), soft_wrap=True)
    return result


def _tell_notes(target: Target, notes: Console) -> None:
    for note in target.notes:
        notes.print(Text(note, style="dim"), soft_wrap=True)


def _dry_run(options: Options, chosen: str, out: Path | None, notes: Console, *, quiet: bool) -> int:
    """Print what the run would cost."""
    from neuralrank.estimating import estimate
    from neuralrank.reports._estimate import estimate_json, estimate_text

    if chosen not in ("table", "json"):
        raise UsageError(f"--dry-run is written as table or json. Got {chosen}. Leave --format out for a table.")
    with ProgressView(notes, enabled=not quiet) as view:
        found = estimate(options, progress=view.update, tell=lambda target: _tell_notes(target, notes))
    text = estimate_json(found) if chosen == "json" else estimate_text(found)
    if out is None:
        print_out(text)
    else:
        write_file(out, text + "\n")
        notes.print(Text(f"Written to {out}"), soft_wrap=True)
    return 0 if found.n_models else 1


def _tell_pool(result: Ranking, notes: Console) -> None:
    """Say why each model was chosen; how many were found is part of the result."""
    pool = result.settings.get("pool")
    if pool is None:
        return
    names = {model.model_id: model.name for model in result.models}
    told = [(names.get(model_id, model_id), reasons) for model_id, reasons in pool["reasons"].items() if reasons]
    if told:
        notes.print(Text("Chosen:"))
    for name, reasons in told[:MAX_REASONS]:
        notes.print(Text(f"  {name}: {'; '.join(reasons)}", style="dim"), soft_wrap=True)
    if len(told) > MAX_REASONS:
        notes.print(Text(f"  … and {len(told) - MAX_REASONS:,} more, all of them in --format json", style="dim"))


def _tell_prior(result: Ranking, top: int | None) -> None:
    """Print what past outcomes let expect, apart from the ranking and before it."""
    from neuralrank.history import prior_from_document, prior_text

    if "prior" in result.settings:
        print_out(prior_text(prior_from_document(result.settings["prior"]), top=top))


def _task(given: str | None) -> Task | None:
    match given:
        case None | "classification" | "regression" | "multilabel":
            return given
    raise UsageError(
        f"--task needs classification, regression or multilabel. Got {given!r}. Leave it out to have it detected."
    )


def _list_layers(options: Options, notes: Console) -> int:
    """Print the layers of every model; the default is marked."""
    from neuralrank.features import Extraction
    from neuralrank.preparing import default_limits, list_models, read_target
    from neuralrank.probe import MIN_SAMPLES, read_probe

    target = read_target(options)
    _tell_notes(target, notes)
    drawn = read_probe(target, n_samples=MIN_SAMPLES, seed=0, max_unreadable=1.0, cache=None)
    n_listed = 0
    limits, trusted = options.limits or default_limits(), frozenset(options.trust)
    with Extraction(probe=drawn, cache=None, limits=limits, trusted=trusted) as ours:
        for item in list_models(options.models or []):
            found = item if isinstance(item, Failure) else ours.layers(item)
            if isinstance(found, Failure):
                print_out(f"{found.model_id}\n  failed while it was asked ({found.stage}): {found.error}")
                continue
            n_listed += 1
            layers, default = found
            lines = [f"  {name}{'  (default)' if name == default else ''}" for name in layers]
            print_out("\n".join([item.model_id, *lines]))
    return 0 if n_listed else 1


def _limits(given: Mapping[str, Any]) -> Limits:
    from neuralrank.preparing import MAX_MEMORY_BYTES, default_limits

    for name in _LIMITS:
        value = given[name]
        if value is not None and not 0 < value < float("inf"):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} needs a finite number above 0. Got {value:g}. Leave it out for the default.")
    default = default_limits()
    return dataclasses.replace(
        default,
        timeout_seconds=given["model_timeout"] or default.timeout_seconds,
        memory_bytes=int(min((given["model_memory"] or 0) * 1e9, MAX_MEMORY_BYTES)) or default.memory_bytes,
        n_threads=given["threads"] or default.n_threads,
        n_jobs=given["jobs"] or default.n_jobs,
    )
