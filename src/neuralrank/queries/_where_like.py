"""LIKE: a pattern with % for any characters and _ for one becomes the fastest test that says the same."""

import re
from enum import Enum

from neuralrank.queries._where_texts import Affixed, Contains, IsOneOf, LowerTest, lower
from neuralrank.queries._where_tokens import refuse

MAX_PATTERN = 250


class Wild(Enum):
    """A wildcard; the value is the regular expression for it."""

    ANY = ".*"
    ONE = "."


def like(pattern: str, escape: str = "\\") -> LowerTest:
    r"""Return the test of a LIKE pattern; the character after `escape` stands for itself.

    Raises:
        UsageError: the pattern is too long, or ends in the escape character.

    Example:
        >>> like("BERT%")
        Affixed(affix='bert', at_end=False)
        >>> like("%bert_base")
        Contains(needle='bert', pattern='\\A(?s:.*bert.base)\\z')
        >>> like(r"%\_base%")
        Contains(needle='_base', pattern='')
    """
    if len(pattern) > MAX_PATTERN:
        raise refuse(f"LIKE needs a pattern of at most {MAX_PATTERN} characters", pattern, "Look for less")
    parts = _read_parts(pattern, escape)
    texts = [part for part in parts if isinstance(part, str)]
    shape = "".join("t" if isinstance(part, str) else "%" if part is Wild.ANY else "_" for part in parts)
    if shape in ("", "t"):
        return IsOneOf(values=(texts[0] if texts else "",))
    if shape in ("t%", "%t"):
        return Affixed(affix=texts[0], at_end=shape == "%t")
    if shape in ("%", "%t%"):
        return Contains(needle=texts[0] if texts else "")
    spelled = "".join(re.escape(part) if isinstance(part, str) else part.value for part in parts)
    return Contains(needle=max(texts, key=len, default=""), pattern=rf"\A(?s:{spelled})\z")


def _read_parts(pattern: str, escape: str) -> list[str | Wild]:
    """Cut a pattern into lower-case texts and wildcards, without two texts or two of ANY in a row."""
    parts: list[str | Wild] = []
    characters = iter(pattern)
    for character in characters:
        part: str | Wild = {"%": Wild.ANY, "_": Wild.ONE}.get(character, character)
        if character == escape:
            part = next(characters, "")
            if not part:
                needed = f"After the escape character {escape!r} LIKE needs another character"
                raise refuse(needed, pattern, f"Write it twice to find it: {escape}{escape}")
        before = parts[-1] if parts else None
        if isinstance(part, str) and isinstance(before, str):
            parts[-1] = before + part
        elif not (part is Wild.ANY and before is Wild.ANY):
            parts.append(part)
    return [lower(part) if isinstance(part, str) else part for part in parts]
