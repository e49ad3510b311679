"""From what a user names, a path or `source:what`, to the repository it means."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralrank import registry
from neuralrank.entries import Repository
from neuralrank.errors import UsageError

_SPEC = re.compile(r"([a-z][a-z0-9_]*):(.*)", flags=re.DOTALL)


def is_spec(text: str) -> bool:
    """Say whether a text names a source rather than a path; a path that exists is one, whatever its name."""
    match = _SPEC.fullmatch(text)
    return match is not None and match.group(1) in registry.names("sources") and not _exists(text)


def open_source(spec: str | Path, *, options: Mapping[str, Any] | None = None) -> Repository:
    """Return the repository that a path or a spec such as 'hf:timm/*' names.

    Args:
        spec: a path, or `source:what`.
        options: for the sources that take them, such as `offline`; the others do not see them.

    Raises:
        UsageError: there is nothing at that path, or no source of that name.
        MissingExtraError: the source needs a package that is not installed.
    """
    text = str(spec)
    if isinstance(spec, Path) or not is_spec(text):
        match = None if isinstance(spec, Path) else _SPEC.fullmatch(text)
        if match is not None and not _exists(text) and len(match.group(1)) > 1:
            known = ", ".join(f"{name}:" for name in registry.names("sources"))
            raise UsageError(f"{text!r} needs to be a path or begin with a source. Got neither. Sources: {known}.")
        return _called("folder", text, {})
    name, _, what = text.partition(":")
    return _called(name, what, options or {})


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # longer than the system takes
        return False


def _called(name: str, what: str, options: Mapping[str, Any]) -> Repository:
    source = registry.get("sources", name)
    taken = inspect.signature(source).parameters
    repository: Repository = source(what, **{key: value for key, value in options.items() if key in taken})
    return repository
