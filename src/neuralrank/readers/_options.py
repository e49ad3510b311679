"""The options every reader takes, as one value, and the checks they share."""

import difflib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from numpy.typing import NDArray

from neuralrank.errors import UsageError
from neuralrank.types import Task

Groups = Sequence[Hashable] | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for; None leaves the choice to the reader."""

    split: str | None = None
    input_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    groups: Groups | None = None
    task: Task | None = None


def check_options(options: Options) -> None:
    """Return if the options agree with each other.

    Raises:
        UsageError: an unknown task, or groups given twice.
    """
    if options.task is not None and options.task not in get_args(Task):
        known = quoted(get_args(Task))
        raise UsageError(f"--task needs one of {known}. Got {options.task!r}. Leave it out to have it detected.")
    if options.group_column is not None and options.groups is not None:
        raise UsageError(
            f"Groups need one origin. Got both --group-column {options.group_column!r} and a groups argument. "
            "Leave one of them out."
        )


def refuse_options(options: Options, unusable: Iterable[str], what: str) -> None:
    """Raise UsageError if one of the named options is set: `what` has nothing it could choose."""
    for name in unusable:
        value = getattr(options, name)
        if value is not None:
            flag = flag_of(name)
            raise UsageError(f"{flag} needs data that has columns or splits. Got {value!r} for {what}. Leave it out.")


def existing_path(path: str | Path) -> Path:
    """Return a path with `~` resolved.

    Raises:
        UsageError: nothing is there.
    """
    resolved = Path(path).expanduser()
    if not str(path) or not resolved.exists():
        raise UsageError(f"--data needs a file or folder that exists. Got {str(path)!r}. Check the path.")
    return resolved


def flag_of(option: str) -> str:
    """Return the command-line name of an option: 'label_column' gives '--label-column'."""
    return "--" + option.replace("_", "-")


def check_name(value: str, available: Iterable[str], option: str, what: str) -> str:
    """Return `value` if it is one of the names available.

    Raises:
        UsageError: it is not; the message lists the names and suggests the nearest.
    """
    known = tuple(available)
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"{flag_of(option)} needs {what}. Got {value!r}. {suggestion}Available: {quoted(known)}.")


def quoted(names: Iterable[object], limit: int = 20) -> str:
    """Join names for a sentence: "'a', 'b' and 3 more"."""
    shown = [repr(name) for name in names]
    if len(shown) > limit:
        return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"
    return ", ".join(shown)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return '1 sample' or '1,200 samples'."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
