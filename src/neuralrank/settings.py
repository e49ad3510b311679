"""The table of process settings: an argument beats the environment, the environment beats the default."""

import math
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
    whole: bool = False
    maximum: float = math.inf


SETTINGS = (
    Setting(name="cache_dir", default="~/.cache/neuralrank", unit="path", help="Where extracted features are kept."),
    Setting(
        name="catalogue",
        default="~/.local/share/neuralrank/catalogue",
        unit="path",
        help="Where the catalogue of models, runs and outcomes is kept.",
    ),
    Setting(
        name="threads",
        default="0",
        unit="count",
        help="Threads a model may use; 0: its share of the cores.",
        whole=True,
    ),
    Setting(
        name="jobs", default="0", unit="count", help="Models that run at once; 0: one per core, at most 4.", whole=True
    ),
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
    Setting(name="max_fetch", default="5", unit="GB", help="Most that is downloaded for one model."),
    Setting(
        name="max_unreadable",
        default="0.05",
        unit="share",
        help="Largest part of the probe that may be unreadable.",
        maximum=1.0,
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
    setting = next(setting for setting in SETTINGS if setting.name == name)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value <= setting.maximum and value < math.inf and not (setting.whole and value % 1):
        return value
    kind = "a whole number" if setting.whole else "a number"
    bounds = "of at least 0" if setting.maximum == math.inf else f"from 0 to {setting.maximum:g}"
    raise UsageError(f"NEURALRANK_{name.upper()} needs {kind} {bounds}. Got {text!r}. Correct or unset it.")


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for extracted features, with `~` resolved."""
    return Path(get("cache_dir", environ)).expanduser()


def catalogue_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the catalogue, with `~` resolved."""
    return Path(get("catalogue", environ)).expanduser()
