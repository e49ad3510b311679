"""The commands `neuralrank bench …`: arguments in, text out. What they need is imported when they are called."""

from __future__ import annotations

import importlib.util
import time
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
        float, typer.Option(help="Fine-tune a network if a training step on 32 images costs at most this.", min=0)
    ] = 0.6,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure and score networks that other people published."""
    where = _repository(repository, data)
    from neuralrank.bench.zoo import Zoo, measure_zoo, remarks, write_tables

    chosen = Zoo(models=models, repository=where, limit_seconds_per_step=limit_seconds_per_step)
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


def _chosen(name: str) -> Any:
    from neuralrank.bench._grid import GRIDS

    if name not in GRIDS:
        raise UsageError(f"--grid needs one of {', '.join(GRIDS)}. Got {name!r}. Leave it out for all networks.")
    return GRIDS[name]


def _repository(folder: Path, data: Path) -> Any:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(
            "Training networks needs the package 'torch'. Got no such module. Run: pip install 'neuralrank[torch]'"
        )
    from neuralrank.bench.build import Repository

    return Repository(folder=folder, data=data)


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
