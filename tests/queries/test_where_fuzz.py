"""Conditions against an independent reading of them: another parser, and an evaluation in pandas, row by row.

The grammar generator makes a tree and spells it at random; the tree is evaluated, not its spelling. Hostile texts, made
from nothing or by damaging good ones, go through the other parser: both refuse, or both agree on every row.
"""

import logging
import operator
import random
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from neuralrank.errors import UsageError
from neuralrank.fields import BY_NAME, FIELDS
from neuralrank.queries._where_arrays import FieldsCompare, Holds, IsMissing
from neuralrank.queries.where import parse_where

N_ROWS = 200
WORDS = [
    "mit",
    "MIT",
    "apache-2.0",
    "BERT",
    "bert-base",
    "resnet50",
    "ResNet50",
    "a_b",
    "100%",
    "it's",
    "back\\slash",
    "",
]
WORDS += [
    "Été",
    "été",
    "STRASSE",
    "straße",
    "ΣΟΦΟΣ",
    "日本語",
    "İ",
    "K",
    "🤗 hub",
    "line\nbreak",
    "nul\0",
    "x (1.5)",
    '"q"',
    "NULL",
]
COUNTS = [
    0,
    1,
    7,
    999,
    1000,
    1001,
    30_000_000,
    29_999_999,
    1_500_000_000,
    4_000_000_000,
    2**30,
    2**53 + 1,
    2**63 - 1,
    -5,
]
NUMBERS = [0.0, -0.0, 0.1, 0.5, 1e-300, 76.4, 99.9, 1000.0, -3.25, float("nan")]
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12, "KB": 10**3, "MB": 10**6, "GB": 10**9}
UNITS |= {"TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- the records -------------------------------------------------------------------------------------------------


def draw_value(rng: random.Random, kind: str) -> Any:
    if rng.random() < 0.2:
        return () if kind == "list" else None
    if kind == "list":
        return tuple(rng.choice(WORDS) for _ in range(rng.choice([1, 1, 2, 5])))
    if kind == "date":
        day = datetime(
            rng.choice([1999, 2023, 2024, 2025]), rng.choice([1, 2, 5, 12]), rng.choice([1, 17, 28]), tzinfo=UTC
        )
        return day + timedelta(microseconds=rng.choice([0, 1, 999_999, 43_200_000_000, 86_399_999_999]))
    return rng.choice({"text": WORDS, "integer": COUNTS, "number": NUMBERS, "boolean": [True, False]}[kind])


def draw_frame(rng: random.Random) -> pd.DataFrame:
    rows = [{field.name: draw_value(rng, field.kind) for field in FIELDS} for _ in range(N_ROWS)]
    return pd.DataFrame(rows, dtype=object)


def as_table(frame: pd.DataFrame) -> pa.Table:
    """The frame as the catalogue hands it over: texts and lists in part as dictionaries, the whole in two chunks."""
    types = {"text": pa.string(), "list": pa.list_(pa.string()), "integer": pa.int64(), "number": pa.float64()}
    types |= {"date": pa.timestamp("us", tz="UTC"), "boolean": pa.bool_()}
    types |= {
        "license": pa.dictionary(pa.int32(), pa.string()),
        "languages": pa.list_(types["license"] if False else pa.string()),
    }
    columns = {}
    for index, field in enumerate(FIELDS):
        values = [None if value == () and index % 2 else value for value in frame[field.name]]
        column = pa.array(values, types[field.kind])
        if field.kind == "text" and index % 2:
            column = column.dictionary_encode()
        if field.name == "tags":
            column = pa.ListArray.from_arrays(column.offsets, column.values.dictionary_encode(), mask=column.is_null())
        columns[field.name] = column
    table = pa.table(columns)
    return pa.concat_tables([table.slice(0, 77), table.slice(77)])


# --- the evaluation in pandas ------------------------------------------------------------------------------------


@cache
def simple_lower(text: str) -> str:
    return "".join({"İ": "i"}.get(letter, letter.lower()) for letter in text)


def holds(kind: str, sign: str, value: Any, literal: Any) -> bool:
    """One comparison of one value that is there."""
    if kind == "date":
        moment = (value - EPOCH) // timedelta(microseconds=1)
        start, end = literal
        answers = {"=": start <= moment < end, "<": moment < start, "<=": moment < end, ">": moment >= end}
        return answers.get(sign, moment >= start)
    if kind in ("text", "list"):
        return bool(ORDER[sign](simple_lower(value), simple_lower(literal)))
    if kind == "number":
        try:
            literal = float(literal)
        except OverflowError:
            literal = float("inf") if literal > 0 else float("-inf")
    return bool(ORDER[sign](value, literal))


def matches(value: str, pattern: list[str], escape: str) -> bool:
    spelled = ""
    letters = iter(pattern)
    for letter in letters:
        if letter == escape:
            spelled += re.escape(simple_lower(next(letters)))
        else:
            spelled += {"%": ".*", "_": "."}.get(letter) or re.escape(simple_lower(letter))
    return re.fullmatch(spelled, simple_lower(value), re.DOTALL) is not None


def passes(node: tuple[Any, ...], kind: str, value: Any) -> bool:
    match node:
        case ("compare", _, sign, literal):
            return holds(kind, sign, value, literal)
        case ("in", _, literals):
            return any(holds(kind, "=", value, literal) for literal in literals)
        case ("between", _, low, high):
            return holds(kind, ">=", value, low) and holds(kind, "<=", value, high)
        case ("like", _, pattern, escape):
            return matches(value, pattern, escape)
    raise AssertionError(node)


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value == () or value != value


def evaluate(node: tuple[Any, ...], frame: pd.DataFrame) -> Any:
    """Truth values of a tree; pandas joins them by Kleene's logic."""
    match node:
        case ("and", left, right):
            return evaluate(left, frame) & evaluate(right, frame)
        case ("or", left, right):
            return evaluate(left, frame) | evaluate(right, frame)
        case ("not", inner):
            return ~evaluate(inner, frame)
        case ("null", name):
            return pd.array([is_missing(value) for value in frame[name]], dtype="boolean")
        case ("fields", left, sign, right):
            pairs = zip(frame[left], frame[right], strict=True)
            return pd.array(
                [None if is_missing(a) or is_missing(b) else bool(ORDER[sign](a, b)) for a, b in pairs], dtype="boolean"
            )
    kind = BY_NAME[node[1]].kind

    answers: dict[Any, bool] = {}

    def ask(value: Any) -> bool | None:
        if is_missing(value):
            return None
        if value not in answers:
            answers[value] = any(passes(node, kind, member) for member in (value if kind == "list" else [value]))
        return answers[value]

    return pd.array([ask(value) for value in frame[node[1]].tolist()], dtype="boolean")


# --- the grammar generator ---------------------------------------------------------------------------------------


def draw_number(rng: random.Random, unit_of_field: str) -> tuple[str, Fraction]:
    if rng.random() < 0.3:
        value = rng.choice(COUNTS)
        return str(value), Fraction(value)
    mantissa = rng.choice(
        ["0", "1", "30", "1.5", "4", ".5", "999", "76.4", "0.1", "1e3", "2.5E-1", "1e400", "9223372036854775808"]
    )
    unit = rng.choice(["", "", "", *(unit for unit in UNITS if fits(unit, unit_of_field))])
    sign = rng.choice(["", "", "", "-", "- ", "+"])
    value = Fraction(mantissa) * UNITS[unit] * (-1 if "-" in sign else 1)
    spelled = "".join(rng.choice([letter, letter.lower()]) for letter in unit)
    return sign + mantissa + rng.choice(["", " "]) + spelled if unit else sign + mantissa, value


def fits(unit: str, unit_of_field: str) -> bool:
    return unit != "B" if unit_of_field == "bytes" else len(unit) < 2


def draw_date(rng: random.Random) -> tuple[str, tuple[int, int]]:
    year, month, day = rng.choice([1999, 2023, 2024, 2025]), rng.choice([1, 2, 5, 12]), rng.choice([1, 17, 28])
    texts = [f"{year}", f"{year}-{month:02}", f"{year}-{month:02}-{day:02}"]
    text = rng.choice([*texts, texts[2] + "T12:00", texts[2] + " 12:00:00Z", texts[2] + "T23:59:59.999999+00:00"])
    if rng.random() < 0.1:
        text = texts[2] + rng.choice(["T01:30:00+0130", "T10:00-02:00"])
    return quote(text), span(text)


def span(text: str) -> tuple[int, int]:
    """First microsecond and the one after the last, by way of pandas."""
    parts = re.fullmatch(
        r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?)?)?)?", text, re.I
    )
    if parts is None or (parts[6] and not parts[5]):
        raise ValueError(text)
    steps: list[tuple[int, dict[str, int]]] = [(6, {"microseconds": 1}), (5, {"seconds": 1}), (4, {"minutes": 1})]
    steps += [(3, {"days": 1}), (2, {"months": 1}), (1, {"years": 1})]
    step = next(step for group, step in steps if parts[group])
    start = pd.Timestamp(text.upper().replace(" ", "T") + ("-01" if parts[2] is None else "")).as_unit("us")
    start = start.tz_localize("UTC") if start.tzinfo is None else start.tz_convert("UTC")
    end = start + pd.DateOffset(**step)
    return tuple((moment.to_pydatetime() - EPOCH) // timedelta(microseconds=1) for moment in (start, end))  # type: ignore[return-value]


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def draw_text(rng: random.Random) -> tuple[str, str]:
    text = rng.choice(WORDS)
    text = rng.choice([text, text, text.upper(), text[:3]])
    return quote(text), text


def draw_literal(rng: random.Random, field: Any) -> tuple[str, Any]:
    if field.kind in ("integer", "number"):
        return draw_number(rng, field.unit)
    if field.kind == "boolean":
        value = rng.random() < 0.5
        return case(rng, str(value)), value
    return draw_date(rng) if field.kind == "date" else draw_text(rng)


def case(rng: random.Random, word: str) -> str:
    return rng.choice([word.upper(), word.lower(), word.capitalize()])


def name_of(rng: random.Random, field: Any) -> str:
    others = {"license": "licence", "size_bytes": "size", "memory_bytes": "memory"}
    name = rng.choice([field.name, field.name, field.name.upper(), others.get(field.name, field.name)])
    return f'"{name}"' if rng.random() < 0.05 else name


def negated(rng: random.Random, node: tuple[Any, ...], spelled: str) -> tuple[tuple[Any, ...], str]:
    """A predicate with NOT inside it or not; '@' marks the place."""
    if rng.random() < 0.4:
        return ("not", node), spelled.replace("\x1f", case(rng, "not") + " ")
    return node, spelled.replace("\x1f", "")


def draw_predicate(rng: random.Random) -> tuple[tuple[Any, ...], str]:
    field = rng.choice(FIELDS)
    name, space = name_of(rng, field), rng.choice(["", " "])
    shape = rng.choice(["compare", "compare", "in", "between", "like", "null", "fields", "bare"])
    if shape == "null":
        return negated(rng, ("null", field.name), f"{name} {case(rng, 'is')} \x1f{case(rng, 'null')}")
    if shape == "in" and field.kind != "boolean":
        literals = [draw_literal(rng, field) for _ in range(rng.choice([1, 2, 3, 12]))]
        listed = f",{space}".join(text for text, _ in literals)
        return negated(
            rng, ("in", field.name, [v for _, v in literals]), f"{name} \x1f{case(rng, 'in')}{space}({listed})"
        )
    if shape == "between" and field.kind != "boolean":
        low, high = draw_literal(rng, field), draw_literal(rng, field)
        spelled = f"{name} \x1f{case(rng, 'between')} {low[0]} {case(rng, 'and')} {high[0]}"
        return negated(rng, ("between", field.name, low[1], high[1]), spelled)
    if shape == "like" and field.kind in ("text", "list"):
        escape = rng.choice(["\\", "\\", "!"])
        letters = list(rng.choice([*WORDS, "%", "_%"])[: rng.choice([3, 9])])
        letters = [escape + c if c in (escape, "%", "_") and rng.random() < 0.8 else c for c in letters]
        letters = [rng.choice(["%", "_"]) if rng.random() < 0.2 else c for c in letters if c != escape]
        pattern = rng.choice(["%", "", "_"]) + "".join(letters) + rng.choice(["%", "", "%%"])
        tail = f" {case(rng, 'escape')} '!'" if escape == "!" else ""
        spelled = f"{name} \x1f{case(rng, rng.choice(['like', 'ilike']))} {quote(pattern)}{tail}"
        return negated(rng, ("like", field.name, list(pattern), escape), spelled)
    if shape == "fields" and field.kind in ("integer", "number", "date"):
        other = rng.choice([other for other in FIELDS if other.kind == field.kind])
        sign = rng.choice(list(ORDER))
        return ("fields", field.name, sign, other.name), f"{name}{space}{sign}{space}{other.name}"
    if shape == "bare" and field.kind == "boolean":
        return ("compare", field.name, "=", True), name
    return draw_comparison(rng, field, name, space)


def draw_comparison(rng: random.Random, field: Any, name: str, space: str) -> tuple[tuple[Any, ...], str]:
    text, value = draw_literal(rng, field)
    sign = rng.choice(["=", "!="] if field.kind == "boolean" else ["=", "!=", "<", "<=", ">", ">="])
    spelled = rng.choice({"=": ["=", "=="], "!=": ["!=", "<>"]}.get(sign, [sign]))
    node = ("compare", field.name, "=" if sign == "!=" else sign, value)
    if rng.random() < 0.3:
        mirror = str.maketrans("<>", "><") if spelled not in ("<>", "!=") else {}
        return ("not", node) if sign == "!=" else node, f"{text}{space}{spelled.translate(mirror)}{space}{name}"
    return ("not", node) if sign == "!=" else node, f"{name}{space}{spelled}{space}{text}"


def draw_condition(rng: random.Random, depth: int, level: int = 0) -> tuple[tuple[Any, ...], str]:
    """A tree and its spelling; `level` is how tightly the surroundings bind: 0 OR, 1 AND, 2 NOT."""
    shape = rng.choice(["and", "or", "not", "leaf"]) if depth else "leaf"
    if shape == "leaf":
        node, spelled = draw_predicate(rng)
        binds = 3
    elif shape == "not":
        inner, text = draw_condition(rng, depth - 1, 2)
        node, spelled, binds = ("not", inner), case(rng, "not") + " " + text, 2
    else:
        binds = 0 if shape == "or" else 1
        (left, a), (right, b) = (draw_condition(rng, depth - 1, binds) for _ in range(2))
        node, spelled = (shape, left, right), f"{a} {case(rng, shape)}{rng.choice([' ', chr(10), '  '])}{b}"
    if binds < level or rng.random() < 0.1:
        spelled = f"({spelled})" if rng.random() < 0.7 else f"( {spelled}\t)"
    return node, spelled


# --- the other parser --------------------------------------------------------------------------------------------


SPACES = " \t\n\r\f\v\xa0"
LEXEME = re.compile(
    r"""(?P<string>'(?:[^']|'')*')|"(?P<name>[^"]*)"|(?P<digits>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?)
    (?:[ ]*(?P<unit>[kmgt]i?b|[kmbgt]))?(?![\w.])|(?P<word>[a-z_]\w*)|(?P<sign><=|>=|<>|!=|==|[=<>(),+-])""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


class RefusalError(Exception):
    """The other parser refuses."""


class Reader:
    """Recursive descent over the lexemes of one text."""

    def __init__(self, text: str) -> None:
        self.lexemes: list[tuple[str, Any]] = []
        place = 0
        while place < len(text):
            if text[place] in SPACES:
                place += 1
                continue
            found = LEXEME.match(text, place)
            if found is None:
                raise RefusalError(text[place:])
            if re.match(r"--|<=>|->|<->|\d{4}-\d\d(-\d\d)?(?![\w.])", text[place:], re.ASCII):
                raise RefusalError(text[place:])
            place += len(found.group())
            self.add(found)
        self.lexemes.append(("end", ""))
        self.place = 0

    def add(self, found: re.Match[str]) -> None:
        if found["string"] is not None:
            self.lexemes.append(("text", found["string"][1:-1].replace("''", "'")))
        elif found["digits"] is not None:
            unit = (found["unit"] or "").upper()
            self.lexemes.append(("number", (Fraction(found["digits"]) * UNITS[unit], unit)))
        elif found["sign"]:
            self.lexemes.append(("sign", {"==": "=", "<>": "!="}.get(found["sign"], found["sign"])))
        elif found["word"] or found["name"] is not None:
            word = found["word"] or found["name"]
            known = {"licence": "license", "size": "size_bytes", "memory": "memory_bytes"}.get(
                word.lower(), word.lower()
            )
            if found["word"] and word.upper() in KEYWORDS:
                self.lexemes.append(("word", word.upper()))
            elif known in BY_NAME:
                self.lexemes.append(("field", known))
            else:
                raise RefusalError(word)

    def take(self, *expected: tuple[str, Any]) -> Any:
        """Go past one of some lexemes, or past nothing."""
        if self.lexemes[self.place] in expected:
            self.place += 1
            return self.lexemes[self.place - 1][1]
        return None

    def need(self, kind: str, value: Any = None) -> Any:
        found = self.lexemes[self.place]
        if found[0] != kind or value not in (None, found[1]):
            raise RefusalError(found)
        self.place += 1
        return found[1]

    def condition(self) -> tuple[Any, ...]:
        node = self.conjunction()
        while self.take(("word", "OR")):
            node = ("or", node, self.conjunction())
        return node

    def conjunction(self) -> tuple[Any, ...]:
        node = self.negation()
        while self.take(("word", "AND")):
            node = ("and", node, self.negation())
        return node

    def negation(self) -> tuple[Any, ...]:
        if self.take(("word", "NOT")):
            return ("not", self.negation())
        if self.take(("sign", "(")):
            node = self.condition()
            self.need("sign", ")")
            return node
        return self.predicate()

    def predicate(self) -> tuple[Any, ...]:
        if self.lexemes[self.place][0] != "field":
            literal = self.literal()
            sign = self.need("sign")
            mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
            if sign not in mirrored:
                raise RefusalError(sign)
            return self.compare(self.need("field"), mirrored[sign], literal)
        name = self.need("field")
        kind = BY_NAME[name].kind
        if self.take(("word", "IS")):
            inner = bool(self.take(("word", "NOT")))
            self.need("word", "NULL")
            return ("not", ("null", name)) if inner else ("null", name)
        sign = self.take(*(("sign", sign) for sign in ("=", "!=", "<", "<=", ">", ">=")))
        if sign and self.lexemes[self.place][0] == "field":
            other = self.need("field")
            if kind != BY_NAME[other].kind or kind in ("text", "list", "boolean"):
                raise RefusalError(other)
            node = ("fields", name, "=" if sign == "!=" else sign, other)
            return ("not", node) if sign == "!=" else node
        if sign:
            return self.compare(name, sign, self.literal())
        return self.worded(name, kind)

    def worded(self, name: str, kind: str) -> tuple[Any, ...]:
        inner = bool(self.take(("word", "NOT")))
        word = self.take(*(("word", word) for word in ("IN", "BETWEEN", "LIKE", "ILIKE")))
        if word == "IN":
            self.need("sign", "(")
            literals = [self.typed(name, self.literal())]
            while self.take(("sign", ",")):
                literals.append(self.typed(name, self.literal()))
            self.need("sign", ")")
            node: tuple[Any, ...] = ("in", name, literals)
        elif word == "BETWEEN":
            low = self.typed(name, self.literal())
            self.need("word", "AND")
            node = ("between", name, low, self.typed(name, self.literal()))
            if kind == "boolean":
                raise RefusalError(name)
        elif word:
            node = self.like(name, kind)
        elif not inner and kind == "boolean":
            return ("compare", name, "=", True)
        else:
            raise RefusalError(name)
        return ("not", node) if inner else node

    def like(self, name: str, kind: str) -> tuple[Any, ...]:
        pattern, escape = self.need("text"), "\\"
        if self.take(("word", "ESCAPE")):
            escape = self.need("text")
        plain = re.sub(f"{re.escape(escape)}(.)", r"\1", pattern, flags=re.DOTALL) if len(escape) == 1 else ""
        lone = len(escape) == 1 and re.sub(f"{re.escape(escape)}.", "", pattern, flags=re.DOTALL).endswith(escape)
        if kind not in ("text", "list") or len(escape) != 1 or len(pattern) > 250 or lone:
            raise RefusalError(plain)
        return ("like", name, list(pattern), escape)

    def compare(self, name: str, sign: str, literal: tuple[str, Any]) -> tuple[Any, ...]:
        value = self.typed(name, literal)
        if BY_NAME[name].kind == "boolean" and sign not in ("=", "!="):
            raise RefusalError(sign)
        node = ("compare", name, "=" if sign == "!=" else sign, value)
        return ("not", node) if sign == "!=" else node

    def literal(self) -> tuple[str, Any]:
        signs = []
        while sign := self.take(("sign", "-"), ("sign", "+")):
            signs.append(sign)
        if len(signs) > 1:
            raise RefusalError(signs)
        kind, value = self.lexemes[self.place]
        self.place += 1
        if signs and kind != "number":
            raise RefusalError(kind)
        if kind == "number":
            return kind, (-value[0] if signs == ["-"] else value[0], value[1])
        if kind == "text":
            return kind, value
        if kind == "word" and value in ("TRUE", "FALSE"):
            return "truth", value == "TRUE"
        raise RefusalError(value)

    def typed(self, name: str, literal: tuple[str, Any]) -> Any:
        field, (kind, value) = BY_NAME[name], literal
        if kind == "number" and field.kind in ("integer", "number") and (not value[1] or fits(value[1], field.unit)):
            return value[0]
        if kind == "text" and field.kind == "date":
            try:
                return span(value.strip())
            except ValueError as error:
                raise RefusalError(value) from error
        if kind == {"text": "text", "list": "text", "boolean": "truth"}.get(field.kind):
            return value
        raise RefusalError(literal)


def read_otherwise(text: str) -> tuple[Any, ...]:
    reader = Reader(text)
    node = reader.condition()
    reader.need("end")
    return node


def is_accepted_otherwise(text: str) -> bool:
    try:
        read_otherwise(text)
    except (RefusalError, RecursionError):
        return False
    return True


# --- hostile texts -----------------------------------------------------------------------------------------------


KEYWORDS = ["AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "ESCAPE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE"]
VOCABULARY = [
    *KEYWORDS,
    "params",
    "size",
    "license",
    "tags",
    "created",
    "loadable",
    "accuracy",
    "updated",
    "=",
    "==",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "(",
    ")",
    ",",
    "+",
    "-",
    "30M",
    "4GB",
    "7",
    "1.5",
    "'mit'",
    "'2024'",
    "'%b%'",
    "'!'",
]
CLASSICS = [
    "' OR '1'='1",
    "'; DROP TABLE models; --",
    "params = 1; DELETE FROM models",
    "params = 1 UNION SELECT password FROM users",
    "1=1",
    "params = (SELECT max(params) FROM models)",
    "license = 'x' || (SELECT 1)",
    "EXISTS (SELECT 1)",
    "params = 1 /* comment */ OR 1",
    "params = 1 -- comment",
    "params = 1 # comment",
    "license = 'a' COLLATE nocase",
    "params::text = '1'",
    "CAST(params AS text) = '1'",
    "CASE WHEN loadable THEN TRUE END",
    "{{ params }} = 1",
    "{% if x %} params = 1 {% endif %}",
    "params /*+ hint */ = 1",
    "params = :value",
    "params = ?",
    "params = @value",
    "params = $1",
    "params = $$1$$",
    "models.params = 1",
    "params := 1",
    "SET params = 1",
    "PRAGMA writable_schema = 1",
    "ATTACH DATABASE 'x' AS y",
    "license GLOB '*'",
    "license REGEXP '.*'",
    "license SIMILAR TO '%'",
    "params IN (SELECT params)",
    "params = ANY(tags)",
    "(params, likes) = (1, 2)",
    "load_extension('x')",
    "params = 0x10",
    "license = X'41'",
    "license = N'mit'",
    "license = E'mit'",
    "created = DATE '2024-01-01'",
    "created > NOW() - INTERVAL '1' DAY",
    "params IS NOT DISTINCT FROM 1",
    "params <=> 1",
    "NOT",
    "()",
    "( )",
    "''",
    '"',
    "'",
    "`params` = 1",
    "[params] = 1",
    "params = 1 params",
    "params AS x",
    "params = NaN",
    "params = Infinity",
    "params BETWEEN SYMMETRIC 1 AND 2",
    "license LIKE ANY ('a', 'b')",
    "license LIKE 'a\\",
    "tags = ARRAY['a']",
    "tags[0] = 'a'",
    "params = 1 LIMIT 1",
    "params = 1 ORDER BY params",
    "params = 1e99999999999",
    "params = 99999999999999999999999999e999",
    "params IS NULL IS NULL",
    "params IS NOT NOT NULL",
    "license = 'a' = 'b'",
    "params ^ 2 = 1",
    "~params = 1",
    "!loadable",
    "loadable XOR loadable",
    "loadable && loadable",
]


def damage(rng: random.Random, text: str) -> str:
    letters = list(text)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(letters) + 1)
        match rng.choice(["drop", "add", "double", "word", "cut"]):
            case "drop":
                del letters[place : place + rng.choice([1, 2, 5])]
            case "add":
                letters.insert(
                    place, rng.choice("'\"()-+;,.=<>!%_\\ \n\0\x1f\xa0#/*:?@$[]{}`~^&|0aé日‘’\u2028\U0001f917")
                )
            case "double":
                letters[place:place] = letters[place : place + rng.choice([1, 3, 8])]
            case "word":
                letters.insert(place, f" {rng.choice(VOCABULARY)} ")
            case "cut":
                letters = letters[:place] if rng.random() < 0.3 else letters
    return "".join(letters)


def draw_hostile(rng: random.Random) -> str:
    shape = rng.random()
    if shape < 0.45:
        return damage(rng, draw_condition(rng, rng.choice([0, 0, 1, 2]))[1])
    if shape < 0.75:
        return " ".join(rng.choice(VOCABULARY) for _ in range(rng.choice([1, 2, 3, 4, 5, 7, 9])))
    if shape < 0.85:
        return damage(rng, rng.choice(CLASSICS))
    if shape < 0.95:
        return "".join(
            chr(rng.choice([rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000)])) for _ in range(20)
        )
    n, word = (
        rng.choice([50, 99, 120, 1000]),
        rng.choice(["(", "NOT ", "NOT (", "- ", "((", "'", "params IN (", "params = 1 OR "]),
    )
    return word * n + rng.choice(["", "params = 1" + ")" * n])


# --- the tests ---------------------------------------------------------------------------------------------------


def assert_equal(text: str, node: tuple[Any, ...], frame: pd.DataFrame, table: pa.Table) -> list[bool | None]:
    condition = parse_where(text)
    assert set(condition.fields) <= set(BY_NAME)
    assert all(
        step in ("and", "or", "not") or isinstance(step, Holds | IsMissing | FieldsCompare) for step in condition.steps
    )
    expected = [None if value is pd.NA else bool(value) for value in evaluate(node, frame)]
    result = condition.evaluate(table)
    assert isinstance(result, pa.BooleanArray)
    assert result.to_pylist() == expected, text
    return expected


def flat(node: tuple[Any, ...]) -> tuple[Any, ...]:
    """A tree whose chains of AND and of OR are nested in one way only."""
    if node[0] == "not":
        return ("not", flat(node[1]))
    if node[0] not in ("and", "or"):
        return node
    parts = [part[1:] if part[0] == node[0] else (part,) for part in map(flat, node[1:])]
    return (node[0], *parts[0], *parts[1])


def check_grammar(seed: int, n_cases: int) -> None:
    rng = random.Random(seed)
    frame = draw_frame(rng)
    table = as_table(frame)
    seen = []
    for _ in range(n_cases):
        node, text = draw_condition(rng, rng.choice([0, 1, 2, 3]))
        assert flat(read_otherwise(text)) == flat(node), text
        seen += assert_equal(text, node, frame, table)
    for value in (True, False, None):
        assert seen.count(value) > 0.1 * len(seen)


def check_hostile(seed: int, n_cases: int) -> None:
    rng = random.Random(seed)
    frame = draw_frame(rng)
    table = as_table(frame)
    n_accepted = 0
    for index in range(n_cases):
        text = CLASSICS[index] if index < len(CLASSICS) else draw_hostile(rng)
        try:
            parse_where(text)
        except UsageError as error:
            message = str(error)
            assert "\n" not in message, text
            assert "Got" in message or "Available" in message, text
            is_too_much = len(text) > 10_000 or "levels of parentheses" in message
            if not is_too_much:
                with pytest.raises((RefusalError, RecursionError)):
                    read_otherwise(text)
            continue
        n_accepted += 1
        assert_equal(text, read_otherwise(text), frame, table)
    assert 0.01 * n_cases < n_accepted < 0.5 * n_cases


def test_conditions_of_the_grammar_agree_with_pandas() -> None:
    check_grammar(seed=0, n_cases=1500)


def test_hostile_texts_are_refused_in_one_sentence_or_agree_with_pandas(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        check_hostile(seed=1, n_cases=1500)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.slow
def test_ten_thousand_conditions_of_the_grammar_agree_with_pandas() -> None:
    check_grammar(seed=2, n_cases=10_000)


@pytest.mark.slow
def test_ten_thousand_hostile_texts_are_refused_or_agree_with_pandas() -> None:
    check_hostile(seed=3, n_cases=10_000)
