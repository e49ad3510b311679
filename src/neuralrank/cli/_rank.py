"""`neuralrank rank`."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from neuralrank.cli._catalogue import CatalogueFolder, Offline, Quiet, folder_of, split_labels, unknown_of
from neuralrank.cli._output import REPORTS, check_writable, chosen_format, exit_code, print_out, write_ranking
from neuralrank.cli._progress import ProgressView
from neuralrank.errors import UsageError
from neuralrank.types import Failure, Ranking, Task

MAX_REASONS = 20

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders or files with models, or sources such as 'hf:timm/*'; none: the catalogue.", show_default=False
    ),
]
Data = Annotated[
    str, typer.Option("--data", help="The data set: a folder of class folders, Parquet, CSV, JSONL or npz.")
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
Top = Annotated[int | None, typer.Option(help="Show only the first N models.", min=1)]
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
    data: Data,
    models: Models = None,
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
    top: Top = None,
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
    from neuralrank import ranking as engine
    from neuralrank.readers._open import open_target

    if "" in (*(models or ()), data, cache_dir):
        raise UsageError("A path is needed. Got an empty one. Check for a shell variable that is not set.")
    chosen = chosen_format(format_, out)
    if out is not None:
        check_writable(out)
    columns = {"input_column": input_column, "label_column": label_column, "group_column": group_column}
    target = open_target(data, split=split, task=_task(task), **columns)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    for note in target.notes:
        notes.print(Text(note, style="dim"), soft_wrap=True)
    limits = _limits(engine.default_limits(), model_timeout, model_memory, threads, jobs)
    if layer == "list":
        return _list_layers(models or [], target, limits)
    with ProgressView(notes, enabled=not quiet) as view, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        result = engine.rank(
            models or None,
            target,
            where=where,
            text=text,
            labels=split_labels(labels),
            unknown=unknown_of(unknown),
            pool=pool,
            prior=prior,
            catalogue=folder_of(catalogue),
            offline=offline,
            max_fetch=max_fetch,
            trust=trust or (),
            score=score,
            also=[name.strip() for name in also.split(",") if name.strip()],
            probe=probe,
            seed=seed,
            layer=layer,
            cache_dir=cache_dir,
            limits=limits,
            progress=view.update,
        )
    for warning in warned:
        notes.print(Text(str(warning.message), style="yellow"), soft_wrap=True)
    _tell_pool(result, notes)
    if chosen == "table":
        _tell_prior(result, top)
    write_ranking(result, chosen, out, notes, top=top)
    return exit_code(result, strict=strict)


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


def _list_layers(models: list[str], target: Any, limits: Any) -> int:
    """Print the layers of every model; the default is marked."""
    from neuralrank.features import Extraction
    from neuralrank.probe import MIN_SAMPLES, read_probe
    from neuralrank.ranking import list_models

    drawn = read_probe(target, n_samples=MIN_SAMPLES, seed=0, max_unreadable=1.0, cache=None)
    n_listed = 0
    with Extraction(probe=drawn, cache=None, limits=limits) as extraction:
        for item in list_models(list(models)):
            found = item if isinstance(item, Failure) else extraction.layers(item)
            if isinstance(found, Failure):
                print_out(f"{found.model_id}\n  failed while it was asked ({found.stage}): {found.error}")
                continue
            n_listed += 1
            layers, default = found
            lines = [f"  {name}{'  (default)' if name == default else ''}" for name in layers]
            print_out("\n".join([item.model_id, *lines]))
    return 0 if n_listed else 1


def _limits(default: Any, timeout: float | None, memory_gb: float | None, threads: int | None, jobs: int | None) -> Any:
    from neuralrank import ranking as engine

    options = {"--model-timeout": timeout, "--model-memory": memory_gb, "--threads": threads, "--jobs": jobs}
    for option, value in options.items():
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{option} needs a finite number above 0. Got {value:g}. Leave it out for the default.")
    return dataclasses.replace(
        default,
        timeout_seconds=timeout or default.timeout_seconds,
        memory_bytes=int(min((memory_gb or 0) * 1e9, engine.MAX_MEMORY_BYTES)) or default.memory_bytes,
        n_threads=threads or default.n_threads,
        n_jobs=jobs or default.n_jobs,
    )
