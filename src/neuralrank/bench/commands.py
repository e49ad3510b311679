"""The commands `neuralrank bench …`: arguments in, text out. What they need is imported when they are called."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from neuralrank.errors import MissingExtraError, UsageError

app = typer.Typer(
    help="The evidence: build a repository of networks, measure them, and hold every score against that.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--repository", help="Folder of the networks and of all that is measured on them.")]
Data = Annotated[Path, typer.Option("--data", help="Folder with one folder per data set, as on the Hugging Face Hub.")]
Tables = Annotated[Path, typer.Option("--tables", help="Folder of the tables that `evaluate` and `report` need.")]
GridName = Annotated[str, typer.Option("--grid", help="Which networks: full or quick.")]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Networks at once, a core each.", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
REPOSITORY, TABLES = Path("evidence-repository"), Path("benchmarks/evidence")


@app.command()
def build(data: Data, repository: Out = REPOSITORY, grid: GridName = "full", jobs: Jobs = None,
          quiet: Quiet = False) -> None:  # fmt: skip
    """Train the networks; those that are there are not trained again."""
    from neuralrank.bench.build import build as train

    chosen, where = _chosen(grid), _repository(repository, data)
    with _Bar("networks", quiet=quiet) as bar:
        train(chosen, where, jobs=jobs or _cores(), progress=bar.update)


@app.command()
def truth(data: Data, repository: Out = REPOSITORY, tables: Tables = TABLES, grid: GridName = "full",
          jobs: Jobs = None, quiet: Quiet = False) -> None:  # fmt: skip
    """Measure the transfer accuracy of every network on every target."""
    from neuralrank.bench.collect import write_networks, write_truth
    from neuralrank.bench.truth import measure_truth

    chosen, where = _chosen(grid), _repository(repository, data)
    try:
        with _Bar("measurements", quiet=quiet) as bar:
            measure_truth(chosen, where, jobs=jobs or _cores(), progress=bar.update)
    finally:
        write_networks(chosen, where, tables)
        write_truth(chosen, where, tables)


@app.command()
def zoo(
    models: Annotated[Path, typer.Option("--models", help="Folder of published networks: NAME.onnx and NAME.json.")],
    data: Data, repository: Out = REPOSITORY, tables: Tables = Path("benchmarks/evidence-zoo"), jobs: Jobs = None,
    limit_seconds_per_step: Annotated[
        float, typer.Option(help="Fine-tune a network if a step on 32 images costs one core at most this.", min=0)
    ] = 0.6,
    seeds: Annotated[
        int, typer.Option(help="Fine-tune so many times, each with other samples: tells how much that matters.", min=1)
    ] = 1,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure and score networks that other people published."""
    where = _repository(repository, data)
    from neuralrank.bench._zoo_models import Zoo
    from neuralrank.bench.zoo import measure_zoo, remarks, write_tables

    chosen = Zoo(models=models, repository=where, limit_seconds_per_step=limit_seconds_per_step, n_seeds=seeds)
    try:
        with _Bar("networks", quiet=quiet) as bar:
            measure_zoo(chosen, jobs=jobs or _cores(), progress=bar.update)
    finally:
        write_tables(chosen, tables)
    for remark in remarks(chosen):
        on = f" on {remark.target}" if remark.target else ""
        typer.echo(f"{remark.model} is {remark.kind}{on}: {remark.reason}")


@app.command()
def score(data: Data, repository: Out = REPOSITORY, tables: Tables = TABLES, grid: GridName = "full",
          jobs: Jobs = None, quiet: Quiet = False) -> None:  # fmt: skip
    """Compute every score of every network on probes of several sizes."""
    from neuralrank.bench.collect import write_features, write_scores
    from neuralrank.bench.score_probes import score_probes

    chosen, where = _chosen(grid), _repository(repository, data)
    with _Bar("probes", quiet=quiet) as bar:
        score_probes(chosen, where, jobs=jobs or _cores(), progress=bar.update)
    write_scores(chosen, where, tables)
    write_features(chosen, where, tables)


@app.command()
def evaluate(
    tables: Tables = TABLES,
    score: Annotated[
        list[str] | None,
        typer.Option(help="A score or a combination; again for more. One that is not in the tables is computed."),
    ] = None,
    probe: Annotated[int, typer.Option(help="Samples that the scores have seen.")] = 500,
    half: Annotated[
        str,
        typer.Option(help="Networks and targets: confirmation, development (on which the default was chosen), all."),
    ] = "confirmation",
    unrelated: Annotated[
        bool, typer.Option("--unrelated", help="Leave out networks that have met the target, and what comes from them.")
    ] = False,
    target: Annotated[list[str] | None, typer.Option(help="Judge on this target; again for more.")] = None,
    format_: Annotated[str, typer.Option("--format", help="Output: table, json, csv.")] = "table",
) -> None:
    """Hold scores against the measured accuracies."""
    from neuralrank.bench import _judgement as judgement
    from neuralrank.bench._cells import Question, ScoreBook
    from neuralrank.bench.evaluate import evaluate as judge
    from neuralrank.bench.tables import join_scores, read_tables

    judgement.check_format(format_)
    read, asked = read_tables(tables), tuple(dict.fromkeys(score or ()))
    targets = tuple(dict.fromkeys(target or ())) or _targets_of(half, read.truth.target.names)
    added, notes = _computed(asked, read, tables, half=half, targets=targets, n_probe=probe)
    if added is not None:
        read = replace(read, scores=join_scores(read.scores, added))
    book = ScoreBook(read)
    question = Question(
        scores=tuple(dict.fromkeys((*book.names(), *(name for name in asked if name not in book.lists())))),
        n_probe=probe, half=None if half == "all" else half, unrelated=unrelated, targets=targets, details=False,
    )  # fmt: skip
    judged = judge(read, question)
    if format_ == "json":
        _print(judgement.as_json(judged, asked, notes))
    elif format_ == "csv":
        _print(judgement.as_csv(judged, asked))
        for note in notes:
            Console(stderr=True, highlight=False).print(Text(note), soft_wrap=True)
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size((100, 24)).columns if terminal else 160
        color = terminal and "NO_COLOR" not in os.environ
        _print(judgement.as_text(judged, asked, notes, width=width, color=color))


