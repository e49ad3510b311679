"""The command line: arguments in, text out. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from neuralrank import __version__, registry
from neuralrank.bench import commands as bench_commands
from neuralrank.errors import NeuralrankError, OutputError, UsageError
from neuralrank.types import Failure, Ranking, Task

app = typer.Typer(
    name="neuralrank",
    help="Rank the pretrained networks of a repository for your data set, without training them.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(bench_commands.app, name="bench")
REPORTS = {"table": "text", "json": "document", "csv": "spreadsheet", "markdown": "markdown", "html": "page"}
SUFFIXES = {".json": "json", ".csv": "csv", ".md": "markdown", ".html": "html", ".htm": "html", ".txt": "table"}
INTERRUPTED = 130

Models = Annotated[list[str], typer.Argument(help="Folders or files with models.", show_default=False)]
Data = Annotated[
    str, typer.Option("--data", help="The data set: a folder of class folders, Parquet, CSV, JSONL or npz.")
]


def main() -> None:
    """Run the command line; every error of the user's ends as one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows '?' in its place
    _end_politely()
    try:
        code = app(standalone_mode=False, prog_name="neuralrank")
    except NeuralrankError as error:
        _say_error(str(error))
        code = error.exit_code
    except typer.Exit as end:
        code = end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of the argument parser's: a bug, to be seen whole
            raise
        message = error.format_message()
        _say_error(f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `neuralrank --help`.")
        code = 2
    if code == INTERRUPTED:
        _say_error("Stopped.")
    sys.exit(code or 0)


def _end_politely() -> None:
    """Let a scheduler's or a closing terminal's signal do what Ctrl-C does: show what there is, and clean up."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, signal.default_int_handler)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        _print(f"neuralrank {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command()
def rank(
    models: Models,
    data: Data,
    score: Annotated[
        str, typer.Option(help="Score that orders the models, or several: mean_rank:neuralrank,log_me,parc.")
    ] = "neuralrank",
    also: Annotated[str, typer.Option(help="Further scorers to show, separated by commas.")] = "log_me,lda_probe,knn",
    probe: Annotated[int, typer.Option(help="Number of samples to use, drawn by class.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    layer: Annotated[
        str | None, typer.Option(help="Layer to take features from; 'list' names those of each model.")
    ] = None,
    top: Annotated[int | None, typer.Option(help="Show only the first N models.", min=1)] = None,
    format_: Annotated[str | None, typer.Option("--format", help=f"Output: {', '.join(REPORTS)}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the output to this file; its suffix sets the format.")] = None,
    input_column: Annotated[str | None, typer.Option(help="Column with the samples.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the labels.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says which samples belong together.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data to use, for example train.")] = None,
    task: Annotated[
        str | None, typer.Option(help="classification, regression or multilabel; detected if not given.")
    ] = None,
    cache_dir: Annotated[str | None, typer.Option(help="Where extracted features are kept.")] = None,
    model_timeout: Annotated[
        float | None, typer.Option(help="Seconds without progress before a model is stopped.")
    ] = None,
    model_memory: Annotated[float | None, typer.Option(help="Memory one model may use, in GB.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads a model may use.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Models that run at once.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if any model failed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
) -> int:
    """Rank models for a data set."""
    from neuralrank import ranking as engine
    from neuralrank.readers._open import open_target

    if "" in (*models, data, cache_dir):
        raise UsageError("A path is needed. Got an empty one. Check for a shell variable that is not set.")
    chosen = _format(format_, out)
    if out is not None:
        _check_writable(out)
    columns = {"input_column": input_column, "label_column": label_column, "group_column": group_column}
    target = open_target(data, split=split, task=_task(task), **columns)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    for note in target.notes:
        notes.print(Text(note, style="dim"), soft_wrap=True)
    limits = _limits(engine.default_limits(), model_timeout, model_memory, threads, jobs)
    if layer == "list":
        return _list_layers(models, target, limits)
    with _ProgressView(notes, enabled=not quiet) as view:
        result = engine.rank(
            list(models),
            target,
            score=score,
            also=[name.strip() for name in also.split(",") if name.strip()],
            probe=probe,
            seed=seed,
            layer=layer,
            cache_dir=cache_dir,
            limits=limits,
            progress=view.update,
        )
    _write(result, chosen, out, notes, top=top)
    return _exit_code(result, strict=strict)


@app.command()
def scores(
    format_: Annotated[str, typer.Option("--format", help="Output: table, markdown, json.")] = "table",
) -> None:
    """List the scores: what each supports and needs, whether it prefers noise, and which paper it is from."""
    from neuralrank.reports import _score_table as tables

    facts = tables.score_facts()
    if format_ == "table":
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 24)).columns if terminal else 160
        _print(tables.table_text(facts, width=width, color=terminal and "NO_COLOR" not in os.environ))
    elif format_ == "markdown":
        _print(tables.table_markdown(facts))
    elif format_ == "json":
        _print(tables.table_json(facts))
    else:
        raise UsageError(f"--format needs one of table, markdown, json. Got {format_!r}. Leave it out for a table.")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to write the HTML report.")] = Path("neuralrank-demo.html"),
    cache_dir: Annotated[str | None, typer.Option(help="Where extracted features are kept.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
) -> int:
    """Rank the demo repository for scikit-learn's handwritten digits, then check the ranking by training heads."""
    from neuralrank import demo as example

    _check_writable(out)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    with _ProgressView(notes, enabled=not quiet) as view:
        result = example.run(cache_dir=cache_dir, progress=view.update)
    _print(_render(result.ranking, "table"))
    _print(example.verdict(result))
    _write_file(out, _render(result.ranking, "html"))
    _print(f"Report: {out.resolve()}")
    return _exit_code(result.ranking, strict=False)


# --- output ------------------------------------------------------------------------------------------------------


def _task(given: str | None) -> Task | None:
    match given:
        case None | "classification" | "regression" | "multilabel":
            return given
    raise UsageError(
        f"--task needs classification, regression or multilabel. Got {given!r}. Leave it out to have it detected."
    )


def _format(given: str | None, out: Path | None) -> str:
    if given is None:
        return SUFFIXES.get(out.suffix.lower(), "table") if out is not None else "table"
    if given not in REPORTS:
        raise UsageError(f"--format needs one of {', '.join(REPORTS)}. Got {given!r}. Leave it out for a table.")
    if given == "html" and out is None and sys.stdout.isatty():
        raise UsageError("--format html needs a file. Got none. Add --out report.html.")
    return given


def _render(result: Ranking, name: str, *, top: int | None = None) -> str:
    report = registry.get("reports", REPORTS[name])
    if name != "table":
        return str(report(dataclasses.replace(result, models=result.models[:top])))
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns
    return str(report(result, width=width, color=terminal and "NO_COLOR" not in os.environ, top=top))


def _write(result: Ranking, chosen: str, out: Path | None, notes: Console, *, top: int | None) -> None:
    if out is None:
        _print(_render(result, chosen, top=top))
        return
    _write_file(out, _render(result, chosen, top=top))
    if chosen == "html":
        _print(_render(result, "table", top=top))
    notes.print(Text(f"Written to {out}"), soft_wrap=True)


def _print(text: str) -> None:
    """Print to standard output; a reader that has gone away is no error.

    Raises:
        OutputError: it cannot be written, for example because a disk is full.
    """
    try:
        typer.echo(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        if not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"Standard output needs to take the result. Got: {(error.strerror or str(error)).lower()}. "
                "Send it elsewhere, or name a file with --out."
            ) from None


def _check_writable(out: Path) -> None:
    """Find out before hours of work, and without touching the file, that it can be written.

    Raises:
        OutputError: it cannot.
    """
    try:
        if out.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if out.exists() and not os.access(out, os.W_OK):
            raise PermissionError(None, "it is read-only")
        if _is_device(out):
            return
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(out)).parent):
            pass
    except OSError as error:
        raise _cannot_write(out, error) from None


