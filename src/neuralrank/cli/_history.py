"""`neuralrank outcome …`, `runs` and `report`: past rankings, and what became of the models."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from neuralrank.cli._catalogue import CatalogueFolder, folder_of
from neuralrank.cli._output import REPORTS, check_writable, chosen_format, print_out, write_ranking
from neuralrank.errors import UsageError
from neuralrank.storage.catalogue import Catalogue
from neuralrank.storage.journal import UnfinishedRun
from neuralrank.storage.outcomes import Outcome

LISTS = ("table", "json", "csv")
_MOST_TOLD = 20

Format = Annotated[str, typer.Option("--format", help=f"Output: {', '.join(LISTS)}.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notes.")]

app = typer.Typer(
    help="Report the accuracies that models reached: what --prior history learns from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="Id or name of the model, or the start of one.", show_default=False)],
    data: Annotated[str, typer.Option("--data", help="The data set: its path, or a run, path or name of a past one.")],
    accuracy: Annotated[str, typer.Option("--accuracy", help="What it reached: 0.93 or 93%.")],
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> None:
    """Keep the accuracy that a model reached on a data set."""
    from neuralrank.cli._reported import Reader
    from neuralrank.storage.outcomes import add_outcomes

    with _opened(catalogue, quiet=quiet) as (opened, say):
        reader = Reader(catalogue=opened)
        outcome = reader.outcome(model, data, accuracy)
        say(reader.notes)
        had = _known(opened).get(_key(outcome))
        if had is None:
            add_outcomes(opened, [outcome], reader.about.values())
    said = f"{outcome.model_id} reached {_percent(outcome.accuracy)} on {outcome.data}"
    print_out(f"Kept as {outcome.id}: {said}." if had is None else f"Already there as {had}: {said}.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with the columns model, data and accuracy.", show_default=False)],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are wrong.")] = False,
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> None:
    """Keep a table of accuracies: all of it, or nothing where a row is wrong."""
    from neuralrank.cli._reported import Reader, read_rows
    from neuralrank.storage.outcomes import add_outcomes

    with _opened(catalogue, quiet=quiet) as (opened, say):
        reader = Reader(catalogue=opened)
        rows = read_rows(file, reader)
        if rows.bad and not skip_bad:
            raise UsageError(
                f"A table of outcomes needs rows that are all right. Got {len(rows.bad):,} in {str(file)!r} that "
                f"{'is' if len(rows.bad) == 1 else 'are'} not:\n{_listed(rows.bad)}\n"
                "Nothing was kept. Correct them, or leave them out with --skip-bad."
            )
        say(reader.notes)
        if rows.bad:
            say([f"Left out:\n{_listed(rows.bad)}"])
        known = _known(opened)
        new = {_key(outcome): outcome for outcome in rows.outcomes if _key(outcome) not in known}
        used = {outcome.fingerprint for outcome in new.values()}
        about = [target for target in reader.about.values() if target.fingerprint in used]
        if new:
            add_outcomes(opened, list(new.values()), about)
    parts = [f"{len(new):,} kept"]
    n_had = len(rows.outcomes) - len(new)
    parts += [f"{n_had:,} already there"] if n_had else []
    parts += [f"{len(rows.bad):,} left out"] if rows.bad else []
    print_out(f"Outcomes: {', '.join(parts)}.")


@app.command("list")
def list_(format_: Format = "table", catalogue: CatalogueFolder = None, quiet: Quiet = False) -> None:
    """List what was reported, newest first."""
    from neuralrank.storage.outcomes import outcomes

    _check_format(format_)
    with _opened(catalogue, quiet=quiet) as (opened, _):
        found = outcomes(opened)
    if format_ == "table":
        rows = [
            {"id": o.id, "accuracy": _percent(o.accuracy), "model": o.model_id, "data": o.data, "reported": o.created}
            for o in found
        ]
        print_out(
            _table(rows, right=("accuracy",)) if rows else "No outcome is kept. Add one: `neuralrank outcome add`."
        )
    else:
        _print_rows([asdict(outcome) for outcome in found], tuple(Outcome.__annotations__), format_)


@app.command()
def remove(
    outcome_id: Annotated[str, typer.Argument(metavar="ID", help="Of the outcome, or its start.", show_default=False)],
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> None:
    """Take back what was reported by mistake."""
    from neuralrank.storage.outcomes import remove_outcome

    with _opened(catalogue, quiet=quiet) as (opened, _):
        gone = remove_outcome(opened, outcome_id)
    print_out(f"Removed {gone.id}: {gone.model_id}, {_percent(gone.accuracy)} on {gone.data}.")


def runs(
    forget: Annotated[str | None, typer.Option(help="Forget a run that did not end, by its id.")] = None,
    format_: Format = "table",
    catalogue: CatalogueFolder = None,
) -> None:
    """List rankings and runs that did not end, newest first; `report` shows one again, `rank --resume` goes on."""
    from neuralrank.storage.catalogue import open_catalogue
    from neuralrank.storage.journal import unfinished_runs
    from neuralrank.storage.runs import Run, list_runs

    _check_format(format_)
    with open_catalogue(folder_of(catalogue)) as opened:
        if forget is not None:
            print_out(_forgotten(opened, forget))
            return
        unfinished = {run.run_id: run for run in unfinished_runs(opened)}
        listed = {found.run_id: {**asdict(found), "state": "ended"} for found in list_runs(opened)}
    for run in unfinished.values():
        found = listed.setdefault(run.run_id, _unfinished_row(run))
        found["state"] = "running" if run.is_running else "not ended"
    rows = sorted(listed.values(), key=lambda row: row["created"], reverse=True)
    if format_ != "table":
        _print_rows(rows, (*Run.__annotations__, "state"), format_)
        return
    shown = [
        {
            "run": row["run_id"],
            "time": row["created"],
            "models": f"{row['n_models']:,}",
            "score": row["score"],
            "data": row["data"],
            "best": row["best"] or "–",
            "state": row["state"],
        }
        for row in rows
    ]
    print_out(_table(shown, right=("models",)) if shown else "No ranking is kept yet. Make one: `neuralrank rank`.")
    for row in rows:
        if row["state"] == "not ended" and unfinished[row["run_id"]].options:
            print_out(f"{row['run_id']} has not ended: resume with neuralrank rank --resume {row['run_id']}")
        elif row["state"] == "not ended":
            print_out(f"{row['run_id']} has not ended: call rank with the same objects again")


def _unfinished_row(run: UnfinishedRun) -> dict[str, Any]:
    """Return a run without a ranking as a row beside those that have one."""
    return {
        "run_id": run.run_id,
        "created": run.created,
        "fingerprint": None,
        "data": run.options.get("data", ""),
        "score": run.options.get("score", ""),
        "n_models": run.n_scored,
        "best": None,
    }


def _forgotten(opened: Catalogue, key: str) -> str:
    """Forget a run that did not end, and say so."""
    from neuralrank.storage.journal import find_unfinished, forget_run

    run = find_unfinished(opened, key, option="--forget")
    if run.is_running:
        raise UsageError(f"--forget needs a run that nothing is at. Got {run.run_id}, which a process runs now. Wait.")
    forget_run(opened, run.run_id)
    n_models = f"{run.n_scored + run.n_failed:,} model{'' if run.n_scored + run.n_failed == 1 else 's'}"
    return f"Forgot run {run.run_id}, which had come to {n_models}. What was computed is kept."


def report(
    run: Annotated[str, typer.Argument(help="Id of a past ranking, or its start.", show_default=False)],
    format_: Annotated[str | None, typer.Option("--format", help=f"Output: {', '.join(REPORTS)}.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the output to this file; its suffix sets the format.")] = None,
    top: Annotated[int | None, typer.Option(help="Show only the first N models.", min=1)] = None,
    catalogue: CatalogueFolder = None,
    quiet: Quiet = False,
) -> None:
    """Show a past ranking again, in any format."""
    from neuralrank.reports.document import ranking_from_json
    from neuralrank.storage.catalogue import open_catalogue
    from neuralrank.storage.runs import get_document, get_run

    chosen = chosen_format(format_, out)
    if out is not None:
        check_writable(out)
    with open_catalogue(folder_of(catalogue)) as opened:
        text = get_document(opened, get_run(opened, run).run_id)
    write_ranking(ranking_from_json(text), chosen, out, Console(stderr=True, highlight=False, quiet=quiet), top=top)


# --- what they share ---------------------------------------------------------------------------------------------


@contextmanager
def _opened(given: str | None, *, quiet: bool) -> Iterator[tuple[Catalogue, Any]]:
    """Open the catalogue with all outcomes that its journal holds, and give a way to say notes."""
    from neuralrank.storage.catalogue import open_catalogue
    from neuralrank.storage.outcomes import replay_outcomes

    console = Console(stderr=True, highlight=False, quiet=quiet)

    def say(notes: Sequence[str] | Mapping[str, None]) -> None:
        for note in notes:
            console.print(Text(note, style="dim"), soft_wrap=True)

    with open_catalogue(folder_of(given)) as opened:
        replayed = replay_outcomes(opened)
        n_redone = replayed.n_added + replayed.n_removed
        if n_redone:
            say([f"The catalogue had lost {n_redone:,} of what was reported or taken back; its journal had it."])
        yield opened, say


def _known(opened: Catalogue) -> dict[tuple[str, str, float], str]:
    from neuralrank.storage.outcomes import outcomes

    return {_key(outcome): outcome.id for outcome in outcomes(opened)}


def _key(outcome: Outcome) -> tuple[str, str, float]:
    return outcome.model_id, outcome.fingerprint, outcome.accuracy


def _check_format(given: str) -> None:
    if given not in LISTS:
        raise UsageError(f"--format needs one of {', '.join(LISTS)}. Got {given!r}. Leave it out for a table.")


def _print_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str], format_: str) -> None:
    if format_ == "json":
        print_out(json.dumps(rows, indent=2))
        return
    from neuralrank.reports.spreadsheet import cell

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([cell(row[name]) for name in names] for row in rows)
    print_out(buffer.getvalue().removesuffix("\r\n"))


def _table(rows: Sequence[Mapping[str, str]], *, right: Sequence[str]) -> str:
    from neuralrank.reports._names import clean, shorten
    from neuralrank.reports._names import width as cells_of

    total = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 160
    longest = max(20, total // len(rows[0]))
    texts = [{name: shorten(clean(value), longest) for name, value in row.items()} for row in rows]
    widths = {name: max(cells_of(name), *(cells_of(row[name]) for row in texts)) for name in rows[0]}
    lines = []
    for row in ({name: name for name in rows[0]}, *texts):
        cells = [(" " * (widths[name] - cells_of(row[name])), row[name], name in right) for name in row]
        lines.append("  ".join(space + text if is_right else text + space for space, text, is_right in cells).rstrip())
    return "\n".join(lines)


def _listed(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - _MOST_TOLD:,} more"] if len(lines) > _MOST_TOLD else []
    return "\n".join(f"  {line}" for line in (*lines[:_MOST_TOLD], *more))


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
