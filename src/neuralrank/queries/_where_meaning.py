"""What the comparisons of a condition mean for each kind of field; values of the wrong type are refused here."""

import math
from collections.abc import Sequence
from fractions import Fraction

from neuralrank.fields import BY_NAME, Field
from neuralrank.queries._where_arrays import LIMITS, FieldsCompare, Holds, InRanges, IsMissing, IsTruth, Step, ValueTest
from neuralrank.queries._where_like import like
from neuralrank.queries._where_moments import read_span
from neuralrank.queries._where_texts import IgnoringCase, InOrder, IsOneOf, lower
from neuralrank.queries._where_tokens import Token, refuse

Range = tuple[float | None, float | None]
_EXAMPLES = {
    "text": "{} LIKE '%word%'",
    "list": "{} LIKE '%word%'",
    "integer": "{} < 30M",
    "number": "{} > 0.5",
    "date": "{} >= '2024-05'",
    "boolean": "{} = TRUE",
}


def compare(name: str, sign: str, value: Token, written: str) -> tuple[Step, ...]:
    """Return the steps of `name sign value`; `written` is how the user spelled it."""
    if sign == "!=":
        return (*compare(name, "=", value, written), "not")
    field = BY_NAME[name]
    if field.kind in ("text", "list"):
        text = lower(_text(field, value, written))
        test = IsOneOf(values=(text,)) if sign == "=" else InOrder(comparisons=((sign, text),))
        return (_holds(field, IgnoringCase(test=test)),)
    if field.kind == "boolean":
        if sign != "=":
            raise refuse(f"{name} is true or false and has no order", written, f"Write {name} or NOT {name}")
        return (_holds(field, IsTruth(value=_truth(field, value, written))),)
    return _in_ranges(field, [_range(field, sign, value, written)])


def is_among(name: str, values: Sequence[Token], written: str) -> tuple[Step, ...]:
    """Return the steps of `name IN (values)`."""
    field = BY_NAME[name]
    if field.kind in ("text", "list"):
        texts = tuple(dict.fromkeys(lower(_text(field, value, written)) for value in values))
        return (_holds(field, IgnoringCase(test=IsOneOf(values=texts))),)
    if field.kind == "boolean":
        first, *others = (compare(name, "=", value, written) for value in values)
        return (*first, *(step for other in others for step in (*other, "or")))
    return _in_ranges(field, [_range(field, "=", value, written) for value in values])


def is_between(name: str, low: Token, high: Token, written: str) -> tuple[Step, ...]:
    """Return the steps of `name BETWEEN low AND high`, both ends included."""
    field = BY_NAME[name]
    if field.kind in ("text", "list"):
        ends = tuple((sign, lower(_text(field, end, written))) for sign, end in ((">=", low), ("<=", high)))
        return (_holds(field, IgnoringCase(test=InOrder(comparisons=ends))),)
    if field.kind == "boolean":
        raise refuse(f"{name} is true or false and has no order", written, f"Write {name} or NOT {name}")
    first, _ = _range(field, ">=", low, written)
    _, last = _range(field, "<=", high, written)
    return _in_ranges(field, [(first, last)])


def is_like(name: str, pattern: Token, escape: Token | None, written: str) -> tuple[Step, ...]:
    """Return the steps of `name LIKE pattern [ESCAPE escape]`."""
    field = BY_NAME[name]
    if field.kind not in ("text", "list"):
        raise refuse(f"LIKE needs a field of texts, and {name} is {_describe(field)}", written, _write(field))
    if pattern.kind != "text" or (escape and (not isinstance(escape.value, str) or len(escape.value) != 1)):
        example = f"Write for example {name} LIKE '%bert%', or {name} LIKE '%!_%' ESCAPE '!'"
        raise refuse("LIKE needs a pattern in single quotes, and ESCAPE one character", written, example)
    test = like(str(pattern.value), str(escape.value) if escape else "\\")
    return (_holds(field, IgnoringCase(test=test)),)


def is_missing(name: str) -> tuple[Step, ...]:
    """Return the steps of `name IS NULL`."""
    return (IsMissing(field=name, kind=BY_NAME[name].kind),)


def is_true(name: str, written: str) -> tuple[Step, ...]:
    """Return the steps of a field that stands alone."""
    field = BY_NAME[name]
    if field.kind != "boolean":
        raise refuse(f"{name} is {_describe(field)} and needs a comparison", written, _write(field))
    return (_holds(field, IsTruth(value=True)),)


