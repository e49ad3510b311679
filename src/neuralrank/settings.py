"""The table of process settings: an argument beats the environment, the environment beats the default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One process setting; its environment name is NEURALRANK_<NAME>."""

    name: str
    default: str
    unit: str
    help: str


SETTINGS = (
    Setting(name="cache_dir", default="~/.cache/neuralrank", unit="path", help="Where extracted features are kept."),
    Setting(name="threads", default="0", unit="count", help="Threads a model may use; 0: its share of the cores."),
    Setting(name="jobs", default="0", unit="count", help="Models that run at once; 0: one per core, at most 4."),
    Setting(
        name="model_timeout",
        default="300",
        unit="seconds",
        help="Longest time without progress before a model is stopped.",
    ),
    Setting(
        name="model_memory",
        default="0",
        unit="GB",
        help="Memory one model may use; 0: its share of 80 % of the machine's.",
    ),
    Setting(
        name="max_unreadable", default="0.05", unit="share", help="Largest part of the probe that may be unreadable."
    ),
)


def get(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the text of a setting from the environment, or its default."""
    setting = next(setting for setting in SETTINGS if setting.name == name)
    return environ.get(f"NEURALRANK_{name.upper()}") or setting.default


def number(name: str, environ: Mapping[str, str] = os.environ) -> float:
    """Return a numeric setting.

    Raises:
        UsageError: the environment holds something else.
    """
    text = get(name, environ)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"NEURALRANK_{name.upper()} needs a number of at least 0. Got {text!r}. Correct or unset it.")
    return value


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for extracted features, with `~` resolved."""
    return Path(get("cache_dir", environ)).expanduser()
