"""Read a file of synonyms: one group a line, names parted by commas, kinds after a colon."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import UsageError

_EXAMPLE = "as in 'car, automobile' or 'cat: tabby, Siamese cat'"


@dataclass(frozen=True, kw_only=True)
class Group:
    """One line: names that mean the same, or, if `whole` is set, kinds of it."""

    whole: str | None
    names: tuple[str, ...]


def read_groups(path: Path, key_of: Callable[[str], str]) -> tuple[Group, ...]:
    """Return the groups of the user's own file.

    Args:
        path: UTF-8 text.
        key_of: makes of a name what names are compared by; '' if there is none in it.

    Raises:
        UsageError: the file cannot be read, or a line is no group; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror or error).lower()
        )
        raise UsageError(
            f"A file of synonyms needs to be a text that can be read. Got {str(path)!r}: {reason}. Check the path."
        ) from error
    return tuple(parse_groups(text, key_of, place=repr(str(path))))


def parse_groups(text: str, key_of: Callable[[str], str], *, place: str) -> Iterator[Group]:
    """Yield the groups of a text; empty lines and lines that start with '#' are none.

    Raises:
        UsageError: a line is no group.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        left, colon, right = line.partition(":")
        names = [name.strip() for name in (right if colon else left).split(",")]
        keys = [key_of(name) for name in (*names, *([left] if colon else []))]
        if not all(keys):
            empty = next(name for name, key in zip((*names, left.strip()), keys, strict=False) if not key)
            raise _bad(line, number, place, f"{empty!r} is no name" if empty else "a name is missing")
        if ":" in right or (colon and "," in left):
            raise _bad(line, number, place, "a colon stands after one name, once")
        if len(keys) < 2:
            raise _bad(line, number, place, "one name is no group")
        yield Group(whole=keys[-1] if colon else None, names=tuple(dict.fromkeys(keys[: len(names)])))


def _bad(line: str, number: int, place: str, why: str) -> UsageError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return UsageError(
        f"A file of synonyms needs a group of names on each line, {_EXAMPLE}. "
        f"Got {shown!r} on line {number} of {place}: {why}. Correct the line, or put '#' before it."
    )