def _write_file(out: Path, text: str) -> None:
    """Write through a temporary name: the file is whole or as it was. A link stays one, and so does a device."""
    text = text if text.endswith("\n") else text + "\n"
    try:
        if _is_device(out):
            out.write_text(text, encoding="utf-8", newline="")
            return
        target = Path(os.path.realpath(out))
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot_write(out, error) from None


def _is_device(path: Path) -> bool:
    """Return whether a path leads to a pipe or device, which would be lost if a file took its place."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _cannot_write(out: Path, error: OSError) -> OutputError:
    return OutputError(
        f"--out needs a file that can be written. Got {str(out)!r}: {error.strerror or error}. Choose another place."
    )


def _exit_code(result: Ranking, *, strict: bool) -> int:
    if result.stopped.startswith("interrupted"):
        return INTERRUPTED
    if not result.models:
        return 1
    return 3 if strict and result.failures else 0


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
                _print(f"{found.model_id}\n  failed while it was asked ({found.stage}): {found.error}")
                continue
            n_listed += 1
            layers, default = found
            lines = [f"  {name}{'  (default)' if name == default else ''}" for name in layers]
            _print("\n".join([item.model_id, *lines]))
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


def _say_error(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), message))


class _ProgressView:
    """A bar over models and one for each that is running; plain lines where there is no terminal."""

    def __init__(self, console: Console, *, enabled: bool) -> None:
        self._console = console
        self._plain = enabled and not console.is_terminal
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        live = enabled and console.is_terminal
        self._bars = Progress(*columns, console=console, transient=True, disable=not live)
        self._models = self._bars.add_task("models", total=None)
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> _ProgressView:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, event: Any) -> None:
        """Show one event of the run; events come from several threads."""
        if event.n_models_done is None:
            if event.model not in self._running:
                name = event.model if len(event.model) <= 32 else "…" + event.model[-31:]
                self._running[event.model] = self._bars.add_task(name, total=event.n_samples)
            self._bars.update(self._running[event.model], completed=event.n_samples_done)
            return
        if event.model in self._running:
            self._bars.remove_task(self._running.pop(event.model))
        self._bars.update(self._models, completed=event.n_models_done, total=event.n_models)
        if self._plain:
            failed = isinstance(event.outcome, Failure)
            score = "scored" if event.outcome is None else f"{event.outcome:.3f}" if not failed else ""
            told = f"failed ({event.outcome.stage})" if failed else score
            line = f"[{event.n_models_done}/{event.n_models}] {event.model}: {told}"
            self._console.print(Text(line), soft_wrap=True)
