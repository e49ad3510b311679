"""How a ranking is going, on standard error."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.control import strip_control_codes
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from neuralrank.types import Failure

_REFRESHES_PER_SECOND = 5
_NAME_CELLS = 36
_OTHER_LINES = 4
"""Of the terminal's height, left for what stands around the models."""


@dataclass(kw_only=True)
class _Model:
    """One model as the view shows it."""

    name: str
    n_samples: int = 0
    score: float | None = None
    half_width: float | None = None
    state: str = "running"


class ProgressView:
    """All models that have begun, those that run first, then by score; plain lines where there is no terminal."""

    def __init__(self, console: Console, *, enabled: bool) -> None:
        self._console = console
        self._plain = enabled and not console.is_terminal
        self._models: dict[str, _Model] = {}
        self._n_done, self._n_models, self._n_samples = 0, 0, 0
        self._seconds_left: float | None = None
        self._said, self._began = time.monotonic(), time.monotonic()
        self._lock = threading.Lock()
        live = enabled and console.is_terminal
        self._live = (
            Live(
                console=console,
                get_renderable=self._view,
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
            )
            if live
            else None
        )

    def __enter__(self) -> ProgressView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, event: Any) -> None:
        """Show one event of the run; events come from several threads."""
        with self._lock:
            self._take(event)
        if self._plain and event.n_models_done is not None:
            self._print_line(event)

    def _take(self, event: Any) -> None:
        model = self._models.setdefault(event.model, _Model(name=event.model))
        model.n_samples = max(model.n_samples, event.n_samples_done)
        self._n_models, self._n_samples = event.n_models, event.n_samples
        if event.score is not None:
            model.score, model.half_width = event.score, event.half_width
        if event.seconds_left is not None:
            self._seconds_left, self._said = event.seconds_left, time.monotonic()
        if event.n_models_done is not None:
            self._n_done = event.n_models_done
            failed = isinstance(event.outcome, Failure)
            model.state = f"failed ({event.outcome.stage})" if failed else "out" if event.left else "done"
        elif event.score is not None:
            model.state = "waiting"
        else:
            model.state = "running"

    def _print_line(self, event: Any) -> None:
        failed = isinstance(event.outcome, Failure)
        score = "scored" if event.outcome is None else f"{event.outcome:.3f}" if not failed else ""
        told = f"failed ({event.outcome.stage})" if failed else score
        left = f", {event.left}" if event.left else ""
        line = f"[{event.n_models_done}/{event.n_models}] {event.model}: {told}{left}"
        # Not through the console: Ctrl-C while it prints would have it print the line again with the next one.
        self._console.file.write(strip_control_codes(line) + "\n")
        self._console.file.flush()

    def _view(self) -> RenderableType:
        with self._lock:
            models = sorted(self._models.values(), key=_urgency)
            summary = self._summary(sum(model.state == "running" for model in models))
        room = max(3, self._console.height - _OTHER_LINES)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, caption_justify="left")
        for title, right in (("model", False), ("", False), ("samples", True), ("score", True), ("state", False)):
            table.add_column(title, justify="right" if right else "left", no_wrap=True)
        for model in models[:room]:
            table.add_row(*self._cells(model), style="red" if model.state.startswith("failed") else "")
        if len(models) > room:
            table.caption = f"… and {len(models) - room:,} more"
        whole = Table.grid()
        whole.add_row(table)
        whole.add_row(summary)
        return whole

    def _cells(self, model: _Model) -> tuple[RenderableType, ...]:
        name = model.name if len(model.name) <= _NAME_CELLS else f"…{model.name[1 - _NAME_CELLS :]}"
        score = "" if model.score is None else f"{model.score:.3f}"
        if score and model.half_width is not None:
            score += f" ± {model.half_width:.3f}"
        bar = ProgressBar(total=max(1, self._n_samples), completed=model.n_samples, width=16)
        samples = f"{model.n_samples:,}/{self._n_samples:,}"
        return Text(name), bar, Text(samples), Text(score), Text(model.state)

    def _summary(self, n_running: int) -> Text:
        parts = [f"{self._n_done}/{self._n_models} models ended", f"{n_running} running"]
        parts.append(f"{_clock(time.monotonic() - self._began)} so far")
        if self._seconds_left is not None:
            left = max(0.0, self._seconds_left - (time.monotonic() - self._said))
            parts.append(f"about {_clock(left)} left for what is planned")
        return Text(" · ".join(parts), style="dim")


def _urgency(model: _Model) -> tuple[bool, bool, float]:
    return model.state != "running", model.state.startswith("failed"), -(model.score or 0.0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
