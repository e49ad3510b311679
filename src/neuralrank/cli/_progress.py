"""How a ranking is going, on standard error."""

from __future__ import annotations

from typing import Any

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

from neuralrank.types import Failure


class ProgressView:
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

    def __enter__(self) -> ProgressView:
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
