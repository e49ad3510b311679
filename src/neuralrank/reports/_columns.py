"""The columns of the terminal table, and which of them a width has room for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from neuralrank.reports import _numbers
from neuralrank.reports._names import clean, shorten, shorten_apart, width
from neuralrank.reports._rows import further_scores
from neuralrank.reports._sentences import ranks, score_decimals
from neuralrank.types import RankedModel, Ranking, Task

GAP = 2
_NAME_MAX = 60
_PLOT_CELLS = 25

# First dropped first, while the model's name has fewer cells than this and needs them. Rank, model, score and the
# warning letters always stay. Of the further scores the last goes first.
_DROPPED = dict.fromkeys(("layer", "format", "license", "features", "interval", "scores", "size"), 40) | dict.fromkeys(
    ("seconds", "params", "p_best", "accuracy"), 24
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its cells are finished texts."""

    key: str
    title: str
    cells: tuple[str, ...]
    right: bool = True

    @property
    def natural(self) -> int:
        """Cells that the widest entry takes."""
        return max(map(width, (self.title, *self.cells)))


def fitting_columns(ranking: Ranking, names: Sequence[str], flags: Sequence[str], *, total: int) -> tuple[Column, ...]:
    """Return the columns that fit into `total` cells; the model's names are shortened to what is left for them."""
    columns = _all_columns(ranking, names, flags)
    wanted = next(column.natural for column in columns if column.key == "model")
    for key, enough in _DROPPED.items():
        for column in [column for column in reversed(columns) if column.key == key]:
            if _room(columns, total) < min(wanted, enough):
                columns.remove(column)
    limit = max(8, min(_room(columns, total), _NAME_MAX))
    return tuple(
        replace(column, cells=tuple(shorten_apart(column.cells, limit))) if column.key == "model" else column
        for column in columns
    )


def _room(columns: Sequence[Column], total: int) -> int:
    others = sum(column.natural for column in columns if column.key != "model")
    return total - others - GAP * (len(columns) - 1)


def _all_columns(ranking: Ranking, names: Sequence[str], flags: Sequence[str]) -> list[Column]:
    models = ranking.models
    regression = ranking.target.task == "regression"

    def texts(write: Callable[[RankedModel], str]) -> tuple[str, ...]:
        return tuple(write(model) for model in models)

    def accuracy(model: RankedModel) -> str:
        value = model.expected_accuracy
        return _numbers.number(value, 3) if regression else _numbers.percent(value, unit="")

    columns = [
        Column(key="rank", title="#", cells=_aligned_ranks(models)),
        Column(key="model", title="model", cells=tuple(names), right=False),
        Column(key="score", title="score", cells=_score_cells(models)),
        _interval_plot(models),
        Column(key="accuracy", title=_accuracy_title(ranking), cells=texts(accuracy)),
        Column(key="p_best", title="best %", cells=texts(lambda m: _numbers.probability(m.p_best, unit=""))),
        Column(key="params", title="params", cells=texts(lambda m: _numbers.short_count(m.params))),
        Column(key="size", title="size", cells=texts(lambda m: _numbers.file_size(m.size_bytes))),
        *_samples(models),
        Column(key="seconds", title="sec", cells=texts(lambda m: _numbers.seconds(m.extract_seconds))),
        Column(key="features", title="dim", cells=texts(lambda m: _numbers.count(m.n_features))),
        *_further_scores(ranking),
        Column(key="license", title="licence", cells=texts(lambda m: _word(m.license)), right=False),
        Column(key="format", title="format", cells=texts(lambda m: _word(m.format)), right=False),
        Column(key="layer", title="layer", cells=texts(lambda m: _word(m.layer)), right=False),
    ]
    if any(flags):
        columns.insert(2, Column(key="flags", title="", cells=tuple(flags), right=False))
    return columns


def _samples(models: Sequence[RankedModel]) -> list[Column]:
    """Return how many samples each model has seen, where they have not all seen the same."""
    if len({model.n_samples_used for model in models}) < 2:
        return []
    cells = tuple(_numbers.count(model.n_samples_used) for model in models)
    return [Column(key="samples", title="samples", cells=cells)]


def _accuracy_title(ranking: Ranking) -> str:
    titles: Mapping[Task, str] = {"classification": "acc. %", "regression": "R²", "multilabel": "label acc. %"}
    return titles[ranking.target.task]


def _word(text: str | None) -> str:
    return shorten(clean(text), 20) if text else _numbers.UNKNOWN


def _aligned_ranks(models: Sequence[RankedModel]) -> tuple[str, ...]:
    texts = ranks(models)
    tied = any(text.endswith("=") for text in texts)
    return tuple(text if text.endswith("=") or not tied else f"{text} " for text in texts)


def _score_cells(models: Sequence[RankedModel]) -> tuple[str, ...]:
    halves = [_numbers.half_width(model.interval) for model in models]
    digits = score_decimals(models)
    errors = ["" if half is None else f" ± {_numbers.number(half, digits)}" for half in halves]
    longest = max(map(len, errors), default=0)
    return tuple(
        f"{_numbers.number(model.score, digits)}{error:<{longest}}" for model, error in zip(models, errors, strict=True)
    )


def _further_scores(ranking: Ranking) -> list[Column]:
    columns = []
    for name in further_scores(ranking):
        values = [model.scores.get(name) for model in ranking.models]
        digits = min(_numbers.decimals(values), 4)
        cells = tuple(_numbers.number(value, digits) for value in values)
        columns.append(Column(key="scores", title=shorten(clean(name), 12), cells=cells))
    return columns


def _interval_plot(models: Sequence[RankedModel]) -> Column:
    bounds = [bound for model in models for bound in (*(model.interval or ()), model.score)]
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    digits = _numbers.decimals(bounds)
    left, right = _numbers.number(low, digits), _numbers.number(high, digits)
    title = f"{left}{right:>{_PLOT_CELLS - len(left)}}"
    return Column(key="interval", title=title, cells=tuple(_interval_line(m, low, high) for m in models), right=False)


def _interval_line(model: RankedModel, low: float, high: float) -> str:
    def cell(value: float) -> int:
        return round((value - low) / (high - low) * (_PLOT_CELLS - 1)) if high > low else 0

    line = [" "] * _PLOT_CELLS
    if model.interval is not None:
        first, last = cell(model.interval[0]), cell(model.interval[1])
        line[first : last + 1] = "─" * (last - first + 1)
    line[cell(model.score)] = "●"
    return "".join(line)
