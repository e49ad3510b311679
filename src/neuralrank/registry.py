"""Find a component by name without importing the others.

A component is a public file of one of the folders in `KINDS`, holding a function of the same name, or an entry
point `neuralrank.<kind>` of another package. Nothing is imported until it is asked for.
"""

import difflib
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any

from neuralrank.errors import UnknownNameError, UsageError

KINDS = ("readers", "sources", "formats", "modalities", "scorers", "combinations", "engines", "strategies", "reports")


def names(kind: str) -> tuple[str, ...]:
    """List the components of one kind, sorted: ours and those of installed plug-ins."""
    return tuple(sorted({*_own_names(kind), *_plugins(kind)}))


def get(kind: str, name: str) -> Any:
    """Import and return one component.

    Raises:
        UnknownNameError: there is none of that name; the message suggests the nearest.
        UsageError: it is one of another package, which cannot be imported.
    """
    if name in _own_names(kind):
        return getattr(importlib.import_module(f"neuralrank.{kind}.{name}"), name)
    plugins = _plugins(kind)
    singular = {"modalities": "modality", "strategies": "strategy"}.get(kind, kind.removesuffix("s"))
    if name in plugins:
        return _load(plugins[name], singular)
    near = difflib.get_close_matches(name, names(kind), n=1)
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownNameError(f"Unknown {singular} {name!r}.{suggestion} Available: {', '.join(names(kind))}.")


def _load(point: EntryPoint, singular: str) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        package = repr(point.dist.name) if point.dist else "its package"
        raise UsageError(
            f"The {singular} {point.name!r} of an installed plug-in needs to be importable. "
            f"Got: {str(error).rstrip('.')}. Update or uninstall {package}."
        ) from error


def _own_names(kind: str) -> set[str]:
    folder = files("neuralrank") / kind
    return {module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")}


def _plugins(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"neuralrank.{kind}")}