@app.command()
def report(
    tables: Tables = TABLES,
    out: Annotated[
        Path, typer.Option(help="The page; its figures go into a folder of the same name beside it.")
    ] = Path("docs/evidence.md"),
    published: Annotated[
        Path, typer.Option(help="Folder of the tables that `zoo` writes; left out of the page where it is not there.")
    ] = Path("benchmarks/evidence-zoo"),
) -> None:
    """Write the page of the evidence and its figures."""
    from neuralrank.bench.report import gather, read_costs, read_published, write_files
    from neuralrank.bench.tables import read_tables

    read = read_tables(tables)
    material = gather(read, read_costs(tables), development_targets=_development_targets())
    for path in write_files(material, out, published=read_published(published)):
        _print(f"Written to {path}")


def _print(text: str) -> None:
    """Print to standard output; a reader that has gone away is no error."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end


def _targets_of(half: str, there: Sequence[str]) -> tuple[str, ...] | None:
    """Return the targets of a half; None, which takes all, where it has none."""
    if half not in ("confirmation", "development", "all"):
        raise UsageError(
            f"--half needs one of confirmation, development, all. Got {half!r}. Leave it out for confirmation."
        )
    if half == "all":
        return None
    chosen = [target for target in sorted(there) if (target in _development_targets()) == (half == "development")]
    return tuple(chosen) or None


def _computed(
    asked: Sequence[str], read: Any, folder: Path, *, half: str, targets: Sequence[str] | None, n_probe: int
) -> tuple[Any, list[str]]:
    """Compute what is asked about and not in the tables, and say what that is worth."""
    from neuralrank.bench._new_scores import compute, members_to_compute

    new = members_to_compute(asked, read, n_probe=n_probe)
    if not new:
        return None, []
    from neuralrank.bench.published_features import read_features

    of_half = {
        model for model, own in zip(read.networks.model, read.networks.half, strict=True) if half in ("all", own)
    }
    wanted = targets or read.truth.target.names
    probes = (each for each in read_features(folder) if each.model in of_half and each.target in wanted)
    n_all = len(of_half) * len(wanted)
    with _Bar("networks", quiet=not sys.stderr.isatty()) as bar:
        done = itertools.count(1)
        scores = compute(new, probes, progress=lambda name: bar.update(name, next(done), n_all))
    verb = "was" if len(new) == 1 else "were"
    return scores, [
        f"{', '.join(new)} {verb} not in the tables and {verb} computed now, on one draw of {n_probe} samples a target "
        "and from features in 8 bits; the other scores are means over several draws, from features in full precision."
    ]


def _development_targets() -> tuple[str, ...]:
    from neuralrank.bench.tables import DEVELOPMENT_TARGETS

    return DEVELOPMENT_TARGETS


def _chosen(name: str) -> Any:
    from neuralrank.bench._grid import GRIDS

    if name not in GRIDS:
        raise UsageError(f"--grid needs one of {', '.join(GRIDS)}. Got {name!r}. Leave it out for all networks.")
    return GRIDS[name]


def _repository(folder: Path, data: Path) -> Any:
    _check_torch("Training networks")
    from neuralrank.bench.build import Repository

    return Repository(folder=folder, data=data)


def _check_torch(what: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(
            f"{what} needs the package 'torch'. Got no such module. Run: pip install 'neuralrank[torch]'"
        )


def _cores() -> int:
    from neuralrank.bench._jobs import default_jobs

    return default_jobs()


class _Bar:
    """One bar with the time left; plain lines where there is no terminal."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._live = self._console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=self._console, transient=True, disable=not self._live)
        self._task = self._bars.add_task(what, total=None)
        self._start = time.monotonic()

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, name: str, n_done: int, n_all: int) -> None:
        """Show that a piece is done."""
        if self._live:
            self._bars.update(self._task, completed=n_done, total=n_all, description=name[-40:])
            return
        left = (time.monotonic() - self._start) / n_done * (n_all - n_done)
        self._console.print(Text(f"[{n_done}/{n_all}] {name}, {left / 60:.0f} min left"), soft_wrap=True)
