"""`neuralrank index`, `search`, `show` and `catalogue …`: what is known of models without running them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from neuralrank import settings
from neuralrank.cli._output import check_writable, print_out, say_error, write_file
from neuralrank.errors import NeuralrankError, OutputError, UsageError

FORMATS = ("table", "json", "csv", "markdown")
SUFFIXES = {".json": "json", ".csv": "csv", ".md": "markdown"}

CatalogueFolder = Annotated[
    str | None, typer.Option("--catalogue", help="Folder of the catalogue.", show_default=False)
]
Offline = Annotated[bool, typer.Option("--offline", help="Do not use the network: what is cached is listed.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")]

app = typer.Typer(help="Look after the catalogue.", no_args_is_help=True, rich_markup_mode=None)


def folder_of(given: str | None) -> Path:
    """Return the folder of the catalogue that an option or the settings name."""
    if given == "":
        raise UsageError("--catalogue needs a folder. Got an empty path. Check for a shell variable that is not set.")
    return Path(given).expanduser() if given is not None else settings.catalogue_dir()


def index(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, or 'hf:timm/*', 'timm:*', 'mlflow:URI'; none: those indexed before.",
                       show_default=False),
    ] = None,
    catalogue: CatalogueFolder = None,
    offline: Offline = False,
    quiet: Quiet = False,
) -> int:  # fmt: skip
    """List the models of repositories into the catalogue; what has not changed is not read again."""
    from neuralrank.indexing import index as list_into
    from neuralrank.sources._specs import open_source
    from neuralrank.storage.catalogue import open_catalogue

    with open_catalogue(folder_of(catalogue)) as opened:
        named = sources or [root.spec for root in opened.roots()]
        if not named:
            raise UsageError(
                "Something to list is needed. Got nothing, and nothing was indexed before. "
                "Name a folder, or a source such as 'hf:timm/*'."
            )
        stopped = False
        for spec in named:
            try:
                with _counting(quiet=quiet) as say:
                    done = list_into(open_source(spec, options={"offline": offline}), opened, say=say)
            except UsageError as error:
                if sources:
                    raise
                say_error(str(error))  # what was indexed before may be gone as a whole; the others are listed
                stopped = True
                continue
            _tell_indexed(done, quiet=quiet)
            stopped = stopped or done.stopped is not None
        _bring_up_to_date(opened, quiet=quiet)
    return 1 if stopped else 0


def search(
    text: Annotated[
        str | None, typer.Argument(help='Words: a "phrase", a prefix*, -without.', show_default=False)
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Condition, for example \"params < 30M AND license = 'mit'\".")
    ] = None,
    labels: Annotated[str, typer.Option(help="Names of classes it should know, separated by commas.")] = "",
    like: Annotated[str | None, typer.Option(help="Id or name of a model whose relatives are wanted.")] = None,
    sort: Annotated[str | None, typer.Option(help="Field to sort by; -field for the largest first.")] = None,
    top: Annotated[int, typer.Option(help="Number of models.", min=1)] = 20,
    unknown: Annotated[str, typer.Option(help="Models of which the condition is unknown: keep or drop.")] = "drop",
    copies: Annotated[bool, typer.Option("--copies", help="Show every copy of a model.")] = False,
    synonyms: Annotated[Path | None, typer.Option(help="File of further synonyms of label names.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help=f"Output: {', '.join(FORMATS)}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the output to this file; its suffix sets the format.")] = None,
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> int:
    """Find models in the catalogue by words, fields, label names or likeness."""
    from neuralrank.searching import Query, find

    chosen = _chosen(format_, out)
    if out is not None:
        check_writable(out)
    query = Query(
        text=text,
        where=where,
        labels=split_labels(labels),
        like=like,
        sort=sort,
        top=top,
        unknown=unknown_of(unknown),
        copies=copies,
        synonyms=synonyms,
    )
    with _opened(catalogue) as opened, _bar(quiet=quiet) as say:
        result = find(query, opened, say=say)
    rendered = _rendered(result, chosen)
    if out is None:
        print_out(rendered)
    else:
        write_file(out, rendered)
    return 0 if result.models else 1


def show(
    model: Annotated[str, typer.Argument(help="Id or name of a model, or how it begins.")],
    format_: Annotated[str | None, typer.Option("--format", help="Output: table or json.")] = None,
    catalogue: CatalogueFolder = None,
) -> int:
    """Show all that the catalogue knows of a model."""
    from neuralrank.entries import FoundModel, SearchResult
    from neuralrank.reports import _found

    if format_ not in (None, "table", "json"):
        raise UsageError(f"--format needs table or json. Got {format_!r}. Leave it out for a table.")
    with _opened(catalogue) as opened:
        rows = opened.find(model)
        entries = opened.entries(rows)
        if not entries:
            raise UsageError(
                f"The catalogue needs to know the model. Got {model!r}, which it does not. "
                "Find it with `neuralrank search`, or bring it in with `neuralrank index`."
            )
        if len(entries) > 1 and not all(entry.model_id == entries[0].model_id for entry in entries):
            names = ", ".join(entry.model_id for entry in entries[:5])
            more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
            raise UsageError(f"One model is needed. Got {len(entries)} that {model!r} fits: {names}{more}. Name one.")
        removed = opened.removed(rows[0])
    if format_ == "json":
        found = FoundModel(rank=1, entry=entries[0])
        one = SearchResult(models=(found,), n_models=1, n_matches=1, n_unknown=0, unknown="drop", sorted_by="model_id")
        print_out(_found.found_json(one))
    else:
        print_out(_found.entry_text(entries[0], removed=removed))
    return 0


@app.command()
def stats(catalogue: CatalogueFolder = None) -> None:
    """Count the models of the catalogue by repository, task, format and licence."""
    from neuralrank.reports import _catalogue_stats
    from neuralrank.storage.stats import catalogue_stats

    with _opened(catalogue) as opened:
        print_out(_catalogue_stats.stats_text(catalogue_stats(opened)))


@app.command("export")
def export_(
    out: Annotated[Path, typer.Argument(help="Folder to write models.parquet, outcomes.jsonl and runs.jsonl to.")],
    catalogue: CatalogueFolder = None,
) -> None:
    """Write the catalogue to a folder: models as Parquet, outcomes and rankings as lines of JSON."""
    from neuralrank.storage.exchange import export_models
    from neuralrank.storage.outcomes import export_outcomes, write_lines
    from neuralrank.storage.runs import get_document, list_runs

    with _opened(catalogue) as opened:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(
                f"An export needs a folder. Got {reason} at {str(out)!r}. Choose another place."
            ) from None
        n_models = export_models(opened, out / "models.parquet")
        n_outcomes = export_outcomes(opened, out / "outcomes.jsonl")
        runs = list_runs(opened)
        write_lines(out / "runs.jsonl", (json.loads(get_document(opened, run.run_id)) for run in runs))
    written = f"{_n(n_models, 'model')}, {_n(n_outcomes, 'outcome')} and {_n(len(runs), 'ranking')}"
    print_out(f"{written} written to {out}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder that an export wrote, or its models.parquet.")],
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> None:
    """Merge an exported catalogue: of a model known to both, what was listed last counts."""
    from neuralrank.queries.concepts import index_concepts
    from neuralrank.storage.catalogue import open_catalogue
    from neuralrank.storage.exchange import import_models
    from neuralrank.storage.outcomes import import_outcomes

    path = source / "models.parquet" if source.is_dir() else source
    with open_catalogue(folder_of(catalogue)) as opened:
        merged = import_models(opened, path, concepts=index_concepts)
        told = [
            f"{merged.n_new:,} new models, {merged.n_newer:,} more recent than here, {merged.n_kept:,} kept as here"
        ]
        if (source / "outcomes.jsonl").is_file():
            told.append(_n(import_outcomes(opened, source / "outcomes.jsonl").n_added, "new outcome"))
        if (source / "runs.jsonl").is_file():
            told.append(_n(_import_runs(opened, source / "runs.jsonl"), "new ranking"))
        print_out(f"{', '.join(told)}.")
        _bring_up_to_date(opened, quiet=quiet)


def _import_runs(opened: Any, path: Path) -> int:
    """Store the rankings of an exported file that are not here; return how many."""
    from neuralrank.reports.document import ranking_from_json
    from neuralrank.storage.runs import list_runs, store_ranking

    known = {run.run_id for run in list_runs(opened)}
    n_new = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                ranking = ranking_from_json(line)
            except (ValueError, KeyError, TypeError, NeuralrankError) as error:
                raise UsageError(
                    f"{path.name} needs a ranking in each line. Got something else in line {number}. Export it again."
                ) from error
            if ranking.run_id not in known:
                store_ranking(opened, ranking)
                n_new += 1
    return n_new


@app.command()
def repair(catalogue: CatalogueFolder = None) -> None:
    """Check the catalogue; if it is damaged, keep all that can be read."""
    from neuralrank.storage.catalogue import open_catalogue
    from neuralrank.storage.outcomes import replay_outcomes
    from neuralrank.storage.repair import repair as mend

    done = mend(folder_of(catalogue))
    with open_catalogue(folder_of(catalogue)) as opened:
        n_replayed = replay_outcomes(opened).n_added
    n_outcomes = done.n_outcomes + n_replayed
    kept = f"{_n(done.n_models, 'model')}, {_n(done.n_runs, 'ranking')} and {_n(n_outcomes, 'outcome')}"
    if done.was_sound:
        print_out(f"The catalogue is sound: {kept}. Columns and text index will be made again.")
    else:
        print_out(
            f"The catalogue was damaged. Kept: {kept}. The damaged file is {str(done.kept_as)!r}. "
            "Run `neuralrank index` to list again what was lost."
        )


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def split_labels(text: str) -> tuple[str, ...]:
    """Return the label names of an option."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def unknown_of(given: str) -> Literal["keep", "drop"]:
    """Return what an option says is done with models of which a condition is unknown."""
    match given:
        case "keep" | "drop":
            return given
    raise UsageError(f"--unknown needs keep or drop. Got {given!r}. Leave it out to drop them.")


