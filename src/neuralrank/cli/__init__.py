"""The command line: arguments in, text out. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neuralrank import __version__
from neuralrank.bench import commands as bench_commands
from neuralrank.cli import _catalogue, _history
from neuralrank.cli._doctor import doctor
from neuralrank.cli._output import INTERRUPTED, check_writable, exit_code, print_out, render, say_error, write_file
from neuralrank.cli._progress import ProgressView
from neuralrank.cli._rank import rank
from neuralrank.errors import NeuralrankError, UsageError

app = typer.Typer(
    name="neuralrank",
    help="Rank the pretrained networks of a repository for your data set, without training them.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(bench_commands.app, name="bench")
app.command()(rank)
app.command()(_catalogue.search)
app.command()(_catalogue.show)
app.command()(_catalogue.index)
app.add_typer(_catalogue.app, name="catalogue")
app.add_typer(_history.app, name="outcome")
app.command()(_history.runs)
app.command()(_history.report)
app.command()(doctor)


def main() -> None:
    """Run the command line; every error of the user's ends as one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows '?' in its place
    _end_politely()
    try:
        code = app(standalone_mode=False, prog_name="neuralrank")
    except NeuralrankError as error:
        say_error(str(error))
        code = error.exit_code
    except typer.Exit as end:
        code = end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of the argument parser's: a bug, to be seen whole
            raise
        message = error.format_message()
        say_error(f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `neuralrank --help`.")
        code = 2
    if code == INTERRUPTED:
        say_error("Stopped.")
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
        print_out(f"neuralrank {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


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
        print_out(tables.table_text(facts, width=width, color=terminal and "NO_COLOR" not in os.environ))
    elif format_ == "markdown":
        print_out(tables.table_markdown(facts))
    elif format_ == "json":
        print_out(tables.table_json(facts))
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

    check_writable(out)
    notes = Console(stderr=True, highlight=False, quiet=quiet)
    with ProgressView(notes, enabled=not quiet) as view:
        result = example.run(cache_dir=cache_dir, progress=view.update)
    print_out(render(result.ranking, "table"))
    print_out(example.verdict(result))
    write_file(out, render(result.ranking, "html"))
    print_out(f"Report: {out.resolve()}")
    return exit_code(result.ranking, strict=False)
