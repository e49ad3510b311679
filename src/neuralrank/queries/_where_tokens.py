"""The words of a condition: its text cut into tokens, each of which is known to be harmless.

A character, word or number that a condition has no use for is refused here, so the SQL parser never sees it.
"""

import difflib
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from neuralrank.errors import UsageError
from neuralrank.fields import BY_NAME

MAX_CHARACTERS = 10_000
ALIASES = {"licence": "license", "size": "size_bytes", "memory": "memory_bytes"}
EXAMPLE = "Write for example params < 30M AND license IN ('mit', 'apache-2.0')"
KEYWORDS = {"AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "ESCAPE", "BETWEEN", "IS", "NULL"}
COMPARISONS = {"=", "==", "!=", "<>", "<", "<=", ">", ">="}
SIZES = {
    **{unit: ("count", 10**power) for unit, power in {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}.items()},
    **{unit: ("bytes", 10**power) for unit, power in {"kb": 3, "mb": 6, "gb": 9, "tb": 12}.items()},
    **{unit: ("bytes", 2**power) for unit, power in {"kib": 10, "mib": 20, "gib": 30, "tib": 40}.items()},
}
_SQL = re.compile(
    r"all|any|as|asc|case|cast|collate|create|date|delete|desc|distinct|drop|else|end|exists|from|glob|group|having|insert"
    r"|interval|join|limit|order|regexp|rlike|select|similar|some|then|union|unique|update|values|when|where|with|xor",
    re.IGNORECASE,
)
_SQL_SIGNS = ("--", "/*", "*/", "::", ":=", "||", "&&", "{{", "}}", "<=>", "->")

_TOKEN = re.compile(
    r"""(?P<space>[\s\u00a0]+)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"[^"]*")
      | (?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)(?![A-Za-z0-9_.])
      | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?)
        (?:[ ]*(?P<unit>[kmgt]i?b|[kmbgt]))?(?![A-Za-z0-9_.])
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign><=(?!>)|>=|<>|!=|==|[=<>(),+]|-(?![->]))""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token and where it stands in the text."""

    kind: Literal["field", "text", "number", "truth", "keyword", "sign", "group"]
    value: str | bool | Fraction
    """Of a field its name, of a keyword its upper case, of a sign itself; of a group nothing is kept here."""
    start: int
    end: int
    unit: str = ""
    """Of a number written as a size: 'bytes', or 'count' for 30M; 'count b' for 7B, which could mean bytes."""


def refuse(needed: str, got: str, then: str) -> UsageError:
    """Return the error of the house: what was needed, what was got (shortened), what to do."""
    return UsageError(f"{needed}. Got {shorten(got)!r}. {then}.")


def shorten(text: str) -> str:
    """Return `text` in at most 60 characters."""
    text = " ".join(text[:1000].split())
    return text if len(text) <= 60 else text[:59] + "…"


def read_tokens(text: str) -> tuple[Token, ...]:
    """Cut a condition into tokens; raise UsageError where there is something that no condition has."""
    if len(text) > MAX_CHARACTERS:
        needed = f"A condition needs at most {MAX_CHARACTERS:,} characters, and this one has {len(text):,}"
        raise refuse(needed, text, "Say it in fewer words")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise refuse("A condition needs to be valid Unicode", text, "Look for characters that were cut in half")
    matches = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refuse_character(text, position)
        position = match.end()
        if match.lastgroup != "space":
            matches.append(match)
    if not matches:
        raise refuse("A condition needs at least one comparison", text, "Write for example params < 30M")
    return tuple(_read_token(matches, index) for index in range(len(matches)))


def _refuse_character(text: str, position: int) -> UsageError:
    rest = text[position:]
    if rest[0] in "'\"":
        return refuse("A quote that is opened needs to be closed", rest, "Write a quote inside a text twice: 'it''s'")
    if re.match(r"\.?[0-9]", rest):
        return refuse(
            "A number is written like 30000, 0.5, 30M, 1.5B, 4GB or 1GiB",
            _first_word(rest),
            "Write it like one of these",
        )
    if rest[0] in "‘’“”`":
        return refuse(
            "Texts stand in straight single quotes, fields in none", rest, "Write for example license = 'mit'"
        )
    found = next((sign for sign in _SQL_SIGNS if rest.startswith(sign)), rest[0])
    return refuse(
        "A condition has only fields, values, comparisons, AND, OR, NOT and parentheses",
        found if len(found) > 1 else rest,
        "Take this out, or put it in single quotes if it belongs to a text",
    )


def _first_word(text: str) -> str:
    return re.split(r"[\s(),]", text, maxsplit=1)[0]


def _read_token(matches: list[re.Match[str]], index: int) -> Token:
    match = matches[index]
    start, end, written = match.start(), match.end(), match.group()
    if match["text"] is not None:
        return Token(kind="text", value=written[1:-1].replace("''", "'"), start=start, end=end)
    if match["date"] is not None:
        raise refuse(
            "A date needs single quotes, and arithmetic is no part of a condition", written, f"Write '{written}'"
        )
    if match["number"] is not None:
        kind, factor = SIZES[match["unit"].lower()] if match["unit"] else ("", 1)
        unit = "count b" if match["unit"] in ("b", "B") else kind
        return Token(kind="number", value=_number(match["number"]) * factor, start=start, end=end, unit=unit)
    if match["sign"] is not None:
        return Token(kind="sign", value=written, start=start, end=end)
    if match["word"] is not None and written.upper() in KEYWORDS:
        return Token(kind="keyword", value=written.upper(), start=start, end=end)
    if match["word"] is not None and written.upper() in ("TRUE", "FALSE"):
        return Token(kind="truth", value=written.upper() == "TRUE", start=start, end=end)
    return Token(kind="field", value=_field_name(matches, index), start=start, end=end)


def _number(digits: str) -> Fraction:
    if len(digits) > 400:  # Python refuses to read whole numbers of several thousand digits
        raise refuse("A number needs at most 400 digits", digits, "Write it shorter, for example 1e30")
    return Fraction(digits)


def _field_name(matches: list[re.Match[str]], index: int) -> str:
    match = matches[index]
    written = match["word"] or match["quoted"][1:-1]
    name = ALIASES.get(written.lower(), written.lower())
    followed = index + 1 < len(matches) and matches[index + 1]["sign"] == "("
    if match["word"] and (followed or _SQL.fullmatch(written)):
        raise refuse(
            "A condition compares fields with values, without functions, arithmetic, CASE, CAST or SELECT",
            match.string[match.start() :],
            EXAMPLE,
        )
    if name in BY_NAME:
        return name
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    if match["quoted"] is not None or _is_value(matches, index):
        context = match.string[matches[max(0, index - 2)].start() : match.end()]
        other = f", or {near[0]} for the field" if near else ""
        raise refuse("A text needs single quotes", context, f"Write '{shorten(written)}'{other}")
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"Unknown field {shorten(written)!r}.{suggestion} Available: {', '.join(BY_NAME)}.")


def _is_value(matches: list[re.Match[str]], index: int) -> bool:
    """Say whether a word stands where a condition has a value: after a comparison, or in the brackets of an IN."""
    before = matches[index - 1] if index else None
    if before and (before["sign"] in COMPARISONS or before.group().upper() in ("LIKE", "ILIKE")):
        return True
    bracket = next((i for i in range(index - 1, 0, -1) if matches[i]["sign"] in ("(", ")")), 0)
    return matches[bracket]["sign"] == "(" and matches[bracket - 1].group().upper() == "IN"