def compare_fields(left: str, sign: str, right: str, written: str) -> tuple[Step, ...]:
    """Return the steps of `left sign right`, both of them fields."""
    kind = BY_NAME[left].kind
    if kind != BY_NAME[right].kind or kind in ("text", "list", "boolean"):
        needed = "Two fields compare if both are whole numbers, both are other numbers or both are dates"
        raise refuse(needed, written, "Write a value on one side, a text in single quotes")
    compared = FieldsCompare(left=left, right=right, kind=kind, comparison="=" if sign == "!=" else sign)
    return (compared, "not") if sign == "!=" else (compared,)


def _holds(field: Field, test: ValueTest) -> Holds:
    return Holds(field=field.name, kind=field.kind, test=test)


def _range(field: Field, sign: str, value: Token, written: str) -> Range:
    """Return the values of a field for which `field sign value` holds, as the first and the last of them."""
    if field.kind == "date":
        first, last = _span(field, value, written)
        return _ends(sign, (first, last), first - 1, last + 1)
    number = _number(field, value, written)
    if field.kind == "integer":
        floor, ceiling = math.floor(number), math.ceil(number)
        return _ends(sign, (ceiling, floor), ceiling - 1, floor + 1)
    near = _float(number)
    return _ends(sign, (near, near), math.nextafter(near, -math.inf), math.nextafter(near, math.inf))


def _ends(sign: str, equal: tuple[float, float], below: float, above: float) -> Range:
    """Return the range of a sign, given the ends of what is equal and the nearest values outside of it."""
    first, last = equal
    if sign == "=":
        return first, last
    return {"<": (None, below), "<=": (None, last), ">": (above, None), ">=": (first, None)}[sign]


def _in_ranges(field: Field, ranges: Sequence[Range]) -> tuple[Step, ...]:
    """Return the step of a field in one of some ranges, cut to what the type of the field can hold."""
    least, most = LIMITS["float" if field.kind == "number" else "int"]
    cut = (
        (least if low is None else max(low, least), most if high is None else min(high, most)) for low, high in ranges
    )
    return (_holds(field, InRanges(ranges=tuple((low, high) for low, high in cut if low <= high))),)


def _float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _text(field: Field, value: Token, written: str) -> str:
    if value.kind != "text":
        needed = f"{field.name} is {_describe(field)} and compares with texts"
        raise refuse(needed, written, "Write the value in single quotes")
    return str(value.value)


def _truth(field: Field, value: Token, written: str) -> bool:
    if value.kind != "truth":
        raise refuse(f"{field.name} is true or false", written, f"Write {field.name} or NOT {field.name}")
    return bool(value.value)


def _span(field: Field, value: Token, written: str) -> tuple[int, int]:
    span = read_span(value.value) if isinstance(value.value, str) and value.kind == "text" else None
    if span is None:
        needed = f"{field.name} is a date and needs one in single quotes, such as '2024', '2024-05' or '2024-05-17'"
        raise refuse(needed, written, _write(field))
    return span


def _number(field: Field, value: Token, written: str) -> Fraction:
    if not isinstance(value.value, Fraction):
        needed = f"{field.name} is {_describe(field)} and needs a number without quotes"
        raise refuse(needed, written, _write(field))
    if value.unit == "bytes" and field.unit != "bytes":
        raise refuse(
            f"{field.name} is {_describe(field)}, which no size in bytes compares with", written, _write(field)
        )
    if value.unit == "count b" and field.unit == "bytes":
        needed = f"{field.name} needs a size that says bytes, because B alone could mean billions"
        raise refuse(needed, written, f"{_write(field)}, or the number of bytes alone")
    return value.value


def _describe(field: Field) -> str:
    unit = f" of {field.unit}" if field.unit in ("bytes", "seconds") else ""
    return {
        "text": "a text",
        "list": "a list of texts",
        "integer": f"a whole number{unit}",
        "number": f"a number{unit}",
        "date": "a date",
        "boolean": "true or false",
    }[field.kind]


def _write(field: Field) -> str:
    example = "{} < 4GB" if field.unit == "bytes" else _EXAMPLES[field.kind]
    return f"Write for example {example.format(field.name)}"
