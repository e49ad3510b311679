"""Names of strangers, made safe and short: control characters become visible, long names lose their middle."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from neuralrank.types import RankedModel

# Control, format (bidirectional overrides, joiners), surrogate, private and unassigned characters, line separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ID_PREFIX = re.compile(r"^[a-z][a-z0-9_-]*:")
_ID_HASH = re.compile(r"@(?:sha256:?)?[0-9a-f]{6,64}$")


def clean(text: str) -> str:
    r"""Write every character that could steer a terminal or reorder a line as a visible escape.

    Example:
        >>> print(clean("a\nb\x1b[31m\u202e"))
        a\nb\x1b[31m\u202e
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


def width(text: str) -> int:
    """Return how many terminal cells a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def shorten(text: str, limit: int) -> str:
    """Cut the middle out of a text of more than `limit` cells; the end keeps more, it tells paths apart.

    Example:
        >>> shorten("mobilenetv1_025_224_keras", 16)
        'mobile…224_keras'
    """
    from rich.cells import set_cell_size

    if width(text) <= limit:
        return text
    if limit <= 1:
        return "…"[:limit]
    head = (limit - 1) * 2 // 5
    tail = limit - 1 - head
    end = set_cell_size(text[::-1], tail)[::-1]
    return f"{set_cell_size(text, head).rstrip()}…{end.lstrip()}"


def shorten_apart(names: Sequence[str], limit: int) -> list[str]:
    """Shorten names so that those which differ still do: where the plain cut hides it, the window moves there.

    Example:
        >>> shorten_apart(["team/encoder-patch16-v1-large-224-ft", "team/encoder-patch16-v2-large-224-ft"], 16)
        ['…ch16-v1-large…', '…ch16-v2-large…']
    """
    alike: dict[str, dict[str, str]] = {}
    for name in names:
        alike.setdefault(shorten(name, limit), {})[name] = ""
    for group in alike.values():
        if len(group) > 1:
            group.update(zip(group, _windows(list(group), limit), strict=True))
    return [alike[short][name] or short for name, short in ((name, shorten(name, limit)) for name in names)]


def _windows(names: list[str], limit: int) -> list[str]:
    start = _shared_start(names)
    end = min(_shared_start([name[::-1] for name in names]), min(map(len, names)) - start)
    differing = max(map(len, names)) - start - end
    margin = max(0, limit - differing - 2) // 2
    first = max(0, start - margin)
    cut = [name[first : len(name) - max(0, end - margin)] for name in names]
    tail = "…" if end > margin else ""
    return [shorten(("…" if first else "") + part + tail, limit) for part in cut]


def _shared_start(names: list[str]) -> int:
    return next(
        (i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), min(map(len, names))
    )


def name_of(model_id: str) -> str:
    """Return the readable middle of a model id: no source, no content hash.

    Example:
        >>> name_of("folder:nets/resnet20.onnx@3fa81c09")
        'nets/resnet20.onnx'
    """
    return clean(_ID_HASH.sub("", _ID_PREFIX.sub("", model_id, count=1))) or clean(model_id)


def labels(models: Sequence[RankedModel]) -> tuple[str, ...]:
    """Name each model for people; models of one name also show their layer or the start of their hash."""
    names = [clean(model.name) or name_of(model.model_id) for model in models]
    counts = Counter(names)
    ids = {name: {model.model_id for model, own in zip(models, names, strict=True) if own == name} for name in counts}
    return tuple(
        name if counts[name] == 1 else f"{name} [{_telling(model, len(ids[name]) > 1)}]"
        for model, name in zip(models, names, strict=True)
    )


def _telling(model: RankedModel, several_ids: bool) -> str:
    if not several_ids:
        return clean(model.layer)
    return clean(model.model_id.rpartition("@")[2].removeprefix("sha256:")[:8])


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Join names as a sentence does: 'a, b and c', or 'a, b and 12 more'.

    Example:
        >>> listed(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""
