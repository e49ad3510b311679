"""Where results go: rendered, printed to standard output, or written to a file whole."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from neuralrank import registry
from neuralrank.errors import OutputError, UsageError
from neuralrank.types import Ranking

REPORTS = {"table": "text", "json": "document", "csv": "spreadsheet", "markdown": "markdown", "html": "page"}
SUFFIXES = {".json": "json", ".csv": "csv", ".md": "markdown", ".html": "html", ".htm": "html", ".txt": "table"}
INTERRUPTED = 130


def chosen_format(given: str | None, out: Path | None) -> str:
    if given is None:
        return SUFFIXES.get(out.suffix.lower(), "table") if out is not None else "table"
    if given not in REPORTS:
        raise UsageError(f"--format needs one of {', '.join(REPORTS)}. Got {given!r}. Leave it out for a table.")
    if given == "html" and out is None and sys.stdout.isatty():
        raise UsageError("--format html needs a file. Got none. Add --out report.html.")
    return given


def render(result: Ranking, name: str, *, top: int | None = None) -> str:
    report = registry.get("reports", REPORTS[name])
    if name != "table":
        return str(report(dataclasses.replace(result, models=result.models[:top])))
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns
    return str(report(result, width=width, color=terminal and "NO_COLOR" not in os.environ, top=top))


def write_ranking(result: Ranking, chosen: str, out: Path | None, notes: Console, *, top: int | None) -> None:
    if out is None:
        print_out(render(result, chosen, top=top))
        return
    write_file(out, render(result, chosen, top=top))
    if chosen == "html":
        print_out(render(result, "table", top=top))
    notes.print(Text(f"Written to {out}"), soft_wrap=True)


def print_out(text: str) -> None:
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


def check_writable(out: Path) -> None:
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
        raise _cannotwrite_ranking(out, error) from None


def write_file(out: Path, text: str) -> None:
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
        raise _cannotwrite_ranking(out, error) from None


def _is_device(path: Path) -> bool:
    """Return whether a path leads to a pipe or device, which would be lost if a file took its place."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _cannotwrite_ranking(out: Path, error: OSError) -> OutputError:
    return OutputError(
        f"--out needs a file that can be written. Got {str(out)!r}: {error.strerror or error}. Choose another place."
    )


def exit_code(result: Ranking, *, strict: bool) -> int:
    if result.stopped.startswith("interrupted"):
        return INTERRUPTED
    if not result.models:
        return 1
    return 3 if strict and result.failures else 0


def say_error(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), message))