@contextmanager
def _opened(catalogue: str | None) -> Iterator[Any]:
    """Open a catalogue that is there.

    Raises:
        UsageError: there is none.
    """
    from neuralrank.storage._connection import FILE_NAME
    from neuralrank.storage.catalogue import open_catalogue

    folder = folder_of(catalogue)
    if not (folder / FILE_NAME).exists():
        raise UsageError(
            f"A catalogue is needed. Got none in {str(folder)!r}. "
            "Make one: neuralrank index ./checkpoints 'hf:google/*', or name its folder with --catalogue."
        )
    with open_catalogue(folder) as opened:
        yield opened


def _chosen(given: str | None, out: Path | None) -> str:
    if given is None:
        return SUFFIXES.get(out.suffix.lower(), "table") if out is not None else "table"
    if given not in FORMATS:
        raise UsageError(f"--format needs one of {', '.join(FORMATS)}. Got {given!r}. Leave it out for a table.")
    return given


def _rendered(result: Any, chosen: str) -> str:
    from neuralrank.reports import _found

    if chosen == "table":
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size((120, 24)).columns
        return _found.found_text(result, columns=width, color=terminal and "NO_COLOR" not in os.environ)
    return {"json": _found.found_json, "csv": _found.found_csv, "markdown": _found.found_markdown}[chosen](result)


def _tell_indexed(done: Any, *, quiet: bool) -> None:
    notes = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
    parts = [f"{done.n_new:,} new", f"{done.n_changed:,} changed", f"{done.n_unchanged:,} unchanged"]
    parts += [f"{done.n_removed:,} removed"] if done.n_removed else []
    parts += [f"{len(done.failures):,} failed"] if done.failures else []
    print_out(f"{done.spec}: {', '.join(parts)}, in {done.seconds:.1f} s")
    for failure in done.failures[:10]:
        notes.print(Text(f"  {failure.model_id}: {failure.error}", style="red"))
    if len(done.failures) > 10:
        notes.print(Text(f"  … and {len(done.failures) - 10:,} more: `neuralrank catalogue stats` counts them."))
    if done.stopped:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            Text.assemble(("error: ", "bold red"), done.stopped)
        )


def _bring_up_to_date(opened: Any, *, quiet: bool) -> None:
    from neuralrank.storage.derived import derived

    with _bar(quiet=quiet) as say:
        done = derived(opened, say=say)
    if done.repaired:
        _note(done.repaired, quiet=quiet)


def _note(text: str, *, quiet: bool) -> None:
    Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True).print(Text(text, style="dim"))


@contextmanager
def _counting(*, quiet: bool) -> Iterator[Any]:
    """Show how many models were listed; their number is not known beforehand."""
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("listing")
        yield lambda spec, n_models: bar.update(task, description=f"{spec}: {n_models:,} models")


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Any]:
    """Show how far columns and text index are."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def say(what: str, done: int, n_all: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"indexing {what}", total=n_all)
            bar.update(tasks[what], completed=done, total=n_all)

        yield say
